"""What people know counts: excluded by masking, holidays as Sundays, events by their factor, other
series where they help and nowhere else."""

import json
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from request_series import DAY, daily
from tidegate_operator.forecast import engine, features, quantiles
from tidegate_operator.forecast.beside import (
    ALONE,
    Beside,
    HolidaysError,
    beside,
    holiday_spans,
)
from tidegate_operator.forecast.known import NOTHING, Event, Holidays, Known, Regressor
from tidegate_operator.forecast.series import Series, clean

HORIZON = 5
MONDAY = 4 * DAY
"""1970-01-05, a Monday, as a unix minute."""
spans = st.tuples(st.integers(0, 50_000), st.integers(1, 5000)).map(lambda s: (s[0], s[0] + s[1]))
values = st.lists(st.none() | st.floats(0, 1e6), max_size=20)


@st.composite
def knowns(draw: st.DrawFn) -> Known:
    events = draw(st.lists(st.tuples(spans, st.floats(0.1, 10)), max_size=3))
    series = draw(st.lists(st.tuples(st.text(min_size=1), st.integers(0, 99), values), max_size=2))
    return Known(
        events=tuple(Event(*span, factor) for span, factor in events),
        holidays=draw(st.none() | st.just(Holidays("DE-BY", "Europe/Berlin"))),
        regressors=tuple(Regressor(name, at, tuple(said)) for name, at, said in series),
    )


