"""Counts become a series: what is missing, what is silence, and what fills the holes."""

from collections.abc import Sequence

import numpy as np
import pytest

from request_series import DAY, daily
from tidegate_operator.forecast.series import SeriesError, clean

BUSY = [100] * 200


def holes(counts: Sequence[int | None]) -> list[int]:
    """Indices that were not counted."""
    return [int(i) for i in np.flatnonzero(~clean(0, counts).known)]


@pytest.mark.parametrize(
    ("gap", "missing"),
    [
        pytest.param([0] * 9, 0, id="nine empty minutes of a busy series are demand"),
        pytest.param([0] * 10, 10, id="ten empty minutes of a busy series are an outage"),
        pytest.param([None] * 3, 3, id="a short gap is missing however short"),
        pytest.param([None] * 12, 12, id="a long gap is missing"),
        pytest.param([0, None] * 6, 12, id="zeros and gaps mixed are one outage"),
        pytest.param([None] + [0] * 5, 1, id="few zeros after a gap are demand"),
    ],
)
def test_what_is_missing(gap: list[int | None], missing: int) -> None:
    assert len(holes([*BUSY, *gap, *BUSY])) == missing


def test_ten_empty_minutes_of_an_idle_series_are_demand() -> None:
    assert holes([1, 0, 0, 1] * 50 + [0] * 30 + [1, 0, 0, 1] * 50) == []


def test_a_silence_that_recurs_daily_is_demand_from_its_second_night_on() -> None:
    day = [100] * 1000 + [0] * 440
    missing = holes(day * 3)
    assert missing == list(range(1000, 1440)), "only the first night, with nothing to compare"


def test_leading_idle_minutes_are_dropped() -> None:
    series = clean(5000, [None, 0, 0, 7, 8])
    assert series.start_minute == 5003
    assert series.values.tolist() == [7.0, 8.0]
    assert series.end_minute == 5005


@pytest.mark.parametrize("counts", [[], [0] * 50, [None] * 50], ids=["none", "zeros", "gaps"])
def test_an_idle_history_is_an_empty_series(counts: list[int | None]) -> None:
    assert len(clean(0, counts)) == 0


def test_a_long_hole_is_filled_from_yesterday_and_a_short_one_holds() -> None:
    counts: list[int | None] = list(daily(2))
    counts[1500:1530] = [None] * 30
    counts[2000:2003] = [None] * 3
    values = clean(0, counts).values
    assert values[1500:1530].tolist() == [float(n or 0) for n in counts[60:90]]
    assert values[2000:2003].tolist() == [counts[1999]] * 3


def test_the_second_day_of_a_long_hole_repeats_the_first_ones_filling() -> None:
    counts: list[int | None] = list(daily(4))
    counts[DAY : 3 * DAY] = [None] * (2 * DAY)
    values = clean(0, counts).values
    assert values[2 * DAY : 3 * DAY].tolist() == values[:DAY].tolist()


@pytest.mark.parametrize("bad", [-1, float("inf")])
def test_impossible_counts_are_refused_by_place_and_value(bad: float) -> None:
    with pytest.raises(SeriesError, match=r"counts\[2\] must be .* at least 0, was: "):
        clean(0, [1, 2, bad])
