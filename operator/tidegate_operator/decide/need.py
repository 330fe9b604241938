"""How many pods demand and forecast each call for, and whether either can be asked.

Law: a rate that is no rate is an error and never zero; a forecast counts only while it is trusted
and fresh. Nothing is bent here: limits are another room.
"""

import math
from dataclasses import dataclass

from tidegate_operator.decide.load import Load
from tidegate_operator.decide.pressure import pods_called_for
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
    """Pods by each source; the loads are kept for tolerance and for the message."""

    load: Load
    utilization: float
    """Share of the capacity that observed demand may fill."""
    reactive: int
    forecast_rps: float | None = None
    forecast: int | None = None
    unused: Reason | None = None
    """Why there is a forecast but it does not count."""
    event_rps: float | None = None
    event: int | None = None
    """Pods for what a schedule expects; ``None``: none expects more than is there."""
    event_by: str = ""
    pressed: int = 0
    """Pods that the model servers' own queues and caches call for; 0: none. More than there are
    under pressure only."""

    @property
    def most(self) -> int:
        return max(self.reactive, self.forecast or 0, self.event or 0, self.pressed)


def trouble_with(demand: Demand) -> tuple[Reason | None, str]:
    """Why ``demand`` can't be decided on. Not-a-number is an error, never zero (dynamo#3131)."""
    if demand.state in _STATE_REASONS:
        reason, words = _STATE_REASONS[demand.state]
        return reason, demand.message or words
    if demand.rps is None or not 0 <= demand.rps < math.inf:
        return Reason.DATA_ERROR, f"demand is not a rate: {demand.rps}"
    return None, ""


def find_need(
    rules: ScalingRules, inputs: Inputs, load: Load, event: tuple[float | None, str] = (None, "")
) -> Need:
    """``event``: the load that a schedule expects, and its name."""
    ahead, unused = _ahead(rules, inputs)
    expected, by = event
    return Need(
        load=load,
        utilization=(utilization := _utilization(rules, inputs, ahead)),
        reactive=load.pods(load.rps, utilization),
        forecast_rps=ahead,
        forecast=None if ahead is None else _pods_ahead(rules, inputs, load, ahead),
        unused=unused,
        event_rps=expected,
        event=None if expected is None else load.pods(expected, rules.reactive_utilization),
        event_by=by,
        pressed=pods_called_for(inputs),
    )


def _utilization(rules: ScalingRules, inputs: Inputs, ahead: float | None) -> float:
    if ahead is None:
        return min(rules.reactive_utilization, rules.reactive_alone_utilization)
    coverage = inputs.forecast.coverage if inputs.forecast is not None else None
    if coverage is not None and coverage < LOW_COVERAGE:
        return min(rules.reactive_utilization, CAUTIOUS_UTILIZATION)
    return rules.reactive_utilization


def _pods_ahead(rules: ScalingRules, inputs: Inputs, load: Load, ahead: float) -> int:
    """Where a policy may scale to zero, less than one request within the horizon is none."""
    forecast = inputs.forecast
    sleeps = rules.idle_before_zero_s is not None
    if sleeps and forecast is not None and ahead * forecast.horizon_s < 1:
        return 0
    return load.forecast_pods(ahead)


def usable_forecast(rules: ScalingRules, inputs: Inputs) -> tuple[Forecast | None, Reason | None]:
    """The forecast that may be leaned on, or why none (both ``None``: there is nothing to say)."""
    forecast = inputs.forecast
    if forecast is None or not rules.forecast_enabled:
        return None, None
    if not forecast.reliable:
        return None, forecast.reason
    if inputs.now - forecast.made_at > FORECAST_MAX_AGE_S:
        return None, Reason.FORECAST_STALE
    return forecast, None


def _ahead(rules: ScalingRules, inputs: Inputs) -> tuple[float | None, Reason | None]:
    """The forecast rate that counts, or why none does."""
    forecast, unused = usable_forecast(rules, inputs)
    if forecast is None:
        return None, unused
    if rules.quantile is None:
        return None, Reason.FORECAST_DOES_NOT_PAY
    ahead = at_quantile(forecast, rules.quantile)
    if ahead is None or not 0 <= ahead < math.inf:
        return None, Reason.FORECAST_FAILED
    return ahead, None


def at_quantile(forecast: Forecast, quantile: float) -> float | None:
    """The asked quantile, or the nearest above it: too much is the safe side."""
    exact = forecast.quantiles.get(quantile)
    if exact is not None:
        return exact
    above = [q for q in forecast.quantiles if q >= quantile]
    return forecast.quantiles[min(above)] if above else None
