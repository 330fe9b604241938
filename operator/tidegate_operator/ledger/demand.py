"""How many requests came in which minute, and how many come now.

Law: arrivals are differences of cumulative counters, spread over the time between the two looks;
so a look that failed, and an operator that was away, lose nothing as long as the pod lives. A
minute that nobody could see is missing, never 0. Demand is always the total of all pods, never
their mean.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidegate_operator.decide.words import DataState, Demand
from tidegate_operator.ledger.usage import FORGET_AFTER_S, InvalidStateError
from tidegate_wire.stats import SidecarStats

STATE_VERSION = 1
HISTORY_MINUTES = 14 * 24 * 60
RATE_WINDOW_S = 60.0
"""Time that the rate is taken over; HPA's metrics window."""
PEAK_WINDOW_S = 300.0
"""Time that the peak and the mean service time are taken over; HPA's stabilisation window."""
ESTIMATE_FOR_S = 600.0
"""How long a pod that is expected but can't be read is taken to go on as before. Too long
overstates demand by one pod of a lost node; too short scales down because of a lost network."""


@dataclass(slots=True, kw_only=True)
class _Process:
    """One life of one sidecar, as it was last seen."""

    seen_at: float
    arrived: int
    ended: int
    duration_s: float
    tokens: int | None = 0
    """``None``: restored from a checkpoint that did not have them."""
    in_flight: int = 0
    rps: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Growth:
    """What one or more counters grew by between two looks."""

    start: float
    end: float
    arrived: int

    def within(self, start: float, end: float) -> float:
        """Arrivals in [``start``, ``end``], had they come evenly."""
        if self.end <= self.start:
            return float(self.arrived) if start < self.end <= end else 0.0
        overlap_s = min(end, self.end) - max(start, self.start)
        return max(0.0, overlap_s) / (self.end - self.start) * self.arrived


