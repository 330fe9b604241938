"""``spec.behavior`` of a HorizontalPodAutoscaler: how fast a count may follow what is recommended.

Law: kube-controller-manager's ``stabilizeRecommendationWithBehaviors`` and
``convertDesiredReplicasWithBehaviorRate`` (pkg/controller/podautoscaler/horizontal.go), with the
defaults of autoscaling/v2.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum


class PolicyType(StrEnum):
    PODS = "Pods"
    PERCENT = "Percent"


class SelectPolicy(StrEnum):
    MAX = "Max"
    MIN = "Min"
    DISABLED = "Disabled"


@dataclass(frozen=True, slots=True)
class Policy:
    """At most ``value`` pods or percent of the period's first count, in any ``period_s``."""

    type: PolicyType
    value: int
    period_s: float


@dataclass(frozen=True, slots=True)
class ScalingRules:
    """One direction."""

    stabilization_s: float
    policies: tuple[Policy, ...]
    select: SelectPolicy = SelectPolicy.MAX
    """The policy that allows the largest change, or the smallest."""


SCALE_UP = ScalingRules(
    0.0, (Policy(PolicyType.PODS, 4, 15.0), Policy(PolicyType.PERCENT, 100, 15.0))
)
SCALE_DOWN = ScalingRules(300.0, (Policy(PolicyType.PERCENT, 100, 15.0),))


@dataclass(slots=True)
class Past:
    """What was recommended, and what was done."""

    recommendations: list[tuple[float, int]] = field(default_factory=list)
    """(time, count), oldest first"""
    changes: list[tuple[float, int]] = field(default_factory=list)
    """(time, pods added; removed is below 0)"""

    def forget(self, now: float, up: ScalingRules, down: ScalingRules) -> None:
        longest = max(up.stabilization_s, down.stabilization_s)
        _drop(self.recommendations, now - longest)
        if self.changes:
            periods = (policy.period_s for policy in (*up.policies, *down.policies))
            _drop(self.changes, now - max(periods, default=0.0))


def _drop(events: list[tuple[float, int]], until: float) -> None:
    while events and events[0][0] <= until:
        del events[0]


def stabilized(
    past: Past, now: float, current: int, desired: int, up: ScalingRules, down: ScalingRules
) -> int:
    """Up to the lowest recommendation of the scale-up window, down to the highest of the
    scale-down window; between the two nothing changes."""
    if desired > current:
        least = min(_recent(past, now - up.stabilization_s), default=desired)
        return max(current, min(least, desired))
    if desired < current:
        most = max(_recent(past, now - down.stabilization_s), default=desired)
        return min(current, max(most, desired))
    return current


def _recent(past: Past, since: float) -> Iterator[int]:
    return (count for at, count in past.recommendations if at > since)


def limited(
    past: Past, now: float, current: int, desired: int, up: ScalingRules, down: ScalingRules
) -> int:
    """No further than the policies of the direction allow."""
    if desired > current:
        return min(desired, max(current, _limit_up(past, now, current, up)))
    if desired < current:
        return max(desired, min(current, _limit_down(past, now, current, down)))
    return desired


def _limit_up(past: Past, now: float, current: int, rules: ScalingRules) -> int:
    if rules.select is SelectPolicy.DISABLED or not rules.policies:
        return current
    limits = []
    for policy in rules.policies:
        began = _at_period_start(past, now, current, policy)
        if policy.type is PolicyType.PODS:
            limits.append(began + policy.value)
        else:  # rounded up, or one pod could never become two
            limits.append(math.ceil(began * (1 + policy.value / 100) - 1e-9))
    return max(limits) if rules.select is SelectPolicy.MAX else min(limits)


def _limit_down(past: Past, now: float, current: int, rules: ScalingRules) -> int:
    if rules.select is SelectPolicy.DISABLED or not rules.policies:
        return current
    limits = []
    for policy in rules.policies:
        began = _at_period_start(past, now, current, policy)
        if policy.type is PolicyType.PODS:
            limits.append(began - policy.value)
        else:
            limits.append(int(began * (1 - policy.value / 100) + 1e-9))
    return min(limits) if rules.select is SelectPolicy.MAX else max(limits)


def _at_period_start(past: Past, now: float, current: int, policy: Policy) -> int:
    return current - sum(pods for at, pods in past.changes if at > now - policy.period_s)
