"""An HPA as a rival on the plant: its metrics, and the count that it makes of them.

Law: nothing weaker than Kubernetes' own (``autoscaler``). Its metrics are those of a 60 s window
that ended 30 s ago, as with a 30 s scrape.
"""

from dataclasses import dataclass, field

from tidegate_operator.replay.autoscaler import (
    SYNC_S,
    Autoscaler,
    HpaRules,
    by_average_value,
    by_utilization,
)
from tidegate_operator.replay.control import Seen


@dataclass(slots=True)
class Hpa:
    """The controller with its memory."""

    rules: HpaRules
    period_s: float = SYNC_S
    autoscaler: Autoscaler = field(init=False)

    def __post_init__(self) -> None:
        self.autoscaler = Autoscaler(self.rules)

    @property
    def name(self) -> str:
        rules = self.rules
        if rules.target_rps is not None:
            return f"HPA at {rules.target_rps:g} requests/s a pod"
        return f"HPA at {rules.target_utilization:.0%} utilization"

    def wanted(self, seen: Seen) -> int:
        return self.autoscaler.count(seen.now, seen.current, self._recommended(seen))

    def _recommended(self, seen: Seen) -> int:
        rules = self.rules
        if rules.target_rps is not None:
            rps = seen.rps(rules.window_s, rules.lag_s)
            return by_average_value(rps, rules.target_rps, seen.current, rules.tolerance)
        share = seen.utilization(rules.window_s, rules.lag_s)
        # A pod's figures count once they cover a whole window after it became Ready.
        measured = min(seen.ready_throughout(rules.window_s + rules.lag_s), seen.current)
        target = rules.target_utilization or 1.0
        return by_utilization(
            share, target, measured, unready=seen.current - measured, tolerance=rules.tolerance
        )
