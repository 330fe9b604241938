"""What model servers say of themselves, as a value.

Law: a figure that no server tells is ``None``, never 0.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSigns:
    """In the mean of the last minute, and over the pods whose servers say anything."""

    pods: int
    waiting_per_pod: float | None = None
    """Requests in a server's own queue; ``None``: none tells."""
    kv_cache_usage: float | None = None
    """Share in [0, 1]."""
