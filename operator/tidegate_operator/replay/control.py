"""What any controller is shown, and the simplest of them.

Law: a controller sees what was measured until now; only the oracle is given the future, and says
so in its name.
"""

import math
from dataclasses import dataclass, field
from typing import Protocol

from tidegate_operator.replay.plant import STEP_S, PlantRules
from tidegate_operator.replay.trace import MINUTE_S, Trace


@dataclass(slots=True)
class Seen:
    """The plant from outside at one moment, with what was measured so far."""

    now: float
    current: int
    ready: int
    in_flight: int
    arrivals: list[float] = field(default_factory=list)
    """Requests per step, newest last."""
    busy: list[float] = field(default_factory=list)
    """Share of the Ready pods' slots that were busy, per step."""

    @property
    def starting(self) -> int:
        return self.current - self.ready

    def rps(self, window_s: float, lag_s: float = 0.0) -> float:
        """Mean requests per second over ``window_s`` that ended ``lag_s`` ago; over less at the
        very start."""
        part = _window(self.arrivals, window_s, lag_s)
        return sum(part) / (len(part) * STEP_S) if part else 0.0

    def utilization(self, window_s: float, lag_s: float = 0.0) -> float:
        """Mean share of busy slots of the Ready pods."""
        part = _window(self.busy, window_s, lag_s)
        return sum(part) / len(part) if part else 0.0


def _window(values: list[float], window_s: float, lag_s: float) -> list[float]:
    end = max(1, len(values) - round(lag_s / STEP_S))
    return values[max(0, end - round(window_s / STEP_S)) : end]


class Controller(Protocol):
    """Chooses the replica count, every 15 s."""

    @property
    def name(self) -> str: ...

    def wanted(self, seen: Seen) -> int: ...


@dataclass(frozen=True, slots=True)
class Static:
    """The same count for ever."""

    replicas: int

    @property
    def name(self) -> str:
        return f"static {self.replicas}"

    def wanted(self, seen: Seen) -> int:
        return self.replicas


@dataclass(frozen=True, slots=True, kw_only=True)
class Oracle:
    """Knows the trace: pods for the highest minute that a pod created now would still be there
    for."""

    trace: Trace
    plant: PlantRules
    utilization: float = 1.0

    @property
    def name(self) -> str:
        return "oracle"

    def wanted(self, seen: Seen) -> int:
        first = int((seen.now - self.trace.start) // MINUTE_S)
        last = int((seen.now + self.plant.cold_start_s + MINUTE_S - self.trace.start) // MINUTE_S)
        ahead = [count for count in self.trace.requests[first : last + 1] if count is not None]
        if not ahead:
            return seen.current
        return max(1, math.ceil(max(ahead) / 60 / (self.plant.pod_rps * self.utilization)))
