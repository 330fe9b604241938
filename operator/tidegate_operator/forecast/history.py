"""Whether a history is long enough to forecast from: one rule for the live loop and the replay.

Law: standard library only, so that the operator's side loads no numpy. Idle time before the first
request is no history, nor is a minute that nobody could see.
"""

import math
from collections.abc import Sequence

HOUR_S = 3600.0


def shortage(counts: Sequence[float | None], min_history_s: float) -> str:
    """What is missing, in words; empty where ``counts``, one a minute, are enough."""
    first = next((i for i, count in enumerate(counts) if count), len(counts))
    known_s = 60.0 * sum(count is not None for count in counts[first:])
    if known_s >= min_history_s:
        return ""
    return f"{_spell(known_s)} of history, {_spell(min_history_s)} are needed; reactive only"


def first_enough(counts: Sequence[float | None], min_history_s: float) -> int | None:
    """How many of ``counts`` it takes until they are enough; ``None``: all are too few."""
    known, begun = 0, False
    for index, count in enumerate(counts):
        begun = begun or bool(count)
        known += begun and count is not None
        if begun and 60.0 * known >= min_history_s:
            return index + 1
    return None


def _spell(seconds: float) -> str:
    """Such as ``12 minutes`` or ``47.9 hours``; rounded down, so that it never reads as enough
    before it is."""
    if seconds < 2 * HOUR_S:
        minutes = int(seconds // 60)
        return f"{minutes} minute{'s' * (minutes != 1)}"
    return f"{math.floor(seconds / HOUR_S * 10) / 10:g} hours"
