"""What bends a wanted count: tolerance, steps, the stabilisation window, starting pods, the SLO.

Law: whatever bends leaves a clamp with its reason, and the last clamp is the count that was
decided. The minimum and the maximum hold whatever the demand.
"""

import math
from dataclasses import dataclass, field

from tidegate_operator.decide.bounds import Bounds
from tidegate_operator.decide.load import Load
from tidegate_operator.decide.need import Need
from tidegate_operator.decide.past import Past
from tidegate_operator.decide.signals import CapacitySource
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


def recommend(inputs: Inputs, need: Need, bounds: Bounds, steps: Steps) -> int:
    """What demand, forecast, schedules and model servers call for within the limits; the current
    count where the difference is too small."""
    current = inputs.current
    for wanted, holds in (
        (need.forecast, Reason.FORECAST_HOLDS),
        (need.event, Reason.SCHEDULE_HOLDS),
        (need.pressed, Reason.ENGINES_HOLD),
    ):
        if wanted is not None and wanted > steps.target:
            if wanted <= current:
                steps.bend(wanted, holds)
            steps.target = wanted
    keep_within(bounds, steps)
    if bounds.least <= current <= bounds.most and _tolerable(inputs, need, steps.target):
        steps.bend(current, Reason.TOLERANCE)
    return steps.target


def keep_within(bounds: Bounds, steps: Steps) -> None:
    steps.bend(max(steps.target, bounds.least), bounds.least_reason)
    steps.bend(min(steps.target, bounds.most), bounds.most_reason)


def _tolerable(inputs: Inputs, need: Need, target: int) -> bool:
    asked_for = max(need.forecast or 0, need.event or 0, need.pressed)
    return near_enough(
        need.load, inputs.current, target, need.utilization, asked_for, need.forecast_rps
    )


def near_enough(
    load: Load,
    current: int,
    target: int,
    utilization: float,
    asked_for: int,
    ahead_rps: float | None,
) -> bool:
    """Whether load over the current count's capacity is within the tolerance, as HPA means it.

    What a forecast or a schedule asks for (``asked_for``, in pods) is never tolerated away: a
    quantile leaves no slack to forgive. Nor is the way to and from zero: there is no load to be
    near to.
    """
    tolerance = load.rules.tolerance
    if 0 in (current, target):
        return False
    if target > current:
        if asked_for > current:
            return False
        return load.pods(load.rps / (1.0 + tolerance), utilization) <= current
    if target == current or tolerance >= 1:
        return False
    fuller = 1.0 / (1.0 - tolerance)
    if load.pods(load.rps * fuller, utilization) > current:
        return True
    return ahead_rps is not None and load.forecast_pods(ahead_rps * fuller) > current


def limit_up(
    rules: ScalingRules, inputs: Inputs, past: Past, bounds: Bounds, steps: Steps
) -> None:
    """At most max(factor x count, count + pods) within a period, counted from where the period
    began."""
    before = max(0, inputs.current - sum(added for _, added in past.ups))
    limit = max(math.floor(before * rules.up_max_factor), before + rules.up_max_pods)
    limit = max(limit, inputs.current, bounds.least)
    steps.bend(min(steps.target, limit), Reason.SCALE_UP_LIMIT)


def heed_lower_bound(inputs: Inputs, need: Need, bounds: Bounds, steps: Steps) -> None:
    """A capacity that was never seen to fall short may be far too low: it adds no pods."""
    if need.load.used.source is CapacitySource.LEARNING:
        most = max(inputs.current, bounds.least)
        steps.bend(min(steps.target, most), Reason.CAPACITY_LEARNING)


def limit_down(
    rules: ScalingRules,
    inputs: Inputs,
    past: Past,
    need: Need,
    bounds: Bounds,
    steps: Steps,
    *,
    idle: bool,
) -> None:
    """Every reason not to remove a pod, then the limits that hold whatever the demand.

    ``idle``: nothing has come for as long as a policy wants before it scales to zero.
    """
    current = inputs.current
    highest = max((count for _, count in past.recommendations), default=0)
    steps.bend(max(steps.target, min(highest, current)), Reason.STABILIZATION)
    if inputs.starting > 0:
        steps.bend(current, Reason.PODS_STARTING)
    if _is_training(rules, inputs):
        steps.bend(current, Reason.TRAINING)
    step = max(1, math.floor(current * rules.down_max_share))
    steps.bend(max(steps.target, current - step), Reason.SCALE_DOWN_LIMIT)
    carried = min(need.load.pods_within_slo(), current)
    steps.bend(max(steps.target, carried), Reason.WOULD_MISS_SLO)
    if not idle:
        steps.bend(max(steps.target, 1), Reason.NOT_IDLE)
    steps.bend(min(steps.target, bounds.most), bounds.most_reason)


def _is_training(rules: ScalingRules, inputs: Inputs) -> bool:
    """A first model is on its way and bounded in time: what it will say of the load to come is
    worth waiting for, such as after a restart right before a rush."""
    forecast = inputs.forecast
    return rules.forecast_enabled and forecast is not None and forecast.reason is Reason.TRAINING
