"""Zero, absent, stale and unreadable demand are four things, and only the first removes a pod."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_story import Story, forecast, present
from tidegate_operator.decide.rungs import ModelRule
from tidegate_operator.decide.schedules import Schedule
from tidegate_operator.decide.words import (
    DataState,
    Demand,
    Mode,
    OnLost,
    Reason,
    Rules,
    ScalingRules,
)

ABSENT = Demand(state=DataState.ABSENT)
SILENT = Demand(state=DataState.ABSENT, reporting=2, in_flight=0)
BUSY = Demand(state=DataState.ABSENT, reporting=2, in_flight=1)
ERROR = Demand(state=DataState.ERROR, age_s=30.0)
STALE = Demand(state=DataState.STALE, rps=12.0, age_s=90.0)
IDLE = present(0.0, in_flight=0, peak_rps=0.0)
LATE_REQUEST = present(0.0, in_flight=1, peak_rps=0.0)
RULES = ScalingRules(
    min_replicas=1,
    max_replicas=20,
    capacity_rps=2.5,
    stabilization_s=60.0,
    reactive_alone_utilization=0.8,
)
SLEEPER = replace(RULES, min_replicas=0, idle_before_zero_s=600.0)


def story(rules: ScalingRules = RULES, *, current: int = 4, mode: Mode = Mode.ENFORCE) -> Story:
    return Story(Rules(mode=mode, models=(ModelRule(name="m"),), scaling=rules), current=current)


def go_on(tale: Story, demand: Demand | float, minutes: float, **more: object) -> list[int]:
    return [
        tale.tick(demand, **more).scaling.replicas  # type: ignore[arg-type]
        for _ in range(round(minutes * 4))
    ]


# --- absent is not zero, but may be --------------------------------------------------------------


@pytest.mark.parametrize(
    ("demand", "left"),
    [
        pytest.param(IDLE, 1, id="zero scales down"),
        pytest.param(SILENT, 1, id="no series, sidecars alive, nothing in flight: zero"),
        pytest.param(BUSY, 4, id="no series but something in flight holds"),
        pytest.param(ABSENT, 4, id="nobody to ask holds"),
        pytest.param(ERROR, 4, id="unreadable holds"),
        pytest.param(STALE, 4, id="stale holds"),
        pytest.param(present(float("nan")), 4, id="not a number holds"),
        pytest.param(present(-1.0), 4, id="less than nothing holds"),
    ],
)
def test_ten_minutes_of_it(demand: Demand, left: int) -> None:
    tale = story()
    go_on(tale, demand, 10)
    assert tale.current == left


def test_a_series_that_never_began_is_zero_at_the_third_look_and_not_before() -> None:
    tale = story()
    reasons = [tale.tick(SILENT).scaling.reason for _ in range(3)]
    assert reasons[:2] == [Reason.DATA_ABSENT] * 2
    assert reasons[2] is not Reason.DATA_ABSENT
    assert tale.tick(BUSY).scaling.reason is Reason.DATA_ABSENT, "one request ends it"


# --- onLost --------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", [ABSENT, ERROR, STALE], ids=["absent", "unreadable", "stale"])
def test_hold_neither_adds_nor_removes(lost: Demand) -> None:
    assert set(go_on(story(), lost, 30)) == {4}


@pytest.mark.parametrize(
    ("current", "then"),
    [
        pytest.param(4, 7, id="fewer are raised to it"),
        pytest.param(9, 9, id="more are left where they are"),
    ],
)
def test_fallback_is_a_floor_once_demand_is_lost_for_long(current: int, then: int) -> None:
    rules = replace(RULES, on_lost=OnLost.FALLBACK, fallback_replicas=7)
    tale = story(rules, current=current)
    assert set(go_on(tale, ERROR, 0.75)) == {current}, "a hiccup is not lost demand"
    go_on(tale, ERROR, 2)
    assert tale.current == then
    if then > current:
        (up,) = [change for change in tale.told if change.action == "ScaleUp"]
        assert up.reason is Reason.FALLBACK
        assert "fallbackReplicas is 7" in up.message


def test_fallback_heeds_the_limit_on_steps() -> None:
    rules = replace(RULES, on_lost=OnLost.FALLBACK, fallback_replicas=15, max_age_s=15.0)
    tale = story(rules, current=2)
    assert go_on(tale, ERROR, 0.75)[-1] == 6, "four pods within the first minute"


def test_reactive_only_adds_for_what_is_still_seen_and_leaves_the_forecast_aside() -> None:
    tale = story(replace(RULES, on_lost=OnLost.REACTIVE_ONLY))
    ahead = forecast(40.0, made_at=tale.now)
    decision = tale.tick(STALE, ahead=ahead).scaling
    assert (decision.replicas, decision.reason) == (6, Reason.DEMAND_HIGH), "12 rps at 2 a pod"
    assert set(go_on(tale, replace(STALE, rps=1.0), 30)) == {6}, "and removes nothing"
    assert set(go_on(tale, ERROR, 5)) == {6}


@given(
    lost=st.sampled_from([ABSENT, ERROR, STALE, BUSY, present(float("inf"))]),
    on_lost=st.sampled_from(list(OnLost)),
    current=st.integers(1, 20),
    fallback=st.integers(1, 20),
    looks=st.integers(1, 60),
)
def test_never_down_without_demand(
    lost: Demand, on_lost: OnLost, current: int, fallback: int, looks: int
) -> None:
    rules = replace(RULES, on_lost=on_lost, fallback_replicas=fallback)
    counts = go_on(story(rules, current=current), lost, looks / 4)
    assert [current, *counts] == sorted([current, *counts])
    assert counts[-1] <= 20


# --- to zero, and back up ------------------------------------------------------------------------


def test_an_idle_target_sleeps_only_after_the_time_that_was_asked_for() -> None:
    tale = story(SLEEPER, current=2)
    counts = go_on(tale, IDLE, 9.5)
    assert min(counts) == 1, "one stays until then"
    assert tale.decision is not None
    assert tale.decision.scaling.clamps[-1].reason is Reason.NOT_IDLE
    go_on(tale, IDLE, 1)
    assert tale.current == 0
    assert tale.told[-1].reason is Reason.IDLE
    assert tale.tick(ABSENT).scaling.reason is Reason.ASLEEP


@pytest.mark.parametrize(
    ("demand", "why"),
    [
        pytest.param(LATE_REQUEST, "a request in flight", id="a long request keeps it awake"),
        pytest.param(present(0.0, peak_rps=0.0), "in flight unknown", id="so does not knowing"),
        pytest.param(present(0.001, in_flight=0), "a trickle", id="so does a trickle"),
        pytest.param(ERROR, "unreadable", id="so does bad data"),
        pytest.param(ABSENT, "nobody to ask", id="so does absent data"),
    ],
)
def test_only_what_is_known_to_be_idle_sleeps(demand: Demand, why: str) -> None:
    tale = story(SLEEPER, current=1)
    go_on(tale, demand, 60)
    assert tale.current == 1, why


def test_without_scale_to_zero_nothing_ever_sleeps() -> None:
    tale = story(current=1)
    assert set(go_on(tale, IDLE, 120)) == {1}


def asleep(rules: ScalingRules = SLEEPER) -> Story:
    tale = story(rules, current=1)
    go_on(tale, IDLE, 12)
    assert tale.current == 0
    return tale


def test_it_sleeps_on_while_nothing_is_expected() -> None:
    tale = asleep()
    quiet = forecast(0.0001, made_at=tale.now)
    assert set(go_on(tale, ABSENT, 2, ahead=quiet)) == {0}, "0.04 requests in six minutes"


def test_a_forecast_wakes_it() -> None:
    tale = asleep()
    decision = tale.tick(ABSENT, ahead=forecast(6.0, made_at=tale.now)).scaling
    assert (decision.replicas, decision.reason) == (3, Reason.FORECAST_HIGH)


def test_a_schedule_wakes_it() -> None:
    tale = asleep(replace(SLEEPER))
    scaling = replace(SLEEPER, schedules=(Schedule(name="day", min_replicas=2),))
    tale.rules = replace(tale.rules, scaling=scaling)
    decision = tale.tick(ABSENT).scaling
    assert (decision.replicas, decision.reason) == (2, Reason.SCHEDULE)


def test_demand_that_a_metrics_server_sees_wakes_it() -> None:
    tale = asleep()
    decision = tale.tick(present(3.0)).scaling
    assert (decision.replicas, decision.reason) == (2, Reason.DEMAND_HIGH)


def test_a_person_wakes_it_and_it_stays_awake_for_a_while() -> None:
    tale = asleep()
    tale.current = 3
    assert tale.tick(IDLE).scaling.replicas == 3
    assert min(go_on(tale, IDLE, 9)) == 1
    go_on(tale, IDLE, 3)
    assert tale.current == 0


def test_a_minimum_above_zero_wakes_it() -> None:
    tale = asleep()
    tale.rules = replace(tale.rules, scaling=RULES)
    assert tale.tick(ABSENT).scaling.reason is Reason.BELOW_MINIMUM


def test_somebody_elses_zero_still_means_stop() -> None:
    tale = story(SLEEPER, current=3)
    go_on(tale, 4.0, 2)
    tale.current = 0
    decision = tale.tick(ABSENT, ahead=forecast(20.0, made_at=tale.now)).scaling
    assert (decision.replicas, decision.reason) == (0, Reason.TARGET_STOPPED)


def test_shadow_says_that_it_would_sleep_and_takes_a_persons_zero_for_theirs() -> None:
    tale = story(SLEEPER, current=1, mode=Mode.SHADOW)
    go_on(tale, IDLE, 15)
    assert tale.reasons() == [Reason.IDLE]
    tale.current = 0
    assert tale.tick(ABSENT).scaling.reason is Reason.TARGET_STOPPED
