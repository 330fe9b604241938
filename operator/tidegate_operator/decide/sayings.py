"""A count on its way as a decision: its reason, its clamps and one sentence with the figures.

Law: a message has every figure that a person needs to check the decision, and nothing is decided
here.
"""

from tidegate_operator.decide.bounds import Bounds
from tidegate_operator.decide.limits import Steps
from tidegate_operator.decide.need import Need
from tidegate_operator.decide.pressure import find_pressure
from tidegate_operator.decide.signals import Signal
from tidegate_operator.decide.trial import Margin
from tidegate_operator.decide.words import Inputs, Reason, ScalingDecision, ScalingRules

_CLAMP_TEXTS = {
    Reason.MIN_REPLICAS: "minReplicas is {after}",
    Reason.MAX_REPLICAS: "{before} wanted, maxReplicas is {after}",
    Reason.SCALE_UP_LIMIT: "{before} wanted, scaleUp allows {after} for now",
    Reason.SCALE_DOWN_LIMIT: "{before} wanted, scaleDown allows {after} for now",
    Reason.TOLERANCE: "within tolerance",
    Reason.STABILIZATION: "{after} were needed within the stabilisation window",
    Reason.FORECAST_HOLDS: "the forecast holds {after}",
    Reason.SCHEDULE_HOLDS: "schedule holds {after}",
    Reason.ENGINES_HOLD: "the model servers' queues and caches hold {after}",
    Reason.SCHEDULE_MIN: "schedule {least_by} has minReplicas {after}",
    Reason.SCHEDULE_MAX: "{before} wanted, schedule {most_by} has maxReplicas {after}",
    Reason.NOT_IDLE: "not idle for scaleToZero.after yet",
    Reason.CAPACITY_LEARNING: "{before} wanted by a capacity that is a lower bound so far",
    Reason.PODS_STARTING: "pods are still starting",
    Reason.TRAINING: "its forecast is being fitted",
    Reason.WOULD_MISS_SLO: "fewer than {after} would miss the SLO at the recent peak",
}


def say_decision(
    rules: ScalingRules, inputs: Inputs, need: Need, bounds: Bounds, steps: Steps
) -> ScalingDecision:
    current, target = inputs.current, steps.target
    if target > current:
        reason = _reason_up(inputs, need, bounds, target)
    elif target < current:
        reason = _reason_down(inputs, bounds, target)
    elif current == 0:
        reason = Reason.ASLEEP
    else:
        reason = steps.clamps[-1].reason if steps.clamps else Reason.STEADY
    return ScalingDecision(
        replicas=target,
        reason=reason,
        message=_message(rules, inputs, need, bounds, steps),
        reactive=need.reactive,
        forecast=need.forecast,
        scheduled=scheduled_pods(need, bounds),
        margin=Margin(need.utilization, rules.quantile, rules.forecast_utilization),
        capacity=need.load.used,
        clamps=tuple(steps.clamps),
    )


def scheduled_pods(need: Need | None, bounds: Bounds) -> int | None:
    """What schedules call for, by their minimum or by what they expect."""
    floor = bounds.least if bounds.least_by else None
    event = None if need is None else need.event
    known = [count for count in (floor, event) if count is not None]
    return max(known, default=None)


def _reason_up(inputs: Inputs, need: Need, bounds: Bounds, target: int) -> Reason:
    if need.reactive >= target:
        return Reason.DEMAND_HIGH
    pressure, _ = find_pressure(inputs.engines)
    if pressure is not None and need.pressed > max(need.forecast or 0, need.event or 0):
        return pressure
    forecast, event = need.forecast or 0, need.event or 0
    if event > max(forecast, need.reactive, inputs.current):
        return Reason.SCHEDULE
    if forecast > max(need.reactive, inputs.current):
        return Reason.FORECAST_HIGH
    return _reason_of_limits(inputs, bounds, target) or Reason.DEMAND_HIGH


def _reason_down(inputs: Inputs, bounds: Bounds, target: int) -> Reason:
    if target == 0:
        return Reason.IDLE
    return _reason_of_limits(inputs, bounds, target) or Reason.DEMAND_LOW


def _reason_of_limits(inputs: Inputs, bounds: Bounds, target: int) -> Reason | None:
    """``None``: it is not the limits that move the count."""
    if inputs.current < bounds.least:
        return Reason.SCHEDULE if bounds.least_by else Reason.BELOW_MINIMUM
    if inputs.current > bounds.most == target:
        return Reason.SCHEDULE_MAX if bounds.most_by else Reason.ABOVE_MAXIMUM
    return None


def _message(rules: ScalingRules, inputs: Inputs, need: Need, bounds: Bounds, steps: Steps) -> str:
    """Such as ``demand 12.1 rps needs 4 pods; forecast 19.4 rps (q0.95, next 6 min) needs 6: 4 ->
    6``."""
    text = f"{_demand(inputs, need)} needs {need.reactive} pod{'s' * (need.reactive != 1)}"
    if need.forecast is not None and inputs.forecast is not None:
        minutes = inputs.forecast.horizon_s / 60.0
        text += (
            f"; forecast {need.forecast_rps:.1f} rps (q{rules.quantile:g}, next {minutes:.0f} min)"
            f" needs {need.forecast}"
        )
    elif need.unused is not None:
        text += f"; forecast not used ({need.unused})"
    if need.event is not None:
        text += f"; schedule {need.event_by} expects {need.event_rps:.1f} rps, needs {need.event}"
    _, pressure = find_pressure(inputs.engines)
    if pressure:
        text += f"; {pressure}"
    return f"{text}: {_outcome(inputs, bounds, steps)}"


def _demand(inputs: Inputs, need: Need) -> str:
    """In its own signal, and as requests where that is another one."""
    rps, demand = need.load.rps, inputs.demand
    signal = need.load.used.signal
    if signal is Signal.TOKENS and demand.tokens_per_request:
        return f"demand {rps * demand.tokens_per_request:.0f} tokens/s ({rps:.1f} rps)"
    if signal is Signal.CONCURRENCY and demand.mean_in_flight is not None:
        return f"demand of {demand.mean_in_flight:.1f} requests at once"
    return f"demand {rps:.1f} rps"


def _outcome(inputs: Inputs, bounds: Bounds, steps: Steps) -> str:
    stays = steps.target == inputs.current
    text = f"{steps.target} stay" if stays else f"{inputs.current} -> {steps.target}"
    names = {"least_by": bounds.least_by, "most_by": bounds.most_by}
    why = [
        _CLAMP_TEXTS[clamp.reason].format(before=clamp.before, after=clamp.after, **names)
        for clamp in steps.clamps
    ]
    return f"{text} ({'; '.join(why)})" if why else text


def say_left_alone(inputs: Inputs, reason: Reason, message: str) -> ScalingDecision:
    return ScalingDecision(
        replicas=inputs.current, reason=reason, message=message, reactive=None, forecast=None
    )


def say_hold(
    inputs: Inputs, bounds: Bounds, steps: Steps, reason: Reason, trouble: str
) -> ScalingDecision:
    """``reason``: why there is nothing to decide on, or what moves the count all the same."""
    limits = _reason_of_limits(inputs, bounds, steps.target)
    moved = "; limits still hold" if limits is not None else ""
    return ScalingDecision(
        replicas=steps.target,
        reason=reason if limits is None else limits,
        message=f"{trouble}{moved}: {_outcome(inputs, bounds, steps)}",
        reactive=None,
        forecast=None,
        scheduled=scheduled_pods(None, bounds),
        clamps=tuple(steps.clamps),
    )
