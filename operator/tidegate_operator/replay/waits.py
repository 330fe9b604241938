"""How long requests waited, where arrivals and starts are even flows.

Law: between its first and its last request the wait of a batch is a line; below 0 nobody waited.
What lies above a limit is exact; the histogram is as fine as ``BIN_S``.
"""

import math
from collections.abc import Mapping

BIN_S = 0.5


def share_above(first_s: float, last_s: float, limit_s: float) -> float:
    """Of requests whose waits lie evenly between the two, those that waited for longer."""
    low, high = (first_s, last_s) if first_s <= last_s else (last_s, first_s)
    if high <= limit_s:
        return 0.0
    if low >= limit_s:
        return 1.0
    return (high - limit_s) / (high - low)


def mean_wait_s(first_s: float, last_s: float) -> float:
    """Their mean; those below 0 did not wait."""
    low, high = (first_s, last_s) if first_s <= last_s else (last_s, first_s)
    if high <= 0:
        return 0.0
    if low >= 0:
        return (low + high) / 2
    return high * high / (2 * (high - low))


class Waits:
    """A histogram."""

    def __init__(self) -> None:
        self.counts: dict[float, float] = {}
        """Wait in seconds, rounded up to a bin -> requests; 0 is no wait at all."""

    def note(self, number: float, first_s: float, last_s: float) -> None:
        """Add ``number`` requests whose waits lie evenly between the two."""
        low, high = (first_s, last_s) if first_s <= last_s else (last_s, first_s)
        if high <= 0:
            self._add(0.0, number)
            return
        if high - low < 1e-9:
            self._add(_bin(high), number)
            return
        per_s = number / (high - low)
        if low < 0:
            self._add(0.0, -low * per_s)
            low = 0.0
        edge = _bin(low)
        while low < high:
            if edge <= low:
                edge += BIN_S
            upto = min(edge, high)
            self._add(edge, (upto - low) * per_s)
            low = upto

    def _add(self, wait_s: float, number: float) -> None:
        self.counts[wait_s] = self.counts.get(wait_s, 0.0) + number


def _bin(wait_s: float) -> float:
    return math.ceil(wait_s / BIN_S - 1e-9) * BIN_S


def percentile(waits: Mapping[float, float], share: float) -> float:
    """The wait, in seconds, that ``share`` of the requests did not exceed; 0 where there were
    none."""
    left = share * math.fsum(waits.values())
    for wait in sorted(waits):
        left -= waits[wait]
        if left <= 1e-6:
            return wait
    return 0.0
