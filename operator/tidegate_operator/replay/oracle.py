"""The one controller that knows the future: what is left to gain, whatever the forecast.

Law: it knows the trace and the plant's rules and nothing else of what is to come, neither how
requests fall into a minute nor how long a pod will take to start. Its pods are created one cold
start early.
"""

import math
from dataclasses import dataclass, field

from tidegate_operator.replay.control import TICK_S, Seen
from tidegate_operator.replay.load import Floats, busy_slots
from tidegate_operator.replay.loop import replay
from tidegate_operator.replay.plant import PlantRules
from tidegate_operator.replay.result import Result
from tidegate_operator.replay.trace import MINUTE_S, Trace

FULLEST, EMPTIEST = 1.3, 0.4
"""Utilizations between which the sweep looks: above 1 it lets the queue carry a peak."""
SWEEPS = 7
"""Halvings: to 0.7 % of a pod's capacity."""


@dataclass(slots=True, kw_only=True)
class Oracle:
    """Pods for the highest minute that a pod created now would still be there for."""

    trace: Trace
    plant: PlantRules
    utilization: float = 1.0
    period_s: float = TICK_S
    _start: float = field(init=False)
    _busy: Floats = field(init=False)
    """Slots that each minute keeps busy."""

    def __post_init__(self) -> None:
        minutes = self.trace.minutes()
        self._start, self._busy = minutes.start, busy_slots(minutes, self.plant)

    @property
    def name(self) -> str:
        return "oracle"

    def wanted(self, seen: Seen) -> int:
        begun = seen.now - self._start
        first = int(begun // MINUTE_S)
        last = int((begun + self.plant.cold_start_p90_s + MINUTE_S) // MINUTE_S)
        ahead = self._busy[first : last + 1]
        if not ahead.size:
            return seen.current
        slots = self.plant.slots_per_pod * self.utilization
        return max(1, math.ceil(float(ahead.max()) / slots - 1e-9))


def best_oracle(
    trace: Trace, plant: PlantRules, allowed_violations: float, *, seed: int = 0
) -> Result | None:
    """Of the oracles that keep to a share of violations, that with the fewest pod-hours.

    ``None`` where none does.
    """
    best, low, high = None, EMPTIEST, FULLEST
    for _ in range(SWEEPS):
        middle = (low + high) / 2
        oracle = Oracle(trace=trace, plant=plant, utilization=middle)
        result = replay(trace, plant, oracle, seed=seed)
        if result.violations <= allowed_violations:
            best, low = result, middle
        else:
            high = middle
    return best
