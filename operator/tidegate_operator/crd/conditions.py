"""The conditions of a policy: each one a question, answered with status, reason code and words.

Law: ``lastTransitionTime`` moves only when ``status`` does (Kubernetes API conventions). Reason
codes are those of ``decide.words.Reason``, the same that Events, metrics and the log use.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tidegate_operator.crd.hands import (
    say_alone,
    say_asked_by,
    say_asks,
    say_autoscaler_beside,
    say_does_not_ask,
    say_hold,
    say_inactive,
    say_nobody_asks,
)
from tidegate_operator.crd.seen import BUDGET_REASONS, Seen, Sidecars, budget_rung, share_used
from tidegate_operator.crd.spec import PolicySpec
from tidegate_operator.decide.rungs import Rung
from tidegate_operator.decide.words import Actuator, DataState, Demand, Mode, OnLost, Reason

Answer = tuple[str, Reason, str]
"""Status (True, False or Unknown), reason, message."""

_LIMITS = {
    Reason.MAX_REPLICAS: "{before} are wanted, maxReplicas is {after}",
    Reason.MIN_REPLICAS: "{before} would do, minReplicas is {after}",
    Reason.SCHEDULE_MAX: "{before} are wanted, a schedule has maxReplicas {after}",
    Reason.SCHEDULE_MIN: "{before} would do, a schedule has minReplicas {after}",
    Reason.CAPACITY_LEARNING: (
        "{before} are wanted; what a replica carries is known as a lower bound only, which adds no"
        " pod: declare capacityPerReplica, or wait for a load that is too much"
    ),
    Reason.SCALE_UP_LIMIT: "{before} are wanted, behavior.scaleUp allows {after} for now",
    Reason.SCALE_DOWN_LIMIT: "{before} would do, behavior.scaleDown allows {after} for now",
}
_NO_SCALING = "the policy has no spec.scaling; replicas are left alone"
_DATA = {
    DataState.ABSENT: (Reason.DATA_ABSENT, "no pod reports yet"),
    DataState.STALE: (Reason.DATA_STALE, "the last whole look is too old; nothing is scaled down"),
    DataState.ERROR: (Reason.DATA_ERROR, "sidecars can't be read; nothing is scaled down"),
}


_ON_LOST = {
    OnLost.HOLD: "",
    OnLost.REACTIVE_ONLY: "; what can still be seen may add pods (onLost: ReactiveOnly)",
    OnLost.FALLBACK: "; at least fallbackReplicas once that lasts (onLost: Fallback)",
}


def build_conditions(previous: Sequence[Mapping[str, Any]], seen: Seen) -> list[Mapping[str, Any]]:
    """All conditions after one tick; those that this tick can't judge stay as they were."""
    old = {condition["type"]: condition for condition in previous}
    conditions: list[Mapping[str, Any]] = []
    for kind, ask in _QUESTIONS.items():
        answer = ask(seen)
        # What is not known yet does not replace what was known, such as right after a restart.
        if answer is not None and (answer[0] != "Unknown" or kind not in old):
            conditions.append(_condition(kind, answer, old.get(kind), seen))
        elif kind in old:
            conditions.append(old[kind])
    return conditions


