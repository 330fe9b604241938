"""Forecasts as the live loop would have had them, for each minute of a trace.

Law: a forecast knows the minutes before it and nothing after; it is fitted, calibrated, scored and
trusted by ``forecast.engine``, as in the live loop's worker. What the trace holds before the first
minute asked for is the history that the loop had by then.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tidegate_operator.decide.words import Forecast, Reason
from tidegate_operator.forecast import engine, select
from tidegate_operator.forecast.beside import ALONE, Beside
from tidegate_operator.forecast.calibrate import SAMPLE_EVERY, Track
from tidegate_operator.forecast.history import first_enough, shortage
from tidegate_operator.forecast.quantiles import QUANTILES, TooFewRowsError, fit, limit
from tidegate_operator.forecast.series import DAY
from tidegate_operator.forecast.wire import VERDICTS
from tidegate_operator.replay.known import Known, known_of
from tidegate_operator.replay.trace import MINUTE_S, Trace

ForecastSource = Callable[[float], Forecast | None]
"""The newest forecast at a time (unix seconds); ``None``: there was none."""
MIN_HISTORY_MINUTES = 2 * DAY
"""``spec.scaling.forecast.minHistory`` by default; what is missing meanwhile is said."""
HISTORY_MINUTES = 14 * DAY
"""``spec.scaling.forecast.history`` by default: what a fit learns from."""


def no_forecast(now: float) -> Forecast | None:
    """For the reactive half alone."""
    return None


@dataclass(frozen=True, slots=True)
class Rolled:
    """One forecast a minute, each made as its minute began."""

    start_minute: int
    forecasts: tuple[Forecast | None, ...]

    def __call__(self, now: float) -> Forecast | None:
        at = int(now // MINUTE_S) - self.start_minute
        return self.forecasts[min(at, len(self.forecasts) - 1)] if at >= 0 else None


def rolled(
    trace: Trace,
    horizon_minutes: int,
    *,
    begin_minute: int,
    refit_every_minutes: int = 60,
    history_minutes: int = HISTORY_MINUTES,
    min_history_minutes: int = MIN_HISTORY_MINUTES,
    beside: Beside = ALONE,
    on_progress: Callable[[float], None] | None = None,
) -> ForecastSource:
    """Forecast each minute of ``trace`` from ``begin_minute`` on.

    Args:
        begin_minute: unix minute; three days before it, where the trace has them, go to the record
            of errors that a forecaster which runs for longer has.
        beside: holidays and expected events, as the policy has them.
        on_progress: told the share of ``trace`` that is done, once an hour of it.
    """
    minutes = trace.minutes()
    start = int(minutes.start // MINUTE_S)
    enough = first_enough(minutes.requests, 60.0 * min_history_minutes)
    last = start + len(minutes)
    first = max(begin_minute - engine.SEED_MINUTES, last if enough is None else start + enough)
    made = _too_early(
        minutes, begin_minute, min(first, last), horizon_minutes, min_history_minutes
    )
    if first < last:
        known = known_of(start, minutes.requests, beside)
        for forecast in _run(known, horizon_minutes, first, refit_every_minutes, history_minutes):
            made[int(forecast.made_at // MINUTE_S)] = forecast
            if on_progress is not None and forecast.made_at % 3600 == 0:
                on_progress((forecast.made_at / MINUTE_S - start) / len(minutes))
    return Rolled(begin_minute, tuple(_each_minute(made, begin_minute, last)))


def _too_early(
    minutes: Trace, begin: int, end: int, horizon: int, min_history_minutes: int
) -> dict[int, Forecast]:
    """What is said by unix minute while there is too little history."""
    start, message = int(minutes.start // MINUTE_S), ""
    made = {}
    for minute in range(begin, end):
        if not message or minute % 60 == 0:
            known = minutes.requests[: max(0, minute - start)]
            message = shortage(known, 60.0 * min_history_minutes)
        made[minute] = Forecast(
            made_at=60.0 * minute,
            horizon_s=60.0 * horizon,
            quantiles={},
            reliable=False,
            reason=Reason.HISTORY_SHORT,
            message=message,
        )
    return made


def _each_minute(made: Mapping[int, Forecast], begin: int, end: int) -> Iterator[Forecast | None]:
    """A minute without one has the one before, which grows stale."""
    newest = None
    for minute in range(min([begin, *made]), end):
        newest = made.get(minute, newest)
        if minute >= begin:
            yield newest


def _run(
    known: Known, horizon: int, first: int, refit_every: int, history: int
) -> Iterator[Forecast]:
    """From unix minute ``first`` on: the first model with its seeded record, then a refit each
    ``refit_every`` minutes."""
    track = engine.seeded(known.before(first, history), horizon)
    score = select.score(track.samples, first - 1)
    for origin in range(first, known.end, refit_every):
        try:
            model = fit(known.before(origin, history), horizon)
        except TooFewRowsError:
            continue
        end = min(origin + refit_every, known.end)
        for minute, series, raw in known.raws(model, origin, end, history + refit_every):
            track.observe(series, model.c)
            issued = track.issue(minute, raw, model.c)
            if minute % SAMPLE_EVERY == 0:
                score = select.score(track.samples, minute)
            factor = series.beside.highest_factor(minute, horizon)
            most = limit(series)
            said = [factor * min(value, most) for value in issued]
            yield _forecast(track, score, minute + 1, origin, said)


def _forecast(
    track: Track,
    score: select.Score,
    made_minute: int,
    trained_minute: int,
    requests: Sequence[float],
) -> Forecast:
    verdict, message = select.judge(score, track.trusted)
    track.trusted = verdict is select.Verdict.GOOD
    return Forecast(
        made_at=60.0 * made_minute,
        horizon_s=60.0 * track.horizon,
        quantiles={q: value / 60 for q, value in zip(QUANTILES, requests, strict=True)},
        reliable=track.trusted,
        reason=VERDICTS[verdict],
        message=message,
        skill=score.skill,
        coverage=score.coverage,
        trained_at=60.0 * trained_minute,
    )
