"""Demand that was told by somebody else: what was not told is missing, and whole minutes come out
of rates without a loss."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate_operator.decide.words import DataState
from tidegate_operator.ledger.observed import ObservedDemand

NOW = 1_767_225_600.0
"""The begin of a minute."""
MINUTE = int(NOW // 60)


def told(*readings: tuple[float, float | None]) -> ObservedDemand:
    """(seconds after NOW, rate); ``None``: the server had no answer."""
    demand = ObservedDemand(history_minutes=1000)
    for after, rps in readings:
        demand.read(NOW + after, DataState.ABSENT if rps is None else DataState.PRESENT, rps)
    return demand


def test_before_anything_was_told_demand_is_absent() -> None:
    demand = ObservedDemand()
    assert demand.demand(NOW, 60).state is DataState.ABSENT
    assert demand.minutes() == (0, ())


def test_a_reading_is_the_demand_and_the_highest_of_five_minutes_its_peak() -> None:
    demand = told((0, 9.0), (15, 4.0), (310, 3.0))
    seen = demand.demand(NOW + 312, 60)
    assert (seen.state, seen.rps, seen.peak_rps, seen.age_s) == (DataState.PRESENT, 3.0, 4.0, 2.0)


def test_zero_is_present() -> None:
    seen = told((0, 0.0)).demand(NOW, 60)
    assert (seen.state, seen.rps) == (DataState.PRESENT, 0.0)


@pytest.mark.parametrize("state", [DataState.ABSENT, DataState.ERROR, DataState.STALE])
def test_what_is_no_value_replaces_the_demand_and_says_why(state: DataState) -> None:
    demand = told((0, 5.0))
    demand.read(NOW + 15, state, 5.0, age_s=90, why="the query has no answer")
    seen = demand.demand(NOW + 15, 60)
    assert (seen.state, seen.message, seen.age_s) == (state, "the query has no answer", 90)
    assert seen.rps == (5.0 if state is DataState.STALE else None)


def test_a_reading_that_nobody_follows_up_grows_stale() -> None:
    demand = told((0, 5.0))
    assert demand.demand(NOW + 60, 60).state is DataState.PRESENT
    seen = demand.demand(NOW + 61, 60)
    assert (seen.state, seen.rps, seen.age_s) == (DataState.STALE, 5.0, 61)


def test_a_minute_is_the_mean_of_its_readings_once_it_is_over() -> None:
    demand = told((0, 1.0), (15, 2.0), (30, 3.0), (45, 2.0))
    assert demand.minutes() == (0, ())
    demand.read(NOW + 60, DataState.PRESENT, 9.0)
    assert demand.minutes() == (MINUTE, (120,))


def test_a_minute_without_a_reading_is_missing_and_no_zero() -> None:
    demand = told((0, 1.0), (60, None), (75, None), (120, 0.0), (180, 1.0))
    assert demand.minutes() == (MINUTE, (60, None, 0))


def test_all_history_is_missing_at_first() -> None:
    demand = ObservedDemand(history_minutes=1000)
    assert demand.missing(NOW + 30) == (MINUTE - 1001, MINUTE - 2)


def test_a_history_that_was_filled_in_is_not_asked_for_again() -> None:
    demand = told((0, 1.0))
    demand.fill(MINUTE - 1001, MINUTE - 2, {MINUTE - 3: 2.0, MINUTE - 2: 1.0})
    demand.read(NOW + 60, DataState.PRESENT, 1.0)
    assert demand.minutes() == (MINUTE - 3, (120, 60, None, 60))
    # But for the minute that was not over when it was asked.
    assert demand.missing(NOW + 60) == (MINUTE - 1, MINUTE - 1)
    demand.fill(MINUTE - 1, MINUTE - 1, {MINUTE - 1: 3.0})
    assert demand.missing(NOW + 60) is None
    assert demand.minutes() == (MINUTE - 3, (120, 60, 180, 60))


def test_what_a_server_does_not_have_is_asked_for_once() -> None:
    demand = told((0, 1.0))
    demand.fill(MINUTE - 1001, MINUTE - 2, {})
    demand.fill(MINUTE - 1, MINUTE - 1, {})
    assert demand.missing(NOW + 60) is None


def test_a_gap_is_asked_for_once_there_are_readings_again() -> None:
    demand = told((0, 1.0))
    demand.fill(0, MINUTE - 1, {})
    for minute in range(1, 10):
        demand.read(NOW + minute * 60, DataState.ERROR, None)
        assert demand.missing(NOW + minute * 60) is None
    demand.read(NOW + 600, DataState.PRESENT, 1.0)
    assert demand.missing(NOW + 600) == (MINUTE + 1, MINUTE + 8)


def test_what_was_read_stands_against_a_history_that_comes_later() -> None:
    demand = told((0, 1.0), (60, 1.0))
    demand.fill(MINUTE - 5, MINUTE, {MINUTE: 50.0, MINUTE - 1: 2.0, MINUTE - 6: 9.0})
    assert demand.minutes() == (MINUTE - 1, (120, 60)), "and nothing that was not asked for"


def test_what_is_older_than_the_history_is_let_go() -> None:
    demand = ObservedDemand(history_minutes=3)
    for minute in range(10):
        demand.read(NOW + minute * 60, DataState.PRESENT, 1.0)
    assert demand.minutes() == (MINUTE + 6, (60, 60, 60))


@given(st.lists(st.none() | st.floats(0, 1e4), min_size=1, max_size=200))
def test_rounding_loses_no_request(rates: list[float | None]) -> None:
    demand = ObservedDemand()
    known = {MINUTE + n: rate for n, rate in enumerate(rates) if rate is not None}
    demand.fill(MINUTE, MINUTE + len(rates), known)
    first, counts = demand.minutes()
    assert {first + n for n, count in enumerate(counts) if count is not None} == set(known)
    whole = [count for count in counts if count is not None]
    assert all(count >= 0 for count in whole)
    assert abs(sum(whole) - sum(known.values()) * 60) <= 1.0
