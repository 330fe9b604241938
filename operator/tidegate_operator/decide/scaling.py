"""How many replicas there should be, and every step on the way to that count.

Law: the observed demand sets the floor and a trusted forecast may raise or hold it, never lower
it. Up at once, within the behaviour's limits; down only when data is present, nothing is starting
and both were low for the whole stabilisation window. No data is no evidence of no traffic: it
holds. A count of 0 that somebody else set means stop.
"""

import math
from dataclasses import dataclass, field, replace

from tidegate_operator.decide.queueing import pods_needed
from tidegate_operator.decide.words import (
    Clamp,
    DataState,
    Demand,
    Forecast,
    Inputs,
    Memory,
    Mode,
    Reason,
    ScalingDecision,
    ScalingRules,
)

FORECAST_MAX_AGE_S = 180.0
"""A forecast is made every minute; three missed ones make it stale."""
LOW_COVERAGE = 0.85
"""A 0.95 quantile that held less often than this is not to be leaned on
(docs/forecasting.md)."""
CAUTIOUS_UTILIZATION = 0.6
"""What observed demand may fill of the capacity while the forecast's coverage is low
(docs/forecasting.md)."""
_UNSEEN_S = 120.0
"""After so long without a decision the stabilisation window counts as unseen, and begins anew."""

_STATE_REASONS = {
    DataState.ABSENT: (Reason.DATA_ABSENT, "no sidecar reports yet"),
    DataState.STALE: (Reason.DATA_STALE, "the last good look at the sidecars is too old"),
    DataState.ERROR: (Reason.DATA_ERROR, "the sidecars can't be read"),
}

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


def decide_scaling(
    rules: ScalingRules, mode: Mode, inputs: Inputs, memory: Memory
) -> tuple[ScalingDecision, Memory]:
    """Choose the replica count for the coming tick, and what to remember of it."""
    if mode is Mode.PAUSED:
        return _left_alone(inputs, Reason.PAUSED, "the policy is paused"), _forget(memory)
    if inputs.current == 0:
        message = (
            "somebody set replicas to 0, which means stop: nothing is scaled until somebody sets"
            " it above 0"
        )
        return _left_alone(inputs, Reason.TARGET_STOPPED, message), _forget(memory)
    seen = _looked(rules, inputs, memory)
    reason, trouble = _trouble(inputs.demand)
    if reason is not None:
        held = _hold(rules, inputs, reason, trouble)
        return held, _remembered(memory, inputs, seen, inputs.current)
    need = _need(rules, inputs)
    steps = _Steps(need.reactive)
    recommendation = _recommend(rules, inputs, need, steps)
    if recommendation > inputs.current:
        _limit_up(rules, inputs, seen, steps)
    elif recommendation < inputs.current:
        _limit_down(rules, inputs, seen, need, steps)
    decision = _decision(rules, inputs, need, steps)
    return decision, _remembered(memory, inputs, seen, recommendation)


# --- what is needed -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Need:
    """Pods by either source; the loads are kept for tolerance and for the message."""

    rps: float
    utilization: float
    reactive: int
    forecast_rps: float | None = None
    forecast: int | None = None
    unused: Reason | None = None
    """Why there is a forecast but it does not count."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What happened before this tick and still counts."""

    recommendations: tuple[tuple[float, int], ...]
    ups: tuple[tuple[float, int], ...]


@dataclass(slots=True)
class _Steps:
    """A count on its way, with what bent it."""

    target: int
    clamps: list[Clamp] = field(default_factory=list)

    def bend(self, after: int, reason: Reason) -> None:
        if after != self.target:
            self.clamps.append(Clamp(reason=reason, before=self.target, after=after))
            self.target = after


def _trouble(demand: Demand) -> tuple[Reason | None, str]:
    """Why ``demand`` can't be decided on. Not-a-number is an error, never zero (dynamo#3131)."""
    if demand.state in _STATE_REASONS:
        return _STATE_REASONS[demand.state]
    if demand.rps is None or not 0 <= demand.rps < math.inf:
        return Reason.DATA_ERROR, f"demand is not a rate: {demand.rps}"
    return None, ""


def _need(rules: ScalingRules, inputs: Inputs) -> _Need:
    rps = inputs.demand.rps or 0.0
    ahead, unused = _trusted(rules, inputs)
    utilization = rules.reactive_utilization
    coverage = inputs.forecast.coverage if inputs.forecast is not None else None
    if ahead is not None and coverage is not None and coverage < LOW_COVERAGE:
        utilization = min(utilization, CAUTIOUS_UTILIZATION)
    return _Need(
        rps=rps,
        utilization=utilization,
        reactive=_pods(rules, inputs.demand, rps, utilization),
        forecast_rps=ahead,
        forecast=None if ahead is None else _forecast_pods(rules, inputs.demand, ahead),
        unused=unused,
    )


