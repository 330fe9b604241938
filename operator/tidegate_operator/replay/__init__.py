"""PURE closed loop in simulated time: a trace, a plant and a controller in; what users felt and
what it cost out."""
