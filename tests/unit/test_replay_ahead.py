"""Forecasts in a replay are those that the live loop would have had at that minute: made by the
same engine, from the minutes before it alone."""

from collections.abc import Sequence

import pytest

from request_series import DAY, daily
from tidegate_operator.decide.words import Forecast, Reason
from tidegate_operator.forecast import engine
from tidegate_operator.forecast.history import first_enough, shortage
from tidegate_operator.replay.ahead import ForecastSource, rolled
from tidegate_operator.replay.trace import Trace

HORIZON = 5
BEGIN = 2 * DAY
COUNTS = daily(2 + 2.5 / 24)
HOUR_S = 3600.0


def trace(counts: Sequence[int | None], start_minute: int = 0) -> Trace:
    requests = tuple(None if count is None else float(count) for count in counts)
    return Trace(name="t", start=60.0 * start_minute, step_s=60, requests=requests)


def made(source: ForecastSource, minute: int) -> Forecast:
    forecast = source(60.0 * minute)
    assert forecast is not None
    return forecast


@pytest.fixture(scope="module")
def source() -> ForecastSource:
    return rolled(trace(COUNTS), HORIZON, begin_minute=BEGIN - 60)


def test_until_there_is_enough_history_it_says_what_is_missing(source: ForecastSource) -> None:
    early = made(source, BEGIN - 30)
    assert (early.reliable, early.reason) == (False, Reason.HISTORY_SHORT)
    assert early.message == "47 hours of history, 48 hours are needed; reactive only"
    assert source(60.0 * (BEGIN - 61)) is None, "before what was asked for there is nothing"


def test_it_says_what_the_live_engine_says_minute_by_minute(source: ForecastSource) -> None:
    live = engine.Engine()
    live.install("k", engine.learn(0, COUNTS[:BEGIN], HORIZON, state=None))
    for minute in range(BEGIN + 1, BEGIN + 121):
        if minute == BEGIN + 61:
            live.install(
                "k", engine.learn(0, COUNTS[: minute - 1], HORIZON, state=None, record=False)
            )
        said = live.predict("k", 0, COUNTS[:minute])
        forecast = made(source, minute)
        assert forecast.quantiles == pytest.approx(said.quantiles)
        assert forecast.reliable == (said.verdict == "Good")
        assert forecast.trained_at == 60.0 * (BEGIN if minute <= BEGIN + 60 else BEGIN + 60)


def test_what_comes_later_changes_no_forecast_before_it(source: ForecastSource) -> None:
    turn = BEGIN + 75
    changed = trace([*COUNTS[:turn], *(5000 for _ in COUNTS[turn:])])
    told: list[float] = []
    other = rolled(changed, HORIZON, begin_minute=BEGIN - 60, on_progress=told.append)
    for minute in range(BEGIN - 60, turn + 1):
        assert other(60.0 * minute) == source(60.0 * minute), minute
    assert made(other, turn + 3) != made(source, turn + 3)
    assert told == pytest.approx([(BEGIN + 60) / len(COUNTS), (BEGIN + 120) / len(COUNTS)])


def test_an_outage_is_known_as_it_goes_on_and_no_sooner() -> None:
    """Its first minutes look like a load that falls to nothing, to the live engine and here."""
    counts: list[int | None] = [*COUNTS[: BEGIN + 20], *[0] * 13, *COUNTS[BEGIN + 33 :]]
    source = rolled(trace(counts), HORIZON, begin_minute=BEGIN)
    live = engine.Engine()
    live.install("k", engine.learn(0, counts[:BEGIN], HORIZON, state=None))
    for minute in range(BEGIN + 1, BEGIN + 50):
        said = live.predict("k", 0, counts[:minute])
        assert made(source, minute).quantiles == pytest.approx(said.quantiles), minute - BEGIN
    goes_on = rolled(
        trace([*counts[: BEGIN + 27], *COUNTS[BEGIN + 27 :]]), HORIZON, begin_minute=BEGIN
    )
    for minute in range(BEGIN + 1, BEGIN + 28):
        one, other = made(goes_on, minute), made(source, minute)
        assert one.quantiles == pytest.approx(other.quantiles), minute - BEGIN


def test_a_minute_that_nobody_saw_has_a_forecast_too() -> None:
    counts: list[int | None] = [*COUNTS]
    counts[BEGIN + 10 : BEGIN + 14] = [None] * 4
    source = rolled(trace(counts), HORIZON, begin_minute=BEGIN)
    assert [made(source, BEGIN + n).made_at for n in (11, 13, 15)] == [
        60.0 * (BEGIN + n) for n in (11, 13, 15)
    ]


def test_with_too_little_history_it_says_so_to_the_end() -> None:
    source = rolled(trace(COUNTS[: BEGIN - 60]), HORIZON, begin_minute=600)
    last = made(source, BEGIN - 61)
    assert (last.reason, last.made_at) == (Reason.HISTORY_SHORT, 60.0 * (BEGIN - 61))
    assert last.message == "46 hours of history, 48 hours are needed; reactive only", "hourly"


@pytest.mark.parametrize(
    ("counts", "enough"),
    [
        pytest.param([5] * 10, 3, id="three known minutes are three"),
        pytest.param([0, 0, 5, 5, 5, 5], 5, id="idle time before the first request is none"),
        pytest.param([5, None, None, 0, 5, 5], 5, id="a minute that nobody saw is none"),
        pytest.param([None, 0, 5, 5], None, id="two are too few"),
        pytest.param([], None, id="nothing is too little"),
    ],
)
def test_when_history_is_enough(counts: list[int | None], enough: int | None) -> None:
    assert first_enough(counts, 180.0) == enough
    assert (not shortage(counts, 180.0)) == (enough is not None)
    if enough is not None:
        assert shortage(counts[: enough - 1], 180.0) and not shortage(counts[:enough], 180.0)
