"""Errors of the last days make quantiles honest; the record survives a restart."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from request_series import DAY
from tidegate_operator.forecast.calibrate import (
    LEVELS,
    MIN_ERRORS,
    NAIVE,
    REFRESH_MINUTES,
    SAMPLE_EVERY,
    SHIFT_LIMIT,
    WINDOW_MINUTES,
    Raw,
    Sample,
    Track,
    peak_after,
    weighted_quantiles,
)
from tidegate_operator.forecast.quantiles import QUANTILES
from tidegate_operator.forecast.series import Series, clean

HORIZON = 3
POOR = Raw((90.0,) * len(QUANTILES), (100.0,) * len(NAIVE))
"""A model that says 90 for every quantile of a noisy 100."""


def noisy(minutes: int, seed: int = 0) -> Series:
    return clean(0, [int(n) for n in np.random.default_rng(seed).poisson(100, minutes)])


def upto(series: Series, size: int) -> Series:
    return Series(series.start_minute, series.values[:size], series.known[:size])


def run(track: Track, series: Series, begin: int = 20) -> list[tuple[int, tuple[float, ...]]]:
    out = []
    for t in range(begin, len(series)):
        track.observe(upto(series, t + 1), 1.0)
        out.append((t, track.issue(t, POOR, 1.0)))
    return out


@pytest.fixture(scope="module")
def operated() -> tuple[Track, Series, list[tuple[int, tuple[float, ...]]]]:
    series, track = noisy(2 * DAY), Track(HORIZON)
    return track, series, run(track, series)


def test_a_poor_coverage_is_raised_to_its_nominal(
    operated: tuple[Track, Series, list[tuple[int, tuple[float, ...]]]],
) -> None:
    _, series, issued = operated
    late = [(t, q) for t, q in issued if t > DAY and t < 2 * DAY - HORIZON]
    for column, nominal in enumerate(QUANTILES[:3]):
        held = [(peak_after(series, t, HORIZON) or 0) <= said[column] for t, said in late]
        assert np.mean(held) == pytest.approx(nominal, abs=0.04), nominal
    raw = [(peak_after(series, t, HORIZON) or 0) <= 90 for t, _ in late]
    assert np.mean(raw) < 0.1


def test_before_enough_errors_nothing_is_moved() -> None:
    series, track = noisy(20 + (MIN_ERRORS - 1) * SAMPLE_EVERY), Track(HORIZON)
    assert all(said == POOR.model for _, said in run(track, series))
    assert track.offsets is None


def test_an_error_counts_only_once_its_window_has_been_counted() -> None:
    series, track = noisy(100), Track(HORIZON)
    track.issue(50, POOR, 1.0)
    track.observe(upto(series, 50 + HORIZON), 1.0)
    assert track.samples[0].peak is None
    track.observe(upto(series, 51 + HORIZON), 1.0)
    assert track.samples[0].peak == series.values[51 : 51 + HORIZON].max()


def test_a_window_with_an_uncounted_minute_is_never_scored() -> None:
    counts: list[int | None] = [100] * 60
    counts[52] = None
    track = Track(HORIZON)
    track.issue(50, POOR, 1.0)
    track.observe(clean(0, counts), 1.0)
    assert track.samples == []


def test_what_is_older_than_the_window_is_dropped() -> None:
    series, track = noisy(WINDOW_MINUTES + 200), Track(HORIZON)
    for minute in (50, 150):
        track.issue(minute, POOR, 1.0)
    track.observe(series, 1.0)
    track.observe(series, 1.0)
    assert [sample.minute for sample in track.samples] == []
    track.issue(400, POOR, 1.0)
    track.observe(series, 1.0)
    assert [sample.minute for sample in track.samples] == [400]


def test_offsets_are_refreshed_hourly(
    operated: tuple[Track, Series, list[tuple[int, tuple[float, ...]]]],
) -> None:
    track, series, _ = operated
    assert len(series) - track.refreshed_minute <= REFRESH_MINUTES


@pytest.mark.parametrize(
    ("weights", "level", "found"),
    [
        pytest.param([1] * 10, 0.90, 9, id="ten alike, level .9: the ninth"),
        pytest.param([1] * 10, 0.91, 10, id="a little above: the tenth"),
        pytest.param([1] * 10, 0.50, 5, id="the median"),
        pytest.param([1] * 10, 1.00, 10, id="all: the highest"),
        pytest.param([1] * 10, 0.001, 1, id="next to none: the lowest"),
        pytest.param([1] * 9 + [9], 0.50, 9, id="a heavy error takes its weight's share"),
        pytest.param([9] + [1] * 9, 0.50, 1, id="a heavy low one lowers the median"),
    ],
)
def test_a_quantile_goes_by_weight(weights: list[float], level: float, found: int) -> None:
    order = np.random.default_rng(0).permutation(10)
    errors, heavy = np.arange(1.0, 11)[order, None], np.array(weights, dtype=float)[order]
    assert weighted_quantiles(errors, heavy, (level,)) == (float(found),)


def test_after_a_change_of_ways_the_new_errors_lead() -> None:
    calm, wild = noisy(2 * DAY), noisy(2 * DAY, seed=1)
    values = np.concatenate((calm.values, 1.5 * wild.values))
    series, track = Series(0, values, np.ones(4 * DAY, dtype=bool)), Track(HORIZON)
    issued = run(track, series)
    late = [(t, q) for t, q in issued if 3 * DAY < t < 4 * DAY - HORIZON]
    held = [(peak_after(series, t, HORIZON) or 0) <= q[QUANTILES.index(0.95)] for t, q in late]
    assert np.mean(held) == pytest.approx(0.95, abs=0.02)


@settings(max_examples=50)
@given(hits=st.lists(st.booleans(), max_size=3000))
def test_no_run_of_luck_shifts_a_level_beyond_its_bound(hits: list[bool]) -> None:
    track = Track(HORIZON)
    for hit in hits:
        track._shift(Sample(0, POOR, (100.0,) * len(LEVELS), 99.0 if hit else 101.0))
    for level, shift in zip(LEVELS, track.shifts, strict=True):
        assert abs(shift) <= SHIFT_LIMIT * (1 - level)
    if hits and not any(hits):
        assert min(track.shifts) > 0


def test_a_level_that_held_as_often_as_it_should_stays() -> None:
    track, column = Track(HORIZON), LEVELS.index(0.9)
    for turn in range(100):
        track._shift(Sample(0, POOR, (100.0,) * len(LEVELS), 101.0 if turn % 10 == 0 else 99.0))
    assert track.shifts[column] == pytest.approx(0.0, abs=1e-9)


def test_a_forecast_from_before_calibration_shifts_nothing() -> None:
    track = Track(HORIZON)
    track._shift(Sample(0, POOR, None, 101.0))
    assert track.shifts == (0.0,) * len(LEVELS)


def test_the_state_survives_json(
    operated: tuple[Track, Series, list[tuple[int, tuple[float, ...]]]],
) -> None:
    track, _, _ = operated
    text = json.dumps(track.to_state())
    back = Track.from_state(json.loads(text), HORIZON)
    assert back is not None
    assert back.offsets == pytest.approx(track.offsets, abs=1e-4)
    assert len(back.samples) == len(track.samples)
    for ours, theirs in zip(track.samples, back.samples, strict=True):
        assert theirs.minute == ours.minute
        assert theirs.raw.all() == pytest.approx(ours.raw.all(), rel=2e-3)
        assert theirs.peak == pytest.approx(ours.peak, rel=2e-3)
        assert (theirs.issued is None) == (ours.issued is None)
        assert theirs.issued is None or theirs.issued == pytest.approx(ours.issued, rel=2e-3)
    assert back.shifts == pytest.approx(track.shifts, abs=1e-6)
    assert back.trusted == track.trusted
    assert len(text) < 60_000


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(None, id="none"),
        pytest.param({}, id="empty"),
        pytest.param({"v": 99, "horizon": HORIZON}, id="another version"),
        pytest.param(Track(HORIZON + 1).to_state(), id="another horizon"),
        pytest.param({"v": 2, "horizon": HORIZON}, id="fields missing"),
        pytest.param({**Track(HORIZON).to_state(), "samples": [[1, 2]]}, id="a torn sample"),
        pytest.param({**Track(HORIZON).to_state(), "offsets": [0.1]}, id="too few offsets"),
        pytest.param({**Track(HORIZON).to_state(), "shifts": [0.1]}, id="too few shifts"),
    ],
)
def test_a_state_that_cannot_be_used_is_nothing(state: dict[str, object] | None) -> None:
    assert Track.from_state(state, HORIZON) is None


def test_every_figure_has_a_level() -> None:
    assert len(POOR.all()) == len(LEVELS)
