"""What a backtest takes for granted about pods and policy, and who says so.

Law: an option wins over the policy, the policy over a default; each figure keeps where it came
from, so that the reader can disagree with it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tidegate_operator.crd.spec import PolicySpec
from tidegate_operator.crd.spec_scaling import (
    BALANCED,
    HORIZON_MAX_S,
    MIN_COLD_STARTS,
    ForecastSpec,
)
from tidegate_operator.crd.status import percentile
from tidegate_operator.decide.margins import keeping
from tidegate_operator.decide.rungs import ModelRule
from tidegate_operator.decide.signals import Signal
from tidegate_operator.decide.words import LEAD_MARGIN_S, Mode, Rules, ScalingRules
from tidegate_operator.replay.autoscaler import USUAL_SHARE
from tidegate_operator.replay.plant import PlantRules

DEFAULT_SLOTS = 8
DEFAULT_SERVICE_S = 4.0
DEFAULT_COLD_START_S = 180.0
"""The closed loop that docs/forecasting.md was measured on."""
UNLIMITED_REPLICAS = 10_000
"""Without a policy nothing but the load limits the pods."""
REFIT_S = 6 * 3600.0
"""At least so long a model is used here: hourly fits would be nearly all that a backtest computes,
and hourly or daily made no difference in the closed loop of docs/forecasting.md."""


class AssumptionError(ValueError):
    """Options and policy that don't go together, in the user's spelling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HpaTarget:
    """What a HorizontalPodAutoscaler aims at; exactly one is set."""

    utilization: float | None = None
    """``averageUtilization`` as a share: busy slots of all slots."""
    rps: float | None = None
    """``averageValue``: requests per second and pod."""
    source: str = "default"

    def __str__(self) -> str:
        if self.utilization is not None:
            return f"{self.utilization:.0%}"
        return f"{self.rps:g} requests/s a pod"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line says; ``None``: nothing."""

    slots: int | None = None
    service_s: float | None = None
    cold_start_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What is known of the workload besides its requests; ``None`` and empty: nothing."""

    token_service_s: float | None = None
    """Mean time that a request holds a slot, worked out from the history's tokens."""
    tokens_per_request: float | None = None
    """Input and output."""
    cold_starts: Sequence[float] = ()
    """As the operator saw them, in seconds."""
    hpa: HpaTarget | None = None
    """What the user has."""
    dated: bool = True
    """Whether the history says which days it is of."""
    beside: Sequence[str] = ()
    """Names of the policy's regressors that the history has."""


@dataclass(frozen=True, slots=True)
class Told:
    """One assumption, for people."""

    name: str
    value: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """All that the replay needs besides the history."""

    plant: PlantRules
    rules: Rules
    forecast: ForecastSpec
    horizon_s: float
    refit_s: float
    """Between two fits of the model."""
    hpa: HpaTarget
    told: tuple[Told, ...]


def assume(asked: Asked, policy: PolicySpec | None, measured: Measured) -> Assumptions:
    """Put options, policy and measurements together.

    Raises:
        AssumptionError: the policy does not scale, or the figures contradict each other.
    """
    if policy is not None and not policy.rules.scales:
        raise AssumptionError("spec.scaling is required for a backtest, and the policy has none")
    pod = _pod(asked, policy, measured)
    cold_start_s, cold = _cold_start(asked, policy, measured.cold_starts)
    rules = _rules(policy, pod.slots / pod.service_s)
    scaling = rules.scaling
    forecast = ForecastSpec() if policy is None else policy.forecast
    horizon_s = forecast.horizon_s or min(HORIZON_MAX_S, cold_start_s + LEAD_MARGIN_S)
    refit_s = max(REFIT_S, forecast.retrain_every_s)
    hpa = measured.hpa or HpaTarget(utilization=USUAL_SHARE)
    plant = PlantRules(
        slots_per_pod=pod.slots,
        service_s=pod.service_s,
        by_tokens=asked.service_s is None,
        cold_start_s=cold_start_s,
        slo_wait_s=scaling.wait_target_s,
        slo_percentile=scaling.wait_percentile,
    )
    ahead = "policy" if forecast.horizon_s else "Auto"
    said = "default" if policy is None else "policy"
    told = (
        *pod.told,
        cold,
        Told("forecast ahead", _span(horizon_s), ahead),
        Told("fitted anew every", _span(refit_s), f"live {_span(forecast.retrain_every_s)}"),
        *_told_of_history(forecast, measured),
        *_told_of_regressors(policy, measured),
        Told("replicas", _range(scaling), said),
        Told("a request may wait", f"{scaling.wait_target_s:g} s", said),
        Told("your HPA's target", str(hpa), hpa.source),
    )
    return Assumptions(
        plant=plant,
        rules=rules,
        forecast=forecast,
        horizon_s=horizon_s,
        refit_s=refit_s,
        hpa=hpa,
        told=told,
    )


def _told_of_history(forecast: ForecastSpec, measured: Measured) -> Iterator[Told]:
    """What the policy says of its history, where it says anything."""
    windows = len(forecast.exclude)
    if windows:
        text = f"{windows} window{'s' if windows > 1 else ''}"
        yield Told("left out of learning", text, "forecast.excludeWindows")
    if forecast.holidays is not None:
        country = f"of {forecast.holidays.country}"
        text = country if measured.dated else "not known: the history has no dates"
        yield Told("holidays", text, "forecast.holidays")


