"""The one controller that knows the future: what is left to gain, whatever the forecast.

Law: it knows the trace and the plant's rules, and nothing of how requests fall into a minute; its
pods are created one cold start early. Swept over ``utilization`` it gives the fewest pods for a
share of violations.
"""

import math
from dataclasses import dataclass

from tidegate_operator.replay.control import TICK_S, Seen
from tidegate_operator.replay.plant import PlantRules
from tidegate_operator.replay.trace import MINUTE_S, Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Oracle:
    """Pods for the highest minute that a pod created now would still be there for."""

    trace: Trace
    """In minutes."""
    plant: PlantRules
    utilization: float = 1.0
    period_s: float = TICK_S

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
