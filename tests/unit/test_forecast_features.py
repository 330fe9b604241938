"""Features: a row is the same alone and among others, and nothing looks ahead."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from request_series import DAY, daily
from tidegate_operator.forecast import features
from tidegate_operator.forecast.beside import ALONE
from tidegate_operator.forecast.series import Series, clean

C = 3.0
SERIES = clean(0, daily(9))


def of(series: Series, t: int, horizon: int, name: str) -> float:
    return float(
        features.table(series, horizon, C, np.array([t]))[0, features.COLUMNS.index(name)]
    )


@pytest.mark.parametrize("horizon", [1, 5, 17, 60])
def test_a_row_is_the_same_alone_and_among_others(horizon: int) -> None:
    rows = np.array([20, 180, 1446, 1447, 2000, 5000, 10087, 11000, len(SERIES) - 1])
    among = features.table(SERIES, horizon, C, rows)
    assert among.shape == (len(rows), len(features.COLUMNS)) == (9, 24)
    for row, line in zip(rows, among, strict=True):
        alone = features.table(SERIES, horizon, C, np.array([row]))
        np.testing.assert_array_equal(alone[0], line)


def test_before_three_hours_there_is_no_row() -> None:
    made = features.table(SERIES, 5, C, np.array([features.WARM_UP - 1, features.WARM_UP]))
    assert np.isnan(made[0]).all()
    assert not np.isnan(made[1, : features.COLUMNS.index("then_1d")]).any()


@settings(max_examples=30)
@given(t=st.integers(200, 12000), horizon=st.integers(1, 30), seed=st.integers(0, 9))
def test_changing_the_future_changes_no_feature(t: int, horizon: int, seed: int) -> None:
    values = SERIES.values.copy()
    values[t + 1 :] = np.random.default_rng(seed).integers(0, 10_000, len(values) - t - 1)
    changed, rows = Series(0, values, SERIES.known), np.arange(0, t + 1, 7)
    before, after = (features.table(s, horizon, C, rows) for s in (SERIES, changed))
    np.testing.assert_array_equal(before, after)


def test_each_feature_says_what_its_name_says() -> None:
    y = SERIES.values
    t, h = 10_100, 5
    level = math.log(y[t - 14 : t + 1].mean() + C)
    yesterday = t - DAY
    centred = y[yesterday - 7 : yesterday + 8].mean()
    window = y[yesterday + 1 : yesterday + 1 + h].max()
    assert of(SERIES, t, h, "level") == pytest.approx(level)
    assert of(SERIES, t, h, "lag_2") == pytest.approx(math.log(y[t - 2] + C) - level)
    assert of(SERIES, t, h, "mean_60") == pytest.approx(
        math.log(y[t - 59 : t + 1].mean() + C) - level
    )
    assert of(SERIES, t, h, "deviation_15") == pytest.approx(
        math.log1p(y[t - 14 : t + 1].std() / math.exp(level))
    )
    assert of(SERIES, t, h, "then_1d") == pytest.approx(math.log(centred + C) - level)
    assert of(SERIES, t, h, "window_1d") == pytest.approx(math.log(window + C) - level)
    assert of(SERIES, t, h, "rise_1d") == pytest.approx(
        math.log(window + C) - math.log(centred + C)
    )


def test_a_season_out_of_reach_is_nan() -> None:
    assert math.isnan(of(SERIES, 1000, 5, "window_1d"))
    assert math.isnan(of(SERIES, 2000, 5, "then_7d"))
    assert not math.isnan(of(SERIES, 2000, 5, "then_1d"))


def test_the_target_is_the_highest_minute_of_the_window() -> None:
    values = np.array([10.0] * 20 + [11, 30, 12, 40])
    series = Series(0, values, np.ones(24, dtype=bool))
    expected = math.log((30 + C) / (values[5:20].mean() + C))
    assert features.target(series, 3, C, np.array([19])) == pytest.approx(expected)


def test_a_window_with_a_missing_minute_has_no_target() -> None:
    counts: list[int | None] = [50] * 40
    counts[30] = None
    unknown = np.flatnonzero(~features.matured(clean(0, counts), 3)).tolist()
    assert unknown == [27, 28, 29, 37, 38, 39], "the three before the gap, the last three"


def test_the_calendar_is_of_the_unix_minute() -> None:
    monday_0630 = np.array([4.0 * DAY + 390])  # 1970-01-05
    assert [float(c[0]) for c in features.calendar(monday_0630, ALONE)] == [390.0, 30.0, 4.0]
    assert features.fourier(monday_0630).shape == (1, 2 * (4 + 3))
