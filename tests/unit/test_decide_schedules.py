"""Schedules: when one counts, what it asks for, and that it only ever narrows or raises."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_story import Story, forecast
from tidegate_operator.decide.rungs import ModelRule
from tidegate_operator.decide.schedules import (
    Schedule,
    begins_within,
    is_on,
    occurrences,
    read_calendar,
)
from tidegate_operator.decide.words import (
    DataState,
    Demand,
    Mode,
    Reason,
    Rules,
    ScalingRules,
)

MONDAY = datetime(2026, 3, 23, tzinfo=UTC)
OFFICE = Schedule(
    name="office",
    days=frozenset(range(5)),
    start_minute=8 * 60,
    end_minute=18 * 60,
    min_replicas=6,
)
NIGHT = Schedule(name="night", start_minute=22 * 60, end_minute=6 * 60, max_replicas=4)
FRIDAY_NIGHT = Schedule(
    name="party", days=frozenset({4}), start_minute=22 * 60, end_minute=2 * 60, min_replicas=5
)
WHOLE_DAY = Schedule(name="sunday", days=frozenset({6}), min_replicas=2)
SALE = Schedule(name="sale", start_minute=12 * 60, end_minute=14 * 60, expect_factor=3.0)
BERLIN = Schedule(
    name="berlin", timezone="Europe/Berlin", start_minute=150, end_minute=240, min_replicas=2
)


def at(day: int, hour: int, minute: int = 0) -> float:
    """Unix seconds in the week of Monday 23 March 2026, UTC."""
    return MONDAY.timestamp() + ((day * 24 + hour) * 60 + minute) * 60


@pytest.mark.parametrize(
    ("schedule", "now", "on"),
    [
        pytest.param(OFFICE, at(0, 7, 59), False, id="a minute before"),
        pytest.param(OFFICE, at(0, 8), True, id="from its first minute"),
        pytest.param(OFFICE, at(0, 17, 59), True, id="to its last"),
        pytest.param(OFFICE, at(0, 18), False, id="and no longer"),
        pytest.param(OFFICE, at(5, 12), False, id="not on a day that is not its own"),
        pytest.param(NIGHT, at(0, 23), True, id="over midnight: before it"),
        pytest.param(NIGHT, at(1, 5), True, id="over midnight: after it"),
        pytest.param(NIGHT, at(1, 12), False, id="over midnight: not by day"),
        pytest.param(FRIDAY_NIGHT, at(5, 1), True, id="the night belongs to the day it began on"),
        pytest.param(FRIDAY_NIGHT, at(4, 1), False, id="and not to the night before"),
        pytest.param(WHOLE_DAY, at(6, 0), True, id="a whole day from midnight"),
        pytest.param(WHOLE_DAY, at(6, 23, 59), True, id="a whole day to midnight"),
        pytest.param(WHOLE_DAY, at(7, 0), False, id="a whole day and not the next"),
        pytest.param(BERLIN, at(0, 1, 30), True, id="half past two in Berlin in winter"),
        pytest.param(BERLIN, at(6, 1, 30), True, id="on the day without half past two it is on"),
        pytest.param(BERLIN, at(7, 0, 30), True, id="half past two in Berlin in summer"),
        pytest.param(BERLIN, at(7, 2, 30), False, id="half past four in Berlin in summer"),
    ],
)
def test_when_it_is_on(schedule: Schedule, now: float, on: bool) -> None:
    assert is_on(schedule, now) is on


@pytest.mark.parametrize(
    ("now", "lead_s", "near"),
    [
        pytest.param(at(0, 7, 50), 600.0, True, id="just in time"),
        pytest.param(at(0, 7, 49), 600.0, False, id="not yet"),
        pytest.param(at(4, 7, 50), 600.0, True, id="on its last day"),
        pytest.param(at(5, 7, 50), 600.0, False, id="not before a day that is not its own"),
        pytest.param(at(6, 23, 50), 9 * 3600.0, True, id="over midnight"),
    ],
)
def test_it_is_near_one_cold_start_before_it_begins(now: float, lead_s: float, near: bool) -> None:
    assert begins_within(OFFICE, now, lead_s) is near


@given(
    minute=st.integers(0, 7 * 24 * 60),
    start=st.integers(0, 1439),
    end=st.integers(0, 1439),
    days=st.frozensets(st.integers(0, 6), min_size=1),
)
def test_whatever_is_on_was_near_before(
    minute: int, start: int, end: int, days: frozenset[int]
) -> None:
    schedule = Schedule(name="s", days=days, start_minute=start, end_minute=end, min_replicas=1)
    now = at(0, 0, minute)
    if is_on(schedule, now) and not is_on(schedule, now - 60):
        assert begins_within(schedule, now - 300, 300.0) or is_on(schedule, now - 300)


def test_the_highest_minimum_and_the_lowest_maximum_count() -> None:
    low = Schedule(name="low", min_replicas=2, max_replicas=9)
    calendar = read_calendar((OFFICE, low, NIGHT), at(0, 12), 0.0)
    assert (calendar.least, calendar.least_by) == (6, "office")
    assert (calendar.most, calendar.most_by) == (9, "low")


# --- what a policy does with them ----------------------------------------------------------------


def story(*schedules: Schedule, current: int, now: float, **rules: object) -> Story:
    values: dict[str, object] = {"min_replicas": 1, "max_replicas": 20, "capacity_rps": 2.5}
    scaling = ScalingRules(schedules=schedules, **(values | rules))  # type: ignore[arg-type]
    models = (ModelRule(name="m"),)
    told = Story(
        Rules(mode=Mode.ENFORCE, models=models, scaling=scaling), current=current, now=now
    )
    told.lead_s = 600.0
    return told


def test_its_pods_are_there_when_it_begins() -> None:
    tale = story(OFFICE, current=1, now=at(0, 7, 45))
    counts = {}
    while tale.now < at(0, 8):
        decision = tale.tick(1.0)
        counts[(tale.now - at(0, 7)) / 60] = decision.scaling.replicas
    first = min(minute for minute, count in counts.items() if count == 6)
    assert first == 50, "ten minutes before, which is what a pod takes"
    assert tale.told[0].reason is Reason.SCHEDULE
    assert "schedule office has minReplicas 6" in tale.told[0].message
    assert tale.decision is not None
    assert tale.decision.scaling.scheduled == 6


def test_what_it_asked_for_goes_when_it_is_over_and_the_window_was_low() -> None:
    tale = story(OFFICE, current=6, now=at(0, 17, 50))
    while tale.now < at(0, 18):
        assert tale.tick(1.0).scaling.replicas == 6
    while tale.now < at(0, 18, 12):
        tale.tick(1.0)
    assert tale.current == 1


def test_its_maximum_counts_only_while_it_lasts() -> None:
    tale = story(NIGHT, current=8, now=at(0, 21, 55))
    assert tale.tick(14.0).scaling.replicas == 8
    tale.now = at(0, 22)
    decision = tale.tick(14.0).scaling
    assert (decision.replicas, decision.reason) == (4, Reason.SCHEDULE_MAX)


def test_limits_hold_without_demand() -> None:
    tale = story(OFFICE, current=2, now=at(0, 9))
    decision = tale.tick(Demand(state=DataState.ERROR)).scaling
    assert (decision.replicas, decision.reason) == (6, Reason.SCHEDULE)
    assert decision.scheduled == 6


def test_a_known_event_is_provided_for_from_the_demand_before_it() -> None:
    tale = story(SALE, current=4, now=at(0, 11, 40))
    before = tale.tick(6.0)
    assert before.scaling.scheduled is None
    tale.now = at(0, 11, 52)
    ahead = tale.tick(6.0).scaling
    assert (ahead.reason, ahead.scheduled) == (Reason.SCHEDULE, 9), "18 rps at 0.8 of 2.5"
    assert "schedule sale expects 18.0 rps, needs 9" in ahead.message
    tale.now = at(0, 13)
    during = tale.tick(18.0).scaling
    assert during.scheduled == 9, "the event is in the demand by now, and not counted twice"
    tale.now = at(0, 14, 1)
    assert tale.tick(6.0).scaling.scheduled is None
    assert dict(tale.memory.before_events) == {}


def test_an_event_that_fails_to_come_holds_its_pods_to_its_end() -> None:
    tale = story(SALE, current=9, now=at(0, 12, 30))
    tale.memory = tale.memory.__class__(before_events={"sale": 6.0})
    reasons = {tale.tick(2.0).scaling.reason for _ in range(60)}
    assert tale.current == 9
    assert reasons <= {Reason.SCHEDULE_HOLDS, Reason.STABILIZATION, Reason.STEADY}


def test_the_highest_of_demand_forecast_and_schedule_decides() -> None:
    tale = story(OFFICE, current=6, now=at(0, 9), reactive_alone_utilization=0.8)
    assert tale.tick(14.0).scaling.reason is Reason.DEMAND_HIGH
    decision = tale.tick(14.0, ahead=forecast(24.0, made_at=tale.now)).scaling
    assert (decision.reactive, decision.forecast, decision.scheduled) == (7, 11, 6)
    assert (decision.replicas, decision.reason) == (11, Reason.FORECAST_HIGH)


@given(
    rps=st.floats(0, 60),
    current=st.integers(1, 25),
    least=st.integers(1, 20),
    most=st.integers(1, 20),
    factor=st.floats(1, 5),
    minute=st.integers(0, 7 * 24 * 60),
)
def test_it_never_widens_the_policys_limits_and_never_lowers_what_demand_needs(
    rps: float, current: int, least: int, most: int, factor: float, minute: int
) -> None:
    floor = Schedule(name="floor", min_replicas=least, expect_factor=factor)
    lid = Schedule(name="lid", max_replicas=most, start_minute=8 * 60, end_minute=9 * 60)
    now = at(0, 0, minute)
    with_it = story(floor, lid, current=current, now=now).tick(rps).scaling
    without = story(current=current, now=now).tick(rps).scaling
    assert 1 <= with_it.replicas <= 20
    if not is_on(lid, now + 15):
        assert with_it.replicas >= without.replicas


def test_a_clock_that_is_put_forward_skips_no_schedule() -> None:
    zone = ZoneInfo("Europe/Berlin")
    skipped = Schedule(
        name="s", timezone="Europe/Berlin", start_minute=150, end_minute=170, min_replicas=2
    )
    change = datetime(2026, 3, 29, 1, 59, tzinfo=zone).timestamp()
    assert begins_within(skipped, change, 3600.0), "its pods come although its minutes do not"


@given(
    schedule=st.sampled_from((OFFICE, NIGHT, FRIDAY_NIGHT, WHOLE_DAY, SALE, BERLIN)),
    minute=st.integers(-14 * 1440, 5 * 1440),
)
def test_a_schedule_is_on_in_its_occurrences_and_nowhere_else(
    schedule: Schedule, minute: int
) -> None:
    now = MONDAY.timestamp() + 60.0 * minute
    found = occurrences(schedule, now - 7 * 86400.0, now + 7 * 86400.0)
    assert any(opens <= now < closes for opens, closes in found) is is_on(schedule, now)
    for opens, closes in occurrences(schedule, now, now + 60.0):
        assert opens < now + 60.0 and closes > now