def _told_of_regressors(policy: PolicySpec | None, measured: Measured) -> Iterator[Told]:
    for name in () if policy is None else sorted(policy.regressors):
        text = "looked at" if name in measured.beside else "not in the history"
        yield Told(f"series {name}", text, "forecast.regressors")


@dataclass(frozen=True, slots=True)
class _Pod:
    slots: int
    service_s: float
    told: tuple[Told, ...]


def _pod(asked: Asked, policy: PolicySpec | None, measured: Measured) -> _Pod:
    """Slots and service time: two of slots, service time and capacity give the third."""
    capacity, of = _declared(asked, policy, measured)
    slots, service_s = asked.slots, asked.service_s
    by_slots = "default" if slots is None else "--slots"
    by_service = "default" if service_s is None else "--service-time"
    if service_s is None and measured.token_service_s is not None:
        service_s, by_service = measured.token_service_s, "the history's tokens"
    by_capacity = of
    if capacity is None or (slots is not None and service_s is not None):
        slots, service_s = slots or DEFAULT_SLOTS, service_s or DEFAULT_SERVICE_S
        by_capacity = "slots / service time"
        if policy is not None and _is_auto(policy.rules.scaling):
            by_capacity += "; capacityPerReplica is Auto: as if learned"
        if capacity is not None and not math.isclose(capacity, slots / service_s, rel_tol=0.01):
            by_capacity += f"; capacityPerReplica says {capacity:g}"
    elif service_s is not None:
        slots, by_slots = _whole_slots(capacity, service_s), "capacity x service time"
    else:
        slots = slots or DEFAULT_SLOTS
        service_s, by_service = slots / capacity, "slots / capacity"
    return _Pod(
        slots,
        service_s,
        (
            Told("requests/s a pod", f"{slots / service_s:.3g}", by_capacity),
            Told("slots a pod", str(slots), by_slots),
            Told("a request holds one for", f"{service_s:.3g} s", by_service),
        ),
    )


def _is_auto(scaling: ScalingRules) -> bool:
    """Whether ``capacityPerReplica`` is to be learned."""
    declared = (scaling.capacity_rps, scaling.capacity_tokens_per_s, scaling.capacity_in_flight)
    return all(value is None for value in declared)


def _declared(
    asked: Asked, policy: PolicySpec | None, measured: Measured
) -> tuple[float | None, str]:
    """``capacityPerReplica`` in requests per second, and how it came to be that."""
    source = "capacityPerReplica"
    if policy is None or (asked.slots is not None and asked.service_s is not None):
        scaling = None if policy is None else policy.rules.scaling
        return None if scaling is None else scaling.capacity_rps, source
    scaling = policy.rules.scaling
    if scaling.capacity_in_flight is not None:
        service_s = asked.service_s or measured.token_service_s or DEFAULT_SERVICE_S
        return scaling.capacity_in_flight / service_s, f"{source} at once / service time"
    if scaling.capacity_tokens_per_s is not None:
        if measured.tokens_per_request is None:
            raise AssumptionError(
                "capacityPerReplica is in tokens per second, and the history has no tokens: say"
                " what a pod carries with --slots and --service-time"
            )
        tokens = measured.tokens_per_request
        return scaling.capacity_tokens_per_s / tokens, f"{source} / {tokens:.0f} tokens a request"
    return scaling.capacity_rps, source


def _whole_slots(capacity: float, service_s: float) -> int:
    slots = round(capacity * service_s)
    if slots < 1:
        raise AssumptionError(
            f"--service-time must be at least {1 / capacity:g} s where a pod carries"
            f" capacityPerReplica: {capacity:g} requests/s, was: {service_s:g} s"
        )
    return slots


def _cold_start(
    asked: Asked, policy: PolicySpec | None, measured: Sequence[float]
) -> tuple[float, Told]:
    name = "a pod starts within"
    if asked.cold_start_s is not None:
        return asked.cold_start_s, Told(name, _span(asked.cold_start_s), "--cold-start")
    if len(measured) >= MIN_COLD_STARTS:
        p90 = percentile(measured, 0.9)
        return p90, Told(name, _span(p90), f"90 % of {len(measured)} measured starts")
    if policy is not None and policy.forecast.horizon_s is not None:
        before = max(0.0, policy.forecast.horizon_s - LEAD_MARGIN_S)
        return before, Told(name, _span(before), "forecast.horizon less 2 min")
    return DEFAULT_COLD_START_S, Told(name, _span(DEFAULT_COLD_START_S), "default")


def _rules(policy: PolicySpec | None, capacity_rps: float) -> Rules:
    """The policy's, as if enforced: Shadow decides the same, and budgets have no place here.

    A history counts requests, so they are the signal, whatever the policy's."""
    if policy is None:
        scaling = ScalingRules(max_replicas=UNLIMITED_REPLICAS, capacity_rps=capacity_rps)
        models = (ModelRule(name="any"),)
        return Rules(mode=Mode.ENFORCE, models=models, scaling=keeping(BALANCED, scaling))
    return replace(
        policy.rules,
        mode=Mode.ENFORCE,
        triggers=(),
        budgets=(),
        scaling=replace(policy.rules.scaling, signal=Signal.REQUESTS, capacity_rps=capacity_rps),
    )


def _range(scaling: ScalingRules) -> str:
    if scaling.max_replicas == UNLIMITED_REPLICAS:
        return f"{scaling.min_replicas} or more"
    return f"{scaling.min_replicas} to {scaling.max_replicas}"


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:g} s"
    return f"{seconds / 60:g} min" if seconds < 7200 else f"{seconds / 3600:g} h"
