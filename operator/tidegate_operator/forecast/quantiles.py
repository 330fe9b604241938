"""Quantiles of the highest minute ahead: boosted trees and a linear model, meeting half-way in log
space.

Law: a fit sees only rows whose target has matured, and the same rows give the same model. What
leaves here is sorted by quantile. The mean of both beats either; what was tried beside it is in
docs/forecasting.md, and ``benchmarks/forecast_models.py`` compares.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from tidegate_operator.forecast import features
from tidegate_operator.forecast.arrays import DAY, Bools, Floats, Indices
from tidegate_operator.forecast.series import Series

QUANTILES = (0.5, 0.9, 0.95, 0.98, 0.99)
BOOSTED = (0.5, 0.95)
"""What trees are grown for; the others lie on the line through these two over the normal score.
Both together take a sixth of five forests of 60 trees; their pinball loss on held-out days is up
to 3 % above at 0.9 and 0.95 and up to 9 % below at 0.98 and 0.99
(``benchmarks/forecast_models.py``): a 0.99 quantile of its own sees 50 rows."""
MAX_ROWS = 5000
MIN_ROWS = 300
"""Fewer can't carry a 0.99 quantile."""
LEAST_C = 1.0
C_SHARE = 0.02
"""Added to counts before logarithms: at least a request a minute, or this share of the mean."""
CLIP_FACTOR = 2.0
CLIP_DAYS = 7
"""No forecast above twice the highest minute of a week: after an outage the linear model alone ran
away."""
TREES, LEAVES, RATE = 30, 10, 0.15
LEAST_GAIN = 0.01
"""Of the pinball loss; a regressor that adds less is dropped. What is noise adds less than a
hundredth, mostly below 0."""
RIDGE = 1e-3
IRLS_ROUNDS = 25
IRLS_FLOOR = np.float32(1e-3)
STANDARD_LIMIT = 5.0
"""Inputs of the linear model beyond so many deviations are held there."""


def _blend() -> Floats:
    """(``BOOSTED``, ``QUANTILES``): how much each forest counts for each quantile."""
    low, high = (NormalDist().inv_cdf(q) for q in BOOSTED)
    share = np.array([(NormalDist().inv_cdf(q) - low) / (high - low) for q in QUANTILES])
    return np.stack((1 - share, share))


BLEND = _blend()


class TooFewRowsError(ValueError):
    """There is not enough counted history to fit a model."""


@dataclass(frozen=True, slots=True)
class Linear:
    """Linear quantile regression on standardised columns, one line of weights per quantile."""

    centre: Floats
    spread: Floats
    weights: Floats
    """(quantiles, columns + 1); the last is the intercept."""

    def predict(self, x: Floats) -> Floats:
        return _standard(x, self.centre, self.spread) @ self.weights.T


@dataclass(frozen=True, slots=True)
class Model:
    """A fitted pair for one horizon."""

    horizon: int
    """Minutes."""
    c: float
    columns: Bools
    """Which of the table's columns say anything to trees: scikit-learn 1.9 fails on one without
    two values, such as last week's in the first week."""
    trees: tuple[Any, ...]
    """One per ``BOOSTED``."""
    linear: Linear
    gains: Mapping[str, float]
    """By how much of the pinball loss each regressor helped on halves that it was not fitted on;
    those below ``LEAST_GAIN`` were dropped."""

    @property
    def regressors(self) -> tuple[str, ...]:
        """Those that are looked at, in the order of the table."""
        return _helpful(self.gains)

    def log_ratios(self, table: Floats) -> Floats:
        """Raw quantiles of the target for rows of ``features.table``, one line a row, sorted."""
        grown = [tree.predict(table[:, self.columns]) for tree in self.trees]
        trees = np.sort(np.column_stack(grown), axis=1)
        linear = self.linear.predict(for_linear(table))
        out: Floats = np.sort((trees @ BLEND + linear) / 2, axis=1)
        return out

    def counts(self, table: Floats) -> Floats:
        """The same in requests per minute, not calibrated, not clipped."""
        level = table[:, features.COLUMNS.index("level")]
        out: Floats = np.exp(self.log_ratios(table) + level[:, None]) - self.c
        return out


@dataclass(frozen=True, slots=True)
class Lessons:
    """What a model is fitted on: rows whose target had matured, in order of time."""

    c: float
    table: Floats
    """``features.table``, one line a row, with all regressors."""
    goal: Floats
    """``features.target`` of each."""


def lessons(series: Series, horizon: int, *, until: int | None = None) -> Lessons:
    """From every index below ``until`` (default: all), or at most ``MAX_ROWS`` of them.

    Raises:
        TooFewRowsError: fewer than ``MIN_ROWS`` such minutes.
    """
    past = series.part(0, len(series) if until is None else until)
    known = past.values[past.known]
    c = max(LEAST_C, C_SHARE * float(known.mean())) if known.size else LEAST_C
    usable = past.known & features.matured(past, horizon)
    usable[: features.WARM_UP] = False
    rows = _spread(np.flatnonzero(usable))
    names = [name for name, _ in past.beside.regressors]
    table = features.table(past, horizon, c, rows, names)
    return Lessons(c, table, features.target(past, horizon, c, rows))


def fit(series: Series, horizon: int, *, until: int | None = None) -> Model:
    """Fit on the ``lessons()``.

    Raises:
        TooFewRowsError: see there.
    """
    taught = lessons(series, horizon, until=until)
    names = [name for name, _ in series.beside.regressors]
    gains = _gains(taught, names)
    table = taught.table[:, _with(names, _helpful(gains))]
    columns = _telling(table)
    return Model(
        horizon,
        taught.c,
        columns,
        tuple(_fit_trees(table[:, columns], taught.goal, q) for q in BOOSTED),
        _fit_linear(for_linear(table), taught.goal),
        gains,
    )


