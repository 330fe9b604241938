"""The forecast of one policy: asked once a minute, never waited for.

Law: a tick takes the newest forecast that is there. What goes wrong with asking is a forecast that
says so; the loop goes on reactive.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from tidegate_operator import logs
from tidegate_operator.cluster.client import describe
from tidegate_operator.crd.spec import PolicySpec
from tidegate_operator.crd.spec_scaling import HORIZON_MAX_S, MIN_COLD_STARTS, known_of
from tidegate_operator.crd.status import percentile
from tidegate_operator.decide.words import LEAD_MARGIN_S, Forecast, Reason
from tidegate_operator.forecast.known import Known, Regressor
from tidegate_operator.sources.forecaster import ForecastRules

UNKNOWN_HORIZON_S = 900.0
"""Until so many cold starts were measured (architecture, forecast and scaling)."""


class Forecasts(Protocol):
    """What is asked of a forecaster."""

    async def forecast(
        self,
        key: str,
        *,
        start_minute: int,
        counts: Sequence[int | None],
        now: float,
        rules: ForecastRules,
        state: Mapping[str, Any] | None,
        known: Known,
    ) -> tuple[Forecast, Mapping[str, Any]]: ...

    async def forget(self, key: str) -> None: ...


def horizon_s(spec: PolicySpec, cold_starts: Sequence[float]) -> float:
    """How far ahead demand matters: as the policy says, else p90 of the cold starts and 2 min."""
    if spec.forecast.horizon_s is not None:
        return spec.forecast.horizon_s
    if len(cold_starts) < MIN_COLD_STARTS:
        return UNKNOWN_HORIZON_S
    return min(HORIZON_MAX_S, percentile(cold_starts, 0.9) + LEAD_MARGIN_S)


def without_windows(
    start_minute: int, counts: Sequence[int | None], windows: Sequence[tuple[float, float]]
) -> list[int | None]:
    """The counts with those of ``windows`` (unix seconds) missing, which nothing is learned
    from."""
    known = list(counts)
    for start, end in windows:
        first = max(0, math.floor(start / 60) - start_minute)
        last = max(first, min(len(known), math.ceil(end / 60) - start_minute))
        known[first:last] = [None] * (last - first)
    return known


class Ahead:
    """Asks for one policy, in the background."""

    def __init__(self, forecasts: Forecasts, key: str, state: Mapping[str, Any] | None) -> None:
        self._forecasts = forecasts
        self._key = key
        self._asked_minute: int | None = None
        self._asking: asyncio.Task[None] | None = None
        self.state = state
        """What a restart needs to go on where this stands."""
        self.newest: Forecast | None = None

    def ask(
        self,
        spec: PolicySpec,
        *,
        start_minute: int,
        counts: Sequence[int | None],
        cold_starts: Sequence[float],
        regressors: tuple[Regressor, ...] = (),
        now: float,
    ) -> None:
        """Ask for a new forecast unless this minute's was asked for, or one is still awaited."""
        minute = math.floor(now / 60)
        if minute == self._asked_minute or self._is_asking():
            return
        if not spec.forecast.enabled:
            self.newest = None
            return
        self._asked_minute = minute
        rules = ForecastRules(
            enabled=True,
            horizon_s=horizon_s(spec, cold_starts),
            min_history_s=spec.forecast.min_history_s,
            retrain_every_s=spec.forecast.retrain_every_s,
        )
        if self.newest is None:
            # Not yet known is not "none": nothing is scaled down before it is, whatever a short
            # stabilisation window would allow right after a restart.
            self.newest = _unanswered(now, rules, Reason.TRAINING, "the first forecast is awaited")
        kept = counts[-max(1, int(spec.forecast.history_s / 60)) :]
        first = start_minute + len(counts) - len(kept)
        learned = without_windows(first, kept, spec.forecast.exclude)
        known = known_of(spec.rules.scaling, spec.forecast, 60.0 * first, now + rules.horizon_s)
        known = replace(known, regressors=regressors)
        self._asking = asyncio.create_task(self._ask(first, learned, now, rules, known))

    async def settled(self) -> None:
        """Wait for what was asked; for tests and the end."""
        if self._asking is not None:
            await asyncio.gather(self._asking, return_exceptions=True)

    async def close(self) -> None:
        """Forget the policy, here and in the forecaster."""
        if self._asking is not None:
            self._asking.cancel()
            await self.settled()
        await self._forecasts.forget(self._key)

    def _is_asking(self) -> bool:
        return self._asking is not None and not self._asking.done()

    async def _ask(
        self,
        first: int,
        counts: Sequence[int | None],
        now: float,
        rules: ForecastRules,
        known: Known,
    ) -> None:
        try:
            self.newest, self.state = await self._forecasts.forecast(
                self._key,
                start_minute=first,
                counts=counts,
                now=now,
                rules=rules,
                state=self.state,
                known=known,
            )
        except Exception as error:  # noqa: BLE001  # a forecast may fail, scaling must not
            logs.failure("forecast_failed", policy=self._key, error=describe(error))
            message = f"asking failed: {describe(error)}"
            self.newest = _unanswered(now, rules, Reason.FORECAST_FAILED, message)


def _unanswered(now: float, rules: ForecastRules, reason: Reason, message: str) -> Forecast:
    return Forecast(
        made_at=now,
        horizon_s=rules.horizon_s,
        quantiles={},
        reliable=False,
        reason=reason,
        message=message,
    )
