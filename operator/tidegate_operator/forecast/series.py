"""Requests per minute as counted become a series that features can be built on: every minute has a
value, and it is known which minutes were truly counted.

Law: a filled-in minute may inform a forecast and is never scored. Filling looks back only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tidegate_operator.forecast.arrays import DAY as DAY
from tidegate_operator.forecast.arrays import Bools, Floats
from tidegate_operator.forecast.beside import ALONE, Beside

QUIET_RUN_MINUTES = 10
"""So many zero or missing minutes in a row are an outage or a collection gap, where the series is
busy."""
BUSY_REQUESTS_PER_MINUTE = 3.0
"""From this mean on, ten empty minutes by chance are out of the question (Poisson: e^-30)."""
RECURS_SHARE = 0.5
"""A silence that was there yesterday too, for this share of its minutes, is demand, not an
outage."""


class SeriesError(ValueError):
    """The counts can't be a series of requests per minute."""


@dataclass(frozen=True, slots=True)
class Series:
    """One-minute counts without holes."""

    start_minute: int
    """Unix minute of the first value."""
    values: Floats
    """Requests per minute, filled in where ``known`` is false."""
    known: Bools
    """False: filled in, never scored and never learned from."""
    beside: Beside = ALONE
    """What is known beside the counts. The values are those without its events."""

    def __len__(self) -> int:
        return len(self.values)

    def part(self, begin: int, end: int) -> "Series":
        """Indices [begin, end)."""
        return Series(
            self.start_minute + begin,
            self.values[begin:end],
            self.known[begin:end],
            self.beside,
        )

    @property
    def end_minute(self) -> int:
        """Unix minute after the last value."""
        return self.start_minute + len(self.values)


def clean(
    start_minute: int, counts: Sequence[int | float | None], beside: Beside = ALONE
) -> Series:
    """Drop leading idle minutes, tell outages from silence, fill the holes, take events out.

    Raises:
        SeriesError: a count is negative or not finite.
    """
    raw = np.array([np.nan if count is None else count for count in counts], dtype=np.float64)
    bad = np.flatnonzero((raw < 0) | np.isinf(raw))
    if bad.size:
        raise SeriesError(
            f"counts[{bad[0]}] must be a finite number of requests, at least 0, was: {raw[bad[0]]}"
        )
    busy = np.flatnonzero(np.nan_to_num(raw) > 0)
    first = int(busy[0]) if busy.size else len(raw)
    raw = raw[first:]
    known = ~np.isnan(raw)
    gaps = _quiet_runs(raw)
    for begin, end in gaps:
        if _is_outage(raw, begin, end):
            known[begin:end] = False
    minutes = np.arange(start_minute + first, start_minute + len(counts), dtype=np.float64)
    return Series(
        start_minute + first, _filled(raw, known) / beside.factors(minutes), known, beside
    )


def _quiet_runs(raw: Floats) -> list[tuple[int, int]]:
    """Half-open index ranges of at least ``QUIET_RUN_MINUTES`` zero or missing minutes."""
    return [
        (begin, end)
        for begin, end in _runs(np.nan_to_num(raw) == 0)
        if end - begin >= QUIET_RUN_MINUTES
    ]


def _runs(mask: Bools) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], mask.view(np.int8), [0]))))
    return [(int(begin), int(end)) for begin, end in zip(edges[::2], edges[1::2], strict=True)]


def _is_outage(raw: Floats, begin: int, end: int) -> bool:
    before = raw[max(0, begin - 60) : begin]
    before = before[~np.isnan(before)]
    if before.size == 0 or before.mean() < BUSY_REQUESTS_PER_MINUTE:
        return False
    yesterday = raw[max(0, begin - DAY) : max(0, end - DAY)]
    if yesterday.size == 0:
        return True
    return float(np.mean(yesterday == 0)) < RECURS_SHARE


def _filled(raw: Floats, known: Bools) -> Floats:
    values = raw.copy()
    for begin, end in _runs(~known):
        if end - begin >= QUIET_RUN_MINUTES and begin >= DAY:
            for at in range(
                begin, end, DAY
            ):  # by days: the second day of a hole takes the first one's filling
                stop = min(end, at + DAY)
                values[at:stop] = values[at - DAY : stop - DAY]
        else:
            # Series begin with a counted minute, so there is always one to hold.
            values[begin:end] = values[begin - 1]
    return values
