"""Demand that somebody else measures: a rate that is read every few seconds, and its history.

Law: what was not told is missing, never 0. A reading that failed says so and changes nothing of
what was known; minutes come out as whole requests, and rounding loses none in the long run.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from tidegate_operator.decide.words import DataState, Demand
from tidegate_operator.ledger.demand import HISTORY_MINUTES, PEAK_WINDOW_S


@dataclass(slots=True)
class _Minute:
    """Readings of one minute so far."""

    number: int
    total: float = 0.0
    readings: int = 0


class ObservedDemand:
    """One target's demand, as it was told."""

    def __init__(self, *, history_minutes: int = HISTORY_MINUTES) -> None:
        self._history_minutes = history_minutes
        self._rates: dict[int, float] = {}
        """Requests per second by unix minute, of minutes that are over."""
        self._open: _Minute | None = None
        self._known_to: int | None = None
        """Last minute up to which the history was asked for."""
        self._latest = Demand(state=DataState.ABSENT)
        self._read_at: float | None = None
        """When there was last a rate."""
        self._recent: deque[tuple[float, float]] = deque()
        self._counted: tuple[int, tuple[int | None, ...]] | None = None

    def read(
        self, now: float, state: DataState, rps: float | None, *, age_s: float = 0.0, why: str = ""
    ) -> None:
        """Take in one reading; ``rps`` counts if ``state`` is present."""
        self._close(int(now // 60))
        while self._recent and self._recent[0][0] <= now - PEAK_WINDOW_S:
            self._recent.popleft()
        if state is not DataState.PRESENT or rps is None:
            known = rps if state is DataState.STALE else None
            self._latest = Demand(state=state, rps=known, age_s=age_s, message=why)
            return
        self._recent.append((now, rps))
        self._read_at = now
        if self._open is None:
            self._open = _Minute(int(now // 60))
        self._open.total += rps
        self._open.readings += 1
        peak = max(rate for _, rate in self._recent)
        self._latest = Demand(state=state, rps=rps, peak_rps=peak)

    def demand(self, now: float, max_age_s: float) -> Demand:
        """The latest reading; stale once nobody has read for ``max_age_s``."""
        latest = self._latest
        if latest.state is not DataState.PRESENT or self._read_at is None:
            return latest
        age_s = max(0.0, now - self._read_at)
        state = DataState.STALE if age_s > max_age_s else DataState.PRESENT
        return Demand(state=state, rps=latest.rps, peak_rps=latest.peak_rps, age_s=age_s)

    def missing(self, now: float) -> tuple[int, int] | None:
        """First and last minute that a history should be asked for; ``None``: none.

        All of it at first; later what was not read, once there are readings again.
        """
        # The minute before this one may still be incomplete where it is measured.
        last = int(now // 60) - 2
        if self._known_to is None:
            return last - self._history_minutes + 1, last
        if self._latest.state is not DataState.PRESENT:
            return None
        unread = (m for m in range(self._known_to + 1, last + 1) if m not in self._rates)
        first = next(unread, None)
        if first is None:
            self._known_to = max(self._known_to, last)
            return None
        return first, last

    def fill(self, first: int, last: int, rates: Mapping[int, float]) -> None:
        """Take in a history: requests per second by minute, of all from ``first`` to ``last`` that
        are known. What was read here meanwhile stands."""
        inside = {m: rate for m, rate in rates.items() if first <= m <= last}
        self._rates = inside | self._rates
        self._known_to = last if self._known_to is None else max(self._known_to, last)
        self._counted = None

    def minutes(self) -> tuple[int, tuple[int | None, ...]]:
        """As ``DemandHistory.minutes``: first unix minute, and requests per minute from there."""
        if self._counted is None:
            self._counted = self._count()
        return self._counted

    def _close(self, minute: int) -> None:
        """Put away the minute that is over, and let go of what is older than the history."""
        if self._open is None or self._open.number >= minute:
            return
        self._rates[self._open.number] = self._open.total / self._open.readings
        self._open, self._counted = None, None
        oldest = minute - self._history_minutes
        if min(self._rates) < oldest:
            self._rates = {m: rate for m, rate in self._rates.items() if m >= oldest}

    def _count(self) -> tuple[int, tuple[int | None, ...]]:
        if not self._rates:
            return 0, ()
        first, last = min(self._rates), max(self._rates)
        counts: list[int | None] = []
        due = 0.0
        put = 0
        for minute in range(first, last + 1):
            rate = self._rates.get(minute)
            if rate is None:
                counts.append(None)
                continue
            due += rate * 60
            counts.append(round(due) - put)
            put = round(due)
        return first, tuple(counts)
