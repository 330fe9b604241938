"""What demand is measured in, and what one replica is taken to carry of it.

Law: values only, as in ``words``.
"""

from dataclasses import dataclass
from enum import StrEnum


class Signal(StrEnum):
    """What demand is measured in; each is told as requests per second."""

    AUTO = "Auto"
    REQUESTS = "RequestsPerSecond"
    TOKENS = "TokensPerSecond"
    CONCURRENCY = "Concurrency"


class CapacitySource(StrEnum):
    DECLARED = "Declared"
    LEARNED = "Learned"
    LEARNING = "Learning"
    """So far a lower bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedCapacity:
    """What one replica was taken to carry."""

    per_replica: float
    """In the unit of ``signal``."""
    signal: Signal
    source: CapacitySource
    answers: int = 0
    """First tokens that it was learned from."""
