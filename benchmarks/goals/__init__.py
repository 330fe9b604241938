"""Whether forecasting pays: goals G1 to G8 on real request traces, in simulated time."""