def minute(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() // 60)


# --- on the wire


@given(known=knowns())
def test_what_is_known_survives_json(known: Known) -> None:
    assert Known.from_json(json.loads(json.dumps(known.to_json()))) == known


def test_nothing_said_is_nothing_known() -> None:
    assert Known.from_json(None) == NOTHING


@given(known=knowns(), since=st.integers(0, 200))
def test_a_cut_keeps_each_later_value_where_it_was(known: Known, since: int) -> None:
    for whole, cut in zip(known.regressors, known.since(since).regressors, strict=True):
        placed = {cut.start_minute + i: v for i, v in enumerate(cut.values)}
        kept = {whole.start_minute + i: v for i, v in enumerate(whole.values)}
        assert placed == {at: v for at, v in kept.items() if at >= since}


# --- holidays


@pytest.mark.parametrize(
    ("holidays", "begin", "end", "found"),
    [
        pytest.param(
            Holidays("DE", "Europe/Berlin"),
            "2026-12-20T00:00Z",
            "2026-12-28T00:00Z",
            [("2026-12-24T23:00Z", "2026-12-26T23:00Z")],
            id="both days of Christmas, by the clock of Berlin",
        ),
        pytest.param(
            Holidays("US", "America/New_York"),
            "2026-07-01T00:00Z",
            "2026-07-05T12:00Z",
            [("2026-07-03T04:00Z", "2026-07-05T04:00Z")],
            id="the Fourth of July on a Saturday is observed on Friday, too",
        ),
        pytest.param(
            Holidays("DE-BY", "Europe/Berlin"),
            "2026-01-05T00:00Z",
            "2026-01-08T00:00Z",
            [("2026-01-05T23:00Z", "2026-01-06T23:00Z")],
            id="Epiphany in Bavaria",
        ),
        pytest.param(
            Holidays("DE", "Europe/Berlin"),
            "2026-01-05T00:00Z",
            "2026-01-08T00:00Z",
            [],
            id="and not in all of Germany",
        ),
        pytest.param(
            Holidays("DE"),
            "2026-12-31T12:00Z",
            "2027-01-01T12:00Z",
            [("2027-01-01T00:00Z", "2027-01-02T00:00Z")],
            id="over the turn of the year",
        ),
    ],
)
def test_holidays_of_a_country(
    holidays: Holidays, begin: str, end: str, found: list[tuple[str, str]]
) -> None:
    spans = holiday_spans(holidays, minute(begin), minute(end))
    held = {m for a, b in spans for m in range(a, b)}
    assert held == {m for a, b in found for m in range(minute(a), minute(b))}


@pytest.mark.parametrize(
    ("code", "message"),
    [
        pytest.param("XX", "no holidays are known of XX: ", id="no such country"),
        pytest.param("DE-ZZ", "no holidays are known of DE-ZZ: ", id="no such subdivision"),
    ],
)
def test_an_unknown_country_is_named(code: str, message: str) -> None:
    with pytest.raises(HolidaysError, match=f"^{message}"):
        beside(Known(holidays=Holidays(code)), 0, DAY)


@pytest.mark.parametrize(
    ("day", "holiday", "backs"),
    [
        pytest.param(10, None, [1, 2, 7], id="as ever, without a holiday"),
        pytest.param(10, 20, [1, 2, 7], id="as ever, far from one"),
        pytest.param(10, 9, [7, 2, 7], id="the day after: last week's in place of yesterday's"),
        pytest.param(11, 9, [1, 7, 7], id="two days after: last week's in place of it"),
        pytest.param(16, 9, [1, 2, 2], id="a week after: the day before yesterday's"),
        pytest.param(13, 13, [3, 3, 3], id="a Wednesday that is one looks to Sunday"),
        pytest.param(17, 17, [7, 7, 7], id="a Sunday that is one looks to the last Sunday"),
    ],
)
def test_where_a_day_looks_back_to(day: int, holiday: int | None, backs: list[int]) -> None:
    """Day 10 is Sunday 1970-01-11, day 13 a Wednesday."""
    spans = () if holiday is None else ((holiday * DAY, (holiday + 1) * DAY),)
    now = np.array([day * DAY + 600.0])
    found = features.lookbacks(now, Beside(holidays=spans))
    assert [int(back[0]) // DAY for back in found] == backs


def weeks(holiday: int) -> list[int]:
    """Four weeks from Monday on: Sundays, and the ``holiday``, stay as quiet as the night."""
    counts = daily(28, seed=3)
    quiet = np.random.default_rng(4).poisson(60, (28, DAY)).tolist()
    for day in range(28):
        if day % 7 == 6 or day == holiday:
            counts[day * DAY : (day + 1) * DAY] = quiet[day]
    return counts


def loss_on(series: Series, begin: int, end: int) -> float:
    """Mean pinball loss of the raw 0.5 and 0.95 quantiles on [begin, end)."""
    model = quantiles.fit(series, HORIZON, until=begin)
    rows = np.arange(begin, end - HORIZON)
    said = np.array([raw.model for raw in engine.raws(series, model, rows)])
    came = np.array([series.values[t + 1 : t + 1 + HORIZON].max() for t in rows])
    off = came[:, None] - said[:, [0, 2]]
    levels = np.array([0.5, 0.95])
    return float(np.maximum(levels * off, (levels - 1) * off).mean())


@pytest.mark.parametrize(
    ("day", "share"),
    [
        pytest.param(23, 0.95, id="the holiday itself"),
        pytest.param(24, 1.0, id="the day after it"),
    ],
)
def test_a_holiday_that_is_known_is_foreseen_better(day: int, share: float) -> None:
    """Day 23 is a Wednesday."""
    known = Beside(holidays=((MONDAY + 23 * DAY, MONDAY + 24 * DAY),))
    begin, end, counts = day * DAY, (day + 1) * DAY, weeks(23)
    told, untold = (loss_on(clean(MONDAY, counts, b), begin, end) for b in (known, ALONE))
    assert told < share * untold


# --- events


def test_an_event_is_taken_out_of_the_history_and_put_on_the_forecast() -> None:
    """A launch that tripled two days ago, and one that begins in three minutes."""
    counts = daily(5)
    plain = engine.Engine()
    plain.install("k", engine.learn(0, counts, HORIZON, state=None))
    usual = plain.predict("k", 0, counts)
    past = slice(3 * DAY + 600, 3 * DAY + 720)
    loud = list(counts)
    loud[past] = [3 * n for n in counts[past]]
    known = Known(
        events=(
            Event(3 * DAY + 600, 3 * DAY + 720, 3.0),
            Event(5 * DAY + 2, 5 * DAY + 60, 2.0),
        )
    )
    told = engine.Engine()
    told.install("k", engine.learn(0, loud, HORIZON, state=None, known=known))
    made = told.predict("k", 0, loud, known)
    for quantile, value in usual.quantiles.items():
        assert made.quantiles[quantile] == pytest.approx(2 * value)


@pytest.mark.parametrize(
    ("at", "factor"),
    [
        pytest.param(100, 1.0, id="before: as usual"),
        pytest.param(195, 1.0, id="its first minute is past the horizon"),
        pytest.param(196, 2.0, id="its first minute is the horizon's last"),
        pytest.param(250, 6.0, id="where two meet they multiply"),
        pytest.param(298, 6.0, id="the last minute of it is still ahead"),
        pytest.param(299, 3.0, id="one is over, the other goes on"),
    ],
)
def test_the_highest_factor_ahead_counts(at: int, factor: float) -> None:
    events = (Event(201, 300, 2.0), Event(240, 400, 3.0))
    assert Beside(events=events).highest_factor(at, HORIZON) == factor


# --- excluded windows: the counts come as None


def test_an_excluded_load_test_leaves_no_trace_in_the_forecast() -> None:
    counts: list[int | None] = [*daily(4)]
    spoilt, masked = list(counts), list(counts)
    spoilt[3 * DAY + 300 : 3 * DAY + 500] = [20_000] * 200
    masked[3 * DAY + 300 : 3 * DAY + 500] = [None] * 200
    now = 4 * DAY + 0

    def highest(history: list[int | None]) -> float:
        series = clean(0, history[:now])
        model = quantiles.fit(series, HORIZON)
        return max(engine.raws(series, model, np.array([now - 1]))[0].model)

    assert highest(masked) == pytest.approx(highest(counts), rel=0.1)
    assert quantiles.limit(clean(0, masked)) < 3000 < quantiles.limit(clean(0, spoilt))


# --- regressors


def led(lead: int, seed: int = 5) -> tuple[list[int], tuple[float, ...]]:
    """A workload with surges by chance, and orders that surge ``lead`` minutes before."""
    random = np.random.default_rng(seed)
    base = np.array(daily(6, seed=seed), dtype=float)
    surge = np.ones(len(base) + lead)
    for start in random.integers(0, len(base), 120):
        surge[start : start + 20] = 3.0
    orders = random.poisson(40 * surge[lead:]).astype(float)
    return random.poisson(base * surge[: len(base)]).tolist(), tuple(orders.tolist())


def test_a_series_that_leads_is_used_and_one_of_noise_is_dropped() -> None:
    counts, orders = led(lead=6)
    noise = tuple(np.random.default_rng(9).poisson(40, len(counts)).astype(float).tolist())
    known = Known(regressors=(Regressor("noise", 0, noise), Regressor("orders", 0, orders)))
    model = quantiles.fit(clean(0, counts, beside(known, 0, len(counts))), HORIZON)
    assert model.regressors == ("orders",)
    assert model.gains["orders"] > 0.05
    assert model.gains["noise"] < quantiles.LEAST_GAIN


def test_a_series_that_leads_makes_forecasts_sharper() -> None:
    counts, orders = led(lead=6)
    known = beside(Known(regressors=(Regressor("orders", 0, orders),)), 0, len(counts))
    told, untold = (loss_on(clean(0, counts, b), 5 * DAY, 6 * DAY) for b in (known, ALONE))
    assert told < 0.9 * untold


def test_a_regressor_that_ends_early_or_has_holes_costs_no_forecast() -> None:
    counts, orders = led(lead=6)
    said: tuple[float | None, ...] = (*(None if i % 7 == 0 else v for i, v in enumerate(orders)),)
    whole = Known(regressors=(Regressor("orders", 0, said),))
    made = engine.Engine()
    made.install("k", engine.learn(0, counts, HORIZON, state=None, known=whole))
    late = Known(regressors=(Regressor("orders", 0, said[: 5 * DAY]),))
    for known in (whole, late):
        values = made.predict("k", 0, counts, known).quantiles.values()
        assert np.isfinite(list(values)).all()


@given(
    told=st.lists(st.none() | st.floats(0, 1e6), min_size=1, max_size=60),
    at=st.integers(-20, 120),
    width=st.integers(1, 30),
)
def test_a_mean_is_of_what_was_known_in_its_window(
    told: list[float | None], at: int, width: int
) -> None:
    known = Known(regressors=(Regressor("r", 10, tuple(told)),))
    _, reading = beside(known, 0, 100).regressors[0]
    window = [
        value for i, value in enumerate(told) if value is not None and at - width < 10 + i <= at
    ]
    found = float(reading.mean(np.array([float(at)]), width)[0])
    if window:
        assert found == pytest.approx(sum(window) / len(window), rel=1e-6, abs=1e-6)
    else:
        assert np.isnan(found)


@given(day=st.dates(date(2020, 1, 1), date(2030, 12, 1)))
def test_a_holiday_is_a_whole_day(day: date) -> None:
    start = minute(datetime(day.year, day.month, day.day, tzinfo=UTC).isoformat())
    until = start + 40 * DAY
    for begin, end in holiday_spans(Holidays("DE"), start, until):
        assert end - begin == DAY
        assert timedelta(minutes=begin) % timedelta(days=1) == timedelta(0)
