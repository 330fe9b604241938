"""``LLMQualityPolicy.status``: what was seen, decided and done, for people and for ``kubectl``.

Law: status is made anew from values at each tick and never read back to decide anything. A
condition keeps its ``lastTransitionTime`` while its status stands. Decimals are short strings; a
figure that is unknown is left out, never 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from tidegate_operator.crd.conditions import build_conditions
from tidegate_operator.crd.fields import format_duration
from tidegate_operator.crd.seen import Seen, Told, budget_rung, share_used
from tidegate_operator.decide.littles_law import LittlesLaw
from tidegate_operator.decide.load import declared_capacity
from tidegate_operator.decide.rungs import Budget, BudgetUse, Rung
from tidegate_operator.decide.signals import UsedCapacity
from tidegate_operator.decide.signs import EngineSigns
from tidegate_operator.decide.words import (
    Actuator,
    Clamp,
    Decision,
    Forecast,
    Inputs,
    LadderDecision,
    TenantRung,
)

MAX_DECISIONS = 10
MAX_TOP = 5
MAX_TENANTS = 50
"""Status is read by people; the whole list stands in the sidecars' config."""
_SIDECAR_COUNTS = ("expected", "reporting", "applied", "failed")
_FIGURES = ("demand", "engines", "forecast", "coldStart", "budgets")
"""What may differ without being news."""


def build_status(previous: Mapping[str, Any], seen: Seen) -> dict[str, Any]:
    """The status after one tick; ``previous`` gives what this tick could not see, and the times of
    transitions."""
    status = dict(previous)
    status["observedGeneration"] = seen.generation
    if seen.spec is not None and seen.problem is None:
        status |= _blocks(seen)
    if seen.told:
        status["decisions"] = _decisions(previous.get("decisions") or (), seen)
    status["conditions"] = build_conditions(previous.get("conditions") or (), seen)
    return {name: value for name, value in status.items() if value is not None}


