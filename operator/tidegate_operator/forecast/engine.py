"""Training and forecasting for many workloads, as values in and values out; the worker process
wraps it.

Law: ``learn()`` touches nothing but its arguments, so it can run beside ``Engine.predict()``; a
new model replaces the old one in one step.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tidegate_operator.forecast import features, quantiles, select
from tidegate_operator.forecast.arrays import DAY, Floats, Indices
from tidegate_operator.forecast.beside import beside
from tidegate_operator.forecast.calibrate import SAMPLE_EVERY, Raw, Track
from tidegate_operator.forecast.known import NOTHING, Known
from tidegate_operator.forecast.quantiles import QUANTILES, Model
from tidegate_operator.forecast.series import Series, clean

SEED_MINUTES = 3 * DAY
SEED_SHARE = 3
"""At most one part in so many of the history goes to scoring a first model; the rest it learns
from."""

JUDGE_SEED_MINUTES = 60
"""Between two verdicts meanwhile: trust, once gained, is lost later than it is gained."""


class UnknownKeyError(KeyError):
    """Nothing has been learned for this key yet."""


@dataclass(frozen=True, slots=True)
class Learned:
    """What a training hands over."""

    model: Model
    track: Track | None
    """A freshly seeded record; ``None``: the one in use goes on."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A forecast in requests per second, with what is known of its worth."""

    end_minute: int
    """Unix minute after the last count that it knew."""
    horizon: int
    """Minutes."""
    quantiles: Mapping[float, float]
    skill: float | None
    coverage: float | None
    verdict: select.Verdict
    message: str


def learn(
    start_minute: int,
    counts: Sequence[int | float | None],
    horizon: int,
    *,
    state: Mapping[str, Any] | None,
    record: bool = True,
    known: Known = NOTHING,
) -> Learned:
    """Fit a model and, if a ``record`` is wanted, take the one in ``state`` or score a first one.

    Raises:
        SeriesError, TooFewRowsError: the history cannot be used, or not yet.
        HolidaysError: there are none known of the country.
    """
    series = _series(start_minute, counts, known)
    model = quantiles.fit(series, horizon)
    if not record:
        return Learned(model, None)
    track = Track.from_state(state, horizon)
    if track is not None:
        track.observe(series, model.c)
        if select.score(track.samples, series.end_minute - 1).skill is not None:
            return Learned(model, track)
    return Learned(model, seeded(series, horizon))


def _series(start_minute: int, counts: Sequence[int | float | None], known: Known) -> Series:
    return clean(start_minute, counts, beside(known, start_minute, start_minute + len(counts)))


