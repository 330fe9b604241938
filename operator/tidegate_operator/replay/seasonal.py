"""As yesterday: what one gets from a clock and a look at the calendar.

Law: it knows the trace up to now, and nothing later.
"""

import math
from dataclasses import dataclass, field

from tidegate_operator.replay.control import TICK_S, Hold, Seen
from tidegate_operator.replay.plant import PlantRules
from tidegate_operator.replay.trace import DAY_S, MINUTE_S, Trace

WINDOW_S = 60.0
HOLD_S = 300.0
"""Down after so long only, as an HPA."""


@dataclass(slots=True, kw_only=True)
class SeasonalNaive:
    """Pods for yesterday's highest minute of the time that a new pod would be there for, and at
    least for the last minute."""

    trace: Trace
    """In minutes, with the days before the replay if there are any."""
    plant: PlantRules
    utilization: float = 0.8
    period_s: float = TICK_S
    hold: Hold = field(default_factory=lambda: Hold(HOLD_S))

    @property
    def name(self) -> str:
        return "seasonal naive"

    def wanted(self, seen: Seen) -> int:
        yesterday = seen.now - DAY_S - self.trace.start
        first = int(yesterday // MINUTE_S)
        last = int((yesterday + self.plant.cold_start_p90_s + MINUTE_S) // MINUTE_S)
        known = self.trace.requests[max(0, first) : max(0, last + 1)]
        then = max((count for count in known if count is not None), default=0.0) / MINUTE_S
        rps = max(then, seen.rps(WINDOW_S))
        count = max(1, math.ceil(rps / (self.plant.pod_rps * self.utilization) - 1e-9))
        return self.hold.highest(seen.now, count)
