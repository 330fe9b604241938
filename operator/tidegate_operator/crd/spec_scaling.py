"""``spec.scaling``, ``spec.slo`` and ``spec.metrics`` as values.

Law: as in ``spec``: read whole, or refused with the field, the rule and the value.
"""

import math
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tidegate_operator.crd.fields import (
    Fields,
    distinct,
    not_empty,
    parse_duration_s,
    read_timezone,
)
from tidegate_operator.decide.margins import keeping
from tidegate_operator.decide.schedules import DAYS, EVERY_DAY, Schedule, occurrences
from tidegate_operator.decide.signals import Signal
from tidegate_operator.decide.words import Actuator, OnLost, ScalingRules
from tidegate_operator.forecast.known import Event, Holidays, Known

BALANCED = 0.005
"""Share of requests that may be late where a policy says nothing."""
_STRICTNESS = {"Lean": 0.01, "Balanced": BALANCED, "Strict": 0.001}
"""Share of requests that may be late."""
_ONE_DIGIT_PERCENT = re.compile(r"[0-9](\.[0-9]{1,2})?%")
_PERCENTILES = {name: float(name) / 100 for name in ("50", "75", "90", "95", "99")}
HORIZON_MIN_S, HORIZON_MAX_S = 120.0, 3600.0
MIN_COLD_STARTS = 3
"""Measured ones, before their p90 is believed."""
_DAYS = {name: frozenset({day}) for day, name in enumerate(DAYS)} | {
    "Weekdays": frozenset(range(5)),
    "Weekend": frozenset({5, 6}),
}
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00")
_COUNTRY = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?")
"""ISO 3166-1, or 3166-2."""
_SIGNALS = {str(signal): signal for signal in Signal}
_ON_LOST = {str(way): way for way in OnLost}
_CAPACITY_FIELDS = {
    Signal.AUTO: "capacity_rps",
    Signal.REQUESTS: "capacity_rps",
    Signal.TOKENS: "capacity_tokens_per_s",
    Signal.CONCURRENCY: "capacity_in_flight",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastSpec:
    """``spec.scaling.forecast``."""

    enabled: bool = True
    horizon_s: float | None = None
    """``None``: Auto, from measured cold starts."""
    history_s: float = 14 * 86400.0
    min_history_s: float = 48 * 3600.0
    retrain_every_s: float = 3600.0
    exclude: tuple[tuple[float, float], ...] = ()
    """Unix seconds [start, end) of history that nothing is learned from."""
    holidays: Holidays | None = None


def read_scaling(spec: Fields, scaling: Fields | None) -> ScalingRules:
    ttft = spec.below("slo").below("ttft")
    rules: dict[str, Any] = {
        "wait_target_s": ttft.duration_s("target", "3s"),
        "wait_percentile": ttft.choice("percentile", _PERCENTILES, "90"),
        "max_age_s": spec.below("metrics").duration_s("maxAge", "60s"),
    }
    if scaling is not None:
        rules |= _read_replicas(scaling) | _read_behavior(scaling.below("behavior"))
        rules |= _read_capacity(scaling)
        rules |= _read_on_lost(spec.below("metrics"), rules["max_replicas"])
        rules["schedules"] = _read_schedules(scaling, rules["max_replicas"])
        return keeping(_read_strictness(scaling), ScalingRules(**rules))
    return ScalingRules(**rules)


def known_of(scaling: ScalingRules, forecast: ForecastSpec, begin: float, end: float) -> Known:
    """What a policy says of the load in [begin, end), unix seconds."""
    events = (
        Event(math.floor(opens / 60), math.ceil(closes / 60), schedule.expect_factor)
        for schedule in scaling.schedules
        if schedule.expect_factor > 1
        for opens, closes in occurrences(schedule, begin, end)
    )
    return Known(events=tuple(events), holidays=forecast.holidays)


def read_actuator(scaling: Fields) -> Actuator:
    return scaling.choice("actuator", {str(hand): hand for hand in Actuator}, "Scale")


def _read_replicas(scaling: Fields) -> dict[str, Any]:
    to_zero = scaling.below("scaleToZero")
    sleeps = to_zero.flag("enabled", False)
    low = scaling.whole("minReplicas", 1, at_least=0)
    high = scaling.whole("maxReplicas", 10)
    if low > high:
        raise scaling.fault("minReplicas", f"must be at most maxReplicas ({high}), was: {low}")
    if low == 0 and not sleeps:
        raise scaling.fault(
            "minReplicas", "must be at least 1 unless scaleToZero.enabled is true, was: 0"
        )
    if sleeps and low > 0:
        raise scaling.fault(
            "minReplicas", f"must be 0 where scaleToZero.enabled is true, was: {low}"
        )
    return {
        "min_replicas": low,
        "max_replicas": high,
        "idle_before_zero_s": to_zero.duration_s("after", "30m") if sleeps else None,
        "forecast_enabled": scaling.below("forecast").flag("enabled", True),
    }


def _read_strictness(scaling: Fields) -> float:
    """Share of requests that may be late."""
    text = scaling.text("strictness", "Balanced")
    if text in _STRICTNESS:
        return _STRICTNESS[text]
    share = scaling.share("strictness") if _ONE_DIGIT_PERCENT.fullmatch(text) else 0.0
    if share == 0:
        words = "or a percentage above 0% and below 10% such as 0.25%"
        raise scaling.fault(
            "strictness", f"must be {', '.join(_STRICTNESS)}, {words}, was: {text}"
        )
    return share


def _read_capacity(scaling: Fields) -> dict[str, Any]:
    signal = scaling.below("demand").choice("signal", _SIGNALS, "Auto")
    declared: dict[str, Any] = dict.fromkeys(_CAPACITY_FIELDS.values())
    if scaling.given("capacityPerReplica", "Auto") != "Auto":
        declared[_CAPACITY_FIELDS[signal]] = scaling.above_zero("capacityPerReplica")
    return {"signal": signal, **declared}


def _read_on_lost(metrics: Fields, most: int) -> dict[str, Any]:
    on_lost = metrics.choice("onLost", _ON_LOST, "Hold")
    if on_lost is not OnLost.FALLBACK:
        return {"on_lost": on_lost}
    if "fallbackReplicas" not in metrics:
        raise metrics.fault("fallbackReplicas", "is required with onLost Fallback")
    count = metrics.whole("fallbackReplicas")
    if count > most:
        raise metrics.fault(
            "fallbackReplicas", f"must be at most scaling.maxReplicas ({most}), was: {count}"
        )
    return {"on_lost": on_lost, "fallback_replicas": count}


def _read_schedules(scaling: Fields, most: int) -> tuple[Schedule, ...]:
    schedules = tuple(_read_schedule(item, most) for item in scaling.each("schedules"))
    distinct(scaling, "schedules", [schedule.name for schedule in schedules])
    return schedules


def _read_schedule(item: Fields, most: int) -> Schedule:
    low = item.whole("minReplicas") if "minReplicas" in item else None
    high = item.whole("maxReplicas") if "maxReplicas" in item else None
    factor = item.factor("expectFactor", "1")
    if low is None and high is None and factor == 1:
        raise item.fault("minReplicas", "is required, or maxReplicas, or an expectFactor above 1")
    for name, count in (("minReplicas", low), ("maxReplicas", high)):
        if count is not None and count > most:
            rule = f"must be at most spec.scaling.maxReplicas ({most})"
            raise item.fault(name, f"{rule}, was: {count}")
    if low is not None and high is not None and low > high:
        raise item.fault("minReplicas", f"must be at most maxReplicas ({high}), was: {low}")
    return Schedule(
        name=not_empty(item, "name"),
        timezone=read_timezone(item),
        days=_read_days(item),
        start_minute=_read_clock(item, "start", "00:00"),
        end_minute=_read_clock(item, "end", "24:00") % (24 * 60),
        min_replicas=low,
        max_replicas=high,
        expect_factor=factor,
    )


def _read_days(item: Fields) -> frozenset[int]:
    days: frozenset[int] = frozenset()
    for name in item.texts("days"):
        if name not in _DAYS:
            raise item.fault("days", f"must be of {', '.join(_DAYS)}, was: {name:.80}")
        days |= _DAYS[name]
    return days or EVERY_DAY


def _read_clock(item: Fields, name: str, default: str) -> int:
    """Minute of the day; 24:00 is 1440."""
    text = item.text(name, default)
    if not _CLOCK.fullmatch(text) or (name == "start" and text == "24:00"):
        raise item.fault(name, f"must be a time of day such as 08:30, was: {text:.80}")
    hour, minute = text.split(":")
    return int(hour) * 60 + int(minute)


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
        exclude=tuple(_read_window(item) for item in forecast.each("excludeWindows")),
        holidays=_read_holidays(forecast.below("holidays")) if "holidays" in forecast else None,
    )


def _read_holidays(holidays: Fields) -> Holidays:
    country = holidays.text("country")
    if not _COUNTRY.fullmatch(country):
        rule = "must be a country such as DE, or a part of one such as DE-BY"
        raise holidays.fault("country", f"{rule}, was: {country:.80}")
    return Holidays(country, read_timezone(holidays))


def _read_window(item: Fields) -> tuple[float, float]:
    start, end = _read_moment(item, "start"), _read_moment(item, "end")
    if start >= end:
        rule = f"must be after start ({item.text('start')})"
        raise item.fault("end", f"{rule}, was: {item.text('end')}")
    return start, end


def _read_moment(item: Fields, name: str) -> float:
    text = item.text(name)
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError
    except ValueError:
        raise item.fault(
            name, f"must be a time such as 2026-11-27T08:00:00Z, was: {text:.80}"
        ) from None
    return moment.timestamp()
