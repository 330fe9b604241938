"""What a history is judged on, what it lacks, and what kind of load it shows."""

import math
from dataclasses import replace

import pytest

from backtests import outcome
from tidegate_operator.backtest import field
from tidegate_operator.backtest.assume import Asked, Measured, assume
from tidegate_operator.backtest.field import Kind, Outcome
from tidegate_operator.backtest.history import (
    split,
    token_service_s,
    tokens_per_request,
    without,
)
from tidegate_operator.backtest.load import describe, trust
from tidegate_operator.decide.words import Forecast, Reason
from tidegate_operator.replay.trace import Trace

HOUR_S = 3600.0


def trace(hours: float, *, step_s: int = 60, requests: float | None = 60.0) -> Trace:
    size = round(hours * HOUR_S / step_s)
    return Trace(name="t", start=0.0, step_s=step_s, requests=(requests,) * size)


def test_the_learning_period_comes_before_the_judged_one() -> None:
    found = split(trace(100), 48 * HOUR_S)
    assert found.learning is not None
    assert (found.learning.start, found.learning.end) == (0.0, 48 * HOUR_S)
    assert (found.judged.start, found.judged.end) == (48 * HOUR_S, 100 * HOUR_S)
    assert found.days == pytest.approx(52 / 24)


@pytest.mark.parametrize(
    ("hours", "forecasts"),
    [
        pytest.param(71.9, False, id="less than a day is left to be judged by"),
        pytest.param(72.0, True, id="a day is left"),
        pytest.param(1.0, False, id="an hour in all"),
    ],
)
def test_a_short_history_is_judged_as_a_whole_without_forecasts(
    hours: float, forecasts: bool
) -> None:
    found = split(trace(hours), 48 * HOUR_S)
    assert found.forecasts is forecasts
    if not forecasts:
        assert found.judged is found.whole


@pytest.mark.parametrize(
    ("step_s", "note"),
    [
        pytest.param(1, "", id="seconds"),
        pytest.param(60, "", id="minutes"),
        pytest.param(600, "the history has steps of 600 s: their requests are spread", id="ten"),
    ],
)
def test_coarse_steps_are_said(step_s: int, note: str) -> None:
    notes = split(trace(2, step_s=step_s), 48 * HOUR_S).notes
    assert [n[: len(note)] for n in notes] == ([note] if note else [])


def test_missing_minutes_are_counted() -> None:
    holed = replace(trace(1), requests=(60.0,) * 50 + (None,) * 10)
    (note,) = split(holed, 48 * HOUR_S).notes
    assert note.startswith("10 of 60 minutes are missing: ")


def wave(days: int, period_minutes: float) -> Trace:
    counts = [
        600 + 300 * math.sin(2 * math.pi * minute / period_minutes)
        for minute in range(1440 * days)
    ]
    return Trace(name="t", start=0.0, step_s=60, requests=tuple(counts))


@pytest.mark.parametrize(
    ("seen", "low", "high"),
    [
        pytest.param(wave(4, 1440), 0.99, 1.0, id="the same each day"),
        pytest.param(wave(4, 1920), -0.5, 0.5, id="a rhythm that is not the day's"),
    ],
)
def test_a_daily_pattern_is_likeness_with_the_day_before(
    seen: Trace, low: float, high: float
) -> None:
    daily = describe(seen, seen, most_rps=100.0).daily
    assert daily is not None
    assert low <= daily <= high


@pytest.mark.parametrize(
    "seen",
    [pytest.param(trace(96), id="a flat load"), pytest.param(wave(1, 1440), id="one day")],
)
def test_where_no_pattern_can_be_told_there_is_none(seen: Trace) -> None:
    assert describe(seen, seen, most_rps=100.0).daily is None


