"""What bends a wanted count: tolerance, steps, the stabilisation window, starting pods, the SLO.

Law: whatever bends leaves a clamp with its reason, and the last clamp is the count that was
decided. The minimum and the maximum hold whatever the demand.
"""

import math
from dataclasses import dataclass, field

from tidegate_operator.decide.need import Need, forecast_pods, pods_for, pods_within_slo
from tidegate_operator.decide.past import Past
from tidegate_operator.decide.words import Clamp, Inputs, Reason, ScalingRules


@dataclass(slots=True)
class Steps:
    """A count on its way, with what bent it."""

    target: int
    clamps: list[Clamp] = field(default_factory=list)

    def bend(self, after: int, reason: Reason) -> None:
        if after != self.target:
            self.clamps.append(Clamp(reason=reason, before=self.target, after=after))
            self.target = after


def recommend(rules: ScalingRules, inputs: Inputs, need: Need, steps: Steps) -> int:
    """What demand and forecast call for within the limits; the current count where the difference
    is too small."""
    current = inputs.current
    if need.forecast is not None and need.forecast > need.reactive:
        if need.forecast <= current:
            steps.bend(need.forecast, Reason.FORECAST_HOLDS)
        steps.target = need.forecast
    steps.bend(max(steps.target, least(rules)), Reason.MIN_REPLICAS)
    steps.bend(min(steps.target, rules.max_replicas), Reason.MAX_REPLICAS)
    if least(rules) <= current <= rules.max_replicas and _tolerable(
        rules, inputs, need, steps.target
    ):
        steps.bend(current, Reason.TOLERANCE)
    return steps.target


def least(rules: ScalingRules) -> int:
    """Nothing here scales to 0: that would read as somebody's stop on the next tick."""
    return max(1, rules.min_replicas)


def _tolerable(rules: ScalingRules, inputs: Inputs, need: Need, target: int) -> bool:
    """Whether load over the current count's capacity is within the tolerance, as HPA means it.

    A forecast that asks for more is never tolerated away: its quantile leaves no slack to forgive.
    """
    current, demand = inputs.current, inputs.demand
    if target > current:
        if need.forecast is not None and need.forecast > current:
            return False
        eased = need.rps / (1.0 + rules.tolerance)
        return pods_for(rules, demand, eased, need.utilization) <= current
    if target == current or rules.tolerance >= 1:
        return False
    fuller = 1.0 / (1.0 - rules.tolerance)
    if pods_for(rules, demand, need.rps * fuller, need.utilization) > current:
        return True
    ahead = need.forecast_rps
    return ahead is not None and forecast_pods(rules, demand, ahead * fuller) > current


def limit_up(rules: ScalingRules, inputs: Inputs, past: Past, steps: Steps) -> None:
    """At most max(factor x count, count + pods) within a period, counted from where the period
    began."""
    before = max(0, inputs.current - sum(added for _, added in past.ups))
    limit = max(math.floor(before * rules.up_max_factor), before + rules.up_max_pods)
    limit = max(limit, inputs.current, least(rules))
    steps.bend(min(steps.target, limit), Reason.SCALE_UP_LIMIT)


def limit_down(rules: ScalingRules, inputs: Inputs, past: Past, need: Need, steps: Steps) -> None:
    """Every reason not to remove a pod, then the limits that hold whatever the demand."""
    current = inputs.current
    highest = max((count for _, count in past.recommendations), default=0)
    steps.bend(max(steps.target, min(highest, current)), Reason.STABILIZATION)
    if inputs.starting > 0:
        steps.bend(current, Reason.PODS_STARTING)
    if _is_training(rules, inputs):
        steps.bend(current, Reason.TRAINING)
    step = max(1, math.floor(current * rules.down_max_share))
    steps.bend(max(steps.target, current - step), Reason.SCALE_DOWN_LIMIT)
    carried = min(pods_within_slo(rules, inputs.demand, need), current)
    steps.bend(max(steps.target, carried), Reason.WOULD_MISS_SLO)
    steps.bend(min(steps.target, rules.max_replicas), Reason.MAX_REPLICAS)


def _is_training(rules: ScalingRules, inputs: Inputs) -> bool:
    """A first model is on its way and bounded in time: what it will say of the load to come is
    worth waiting for, such as after a restart right before a rush."""
    forecast = inputs.forecast
    return rules.forecast_enabled and forecast is not None and forecast.reason is Reason.TRAINING
