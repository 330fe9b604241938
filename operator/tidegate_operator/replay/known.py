"""What a forecaster could know of a trace at any of its minutes.

Law: a minute depends on the minutes up to it and on nothing after. Whether a run of empty minutes
is an outage shows only as it goes on, so within a long one the history is read anew for each
minute, as the live loop reads it; outside of them, one reading serves all.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tidegate_operator.forecast import engine, features
from tidegate_operator.forecast.beside import Beside
from tidegate_operator.forecast.calibrate import Raw
from tidegate_operator.forecast.quantiles import Model
from tidegate_operator.forecast.series import QUIET_RUN_MINUTES, Series, clean
from tidegate_operator.forecast.wire import PREDICT_MINUTES
from tidegate_operator.replay.trace import Counts


@dataclass(frozen=True, slots=True)
class Known:
    """A trace's requests per minute, from unix minute ``start`` on."""

    start: int
    counts: Counts
    beside: Beside
    whole: Series
    """All of it, as it looks at its end."""
    silent: tuple[bool, ...]
    """By minute: within a long run of zero or missing ones."""

    @property
    def end(self) -> int:
        return self.start + len(self.counts)

    def before(self, minute: int, most: int) -> Series:
        """The ``most`` minutes before unix ``minute``, as they looked then."""
        begin = max(self.start, minute - most)
        if self.silent[minute - 1 - self.start]:
            window = self.counts[begin - self.start : minute - self.start]
            return clean(begin, window, self.beside)
        first = self.whole.start_minute
        return self.whole.part(max(0, begin - first), max(0, minute - first))

    def raws(
        self, model: Model, begin: int, end: int, most: int
    ) -> Iterator[tuple[int, Series, Raw]]:
        """For each unix minute of [``begin``, ``end``): what was known after it, and what
        ``model`` made of that."""
        first = self.whole.start_minute
        part = self.whole.part(max(0, end - most - first), max(0, end - first))
        loud = [minute for minute in range(begin, end) if not self.silent[minute - self.start]]
        rows = np.array([minute - part.start_minute for minute in loud], dtype=np.int64)
        at_once = dict(zip(loud, engine.raws(part, model, rows), strict=True))
        for minute in range(begin, end):
            if minute in at_once:
                series = part.part(0, minute + 1 - part.start_minute)
                yield minute, series, at_once[minute]
                continue
            series = self.before(minute + 1, PREDICT_MINUTES)
            if len(series) > features.WARM_UP:
                row = np.array([len(series) - 1])
                yield minute, series, engine.raws(series, model, row)[0]


def known_of(start: int, counts: Counts, beside: Beside) -> Known:
    """Read a trace's minutes."""
    return Known(start, counts, beside, clean(start, counts, beside), _silent(counts))


def _silent(counts: Counts) -> tuple[bool, ...]:
    silent = [not count for count in counts]
    begin = 0
    for at, empty in enumerate([*silent, False]):
        if empty:
            continue
        if at - begin < QUIET_RUN_MINUTES:
            silent[begin:at] = [False] * (at - begin)
        begin = at + 1
    return tuple(silent)