class DemandHistory:
    """The demand of one policy's target. ``state`` is what ``to_state`` gave, or ``None`` to
    begin.

    A state that holds ``start_minute`` and ``counts`` alone is a history from elsewhere.
    """

    def __init__(
        self, state: Mapping[str, Any] | None = None, *, history_minutes: int = HISTORY_MINUTES
    ) -> None:
        self._history_minutes = history_minutes
        self._start_minute: int | None = None
        self._counts: list[int | None] = []
        self._processes: dict[tuple[str, str], _Process] = {}
        self._boots: dict[str, str] = {}
        """Pod -> the life that was seen last."""
        self._unread: set[str] = set()
        """Pods that the very first record could not read: their counters may be of any age."""
        self._recorded_at: float | None = None
        self._answered_at: float | None = None
        self._expected: frozenset[str] = frozenset()
        self._answered: frozenset[str] = frozenset()
        self._covered_from: float | None = None
        self._rps: float | None = None
        self._estimated = 0.0
        self._service_s: float | None = None
        self._growths: deque[_Growth] = deque()
        self._rates: deque[tuple[float, float]] = deque()
        self._services: deque[tuple[float, int, float, int]] = deque()
        """(time, requests ended, their seconds, their tokens) of each look at a pod."""
        self._tokens_per_request: float | None = None
        self._flying: deque[tuple[float, int]] = deque()
        """(time, requests in flight) of each look."""
        if state:
            self._restore(state)

    # --- looking ----------------------------------------------------------------------------

    def record(self, now: float, looks: Mapping[str, SidecarStats | None]) -> None:
        """Take in one round of looks by pod uid; ``None`` stands for a pod that was asked and
        failed.

        An empty round says that there was nobody to ask.
        """
        now = now if self._recorded_at is None else max(now, self._recorded_at)
        self._reach(int(now // 60))
        answered = {uid: stats for uid, stats in looks.items() if stats and _is_sound(stats)}
        if self._recorded_at is None:
            self._unread = {uid for uid in looks if uid not in answered}
        grown = [
            growth
            for uid, stats in answered.items()
            if (growth := self._take(uid, stats, now)) is not None
        ]
        self._expected, self._answered = frozenset(looks), frozenset(answered)
        self._recorded_at = now
        if answered:
            self._answered_at = now
            self._measure(now, grown)
        elif not looks:
            self._covered_from = None
        self._forget(now)

    def _take(self, uid: str, stats: SidecarStats, now: float) -> _Growth | None:
        """What one pod's counters grew by, put to its minutes; ``None`` where this can't be
        known."""
        ended = sum(series.ended for series in stats.series)
        duration_s = sum(series.duration_s for series in stats.series)
        tokens = sum(series.tokens_in + series.tokens_out for series in stats.series)
        process = self._processes.get((uid, stats.boot))
        if process is None:
            since = self._unseen_since(uid)
            process = _Process(seen_at=now, arrived=0, ended=0, duration_s=0.0)
            self._processes[uid, stats.boot] = process
            if since is None:
                process.arrived, process.tokens = stats.arrived, tokens
                process.ended, process.duration_s = ended, duration_s
        elif stats.arrived < process.arrived or ended < process.ended:
            return None  # an older look that came late
        else:
            since = process.seen_at
        growth = None
        if since is not None:
            growth = _Growth(start=since, end=now, arrived=stats.arrived - process.arrived)
            self._spread(growth)
            self._services.append(
                (
                    now,
                    ended - process.ended,
                    duration_s - process.duration_s,
                    0 if process.tokens is None else max(0, tokens - process.tokens),
                )
            )
            if now > since:
                process.rps = growth.arrived / (now - since)
        process.arrived, process.tokens = stats.arrived, tokens
        process.ended, process.duration_s = ended, duration_s
        process.seen_at, process.in_flight = now, max(0, stats.in_flight)
        self._boots[uid] = stats.boot
        self._unread.discard(uid)
        return growth

    def _unseen_since(self, uid: str) -> float | None:
        """Since when a process that is new to us can have counted; ``None`` where nobody knows."""
        boot = self._boots.get(uid)
        if boot is not None and (uid, boot) in self._processes:
            return self._processes[uid, boot].seen_at
        return None if uid in self._unread else self._recorded_at

    def _spread(self, growth: _Growth) -> None:
        """Put arrivals to the minutes between the two looks; whole requests, and none lost by
        rounding."""
        if self._start_minute is None or (growth.arrived == 0 and growth.end <= growth.start):
            return  # a moment looked at twice says nothing of the minute that begins with it
        start = max(growth.start, self._start_minute * 60.0)
        last = max(math.ceil(growth.end / 60.0) - 1, int(start // 60))
        put = 0
        for minute in range(int(start // 60), last + 1):
            share = 1.0
            if minute < last:
                share = ((minute + 1) * 60.0 - start) / (growth.end - start)
            due = round(growth.arrived * share)
            index = minute - self._start_minute
            self._counts[index] = (self._counts[index] or 0) + due - put
            put = due

    def _reach(self, minute: int) -> None:
        """Make room up to ``minute``, and let go of what is older than the history."""
        if self._start_minute is None:
            self._start_minute = minute
        room = minute - self._start_minute + 1 - len(self._counts)
        if room > self._history_minutes or minute < self._start_minute:
            self._counts, self._start_minute = [], minute
            room = 1
        self._counts.extend([None] * room)
        # One more than the history: the minute that is not over yet.
        beyond = len(self._counts) - self._history_minutes - 1
        if beyond > 0:
            del self._counts[:beyond]
            self._start_minute += beyond

    # --- measuring --------------------------------------------------------------------------

    def _measure(self, now: float, grown: list[_Growth]) -> None:
        if grown and self._covered_from is None:
            self._covered_from = min(growth.start for growth in grown)
        arrived: dict[tuple[float, float], int] = {}
        for growth in grown:
            span = (growth.start, growth.end)
            arrived[span] = arrived.get(span, 0) + growth.arrived
        for (start, end), count in arrived.items():
            self._growths.append(_Growth(start=start, end=end, arrived=count))
        self._growths = deque(g for g in self._growths if g.end > now - RATE_WINDOW_S)
        if self._covered_from is not None and now > self._covered_from:
            self._rps = self._rate(now, self._covered_from)
            self._rates.append((now, self._rps))
        self._take_means(now)
        self._flying.append((now, self._in_flight(now)))
        while self._flying[0][0] <= now - PEAK_WINDOW_S:
            self._flying.popleft()

    def _rate(self, now: float, covered_from: float) -> float:
        """Requests per second over the last minute, or over as much of it as was seen."""
        start = max(now - RATE_WINDOW_S, covered_from)
        told = sum(growth.within(start, now) for growth in self._growths)
        estimated = sum(
            process.rps * (now - max(start, process.seen_at)) for process in self._silent(now)
        )
        total = told + estimated
        self._estimated = estimated / total if total else 0.0
        return total / (now - start)

    def _silent(self, now: float) -> list[_Process]:
        """Pods that did not answer this time and are taken to go on as they were last seen."""
        last = [self._last_of(uid) for uid in self._expected - self._answered]
        return [p for p in last if p is not None and now - p.seen_at <= ESTIMATE_FOR_S]

    def _last_of(self, uid: str) -> _Process | None:
        boot = self._boots.get(uid)
        return None if boot is None else self._processes.get((uid, boot))

    def _take_means(self, now: float) -> None:
        """Of the requests that ended lately; the last known ones where none did."""
        while self._services and self._services[0][0] <= now - PEAK_WINDOW_S:
            self._services.popleft()
        ended = sum(service[1] for service in self._services)
        duration_s = sum(service[2] for service in self._services)
        tokens = sum(service[3] for service in self._services)
        if ended > 0 and 0 < duration_s < math.inf:
            self._service_s = duration_s / ended
        if ended > 0 and tokens > 0:
            self._tokens_per_request = tokens / ended

    def _in_flight(self, now: float) -> int:
        seen = [p for uid in self._answered if (p := self._last_of(uid)) is not None]
        return sum(process.in_flight for process in seen + self._silent(now))

    def _forget(self, now: float) -> None:
        while self._rates and self._rates[0][0] <= now - PEAK_WINDOW_S:
            self._rates.popleft()
        gone = [k for k, p in self._processes.items() if now - p.seen_at > FORGET_AFTER_S]
        for uid, boot in gone:
            del self._processes[uid, boot]
            if self._boots.get(uid) == boot:
                del self._boots[uid]

    # --- asking -----------------------------------------------------------------------------

    def demand(self, now: float, max_age_s: float) -> Demand:
        """The demand as of the last record; zero, absent, stale and unreadable are told apart."""
        if not self._expected:
            return Demand(state=DataState.ABSENT)
        age_s = 0.0 if self._answered_at is None else max(0.0, now - self._answered_at)
        if not self._answered:
            return Demand(state=DataState.ERROR, age_s=age_s)
        reporting, in_flight = len(self._answered), self._in_flight(now)
        if self._rps is None or self._covered_from is None:
            return Demand(
                state=DataState.ABSENT, age_s=age_s, reporting=reporting, in_flight=in_flight
            )
        stale = age_s > max_age_s or self._mostly_silent()
        since = (self._recorded_at or now) - RATE_WINDOW_S
        flying = [count for at, count in self._flying if at > since]
        rates = [rps for _, rps in self._rates]
        return Demand(
            state=DataState.STALE if stale else DataState.PRESENT,
            rps=self._rps,
            peak_rps=max((rps for _, rps in self._rates), default=self._rps),
            age_s=age_s,
            reporting=reporting,
            estimated=self._estimated,
            in_flight=in_flight,
            mean_in_flight=_mean(flying),
            steady_rps=_mean(rates),
            steady_in_flight=_mean([count for _, count in self._flying]),
            service_s=self._service_s,
            tokens_per_request=self._tokens_per_request,
        )

    def _mostly_silent(self) -> bool:
        """Whether fewer than half of the pods that ever answered do so now: then the rest is
        guesswork."""
        known = sum(1 for uid in self._expected if uid in self._boots)
        return len(self._answered) * 2 < known

    def minutes(self) -> tuple[int, tuple[int | None, ...]]:
        """First unix minute, and arrivals per minute from there to the last one that is over;
        ``None`` is missing."""
        if self._start_minute is None:
            return 0, ()
        over = len(self._counts)
        if self._recorded_at is not None:
            over = max(0, min(over, int(self._recorded_at // 60) - self._start_minute))
        return self._start_minute, tuple(self._counts[:over])

    # --- checkpoint -------------------------------------------------------------------------

    def to_state(self) -> dict[str, Any]:
        """All of it as JSON-able values; ``counts`` end with the last minute that is over,
        ``open`` is the rest."""
        start_minute, counts = self.minutes()
        return {
            "v": STATE_VERSION,
            "start_minute": start_minute,
            "counts": list(counts),
            "open": self._counts[len(counts) :],
            "recorded_at": self._recorded_at,
            "service_s": self._service_s,
            "tokens_per_request": self._tokens_per_request,
            "unread": sorted(self._unread),
            "looks": [
                [
                    uid,
                    boot,
                    p.seen_at,
                    p.arrived,
                    p.ended,
                    p.duration_s,
                    p.in_flight,
                    p.rps,
                    p.tokens,
                ]
                for (uid, boot), p in self._processes.items()
            ],
            "boots": self._boots,
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        if state.get("v", STATE_VERSION) != STATE_VERSION:
            raise InvalidStateError(f"demand.v must be {STATE_VERSION}, was: {state['v']!r}")
        try:
            counts = [*state["counts"], *state.get("open", ())]
            if counts:
                self._start_minute = int(state["start_minute"])
            self._counts = [None if n is None else max(0, int(n)) for n in counts]
            self._recorded_at = state.get("recorded_at")
            self._service_s = state.get("service_s")
            self._tokens_per_request = state.get("tokens_per_request")
            self._unread = set(state.get("unread", ()))
            self._boots = dict(state.get("boots", {}))
            for uid, boot, seen_at, arrived, ended, duration_s, in_flight, rps, *more in state.get(
                "looks", ()
            ):
                self._processes[uid, boot] = _Process(
                    seen_at=float(seen_at),
                    arrived=int(arrived),
                    ended=int(ended),
                    duration_s=float(duration_s),
                    in_flight=int(in_flight),
                    rps=float(rps),
                    tokens=int(more[0]) if more and more[0] is not None else None,
                )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidStateError(f"demand state can't be read: {error!r}") from error


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _is_sound(stats: SidecarStats) -> bool:
    """Whether the counters can be counters: what is not is as good as no answer."""
    whole = (stats.arrived, *(n for series in stats.series for n in series.outcomes.values()))
    times = (series.duration_s for series in stats.series)
    return all(isinstance(n, int) and n >= 0 for n in whole) and all(
        isinstance(s, int | float) and 0 <= s < math.inf for s in times
    )
