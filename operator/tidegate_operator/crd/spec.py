"""``LLMQualityPolicy.spec`` as values: what decisions, forecasts and sidecars need of it.

Law: a manifest is either read whole or refused with the field, the rule and the value, in the
user's spelling. Defaults are the schema's; they stand here again because the API server that
filled them in may know an older schema.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tidegate_operator.crd.fields import (
    Fields,
    InvalidSpecError,
    distinct,
    not_empty,
    read_timezone,
)
from tidegate_operator.crd.spec_scaling import (
    ForecastSpec,
    read_actuator,
    read_forecast,
    read_scaling,
)
from tidegate_operator.crd.spec_source import PrometheusSpec, read_regressors, read_source
from tidegate_operator.decide.rungs import (
    Budget,
    BudgetAction,
    ModelRule,
    Recovery,
    Rung,
    Scope,
    Trigger,
)
from tidegate_operator.decide.words import Actuator, Mode, Rules
from tidegate_wire import base_url
from tidegate_wire.config import Model, Timeouts

__all__ = ["InvalidSpecError", "PolicySpec", "TargetRef", "read_spec", "read_target"]

_KINDS = {"Deployment": "deployments", "StatefulSet": "statefulsets"}
_RUNGS = {str(rung): rung for rung in (Rung.WARN, Rung.SWITCH, Rung.BLOCK)}
_UNITS = {unit: unit for unit in ("Hour", "Day", "Week", "Month")}


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetRef:
    """The workload of a policy, in the policy's own namespace."""

    kind: str
    name: str
    api_version: str = "apps/v1"

    @property
    def plural(self) -> str:
        return _KINDS[self.kind]

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySpec:
    """A whole policy; ``rules`` is what decisions see of it."""

    target: TargetRef
    rules: Rules
    forecast: ForecastSpec
    models: tuple[Model, ...]
    tenant_header: str
    """Lower case; empty: requests have no tenant."""
    timeouts: Timeouts
    max_request_bytes: int
    prometheus: PrometheusSpec | None = None
    """``None``: demand comes from the sidecars."""
    regressors: Mapping[str, PrometheusSpec] = field(default_factory=dict)
    """Series beside the demand, by name."""


def read_spec(manifest: Mapping[str, Any]) -> PolicySpec:
    """Read a policy, or raise ``InvalidSpecError`` for the first fault found."""
    spec = Fields(manifest.get("spec"), "spec")
    models = _read_models(spec)
    scaling = spec.below("scaling") if "scaling" in spec else None
    gateway = spec.below("gateway")
    identify = gateway.below("identify")
    degrade = spec.below("degrade") if "degrade" in spec else None
    rules = Rules(
        mode=spec.choice("mode", {str(mode): mode for mode in Mode}, "Shadow"),
        models=tuple(_model_rule(model) for model in models),
        scales=scaling is not None,
        actuator=Actuator.SCALE if scaling is None else read_actuator(scaling),
        scaling=read_scaling(spec, scaling),
        triggers=() if degrade is None else _read_triggers(degrade),
        min_dwell_s=120.0 if degrade is None else degrade.duration_s("minDwell", "2m"),
        recovery=Recovery() if degrade is None else _read_recovery(degrade.below("recovery")),
        budgets=tuple(_read_budget(item) for item in spec.each("budgets")),
    )
    header = identify.text("header").lower() if "identify" in gateway else ""
    _check_across(spec, rules, models, header)
    return PolicySpec(
        target=_read_target_ref(spec),
        rules=rules,
        forecast=ForecastSpec(enabled=False) if scaling is None else read_forecast(scaling),
        models=models,
        tenant_header=header,
        timeouts=_read_timeouts(gateway.below("timeouts")),
        max_request_bytes=gateway.size_bytes("maxRequestBytes", "10Mi"),
        prometheus=read_source(spec.below("metrics")),
        regressors={}
        if scaling is None
        else read_regressors(spec.below("metrics"), scaling.below("forecast")),
    )


def read_target(manifest: Mapping[str, Any]) -> TargetRef | None:
    """What a policy points at, even where the rest of it can't be read; ``None`` where that can't
    either."""
    try:
        return _read_target_ref(Fields(manifest.get("spec"), "spec"))
    except InvalidSpecError:
        return None


def _read_target_ref(spec: Fields) -> TargetRef:
    if "targetRef" not in spec:
        raise spec.fault("targetRef", "is required")
    ref = spec.below("targetRef")
    return TargetRef(
        kind=ref.choice("kind", {kind: kind for kind in _KINDS}, "Deployment"),
        name=not_empty(ref, "name"),
        api_version=ref.choice("apiVersion", {"apps/v1": "apps/v1"}, "apps/v1"),
    )


def _read_models(spec: Fields) -> tuple[Model, ...]:
    models: list[Model] = []
    for item in spec.each("models"):
        price = item.below("price")
        priced = "price" in item
        model = Model(
            name=not_empty(item, "name"),
            upstream=_read_upstream(item),
            input_price_per_mtok=price.decimal("inputPerMTok") if priced else 0.0,
            output_price_per_mtok=price.decimal("outputPerMTok") if priced else 0.0,
        )
        if models and not model.upstream:
            raise item.fault(
                "upstream",
                "is required of all models but the first: "
                "a fallback in the same pod would fail with it",
            )
        if any(model.name == other.name for other in models):
            raise item.fault("name", f"must differ from the other models', was: {model.name}")
        models.append(model)
    if not models:
        raise spec.fault("models", "must name at least one model")
    return tuple(models)