def _trusted(rules: ScalingRules, inputs: Inputs) -> tuple[float | None, Reason | None]:
    """The forecast rate that counts, or why none does (both ``None``: there is nothing to say)."""
    forecast = inputs.forecast
    if forecast is None or not rules.forecast_enabled:
        return None, None
    if not forecast.reliable:
        return None, forecast.reason
    if inputs.now - forecast.made_at > FORECAST_MAX_AGE_S:
        return None, Reason.FORECAST_STALE
    ahead = _at_quantile(forecast, rules.quantile)
    if ahead is None or not 0 <= ahead < math.inf:
        return None, Reason.FORECAST_FAILED
    return ahead, None


def _at_quantile(forecast: Forecast, quantile: float) -> float | None:
    """The asked quantile, or the nearest above it: too much is the safe side."""
    exact = forecast.quantiles.get(quantile)
    if exact is not None:
        return exact
    above = [q for q in forecast.quantiles if q >= quantile]
    return forecast.quantiles[min(above)] if above else None


def _pods(rules: ScalingRules, demand: Demand, rps: float, utilization: float) -> int:
    return pods_needed(
        rps,
        capacity_rps=rules.capacity_rps,
        service_s=demand.service_s,
        wait_target_s=rules.wait_target_s,
        wait_percentile=rules.wait_percentile,
        utilization=utilization,
    )


def _forecast_pods(rules: ScalingRules, demand: Demand, rps: float) -> int:
    """Pods for rps / rho: the margin is on the load, since the quantile is of the very peak
    (docs/forecasting.md)."""
    return _pods(rules, demand, rps / rules.forecast_utilization, 1.0)


# --- from need to count -------------------------------------------------------------------------


def _recommend(rules: ScalingRules, inputs: Inputs, need: _Need, steps: _Steps) -> int:
    """What demand and forecast call for within the limits; the current count where the difference
    is too small."""
    current = inputs.current
    if need.forecast is not None and need.forecast > need.reactive:
        if need.forecast <= current:
            steps.bend(need.forecast, Reason.FORECAST_HOLDS)
        steps.target = need.forecast
    steps.bend(max(steps.target, _least(rules)), Reason.MIN_REPLICAS)
    steps.bend(min(steps.target, rules.max_replicas), Reason.MAX_REPLICAS)
    if _least(rules) <= current <= rules.max_replicas and _tolerable(
        rules, inputs, need, steps.target
    ):
        steps.bend(current, Reason.TOLERANCE)
    return steps.target


def _least(rules: ScalingRules) -> int:
    """Nothing here scales to 0: that would read as somebody's stop on the next tick."""
    return max(1, rules.min_replicas)


def _tolerable(rules: ScalingRules, inputs: Inputs, need: _Need, target: int) -> bool:
    """Whether load over the current count's capacity is within the tolerance, as HPA means it.

    A forecast that asks for more is never tolerated away: its quantile leaves no slack to forgive.
    """
    current, demand = inputs.current, inputs.demand
    if target > current:
        if need.forecast is not None and need.forecast > current:
            return False
        eased = need.rps / (1.0 + rules.tolerance)
        return _pods(rules, demand, eased, need.utilization) <= current
    if target == current or rules.tolerance >= 1:
        return False
    fuller = 1.0 / (1.0 - rules.tolerance)
    if _pods(rules, demand, need.rps * fuller, need.utilization) > current:
        return True
    ahead = need.forecast_rps
    return ahead is not None and _forecast_pods(rules, demand, ahead * fuller) > current


def _limit_up(rules: ScalingRules, inputs: Inputs, seen: _Seen, steps: _Steps) -> None:
    """At most max(factor x count, count + pods) within a period, counted from where the period
    began."""
    before = max(0, inputs.current - sum(added for _, added in seen.ups))
    limit = max(math.floor(before * rules.up_max_factor), before + rules.up_max_pods)
    limit = max(limit, inputs.current, _least(rules))
    steps.bend(min(steps.target, limit), Reason.SCALE_UP_LIMIT)


