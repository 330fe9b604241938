"""Features: one minute and all minutes agree, and nothing looks ahead."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from request_series import DAY, daily
from tidegate_operator.forecast import features
from tidegate_operator.forecast.series import Series, clean

C = 3.0
SERIES = clean(0, daily(9))


def of(series: Series, t: int, horizon: int, name: str) -> float:
    return float(features.row(series, t, horizon, C)[features.COLUMNS.index(name)])


@pytest.mark.parametrize("horizon", [1, 5, 17, 60])
@pytest.mark.parametrize("t", [180, 1446, 1447, 2000, 5000, 10087, 11000, len(SERIES) - 1])
def test_a_single_row_equals_the_tables(t: int, horizon: int) -> None:
    row = features.row(SERIES, t, horizon, C)
    table = features.table(SERIES, horizon, C)
    np.testing.assert_allclose(row, table[t], rtol=1e-9, atol=1e-9)
    assert len(row) == len(features.COLUMNS) == 21


@settings(max_examples=30, deadline=None)
@given(t=st.integers(200, 12000), horizon=st.integers(1, 30), seed=st.integers(0, 9))
def test_changing_the_future_changes_no_feature(t: int, horizon: int, seed: int) -> None:
    values = SERIES.values.copy()
    values[t + 1 :] = np.random.default_rng(seed).integers(0, 10_000, len(values) - t - 1)
    changed = Series(0, values, SERIES.known)
    before, after = (features.table(s, horizon, C)[: t + 1] for s in (SERIES, changed))
    np.testing.assert_allclose(before, after, rtol=1e-7, atol=1e-7)


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
    assert features.target(series, 3, C)[19] == pytest.approx(expected)


def test_a_window_with_a_missing_minute_has_no_target() -> None:
    counts: list[int | None] = [50] * 40
    counts[30] = None
    goal = features.target(clean(0, counts), 3, C)
    unknown = [int(i) for i in np.flatnonzero(np.isnan(goal)) if i >= 14]
    assert unknown == [27, 28, 29, 37, 38, 39], "the three before the gap, the last three"


def test_the_calendar_is_of_the_unix_minute() -> None:
    monday_0630 = np.array([4.0 * DAY + 390])  # 1970-01-05
    assert features.calendar(monday_0630).tolist() == [[390.0, 30.0, 4.0]]
    assert features.fourier(monday_0630).shape == (1, 2 * (4 + 3))
