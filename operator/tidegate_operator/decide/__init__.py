"""PURE core: what to do, and why. Owns the words Decision and Reason.

Law: arithmetic on values. No framework, no client, no clock, no logging; ``now`` is an argument,
and what must be remembered between two ticks goes in and comes out as a value.
"""