def _helpful(gains: Mapping[str, float]) -> tuple[str, ...]:
    return tuple(name for name, gain in gains.items() if gain >= LEAST_GAIN)


def _with(names: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Columns of a table with the regressors ``names``: all of its own, and those ``wanted``."""
    own = len(features.COLUMNS)
    kept = [at for at, name in enumerate(names) if name in wanted]
    beside = features.PER_REGRESSOR
    return [*range(own), *(own + beside * at + k for at in kept for k in range(beside))]


def _gains(taught: Lessons, names: Sequence[str]) -> dict[str, float]:
    """What each regressor alone adds to the linear model, on the half of the time that was not
    fitted on; the lesser of both halves, since luck rarely comes twice."""
    if not names:
        return {}
    without = _losses(taught, _with(names, ()))
    return {
        name: min(1 - _losses(taught, _with(names, (name,))) / without).item() for name in names
    }


def _losses(taught: Lessons, columns: Sequence[int]) -> Floats:
    x, middle = for_linear(taught.table[:, columns]), len(taught.goal) // 2
    halves = (slice(0, middle), slice(middle, None))
    losses = []
    for fitted, judged in (halves, halves[::-1]):
        model = _fit_linear(x[fitted], taught.goal[fitted])
        off = taught.goal[judged][:, None] - model.predict(x[judged])
        levels = np.array(QUANTILES)
        losses.append(float(np.maximum(levels * off, (levels - 1) * off).mean()))
    return np.array(losses)


def limit(series: Series, until: int | None = None) -> float:
    """Most requests per minute that a forecast may name at index ``until``: from the last week's
    highest minute."""
    end = len(series) if until is None else until
    begin = max(0, end - CLIP_DAYS * DAY)
    week = series.values[begin:end][series.known[begin:end]]
    return CLIP_FACTOR * float(week.max()) if week.size else 0.0


def _spread(indices: Indices) -> Indices:
    """At most ``MAX_ROWS``, evenly, but never in step with the minutes of the hour: a fixed stride
    of 4 or 5 would not see what happens at minute 1 of each hour."""
    if len(indices) < MIN_ROWS:
        raise TooFewRowsError(f"{len(indices)} minutes to learn from, at least {MIN_ROWS} needed")
    if len(indices) <= MAX_ROWS:
        return indices
    shift = np.random.default_rng(0).random(MAX_ROWS)
    picked = ((np.arange(MAX_ROWS) + shift) * (len(indices) / MAX_ROWS)).astype(np.int64)
    return np.asarray(indices[picked])


def _telling(x: Floats) -> Bools:
    filled = np.where(np.isnan(x), -np.inf, x)
    lowest = np.where(np.isnan(x), np.inf, x).min(axis=0)
    telling: Bools = filled.max(axis=0) > lowest
    return telling


def _fit_trees(x: Floats, y: Floats, quantile: float) -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(
        loss=_tree_loss(quantile),
        quantile=quantile,
        max_iter=TREES,
        max_leaf_nodes=LEAVES,
        learning_rate=RATE,
        min_samples_leaf=30,
        max_bins=127,
        early_stopping=False,
    )
    return model.fit(x, y)


def _tree_loss(quantile: float) -> Any:
    try:
        from tidegate_operator.forecast.pinball import QuickPinballLoss
    except ImportError:  # the library moved what is not its public interface: slower, not wrong
        return "quantile"
    return QuickPinballLoss(quantile=quantile)


def for_linear(table: Floats) -> Floats:
    """What the linear model sees of ``features.table``: waves for the calendar, and 0 for NaN."""
    counted, calendar = len(features.COUNTED), len(features.COLUMNS)
    day = table[:, features.COLUMNS.index("minute_of_day")]
    # A season that the history does not reach says "as now": ratio 0.
    plain = np.nan_to_num(np.hstack((table[:, :counted], table[:, calendar:])), nan=0.0)
    return np.hstack((plain, features.fourier(day)))


def _standard(x: Floats, centre: Floats, spread: Floats) -> Floats:
    scaled = np.clip((x - centre) / spread, -STANDARD_LIMIT, STANDARD_LIMIT)
    return np.hstack((scaled, np.ones((len(x), 1))))


def _fit_linear(x: Floats, y: Floats) -> Linear:
    """Pinball loss by iteratively reweighted least squares, each quantile started from the one
    below."""
    centre = x.mean(axis=0)
    spread = x.std(axis=0)
    spread[spread < 1e-9] = 1.0
    # Single precision halves the time, and the loss is the same in five digits.
    z = _standard(x, centre, spread).astype(np.float32)
    goal, across = y.astype(np.float32), np.ascontiguousarray(z.T)
    ridge = RIDGE * len(y) * np.eye(z.shape[1])
    ridge[-1, -1] = 0.0
    weights = np.linalg.solve(across @ z + ridge, across @ goal)
    lines = []
    for quantile in QUANTILES:
        up, down = np.float32(quantile), np.float32(1 - quantile)
        for _ in range(IRLS_ROUNDS):
            off = goal - z @ weights.astype(np.float32)
            pull = np.where(off > 0, up, down) / np.maximum(np.abs(off), IRLS_FLOOR)
            weighted = across * pull
            weights = np.linalg.solve(weighted @ z + ridge, weighted @ goal)
        lines.append(weights)
    return Linear(centre, spread, np.array(lines))