def test_load_above_what_the_most_pods_carry_is_a_share_of_the_minutes() -> None:
    seen = Trace(name="t", start=0.0, step_s=60, requests=(600.0, 1200.0, None, 1200.0, 600.0))
    found = describe(seen, seen, most_rps=15.0)
    assert (found.above, found.busiest_rps, found.mean_rps) == (0.5, 20.0, 15.0)


def test_trust_is_a_share_of_minutes_and_the_last_doubt_is_kept() -> None:
    def forecast(now: float) -> Forecast | None:
        return Forecast(
            made_at=now,
            horizon_s=300.0,
            quantiles={},
            reliable=now < 0.75 * HOUR_S,
            reason=Reason.NO_SKILL,
            message=f"no skill at {now:g}",
        )

    found = trust(forecast, trace(1))
    assert (found.share, found.doubt) == (0.75, "no skill at 3540")
    assert trust(lambda now: None, trace(1)).doubt == "there was no forecast"


@pytest.mark.parametrize(
    ("windows", "missing"),
    [
        pytest.param([(120.0, 240.0)], [2, 3], id="whole minutes"),
        pytest.param([(110.0, 130.0)], [1, 2], id="minutes that are touched"),
        pytest.param([(-600.0, 60.0), (540.0, 9000.0)], [0, 9], id="reaching beyond both ends"),
        pytest.param([(9000.0, 9600.0)], [], id="after the end"),
    ],
)
def test_windows_that_are_left_out_of_learning(
    windows: list[tuple[float, float]], missing: list[int]
) -> None:
    found = without(trace(1 / 6), windows)
    assert [at for at, count in enumerate(found.requests) if count is None] == missing


def test_tokens_give_service_time_and_tokens_a_request() -> None:
    seen = Trace(
        name="t",
        start=0.0,
        step_s=60,
        requests=(10.0, 10.0),
        prompt_tokens=(8000.0, 8000.0),
        output_tokens=(2000.0, 2000.0),
    )
    assert tokens_per_request(seen) == 1000.0
    service_s = token_service_s(seen)
    assert service_s is not None
    assert 1.0 < service_s < 20.0
    assert (tokens_per_request(trace(1)), token_service_s(trace(1))) == (None, None)


def swept(*figures: tuple[float, float]) -> list[Outcome]:
    return [
        replace(outcome(Kind.HPA_BEST, *figure), label=f"HPA at {at}: best target")
        for at, figure in enumerate(figures)
    ]


def test_the_best_of_a_sweep_has_the_fewest_pods_within_the_allowed() -> None:
    found = field.best(swept((900, 0.001), (800, 0.005), (700, 0.006)), 0.005)
    assert (found.pod_hours, found.label) == (800, "HPA at 1: best target")


@pytest.mark.parametrize(
    ("figures", "shares"),
    [
        pytest.param(
            [(900, 0.001), (800, 0.004), (700, 0.006)],
            [0.46, 0.47, 0.48, 0.49],
            id="between the best and the next",
        ),
        pytest.param([(900, 0.02), (800, 0.03)], [], id="none keeps the allowed"),
        pytest.param([(900, 0.001), (800, 0.002)], [], id="the last one is the best"),
    ],
)
def test_the_best_target_is_looked_for_to_a_percent(
    figures: list[tuple[float, float]], shares: list[float]
) -> None:
    assert field.finer_shares(swept(*figures), 0.005) == shares


def test_where_none_keeps_the_allowed_the_nearest_says_so() -> None:
    found = field.best(swept((900, 0.02), (800, 0.03)), 0.005)
    assert found.label == "HPA at 0: none keeps 0.50%"


def test_static_pods_carry_the_busiest_minute_within_the_policys_limits() -> None:
    assumed = assume(Asked(slots=8, service_s=4.0), None, Measured())
    busy = Trace(name="t", start=0.0, step_s=60, requests=(60.0, 60.0 * 9, 60.0))
    assert field.static_pods(busy, assumed) == 5
    assert field.static_pods(replace(busy, requests=(0.0, 0.0)), assumed) == 1
