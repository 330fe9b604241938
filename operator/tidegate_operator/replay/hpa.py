"""Kubernetes' HorizontalPodAutoscaler (autoscaling/v2), as a rival to be measured against.

Law: the published algorithm with its defaults, nothing weaker: 15 s sync, 10 % tolerance, pods
that are not Ready handled as its replica calculator does, scale-up by max(4 pods, 100 %) in 15 s,
scale-down after 300 s of stabilisation. Metrics come from a 60 s window 30 s ago, as with a 30 s
scrape. Source: kubernetes.io/docs/tasks/run-application/horizontal-pod- autoscale and
pkg/controller/podautoscaler.
"""

import math
from dataclasses import dataclass, field

from tidegate_operator.replay.control import TICK_S, Seen


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
    up_pods: int = 4
    up_factor: float = 2.0
    up_period_s: float = 15.0
    stabilization_s: float = 300.0

    def __post_init__(self) -> None:
        if (self.target_rps is None) == (self.target_utilization is None):
            raise ValueError("an HPA needs target_rps or target_utilization, and not both")


@dataclass(slots=True)
class Hpa:
    """The controller with its memory."""

    rules: HpaRules
    period_s: float = TICK_S
    recommendations: list[tuple[float, int]] = field(default_factory=list)
    added: list[tuple[float, int]] = field(default_factory=list)

    @property
    def name(self) -> str:
        rules = self.rules
        if rules.target_rps is not None:
            return f"HPA at {rules.target_rps:g} requests/s a pod"
        return f"HPA at {rules.target_utilization:.0%} utilization"

    def wanted(self, seen: Seen) -> int:
        rules = self.rules
        if rules.target_rps is not None:
            rps = seen.rps(rules.window_s, rules.lag_s)
            count = by_average_value(rps, rules.target_rps, seen.current, rules.tolerance)
        else:
            share = seen.utilization(rules.window_s, rules.lag_s)
            target = rules.target_utilization or 1.0
            count = by_utilization(share, target, seen.ready, seen.starting, rules.tolerance)
        count = self._stabilized(seen.now, count)
        count = min(count, self._up_limit(seen.now, seen.current))
        count = min(max(count, rules.min_replicas), rules.max_replicas)
        if count > seen.current:
            self.added.append((seen.now, count - seen.current))
        return count

    def _stabilized(self, now: float, count: int) -> int:
        """Down only to the highest recommendation of the window; up at once."""
        since = now - self.rules.stabilization_s
        self.recommendations = [r for r in self.recommendations if r[0] > since]
        self.recommendations.append((now, count))
        return max(recommended for _, recommended in self.recommendations)

    def _up_limit(self, now: float, current: int) -> int:
        since = now - self.rules.up_period_s
        self.added = [event for event in self.added if event[0] > since]
        began = current - sum(pods for _, pods in self.added)
        return max(began + self.rules.up_pods, math.ceil(began * self.rules.up_factor))


_HAIR = 1e-9
"""Keeps 4.4 / 4 from being further than 10 % from 1, and 6.000000000000001 pods from being 7."""


def by_average_value(total: float, target: float, current: int, tolerance: float) -> int:
    """Replicas so that each carries ``target`` of ``total``; ``current`` within the tolerance."""
    if current and abs(total / (target * current) - 1) <= tolerance + _HAIR:
        return current
    return math.ceil(total / target - _HAIR)


def by_utilization(
    share: float, target: float, ready: int, starting: int, tolerance: float
) -> int:
    """Replicas so that the mean share becomes ``target``.

    Pods that start count as idle when it would scale up, and as at target when it would scale
    down; if that turns the direction round, nothing is done.
    """
    current = ready + starting
    if ready == 0:
        return current
    ratio = share / target
    if starting == 0:
        if abs(ratio - 1) <= tolerance + _HAIR:
            return current
        return math.ceil(ratio * ready - _HAIR)
    if ratio < 1:
        damped = (share * ready + target * starting) / current / target
    else:
        damped = share * ready / current / target
    turned = (ratio < 1 < damped) or (damped < 1 < ratio)
    if turned or abs(damped - 1) <= tolerance + _HAIR:
        return current
    return math.ceil(damped * current - _HAIR)