def _limit_down(
    rules: ScalingRules, inputs: Inputs, seen: _Seen, need: _Need, steps: _Steps
) -> None:
    """Every reason not to remove a pod, then the limits that hold whatever the demand."""
    current = inputs.current
    highest = max((count for _, count in seen.recommendations), default=0)
    steps.bend(max(steps.target, min(highest, current)), Reason.STABILIZATION)
    if inputs.starting > 0:
        steps.bend(current, Reason.PODS_STARTING)
    if _is_training(rules, inputs):
        steps.bend(current, Reason.TRAINING)
    step = max(1, math.floor(current * rules.down_max_share))
    steps.bend(max(steps.target, current - step), Reason.SCALE_DOWN_LIMIT)
    carried = min(_pods_within_slo(rules, inputs.demand, need), current)
    steps.bend(max(steps.target, carried), Reason.WOULD_MISS_SLO)
    steps.bend(min(steps.target, rules.max_replicas), Reason.MAX_REPLICAS)


def _is_training(rules: ScalingRules, inputs: Inputs) -> bool:
    """A first model is on its way and bounded in time: what it will say of the load to come is
    worth waiting for, such as after a restart right before a rush."""
    forecast = inputs.forecast
    return rules.forecast_enabled and forecast is not None and forecast.reason is Reason.TRAINING


def _pods_within_slo(rules: ScalingRules, demand: Demand, need: _Need) -> int:
    """Pods without which the recent peak, or the requests in flight at this moment, would wait too
    long."""
    peak = demand.peak_rps
    known = peak is not None and 0 <= peak < math.inf
    pods = _pods(rules, demand, max(need.rps, peak or 0.0) if known else need.rps, 1.0)
    if demand.in_flight and demand.service_s:
        slots = max(1, round(rules.capacity_rps * demand.service_s))
        pods = max(pods, math.ceil(demand.in_flight / slots))
    return pods


# --- decisions and their words ------------------------------------------------------------------


def _decision(rules: ScalingRules, inputs: Inputs, need: _Need, steps: _Steps) -> ScalingDecision:
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


def _reason_up(rules: ScalingRules, inputs: Inputs, need: _Need, target: int) -> Reason:
    if need.reactive >= target:
        return Reason.DEMAND_HIGH
    if need.forecast is not None and need.forecast > max(need.reactive, inputs.current):
        return Reason.FORECAST_HIGH
    return Reason.BELOW_MINIMUM if inputs.current < _least(rules) else Reason.DEMAND_HIGH


def _message(rules: ScalingRules, inputs: Inputs, need: _Need, steps: _Steps) -> str:
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


def _left_alone(inputs: Inputs, reason: Reason, message: str) -> ScalingDecision:
    return ScalingDecision(
        replicas=inputs.current, reason=reason, message=message, reactive=None, forecast=None
    )


def _hold(rules: ScalingRules, inputs: Inputs, reason: Reason, trouble: str) -> ScalingDecision:
    """Without demand nothing moves but into the limits, which hold whatever the demand."""
    current = inputs.current
    steps = _Steps(current)
    steps.bend(max(current, _least(rules)), Reason.MIN_REPLICAS)
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


# --- memory -------------------------------------------------------------------------------------


def _forget(memory: Memory) -> Memory:
    """Whoever takes over again begins with a whole stabilisation window."""
    if memory.last_current is None and not memory.recommendations and not memory.scale_ups:
        return memory
    return replace(memory, recommendations=(), scale_ups=(), last_current=None)


def _looked(rules: ScalingRules, inputs: Inputs, memory: Memory) -> _Seen:
    """Drop what is too old, and take in what the target's count says of the time since.

    Pods added are read off the target rather than off the last decision: in Shadow, and after a
    write that failed, a decision added nothing; and what a person added counts as well
    (dynamo#4420).
    """
    now, current = inputs.now, inputs.current
    recommendations, ups = memory.recommendations, memory.scale_ups
    last = recommendations[-1][0] if recommendations else now
    if not recommendations or now - last > _UNSEEN_S:
        recommendations = ((now, current),)
    if memory.last_current is not None and current > memory.last_current:
        ups = (*ups, (last, current - memory.last_current))
        # Whoever raised it meant it: undone within the window, it would be a fight.
        recommendations = (*recommendations, (last, current))
    since = now - rules.stabilization_s
    recommendations = tuple(r for r in recommendations if r[0] > since)
    if ups:
        ups = tuple(up for up in ups if up[0] > now - rules.up_period_s)
    return _Seen(recommendations, ups)


def _remembered(memory: Memory, inputs: Inputs, seen: _Seen, count: int) -> Memory:
    """Add a recommendation; earlier ones that are no higher can never be the highest again."""
    higher = tuple(r for r in seen.recommendations if r[1] > count)
    return replace(
        memory,
        recommendations=(*higher, (inputs.now, count)),
        scale_ups=seen.ups,
        last_current=inputs.current,
    )