def _condition(
    kind: str, answer: Answer, old: Mapping[str, Any] | None, seen: Seen
) -> dict[str, Any]:
    status, reason, message = answer
    at = datetime.fromtimestamp(int(seen.now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if old is not None and old["status"] == status:
        at = old["lastTransitionTime"]
    return {
        "type": kind,
        "status": status,
        "lastTransitionTime": at,
        "reason": str(reason),
        "message": message[:1024],
        "observedGeneration": seen.generation,
    }


def _ready(seen: Seen) -> Answer:
    if seen.problem is not None:
        return "False", Reason.INVALID_SPEC, str(seen.problem)
    if seen.failure:
        return "False", Reason.RECONCILE_FAILED, seen.failure
    if seen.conflict_with:
        return "False", Reason.CONFLICT, f"policy {seen.conflict_with} has the target"
    if seen.target_found is False:
        return "False", Reason.TARGET_MISSING, _missing(seen)
    if seen.spec is not None and seen.spec.rules.mode is Mode.PAUSED:
        return "True", Reason.PAUSED, "looks on and decides nothing"
    if seen.spec is not None and seen.spec.rules.mode is Mode.SHADOW:
        words = "says what it would do and writes nothing to the target"
        return "True", Reason.SHADOW, words + _lacks(seen)
    return "True", Reason.READY, "in force" + _lacks(seen)


def _lacks(seen: Seen) -> str:
    """Where to look when a policy that is fine does nothing."""
    fine = seen.injection is None or seen.injection.healthy is not False or _needs_none(seen)
    return "" if fine else "; its pods are not all served, see InjectionHealthy"


def _needs_none(seen: Seen) -> bool:
    """Whether a target without sidecars is as it should be: all that is wanted of it is to scale,
    and its demand comes from elsewhere."""
    if seen.spec is None or seen.spec.prometheus is None or seen.injection is None:
        return False
    rules = seen.spec.rules
    return seen.injection.reason is Reason.NOT_ASKED and not (rules.budgets or rules.triggers)


def _missing(seen: Seen) -> str:
    target = "target" if seen.spec is None else str(seen.spec.target)
    return (
        f"{target} not found in the policy's namespace; nothing is written until it is there,"
        " and a new one is met afresh"
    )


def _target(seen: Seen) -> Answer | None:
    if seen.target_found is None or seen.spec is None:
        return None
    if not seen.target_found:
        return "False", Reason.TARGET_MISSING, _missing(seen)
    return "True", Reason.TARGET_FOUND, f"{seen.spec.target} found"


def _conflict(seen: Seen) -> Answer | None:
    if seen.spec is None:
        return None
    if seen.conflict_with:
        return (
            "False",
            Reason.CONFLICT,
            f"{seen.spec.target} is taken by the older policy {seen.conflict_with}; "
            "this one acts on nothing until only one of the two points at it",
        )
    if seen.failure or seen.problem is not None:
        return None
    target = seen.spec.target
    if seen.hold is not None and seen.inputs is not None:
        message = say_hold(
            seen.hold,
            namespace=seen.namespace,
            target=target,
            current=seen.inputs.current,
            wanted=_wanted(seen),
        )
        return "False", seen.hold.reason, message
    actuator = seen.spec.rules.actuator
    if seen.autoscaler is not None and actuator is not Actuator.SCALE:
        if seen.autoscaler.asks:
            return "True", Reason.NO_CONFLICT, say_asked_by(seen.autoscaler, target, actuator)
        message = say_does_not_ask(seen.autoscaler, target, actuator, _wanted(seen))
        return "False", Reason.HPA_ON_TARGET, message
    if seen.autoscaler is not None:
        return "True", Reason.NO_CONFLICT, say_autoscaler_beside(seen.autoscaler, target)
    return "True", Reason.NO_CONFLICT, say_alone(target, seen.autoscalers_problem)


def _wanted(seen: Seen) -> int:
    assert seen.inputs is not None
    return seen.inputs.current if seen.decision is None else seen.decision.scaling.replicas


def _metrics(seen: Seen) -> Answer | None:
    if seen.inputs is None:
        return None
    state = seen.inputs.demand.state
    asleep = seen.decision is not None and seen.decision.scaling.reason is Reason.ASLEEP
    if asleep and (seen.spec is None or seen.spec.prometheus is None):
        return "True", Reason.ASLEEP, "scaled to zero; there is no sidecar to ask"
    if state is DataState.PRESENT:
        return "True", Reason.METRICS_FOUND, _found(seen, seen.inputs.demand)
    return _no_demand(seen.inputs.demand)


def _found(seen: Seen, demand: Demand) -> str:
    if seen.spec is not None and seen.spec.prometheus is not None:
        return f"{seen.spec.prometheus.url} gives the demand"
    silent = seen.sidecars.expected - seen.sidecars.reporting
    if silent <= 0:
        return "all sidecars that should answer do"
    count = f"{seen.sidecars.reporting} of {seen.sidecars.expected} sidecars answer"
    if not demand.estimated:
        return f"{count}; of the others no demand is known"
    return f"{count}; {demand.estimated:.0%} of the demand is what the others said last"


def _no_demand(demand: Demand) -> Answer:
    reason, words = _DATA[demand.state]
    if demand.message:
        words = f"{demand.message}; nothing is scaled down"
    return "False", reason, words


def _forecast(seen: Seen) -> Answer | None:
    if seen.spec is None or seen.inputs is None:
        return None
    if not seen.spec.forecast.enabled:
        why = "spec.scaling.forecast.enabled is false"
        return "False", Reason.FORECAST_DISABLED, why if seen.spec.rules.scales else _NO_SCALING
    forecast = seen.inputs.forecast
    if forecast is None or forecast.reason is Reason.TRAINING:
        words = "no forecast yet" if forecast is None else forecast.message
        return "Unknown", Reason.TRAINING, f"{words}; reactive only until then"
    status = "True" if forecast.reliable else "False"
    return status, forecast.reason, forecast.message or _forecast_words(status)


def _forecast_words(status: str) -> str:
    return "scaling ahead of demand" if status == "True" else "reactive only"


def _scaling_active(seen: Seen) -> Answer | None:
    if seen.spec is None or seen.decision is None or seen.inputs is None:
        return None
    if not seen.spec.rules.scales:
        return "False", Reason.SCALING_OFF, _NO_SCALING
    if seen.scale_error:
        return "False", Reason.SCALE_FAILED, seen.scale_error
    if seen.spec.rules.mode is Mode.SHADOW:
        return "False", Reason.SHADOW, "mode is Shadow; the target is not written"
    if seen.spec.rules.mode is Mode.PAUSED:
        return "False", Reason.PAUSED, "mode is Paused"
    scaling = seen.decision.scaling
    if seen.hold is not None:
        words = say_inactive(seen.hold, current=seen.inputs.current, wanted=scaling.replicas)
        return "False", seen.hold.reason, words
    if scaling.reason in (Reason.TARGET_STOPPED, Reason.CAPACITY_UNKNOWN):
        return "False", scaling.reason, scaling.message
    if scaling.reason is Reason.ASLEEP:
        words = "idle and scaled to zero; a forecast, a schedule or a person wakes it"
        return "True", scaling.reason, words
    if seen.inputs.demand.state is not DataState.PRESENT:
        status, reason, words = _no_demand(seen.inputs.demand)
        return status, reason, words + _ON_LOST[seen.spec.rules.scaling.on_lost]
    if seen.spec.rules.actuator is not Actuator.SCALE:
        return _asked_for(seen, seen.spec, scaling.replicas)
    return "True", Reason.READY, "replicas follow demand and forecast"


def _asked_for(seen: Seen, spec: PolicySpec, wanted: int) -> Answer:
    """``ScalingActive`` where an autoscaler should come and ask."""
    if seen.autoscaler is not None and seen.autoscaler.asks:
        return "True", Reason.READY, say_asks(seen.autoscaler, wanted)
    if seen.autoscaler is not None:
        words = say_does_not_ask(seen.autoscaler, spec.target, spec.rules.actuator, wanted)
        return "False", Reason.NO_HPA_ON_TARGET, words
    if seen.autoscalers_problem:
        problem = seen.autoscalers_problem[:300]
        words = f"whether an HPA asks is not known, since they can't be listed: {problem}"
        return "Unknown", Reason.NO_HPA_ON_TARGET, words
    words = say_nobody_asks(spec.target, spec.rules.actuator, wanted)
    return "False", Reason.NO_HPA_ON_TARGET, words


def _scaling_limited(seen: Seen) -> Answer | None:
    if seen.decision is None or seen.spec is None or not seen.spec.rules.scales:
        return None
    for clamp in reversed(seen.decision.scaling.clamps):
        if clamp.reason in _LIMITS:
            words = _LIMITS[clamp.reason].format(before=clamp.before, after=clamp.after)
            return "True", clamp.reason, words
    return "False", Reason.STEADY, "the wanted count is within all limits"


def _budgets(seen: Seen) -> Answer | None:
    if seen.spec is None or seen.inputs is None:
        return None
    budgets = {budget.name: budget for budget in seen.spec.rules.budgets}
    worst: tuple[int, float, Answer] | None = None
    for use in seen.inputs.budgets:
        budget = budgets.get(use.budget)
        if budget is None or (rung := budget_rung(budget, use)) is Rung.NONE:
            continue
        share = share_used(budget, use)
        who = f" of {use.key}" if use.key else ""
        message = f"budget {budget.name}{who} is at {int(share * 100)}% of its limit"
        rank = (rung.severity, share)
        if worst is None or rank > worst[:2]:
            worst = (*rank, ("False", BUDGET_REASONS[rung], message))
    return ("True", Reason.NORMAL, "within all budgets") if worst is None else worst[2]


def _degraded(seen: Seen) -> Answer | None:
    if seen.decision is None:
        return None
    ladder = seen.decision.ladder
    degraded = ladder.rung in (Rung.SWITCH, Rung.BLOCK)
    return (
        "True" if degraded else "False",
        ladder.reason,
        ladder.message or "the first model answers",
    )


def _sidecars(seen: Seen) -> Answer | None:
    if seen.target_found is not True or seen.conflict_with:
        return None
    return judge_sidecars(seen.sidecars)


def judge_sidecars(sidecars: Sidecars) -> Answer:
    """Whether all sidecars are there and run the config that they should."""
    if sidecars.failed:
        count = f"{sidecars.failed} of {sidecars.reporting} refused the config"
        return "False", Reason.SIDECARS_FAILED, f"{count}: {sidecars.error}"
    if sidecars.reporting < sidecars.expected:
        return (
            "False",
            Reason.SIDECARS_MISSING,
            f"{sidecars.reporting} of {sidecars.expected} pods report through a sidecar",
        )
    if sidecars.applied < sidecars.reporting and not sidecars.settling:
        return (
            "False",
            Reason.SIDECARS_BEHIND,
            f"{sidecars.applied} of {sidecars.reporting} run the current config",
        )
    return "True", Reason.SIDECARS_IN_SYNC, "all sidecars run the current config"


def _injection(seen: Seen) -> Answer | None:
    health = seen.injection
    if health is None or seen.conflict_with:
        return None
    if _needs_none(seen):
        return "True", Reason.NOT_ASKED, "no sidecar was asked for, and demand needs none"
    status = "Unknown" if health.healthy is None else str(health.healthy)
    return status, health.reason, health.message


_QUESTIONS: Mapping[str, Callable[[Seen], Answer | None]] = {
    "Ready": _ready,
    "TargetResolved": _target,
    "MetricsAvailable": _metrics,
    "ForecastReliable": _forecast,
    "ScalingActive": _scaling_active,
    "ScalingLimited": _scaling_limited,
    "NoConflict": _conflict,
    "BudgetsOK": _budgets,
    "Degraded": _degraded,
    "SidecarsInSync": _sidecars,
    "InjectionHealthy": _injection,
}
