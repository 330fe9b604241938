"""What any controller is shown, and the simplest of them.

Law: a controller sees what was measured until now; only the oracle (``oracle.py``) is given the
future, and says so in its name.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from tidegate_operator.decide.words import Decision
from tidegate_operator.replay.plant import STEP_S, Plant

TICK_S = 15.0
"""Between two decisions of ours, and of rivals that say nothing else."""


class Seen:
    """The plant from outside at one moment, with what was measured so far."""

    def __init__(self, now: float, current: int, ready: int) -> None:
        self.now = now
        self.current = current
        self.ready = ready
        self.in_flight = 0
        """Requests that wait or are being served."""
        self.arrived = 0
        self.ended = 0
        self.duration_s = 0.0
        self.tokens = 0.0
        """All four since the beginning; the last two are sums over requests that ended."""
        self.begun = 0
        self.late = 0.0
        """Requests that were begun, and those of them that had waited too long."""
        self._arrived = [0.0]
        self._busy = [0.0]
        self._in_flight = [0.0]
        """Sums from the beginning to the end of each step, so that a window is a difference."""
        self._ready: list[int] = []
        """At the end of each step."""

    @property
    def starting(self) -> int:
        return self.current - self.ready

    def look(self, plant: Plant) -> None:
        """Take in what a controller may know of the moment."""
        self.now, self.current, self.ready = plant.now, plant.current, plant.ready
        self.in_flight = plant.waiting + round(plant.busy_slots)
        self.ended, self.duration_s, self.tokens = plant.ended, plant.duration_s, plant.tokens
        self.begun, self.late = plant.served, plant.late

    def note(self, requests: float, busy_share: float, in_flight: float, ready: int) -> None:
        """Add a step's measurements."""
        self._ready.append(ready)
        self.arrived += round(requests)
        self._arrived.append(self._arrived[-1] + requests)
        self._busy.append(self._busy[-1] + busy_share)
        self._in_flight.append(self._in_flight[-1] + in_flight)

    def rps(self, window_s: float, lag_s: float = 0.0) -> float:
        """Mean requests per second over ``window_s`` that ended ``lag_s`` ago; over less at the
        very start."""
        return _mean(self._arrived, window_s, lag_s) / STEP_S

    def utilization(self, window_s: float, lag_s: float = 0.0) -> float:
        """Mean share of busy slots of the Ready pods."""
        return _mean(self._busy, window_s, lag_s)

    def concurrency(self, window_s: float, lag_s: float = 0.0) -> float:
        """Mean number of requests that waited or were served."""
        return _mean(self._in_flight, window_s, lag_s)

    def ready_throughout(self, window_s: float) -> int:
        """Pods that were Ready in every step of the window; as many as are where none was
        measured yet."""
        return min(self._ready[-max(1, round(window_s / STEP_S)) :], default=self.ready)


def _mean(sums: list[float], window_s: float, lag_s: float) -> float:
    """Per step, over the window; 0 before the first step."""
    last = len(sums) - 1
    end = min(last, max(1, last - round(lag_s / STEP_S)))
    begin = max(0, end - max(1, round(window_s / STEP_S)))
    return (sums[end] - sums[begin]) / (end - begin) if end > begin else 0.0


class Controller(Protocol):
    """Chooses the replica count. It remembers, so each replay takes a new one."""

    @property
    def name(self) -> str: ...

    @property
    def period_s(self) -> float:
        """Between two decisions; in steps of 5 s."""
        ...

    def wanted(self, seen: Seen) -> int: ...


@runtime_checkable
class GivesReasons(Protocol):
    """A controller that says why."""

    @property
    def last(self) -> Decision | None: ...


@dataclass(slots=True)
class Hold:
    """The highest count of the last ``hold_s``: down late, up at once."""

    hold_s: float
    counts: deque[tuple[float, int]] = field(default_factory=deque)
    """(time, count), highest first: what a later one outdid is forgotten."""

    def highest(self, now: float, count: int) -> int:
        while self.counts and self.counts[0][0] <= now - self.hold_s:
            self.counts.popleft()
        while self.counts and self.counts[-1][1] <= count:
            self.counts.pop()
        self.counts.append((now, count))
        return self.counts[0][1]


@dataclass(frozen=True, slots=True)
class Static:
    """The same count for ever."""

    replicas: int
    period_s: float = TICK_S

    @property
    def name(self) -> str:
        return f"static {self.replicas}"

    def wanted(self, seen: Seen) -> int:
        return self.replicas