def _read_upstream(item: Fields) -> str:
    upstream = item.text("upstream", "")
    if upstream and (problem := base_url.problem(upstream)):
        raise item.fault("upstream", f"{problem}, was: {upstream:.80}")
    return upstream


def _model_rule(model: Model) -> ModelRule:
    free = model.input_price_per_mtok == 0 and model.output_price_per_mtok == 0
    return ModelRule(name=model.name, free=free)


def _read_triggers(degrade: Fields) -> tuple[Trigger, ...]:
    triggers = tuple(_read_trigger(item) for item in degrade.each("triggers"))
    if not triggers:
        raise degrade.fault("triggers", "must have at least one trigger")
    distinct(degrade, "triggers", [trigger.name for trigger in triggers])
    return triggers


def _read_trigger(item: Fields) -> Trigger:
    item.choice("metric", {"errorRate": "errorRate"}, "errorRate")
    enter, leave = item.share("enter"), item.share("exit")
    if leave >= enter:
        raise item.fault(
            "exit", f"must be below enter ({item.text('enter')}), was: {item.text('exit')}"
        )
    return Trigger(
        name=not_empty(item, "name"),
        enter=enter,
        exit=leave,
        for_s=item.duration_s("for", "60s"),
        min_requests=item.whole("minRequests", 20),
        do=item.choice("do", _RUNGS),
    )


def _read_recovery(recovery: Fields) -> Recovery:
    backoff = recovery.below("backoff")
    initial_s, max_s = backoff.duration_s("initial", "1m"), backoff.duration_s("max", "1h")
    if initial_s > max_s:
        raise backoff.fault(
            "initial",
            f"must be at most max ({backoff.text('max', '1h')}), "
            f"was: {backoff.text('initial', '1m')}",
        )
    return Recovery(
        probe_share=recovery.share_above_zero("probePercent", "5%"),
        successes=recovery.whole("successes", 10),
        backoff_initial_s=initial_s,
        backoff_factor=backoff.factor("factor", "2"),
        backoff_max_s=max_s,
    )


def _read_budget(item: Fields) -> Budget:
    limit, window = item.below("limit"), item.below("window")
    if "tokens" not in limit and "cost" not in limit:
        raise item.fault("limit", "must have tokens or cost")
    actions = tuple(
        BudgetAction(at=action.share_above_zero("at"), do=action.choice("do", _RUNGS))
        for action in item.each("actions")
    )
    if not actions:
        raise item.fault("actions", "must have at least one action")
    distinct(item, "actions", [str(action.do) for action in actions])
    return Budget(
        name=not_empty(item, "name"),
        scope=item.choice("scope", {str(scope): scope for scope in Scope}, "Policy"),
        limit_tokens=limit.whole("tokens") if "tokens" in limit else None,
        limit_cost=limit.above_zero("cost") if "cost" in limit else None,
        unit=window.choice("unit", _UNITS),
        timezone=read_timezone(window),
        actions=tuple(sorted(actions, key=lambda action: action.at)),
    )


def _read_timeouts(timeouts: Fields) -> Timeouts:
    first_token_s = timeouts.duration_s("firstToken", "30s")
    total_s = timeouts.duration_s("total", "10m")
    if first_token_s > total_s:
        raise timeouts.fault(
            "firstToken",
            f"must be at most total ({timeouts.text('total', '10m')}), "
            f"was: {timeouts.text('firstToken', '30s')}",
        )
    return Timeouts(
        connect_s=timeouts.duration_s("connect", "3s"),
        first_token_s=first_token_s,
        idle_s=timeouts.duration_s("idle", "60s"),
        total_s=total_s,
    )


def _check_across(spec: Fields, rules: Rules, models: Sequence[Model], header: str) -> None:
    """What one field says about another: the CRD's CEL rules, once more."""
    distinct(spec, "budgets", [budget.name for budget in rules.budgets])
    wants: dict[str, Callable[[], bool]] = {
        "trigger": lambda: any(t.do is Rung.SWITCH for t in rules.triggers),
        "budget": lambda: any(a.do is Rung.SWITCH for b in rules.budgets for a in b.actions),
    }
    for what, switches in wants.items():
        if len(models) < 2 and switches():
            raise spec.fault(
                "models", f"needs a second model to switch to: add one, or let no {what} do Switch"
            )
    if not header and any(b.scope is Scope.TENANT for b in rules.budgets):
        raise spec.fault(
            "gateway",
            "is needed by a budget of scope Tenant: "
            "name the request header that says who calls in gateway.identify.header",
        )
    priced = any("price" in item for item in spec.each("models"))
    if not priced and any(b.limit_cost is not None for b in rules.budgets):
        raise spec.fault(
            "models", "must have a price, since a budget limits cost and no model has one"
        )