def seeded(series: Series, horizon: int) -> Track:
    """Rolling origin: a model from before the last days forecasts them, calibrated as it would
    have been, and was trusted or not as in operation. So a fresh start with enough history goes on
    as one that has run for days."""
    track = Track(horizon)
    origin = len(series) - min(SEED_MINUTES, len(series) // SEED_SHARE)
    judged = origin
    try:
        for t, _ in roll(series, track, origin, every=SAMPLE_EVERY):
            if t - judged >= JUDGE_SEED_MINUTES:
                judged = t
                score = select.score(track.samples, series.start_minute + t)
                track.trusted = select.judge(score, track.trusted)[0] is select.Verdict.GOOD
    except quantiles.TooFewRowsError:
        return track  # without a single score: not trusted yet
    return track


def roll(
    series: Series,
    track: Track,
    begin: int,
    *,
    every: int = 1,
    refit_every: int | None = None,
) -> Iterator[tuple[int, tuple[float, ...]]]:
    """Forecast from each ``every``-th index from ``begin`` on as if the rest had not come yet.

    Yields the index and the calibrated quantiles in requests per minute; ``track`` is kept as in
    operation. ``refit_every`` is in minutes; ``None`` fits once.

    Raises:
        TooFewRowsError: too little lies before ``begin``.
    """
    step = len(series) - begin if refit_every is None else refit_every
    for origin in range(begin, len(series), max(1, step)):
        model = quantiles.fit(series, track.horizon, until=origin)
        rows = np.arange(origin, min(origin + step, len(series)), every)
        rows = rows[series.known[rows]]
        for t, raw in zip(rows, raws(series, model, rows), strict=True):
            track.observe(series.part(0, int(t) + 1), model.c)
            yield int(t), track.issue(series.start_minute + int(t), raw, model.c)


def raws(series: Series, model: Model, rows: Indices) -> list[Raw]:
    """Uncalibrated forecasts for many indices at once."""
    if not len(rows):
        return []
    table = features.table(series, model.horizon, model.c, rows, model.regressors)
    return [
        _raw(series, int(t), line, entry, model)
        for t, line, entry in zip(rows, model.counts(table), table, strict=True)
    ]


def _raw(series: Series, t: int, counts: Floats, entry: Floats, model: Model) -> Raw:
    most = quantiles.limit(series, t + 1)
    last = float(series.values[t])
    hour = float(series.values[max(0, t - 59) : t + 1].mean())
    level = entry[features.COLUMNS.index("level")]
    yesterday = entry[features.COLUMNS.index("window_1d")]
    season = hour if np.isnan(yesterday) else float(np.exp(yesterday + level) - model.c)
    return Raw(tuple(float(v) for v in np.clip(counts, 0.0, most)), (last, hour, max(season, 0.0)))


class Engine:
    """Models and records by key."""

    def __init__(self) -> None:
        self._models: dict[str, Model] = {}
        self._tracks: dict[str, Track] = {}

    def install(self, key: str, learned: Learned) -> None:
        """Take a new model into use; the record in use goes on if it is for the same horizon."""
        self._models[key] = learned.model
        track = self._tracks.get(key)
        if track is None or track.horizon != learned.model.horizon:
            self._tracks[key] = learned.track or Track(learned.model.horizon)

    def knows(self, key: str, horizon: int) -> bool:
        """Whether a record for this horizon is in use."""
        return key in self._tracks and self._tracks[key].horizon == horizon

    def forget(self, key: str) -> None:
        self._models.pop(key, None)
        self._tracks.pop(key, None)

    def state(self, key: str) -> dict[str, Any]:
        return self._tracks[key].to_state()

    def changed(self, key: str, end_minute: int) -> bool:
        """Whether the forecast from ``end_minute`` was kept in the record: every seventh is."""
        samples = self._tracks[key].samples
        return bool(samples) and samples[-1].minute == end_minute - 1

    def predict(
        self,
        key: str,
        start_minute: int,
        counts: Sequence[int | float | None],
        known: Known = NOTHING,
    ) -> Prediction:
        """Forecast from the end of ``counts``: at least eight days of them, or all there are.

        Raises:
            UnknownKeyError: not trained.
            SeriesError, TooFewRowsError: the counts cannot be used.
            HolidaysError: there are none known of the country.
        """
        if key not in self._models:
            raise UnknownKeyError(key)
        model, track = self._models[key], self._tracks[key]
        series = _series(start_minute, counts, known)
        t = len(series) - 1
        if t < features.WARM_UP:
            raise quantiles.TooFewRowsError(
                f"{len(series)} minutes of counts, at least {features.WARM_UP + 1} needed"
            )
        raw = raws(series, model, np.array([t]))[0]
        track.observe(series, model.c)
        issued = track.issue(series.end_minute - 1, raw, model.c)
        score = select.score(track.samples, series.end_minute - 1)
        verdict, message = select.judge(score, track.trusted)
        track.trusted = verdict is select.Verdict.GOOD
        most = quantiles.limit(series)
        factor = series.beside.highest_factor(series.end_minute - 1, model.horizon)
        return Prediction(
            series.end_minute,
            model.horizon,
            {q: factor * min(issued[i], most) / 60 for i, q in enumerate(QUANTILES)},
            score.skill,
            score.coverage,
            verdict,
            message,
        )