def is_news(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether more than measured figures differ."""
    return _without_figures(before) != _without_figures(after)


def _without_figures(status: Mapping[str, Any]) -> dict[str, Any]:
    rest = {name: value for name, value in status.items() if name not in _FIGURES}
    replicas = rest.get("replicas") or {}
    rest["replicas"] = {n: replicas.get(n) for n in ("current", "ready", "desired")}
    rest["conditions"] = [
        (c["type"], c["status"], c["reason"]) for c in rest.get("conditions") or ()
    ]
    return rest


def _blocks(seen: Seen) -> dict[str, Any]:
    """The blocks of a policy that is in force; ``None`` takes a block away."""
    spec, inputs, decision = seen.spec, seen.inputs, seen.decision
    assert spec is not None
    blocks: dict[str, Any] = {
        "coldStart": _cold_start(seen.cold_starts),
    }
    if seen.target_found is not None:
        sidecars = asdict(seen.sidecars)
        blocks["sidecars"] = {name: sidecars[name] for name in _SIDECAR_COUNTS}
    if decision is not None:
        blocks |= {
            "capacity": _capacity(
                decision.scaling.capacity or declared_capacity(spec.rules.scaling)
            )
            if spec.rules.scales
            else None,
            "phase": str(decision.ladder.phase),
            "activeModel": decision.ladder.active_model,
            "tenants": _tenants(decision.ladder) or None,
        }
    if inputs is not None:
        blocks |= {
            "replicas": _replicas(spec.rules.actuator, inputs, decision, seen.hpa),
            "demand": _demand(inputs, None if decision is None else decision.littles_law),
            "engines": _engines(inputs.engines),
            "budgets": [
                _budget(
                    budget, inputs.budgets, {} if decision is None else decision.ladder.tenants
                )
                for budget in spec.rules.budgets
            ]
            or None,
        }
        if inputs.forecast is not None or not spec.forecast.enabled:
            blocks["forecast"] = _forecast(inputs.forecast, inputs, seen.quantile)
    return blocks


def _replicas(
    actuator: Actuator, inputs: Inputs, decision: Decision | None, hpa: int | None
) -> dict[str, Any]:
    block: dict[str, Any] = {"current": inputs.current, "ready": inputs.ready}
    if decision is not None:
        if actuator is not Actuator.SCALE:
            # Whoever reads the count from here must be able to tell an old one.
            block["decidedAt"] = timestamp(inputs.now)
        scaling = decision.scaling
        wanted = {
            "desired": scaling.replicas,
            "reactive": scaling.reactive,
            "forecast": scaling.forecast,
            "scheduled": scaling.scheduled,
            "hpa": hpa,
        }
        block |= {name: count for name, count in wanted.items() if count is not None}
        if scaling.margin is not None:
            block["margin"] = str(scaling.margin)
    return block


def _demand(inputs: Inputs, law: LittlesLaw | None) -> dict[str, Any]:
    block: dict[str, Any] = {"state": str(inputs.demand.state)}
    if law is not None:
        block["littlesLaw"] = _littles_law(law, inputs.now)
    if inputs.demand.rps is not None:
        block["rps"] = decimal(inputs.demand.rps)
    if inputs.demand.estimated:
        block["estimated"] = f"{inputs.demand.estimated:.0%}"
    return block


def _engines(signs: EngineSigns | None) -> dict[str, Any] | None:
    if signs is None:
        return None
    waiting, usage = signs.waiting_per_pod, signs.kv_cache_usage
    block = {
        "pods": signs.pods,
        "waitingPerPod": None if waiting is None else decimal(waiting),
        "kvCacheUsage": None if usage is None else f"{usage:.0%}",
    }
    return {name: value for name, value in block.items() if value is not None}


def _forecast(forecast: Forecast | None, inputs: Inputs, quantile: float) -> dict[str, Any] | None:
    if forecast is None:
        return None
    ahead = forecast.quantiles.get(quantile)
    block = {
        "method": forecast.method,
        "horizon": format_duration(forecast.horizon_s),
        "demandNow": None if inputs.demand.rps is None else decimal(inputs.demand.rps),
        "demandAhead": None if ahead is None else decimal(ahead),
        "quantiles": {f"{q:g}": decimal(v) for q, v in sorted(forecast.quantiles.items())} or None,
        "coverage": None if forecast.coverage is None else f"{forecast.coverage:.2f}",
        "skill": None if forecast.skill is None else f"{forecast.skill:.2f}",
        "trainedAt": None if forecast.trained_at is None else timestamp(forecast.trained_at),
        "reason": str(forecast.reason),
    }
    return {name: value for name, value in block.items() if value is not None}


def _capacity(used: UsedCapacity | None) -> dict[str, Any]:
    if used is None:
        return {"source": "Unknown"}
    block: dict[str, Any] = {
        "perReplica": decimal(used.per_replica),
        "signal": str(used.signal),
        "source": str(used.source),
    }
    return {**block, "answers": used.answers} if used.answers else block


def _littles_law(law: LittlesLaw, now: float) -> dict[str, Any]:
    return {
        "inFlight": decimal(law.in_flight),
        "expected": decimal(law.expected),
        "holds": law.holds(now),
    }


def _cold_start(samples: Sequence[float]) -> dict[str, Any]:
    if not samples:
        return {"samples": 0}
    return {
        "p50": format_duration(percentile(samples, 0.5)),
        "p90": format_duration(percentile(samples, 0.9)),
        "samples": len(samples),
    }


def _budget(
    budget: Budget, uses: Sequence[BudgetUse], tenants: Mapping[str, TenantRung]
) -> dict[str, Any]:
    mine = [use for use in uses if use.budget == budget.name]
    fullest = sorted(mine, key=lambda use: (-share_used(budget, use), use.key))
    limit = budget.limit_tokens if budget.limit_tokens is not None else budget.limit_cost or 0
    block: dict[str, Any] = {
        "name": budget.name,
        "scope": str(budget.scope),
        "used": _used(budget, fullest[0]) if fullest else "0",
        "limit": decimal(limit),
        "utilization": _percent(share_used(budget, fullest[0])) if fullest else "0%",
    }
    if fullest:
        block["windowEnd"] = timestamp(fullest[0].window_end)
    if named := [use for use in fullest if use.key][:MAX_TOP]:
        block["top"] = [
            {
                "key": use.key,
                "used": _used(budget, use),
                "utilization": _percent(share_used(budget, use)),
                "rung": str(_stands(budget, use, tenants)),
            }
            for use in named
        ]
    return block


def _stands(budget: Budget, use: BudgetUse, tenants: Mapping[str, TenantRung]) -> Rung:
    """What the ladder made of it; where it says nothing, what the budget's actions ask for."""
    stand = tenants.get(use.key)
    by_ladder = stand is not None and stand.budget == budget.name
    return stand.rung if stand is not None and by_ladder else budget_rung(budget, use)


def _used(budget: Budget, use: BudgetUse) -> str:
    return decimal(use.used_tokens if budget.limit_tokens is not None else use.used_cost)


def _tenants(ladder: LadderDecision) -> list[dict[str, Any]]:
    off = [(key, stand) for key, stand in ladder.tenants.items() if stand.rung is not Rung.NONE]
    off.sort(key=lambda item: (-item[1].rung.severity, item[0]))
    return [
        {
            "name": key,
            "rung": str(stand.rung),
            "reason": str(stand.reason),
            "until": timestamp(stand.until),
        }
        for key, stand in off[:MAX_TENANTS]
    ]


def _decisions(previous: Sequence[Mapping[str, Any]], seen: Seen) -> list[Mapping[str, Any]]:
    """Newest first."""
    new = [_decision(told, seen) for told in seen.told]
    return [*reversed(new), *previous][:MAX_DECISIONS]


def _decision(told: Told, seen: Seen) -> dict[str, Any]:
    change = told.change
    entry: dict[str, Any] = {
        "time": timestamp(seen.now),
        "action": change.action,
        "from": change.before,
        "to": change.after,
        "reason": str(change.reason),
        "message": change.message,
        "subject": change.subject,
        "applied": told.applied,
    }
    if seen.inputs is not None and seen.decision is not None:
        entry["inputs"] = _decision_inputs(seen.inputs, seen.decision, seen.quantile)
        if told.about_replicas and (clamps := _clamps(seen.decision, seen)):
            entry["clamps"] = [
                {"reason": str(clamp.reason), "before": clamp.before, "after": clamp.after}
                for clamp in clamps
            ]
    return {name: value for name, value in entry.items() if value != ""}


def _clamps(decision: Decision, seen: Seen) -> Sequence[Clamp]:
    """What bent the count, last of all somebody else who holds it where it is."""
    scaling, inputs = decision.scaling, seen.inputs
    if seen.hold is None or inputs is None or scaling.replicas == inputs.current:
        return scaling.clamps
    held = Clamp(reason=seen.hold.reason, before=scaling.replicas, after=inputs.current)
    return (*scaling.clamps, held)


def _decision_inputs(inputs: Inputs, decision: Decision, quantile: float) -> dict[str, str]:
    ahead = None if inputs.forecast is None else inputs.forecast.quantiles.get(quantile)
    capacity = decision.scaling.capacity
    figures: dict[str, float | None] = {
        "demandRps": inputs.demand.rps,
        "forecastRps": ahead,
        "current": inputs.current,
        "ready": inputs.ready,
        "starting": inputs.starting,
        "reactive": decision.scaling.reactive,
        "forecast": decision.scaling.forecast,
        "scheduled": decision.scaling.scheduled,
        "perReplica": None if capacity is None else capacity.per_replica,
    }
    return {name: decimal(value) for name, value in figures.items() if value is not None}


def percentile(samples: Sequence[float], share: float) -> float:
    """Linear between the two nearest samples; ``samples`` must not be empty."""
    ordered = sorted(samples)
    at = share * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def decimal(value: float) -> str:
    """A short decimal: three digits that count, never an exponent."""
    if isinstance(value, int):
        return str(value)
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def timestamp(at: float) -> str:
    """RFC 3339 in UTC to the second, as Kubernetes writes it."""
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _percent(share: float) -> str:
    # Rounded down, so that 99.6 % of a limit never reads as if it were spent.
    return f"{int(share * 100 + 1e-9)}%"
