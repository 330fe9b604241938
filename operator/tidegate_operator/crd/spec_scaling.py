"""``spec.scaling``, ``spec.slo`` and ``spec.metrics`` as values.

Law: as in ``spec``: read whole, or refused with the field, the rule and the value.
"""

from dataclasses import dataclass
from typing import Any

from tidegate_operator.crd.fields import Fields, parse_duration_s
from tidegate_operator.decide.words import Actuator, ScalingRules

_QUANTILES = {"Lean": 0.90, "Balanced": 0.95, "Strict": 0.99}
_PERCENTILES = {name: float(name) / 100 for name in ("50", "75", "90", "95", "99")}
HORIZON_MIN_S, HORIZON_MAX_S = 120.0, 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastSpec:
    """``spec.scaling.forecast``."""

    enabled: bool = True
    horizon_s: float | None = None
    """``None``: Auto, from measured cold starts."""
    history_s: float = 14 * 86400.0
    min_history_s: float = 48 * 3600.0
    retrain_every_s: float = 3600.0


def read_scaling(spec: Fields, scaling: Fields | None) -> ScalingRules:
    ttft = spec.below("slo").below("ttft")
    rules: dict[str, Any] = {
        "wait_target_s": ttft.duration_s("target", "3s"),
        "wait_percentile": ttft.choice("percentile", _PERCENTILES, "90"),
        "max_age_s": spec.below("metrics").duration_s("maxAge", "60s"),
    }
    if scaling is not None:
        rules |= _read_replicas(scaling) | _read_behavior(scaling.below("behavior"))
    return ScalingRules(**rules)


def read_actuator(scaling: Fields) -> Actuator:
    return scaling.choice("actuator", {str(hand): hand for hand in Actuator}, "Scale")


def _read_replicas(scaling: Fields) -> dict[str, Any]:
    low = scaling.whole("minReplicas", 1)
    high = scaling.whole("maxReplicas", 10)
    if low > high:
        raise scaling.fault("minReplicas", f"must be at most maxReplicas ({high}), was: {low}")
    return {
        "min_replicas": low,
        "max_replicas": high,
        "capacity_rps": scaling.above_zero("capacityPerReplica"),
        "quantile": scaling.choice("strictness", _QUANTILES, "Balanced"),
        "forecast_enabled": scaling.below("forecast").flag("enabled", True),
    }


def _read_behavior(behavior: Fields) -> dict[str, Any]:
    up, down = behavior.below("scaleUp"), behavior.below("scaleDown")
    return {
        "up_max_factor": up.factor("maxFactor", "2"),
        "up_max_pods": up.whole("maxPods", 4),
        "up_period_s": up.duration_s("period", "60s"),
        "down_max_share": down.share_above_zero("maxPercent", "50%"),
        "stabilization_s": down.duration_s("stabilization", "300s"),
        "tolerance": behavior.share("tolerance", "10%"),
    }


def read_forecast(scaling: Fields) -> ForecastSpec:
    forecast = scaling.below("forecast")
    horizon = forecast.text("horizon", "Auto")
    horizon_s = None if horizon == "Auto" else parse_duration_s(horizon)
    if horizon != "Auto" and not (
        horizon_s is not None and HORIZON_MIN_S <= horizon_s <= HORIZON_MAX_S
    ):
        raise forecast.fault("horizon", f"must be Auto or between 2m and 1h, was: {horizon:.80}")
    return ForecastSpec(
        enabled=forecast.flag("enabled", True),
        horizon_s=horizon_s,
        history_s=forecast.duration_s("history", "14d"),
        min_history_s=forecast.duration_s("minHistory", "48h"),
        retrain_every_s=forecast.duration_s("retrainEvery", "1h"),
    )
