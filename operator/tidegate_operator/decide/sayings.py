"""A count on its way as a decision: its reason, its clamps and one sentence with the figures.

Law: a message has every figure that a person needs to check the decision, and nothing is decided
here.
"""

from tidegate_operator.decide.limits import Steps, least
from tidegate_operator.decide.need import Need
from tidegate_operator.decide.words import Inputs, Reason, ScalingDecision, ScalingRules

_CLAMP_TEXTS = {
    Reason.MIN_REPLICAS: "minReplicas is {after}",
    Reason.MAX_REPLICAS: "{before} wanted, maxReplicas is {after}",
    Reason.SCALE_UP_LIMIT: "{before} wanted, scaleUp allows {after} for now",
    Reason.SCALE_DOWN_LIMIT: "{before} wanted, scaleDown allows {after} for now",
    Reason.TOLERANCE: "within tolerance",
    Reason.STABILIZATION: "{after} were needed within the stabilisation window",
    Reason.FORECAST_HOLDS: "the forecast holds {after}",
    Reason.PODS_STARTING: "pods are still starting",
    Reason.TRAINING: "its forecast is being fitted",
    Reason.WOULD_MISS_SLO: "fewer than {after} would miss the SLO at the recent peak",
}


def say_decision(rules: ScalingRules, inputs: Inputs, need: Need, steps: Steps) -> ScalingDecision:
    current, target = inputs.current, steps.target
    if target > current:
        reason = _reason_up(rules, inputs, need, target)
    elif target < current:
        above = current > rules.max_replicas == target
        reason = Reason.ABOVE_MAXIMUM if above else Reason.DEMAND_LOW
    else:
        reason = steps.clamps[-1].reason if steps.clamps else Reason.STEADY
    return ScalingDecision(
        replicas=target,
        reason=reason,
        message=_message(rules, inputs, need, steps),
        reactive=need.reactive,
        forecast=need.forecast,
        clamps=tuple(steps.clamps),
    )


def _reason_up(rules: ScalingRules, inputs: Inputs, need: Need, target: int) -> Reason:
    if need.reactive >= target:
        return Reason.DEMAND_HIGH
    if need.forecast is not None and need.forecast > max(need.reactive, inputs.current):
        return Reason.FORECAST_HIGH
    return Reason.BELOW_MINIMUM if inputs.current < least(rules) else Reason.DEMAND_HIGH


def _message(rules: ScalingRules, inputs: Inputs, need: Need, steps: Steps) -> str:
    """Such as ``demand 12.1 rps needs 4 pods; forecast 19.4 rps (q0.95, next 6 min) needs 6: 4 ->
    6``."""
    text = f"demand {need.rps:.1f} rps needs {need.reactive} pod{'s' * (need.reactive != 1)}"
    if need.forecast is not None and inputs.forecast is not None:
        minutes = inputs.forecast.horizon_s / 60.0
        text += (
            f"; forecast {need.forecast_rps:.1f} rps (q{rules.quantile:g}, next {minutes:.0f} min)"
            f" needs {need.forecast}"
        )
    elif need.unused is not None:
        text += f"; forecast not used ({need.unused})"
    stays = steps.target == inputs.current
    text += f": {steps.target} stay" if stays else f": {inputs.current} -> {steps.target}"
    why = [_CLAMP_TEXTS[c.reason].format(before=c.before, after=c.after) for c in steps.clamps]
    return f"{text} ({'; '.join(why)})" if why else text


def say_left_alone(inputs: Inputs, reason: Reason, message: str) -> ScalingDecision:
    return ScalingDecision(
        replicas=inputs.current, reason=reason, message=message, reactive=None, forecast=None
    )


def say_hold(rules: ScalingRules, inputs: Inputs, reason: Reason, trouble: str) -> ScalingDecision:
    """Without demand nothing moves but into the limits, which hold whatever the demand."""
    current = inputs.current
    steps = Steps(current)
    steps.bend(max(current, least(rules)), Reason.MIN_REPLICAS)
    steps.bend(min(steps.target, rules.max_replicas), Reason.MAX_REPLICAS)
    if steps.target != current:
        reason = Reason.BELOW_MINIMUM if steps.target > current else Reason.ABOVE_MAXIMUM
        message = f"{trouble}; limits still hold: {current} -> {steps.target}"
    else:
        message = f"{trouble}: {current} stay"
    return ScalingDecision(
        replicas=steps.target,
        reason=reason,
        message=message,
        reactive=None,
        forecast=None,
        clamps=tuple(steps.clamps),
    )
