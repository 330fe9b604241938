"""How many pods demand and forecast each call for, and whether either can be asked.

Law: a rate that is no rate is an error and never zero; a forecast counts only while it is trusted
and fresh. Nothing is bent here: limits are another room.
"""

import math
from dataclasses import dataclass

from tidegate_operator.decide.queueing import pods_needed
from tidegate_operator.decide.words import (
    DataState,
    Demand,
    Forecast,
    Inputs,
    Reason,
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

_STATE_REASONS = {
    DataState.ABSENT: (Reason.DATA_ABSENT, "no sidecar reports yet"),
    DataState.STALE: (Reason.DATA_STALE, "the last good look at the sidecars is too old"),
    DataState.ERROR: (Reason.DATA_ERROR, "the sidecars can't be read"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Pods by either source; the loads are kept for tolerance and for the message."""

    rps: float
    utilization: float
    reactive: int
    forecast_rps: float | None = None
    forecast: int | None = None
    unused: Reason | None = None
    """Why there is a forecast but it does not count."""


def trouble_with(demand: Demand) -> tuple[Reason | None, str]:
    """Why ``demand`` can't be decided on. Not-a-number is an error, never zero (dynamo#3131)."""
    if demand.state in _STATE_REASONS:
        return _STATE_REASONS[demand.state]
    if demand.rps is None or not 0 <= demand.rps < math.inf:
        return Reason.DATA_ERROR, f"demand is not a rate: {demand.rps}"
    return None, ""


def find_need(rules: ScalingRules, inputs: Inputs) -> Need:
    rps = inputs.demand.rps or 0.0
    ahead, unused = _trusted(rules, inputs)
    utilization = rules.reactive_utilization
    coverage = inputs.forecast.coverage if inputs.forecast is not None else None
    if ahead is not None and coverage is not None and coverage < LOW_COVERAGE:
        utilization = min(utilization, CAUTIOUS_UTILIZATION)
    return Need(
        rps=rps,
        utilization=utilization,
        reactive=pods_for(rules, inputs.demand, rps, utilization),
        forecast_rps=ahead,
        forecast=None if ahead is None else forecast_pods(rules, inputs.demand, ahead),
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


def pods_for(rules: ScalingRules, demand: Demand, rps: float, utilization: float) -> int:
    return pods_needed(
        rps,
        capacity_rps=rules.capacity_rps,
        service_s=demand.service_s,
        wait_target_s=rules.wait_target_s,
        wait_percentile=rules.wait_percentile,
        utilization=utilization,
    )


def forecast_pods(rules: ScalingRules, demand: Demand, rps: float) -> int:
    """Pods for rps / rho: the margin is on the load, since the quantile is of the very peak
    (docs/forecasting.md)."""
    return pods_for(rules, demand, rps / rules.forecast_utilization, 1.0)


def pods_within_slo(rules: ScalingRules, demand: Demand, need: Need) -> int:
    """Pods without which the recent peak, or the requests in flight at this moment, would wait too
    long."""
    peak = demand.peak_rps
    known = peak is not None and 0 <= peak < math.inf
    pods = pods_for(rules, demand, max(need.rps, peak or 0.0) if known else need.rps, 1.0)
    if demand.in_flight and demand.service_s:
        slots = max(1, round(rules.capacity_rps * demand.service_s))
        pods = max(pods, math.ceil(demand.in_flight / slots))
    return pods
