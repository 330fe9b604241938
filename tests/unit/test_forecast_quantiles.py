"""The two quantile models and their limits."""

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from request_series import DAY, daily
from tidegate_operator.forecast import features, quantiles
from tidegate_operator.forecast.calibrate import peak_after
from tidegate_operator.forecast.engine import raws
from tidegate_operator.forecast.quantiles import QUANTILES
from tidegate_operator.forecast.series import Series, clean

HORIZON = 5


@pytest.fixture(scope="module")
def fitted() -> tuple[Series, quantiles.Model]:
    series = clean(0, daily(5))
    return series, quantiles.fit(series, HORIZON, until=4 * DAY)


def test_coverage_on_an_unseen_day_is_near_nominal(
    fitted: tuple[Series, quantiles.Model],
) -> None:
    series, model = fitted
    rows = np.arange(4 * DAY, 5 * DAY - HORIZON)
    said = np.array([raw.model for raw in raws(series, model, rows)])
    came = np.array([peak_after(series, int(t), HORIZON) for t in rows], dtype=np.float64)
    for column, quantile in enumerate(QUANTILES):
        assert np.mean(came <= said[:, column]) == pytest.approx(quantile, abs=0.08)


def test_quantiles_never_cross(fitted: tuple[Series, quantiles.Model]) -> None:
    series, model = fitted
    rows = np.arange(2 * DAY, 5 * DAY, 37)
    for raw in raws(series, model, rows):
        assert list(raw.model) == sorted(raw.model)


def test_changing_the_future_changes_no_fit(fitted: tuple[Series, quantiles.Model]) -> None:
    series, model = fitted
    values = series.values.copy()
    values[4 * DAY :] = 1e6
    other = quantiles.fit(Series(0, values, series.known), HORIZON, until=4 * DAY)
    rows = np.arange(3 * DAY, 3 * DAY + 50)
    table = features.table(series, HORIZON, model.c, rows)
    assert model.counts(table).tolist() == other.counts(table).tolist()


def test_a_runaway_is_clipped_at_twice_the_weeks_highest_minute(
    fitted: tuple[Series, quantiles.Model],
) -> None:
    series, model = fitted
    steep = quantiles.Linear(model.linear.centre, model.linear.spread, model.linear.weights + 50.0)
    wild = replace(model, linear=steep)
    t = 4 * DAY + 600
    table = features.table(series, HORIZON, model.c, np.array([t]))
    assert wild.counts(table).max() > 1e6, "unclipped, it runs away"
    highest = series.values[max(0, t + 1 - 7 * DAY) : t + 1].max()
    assert max(raws(series, wild, np.array([t]))[0].model) == 2 * highest


def test_the_limit_ignores_what_was_filled_in() -> None:
    values = np.array([10.0] * 50 + [500.0] * 10 + [10.0] * 50)
    known = np.ones(110, dtype=bool)
    known[50:60] = False
    assert quantiles.limit(Series(0, values, known)) == 20.0


def test_a_quantile_without_trees_lies_on_the_line_through_the_two_that_have_some() -> None:
    normal = [NormalDist(3.0, 2.0).inv_cdf(q) for q in QUANTILES]
    grown = [normal[QUANTILES.index(q)] for q in quantiles.BOOSTED]
    np.testing.assert_allclose(np.array(grown) @ quantiles.BLEND, normal)


def test_linear_quantiles_find_a_known_line() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(4000, 2))
    y = 2 * x[:, 0] - x[:, 1] + random.uniform(0, 1, 4000)
    model = quantiles._fit_linear(x, y)
    said = model.predict(np.array([[1.0, 1.0]]))[0]
    np.testing.assert_allclose(said, [1 + q for q in QUANTILES], atol=0.05)


def test_the_quick_loss_grows_the_librarys_own_trees() -> None:
    from sklearn.ensemble import HistGradientBoostingRegressor

    from tidegate_operator.forecast.pinball import QuickPinballLoss

    random = np.random.default_rng(0)
    x = random.normal(size=(800, 3))
    y = x[:, 0] + random.normal(size=800)
    for quantile in (0.5, 0.95):
        own, quick = (
            HistGradientBoostingRegressor(loss=loss, quantile=quantile, max_iter=8).fit(x, y)
            for loss in ("quantile", QuickPinballLoss(quantile=quantile))
        )
        np.testing.assert_allclose(own.predict(x), quick.predict(x), rtol=1e-9, atol=1e-12)


def test_rows_are_bounded_and_see_every_minute_of_the_hour() -> None:
    rows = quantiles._spread(np.arange(40_000))
    assert len(rows) == quantiles.MAX_ROWS
    assert len(np.unique(rows)) == quantiles.MAX_ROWS
    assert np.bincount(rows % 60, minlength=60).min() > 40


def test_a_first_week_lacks_last_weeks_features_and_is_fitted_all_the_same() -> None:
    series = clean(0, daily(2))
    model = quantiles.fit(series, HORIZON)
    assert raws(series, model, np.array([len(series) - 1]))[0].model[0] > 0


def test_too_little_to_learn_from_is_said() -> None:
    with pytest.raises(quantiles.TooFewRowsError, match="115 minutes to learn from, at least 300"):
        quantiles.fit(clean(0, daily(300 / DAY)), HORIZON)
