"""PURE: who used how many tokens in which window, from cumulative counters."""
