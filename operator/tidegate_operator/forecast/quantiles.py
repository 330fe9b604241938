"""Quantiles of the highest minute ahead: boosted trees and a linear model, meeting half-way in log
space.

Law: a fit sees only rows whose target has matured, and the same rows give the same model. What
leaves here is sorted by quantile. Recipe and figures: 60 trees of 15 leaves on at most 5,000 rows
beat larger models in closed loop on six request traces, and the mean of both beats either.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tidegate_operator.forecast import features
from tidegate_operator.forecast.series import DAY, Bools, Floats, Series

QUANTILES = (0.5, 0.9, 0.95, 0.98, 0.99)
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
RIDGE = 1e-3
IRLS_ROUNDS = 25
IRLS_FLOOR = 1e-3
STANDARD_LIMIT = 5.0
"""Inputs of the linear model beyond so many deviations are held there."""


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
    """Which of the trees' columns say anything: scikit-learn 1.9 fails on one without two values,
    such as last week's in the first week."""
    trees: tuple[Any, ...]
    linear: Linear

    def log_ratios(self, table: Floats, minutes: Floats) -> Floats:
        """Raw quantiles of the target for rows of ``features.table``, one line a row, sorted."""
        boosted = np.hstack((table, features.calendar(minutes)))[:, self.columns]
        trees = np.column_stack([tree.predict(boosted) for tree in self.trees])
        linear = self.linear.predict(_for_linear(table, minutes))
        out: Floats = np.sort((trees + linear) / 2, axis=1)
        return out

    def counts(self, table: Floats, minutes: Floats) -> Floats:
        """The same in requests per minute, not calibrated, not clipped."""
        level = table[:, features.COLUMNS.index("level")]
        out: Floats = np.exp(self.log_ratios(table, minutes) + level[:, None]) - self.c
        return out


def fit(series: Series, horizon: int, *, until: int | None = None) -> Model:
    """Fit on every index below ``until`` (default: all) whose target had matured by then.

    Raises:
        TooFewRowsError: fewer than ``MIN_ROWS`` such minutes.
    """
    size = len(series) if until is None else until
    past = Series(series.start_minute, series.values[:size], series.known[:size])
    known = past.values[past.known]
    c = max(LEAST_C, C_SHARE * float(known.mean())) if known.size else LEAST_C
    table = features.table(past, horizon, c)
    goal = features.target(past, horizon, c)
    usable = past.known & ~np.isnan(goal) & ~np.isnan(table[:, 0])
    rows = _spread(np.flatnonzero(usable))
    minutes = (past.start_minute + rows).astype(np.float64)
    boosted = np.hstack((table[rows], features.calendar(minutes)))
    columns = _telling(boosted)
    return Model(
        horizon,
        c,
        columns,
        tuple(_fit_trees(boosted[:, columns], goal[rows], q) for q in QUANTILES),
        _fit_linear(_for_linear(table[rows], minutes), goal[rows]),
    )


def limit(series: Series, until: int | None = None) -> float:
    """Most requests per minute that a forecast may name at index ``until``: from the last week's
    highest minute."""
    end = len(series) if until is None else until
    begin = max(0, end - CLIP_DAYS * DAY)
    week = series.values[begin:end][series.known[begin:end]]
    return CLIP_FACTOR * float(week.max()) if week.size else 0.0


def _spread(indices: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
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
        max_iter=60,
        max_leaf_nodes=15,
        learning_rate=0.08,
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


def _for_linear(table: Floats, minutes: Floats) -> Floats:
    # A season that the history does not reach says "as now": ratio 0.
    return np.hstack((np.nan_to_num(table, nan=0.0), features.fourier(minutes)))


def _standard(x: Floats, centre: Floats, spread: Floats) -> Floats:
    scaled = np.clip((x - centre) / spread, -STANDARD_LIMIT, STANDARD_LIMIT)
    return np.hstack((scaled, np.ones((len(x), 1))))


def _fit_linear(x: Floats, y: Floats) -> Linear:
    """Pinball loss by iteratively reweighted least squares, each quantile started from the one
    below."""
    centre = x.mean(axis=0)
    spread = x.std(axis=0)
    spread[spread < 1e-9] = 1.0
    z = _standard(x, centre, spread)
    ridge = RIDGE * len(y) * np.eye(z.shape[1])
    ridge[-1, -1] = 0.0
    weights = np.linalg.solve(z.T @ z + ridge, z.T @ y)
    lines = []
    for quantile in QUANTILES:
        for _ in range(IRLS_ROUNDS):
            off = y - z @ weights
            pull = np.where(off > 0, quantile, 1 - quantile) / np.maximum(np.abs(off), IRLS_FLOOR)
            weighted = z * pull[:, None]
            weights = np.linalg.solve(weighted.T @ z + ridge, weighted.T @ y)
        lines.append(weights)
    return Linear(centre, spread, np.array(lines))
