"""Kubernetes' HorizontalPodAutoscaler (autoscaling/v2): from its metric to the count that it sets.

Law: the published algorithm with its defaults, nothing weaker: 15 s sync, 10 % tolerance, pods
without a metric or not Ready handled as its replica calculator does, ``behavior`` by its own
module. It knows no plant: what is measured is an argument. Source:
kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale and
pkg/controller/podautoscaler/{horizontal,replica_calculator}.go.
"""

import math
from dataclasses import dataclass, field

from tidegate_operator.replay.behavior import (
    SCALE_DOWN,
    SCALE_UP,
    Past,
    ScalingRules,
    limited,
    stabilized,
)

SYNC_S = 15.0
"""Between two looks of kube-controller-manager (``--horizontal-pod-autoscaler-sync-period``)."""
USUAL_SHARE = 0.7
"""What people set an HPA to: each replica at 70 % of what it can carry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HpaRules:
    """``spec`` of a HorizontalPodAutoscaler; exactly one of the targets is set."""

    target_rps: float | None = None
    """``AverageValue`` of an external metric: requests per second and pod, as KEDA feeds it."""
    target_utilization: float | None = None
    """``averageUtilization`` as a share: busy slots of all slots."""
    min_replicas: int = 1
    max_replicas: int = 100
    tolerance: float = 0.10
    window_s: float = 60.0
    lag_s: float = 30.0
    up: ScalingRules = SCALE_UP
    down: ScalingRules = SCALE_DOWN

    def __post_init__(self) -> None:
        if (self.target_rps is None) == (self.target_utilization is None):
            raise ValueError("an HPA needs target_rps or target_utilization, and not both")


@dataclass(slots=True)
class Autoscaler:
    """One HPA's memory."""

    rules: HpaRules
    past: Past = field(default_factory=Past)
    met: bool = False

    def count(self, now: float, current: int, recommended: int) -> int:
        """The count that is set, where ``recommended`` is what the metric asks for."""
        rules = self.rules
        if not self.met:  # what it finds counts as recommended
            self.met = True
            self.past.recommendations.append((now, current))
        if current == 0 and rules.min_replicas > 0:
            return 0  # whoever set it to 0 switched the autoscaler off
        if not rules.min_replicas <= current <= rules.max_replicas:
            return min(max(current, rules.min_replicas), rules.max_replicas)
        self.past.forget(now, rules.up, rules.down)
        count = stabilized(self.past, now, current, recommended, rules.up, rules.down)
        self.past.recommendations.append((now, recommended))
        count = limited(self.past, now, current, count, rules.up, rules.down)
        count = min(max(count, rules.min_replicas), rules.max_replicas)
        if count != current:
            self.past.changes.append((now, count - current))
        return count


_HAIR = 1e-9
"""Keeps 4.4 / 4 from being further than 10 % from 1, and 6.000000000000001 pods from being 7."""


def by_average_value(total: float, target: float, current: int, tolerance: float) -> int:
    """Replicas so that each carries ``target`` of ``total``; ``current`` within the tolerance."""
    if current and abs(total / (target * current) - 1) <= tolerance + _HAIR:
        return current
    return math.ceil(total / target - _HAIR)


def by_utilization(
    share: float,
    target: float,
    measured: int,
    *,
    unready: int = 0,
    missing: int = 0,
    tolerance: float = 0.10,
) -> int:
    """Replicas so that the mean share becomes ``target``.

    Pods that are not Ready count as idle when it would scale up, and not at all when it would
    scale down; pods whose metric is missing count as idle, or as busy. If that turns the direction
    round, nothing is done. Shares are whole percents, rounded down, as the metrics client has
    them.

    Args:
        share: mean over the ``measured`` pods.
    """
    current = measured + unready + missing
    if measured == 0:
        return current
    ratio = _ratio(share, target)
    if ratio == 1:
        return current
    waiting = unready if ratio > 1 else 0
    if not waiting and not missing:
        within = abs(ratio - 1) <= tolerance + _HAIR
        return current if within else math.ceil(ratio * measured - _HAIR)
    counted = measured + waiting + missing
    filled = share * measured + (missing * max(1.0, target) if ratio < 1 else 0.0)
    damped = _ratio(filled / counted, target)
    turned = (ratio < 1 < damped) or (damped < 1 < ratio)
    if turned or abs(damped - 1) <= tolerance + _HAIR:
        return current
    count = math.ceil(damped * counted - _HAIR)
    against = (damped < 1 and count > current) or (damped > 1 and count < current)
    return current if against else count


def _ratio(share: float, target: float) -> float:
    return math.floor(share * 100 + _HAIR) / 100 / target
