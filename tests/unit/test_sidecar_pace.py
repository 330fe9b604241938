"""A client is waited for as long as it may yet send, and no byte now and then buys it more."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate_sidecar.pace import (
    IDLE_CLIENT_S,
    REQUEST_IDLE_S,
    REQUEST_S,
    SLOWEST_BYTES_PER_S,
    Doing,
    Pace,
    Verdict,
)

START_S = 1000.0


def seen(doing: Doing) -> Pace:
    """A connection that a look has found at this at the start."""
    pace = Pace()
    assert pace.look(START_S, doing, 0) is Verdict.IN_TIME
    return pace


@pytest.mark.parametrize(
    ("doing", "silent_s", "verdict"),
    [
        pytest.param(Doing.READING, REQUEST_IDLE_S, Verdict.IN_TIME, id="half a request"),
        pytest.param(
            Doing.READING, REQUEST_IDLE_S + 1, Verdict.TOO_SLOW, id="half a request, given up"
        ),
        pytest.param(Doing.WAITING, IDLE_CLIENT_S, Verdict.IN_TIME, id="between two requests"),
        pytest.param(Doing.WAITING, IDLE_CLIENT_S + 1, Verdict.GONE, id="no request for an hour"),
        pytest.param(Doing.CLOSING, REQUEST_IDLE_S, Verdict.IN_TIME, id="being closed"),
        pytest.param(Doing.CLOSING, REQUEST_IDLE_S + 1, Verdict.GONE, id="does not let itself be"),
        pytest.param(Doing.ANSWERING, 1e6, Verdict.IN_TIME, id="an answer takes what it takes"),
    ],
)
def test_how_long_a_silence_is_borne(doing: Doing, silent_s: float, verdict: Verdict) -> None:
    assert seen(doing).look(START_S + silent_s, doing, 0) is verdict


@pytest.mark.parametrize("passed_on", [0, 30_000], ids=["kept here", "passed on"])
def test_a_large_body_has_the_time_that_the_slowest_rate_needs(passed_on: int) -> None:
    size = 50_000
    longest_s = REQUEST_S + size / SLOWEST_BYTES_PER_S
    for took_s, verdict in ((longest_s, Verdict.IN_TIME), (longest_s + 1, Verdict.TOO_SLOW)):
        pace = seen(Doing.READING)
        pace.passed_on = passed_on
        pace.moved = True
        assert pace.look(START_S + took_s, Doing.READING, size - passed_on) is verdict


def test_a_byte_now_and_then_is_no_sign_of_life() -> None:
    pace = seen(Doing.READING)
    now, sent = START_S, 0
    while pace.look(now, Doing.READING, sent) is Verdict.IN_TIME:
        now, sent, pace.moved = now + 5.0, sent + 1, True
    assert REQUEST_S < now - START_S <= REQUEST_S + 10.0


@pytest.mark.parametrize("between", [Doing.WAITING, Doing.ANSWERING, None])
def test_each_request_has_its_own_time(between: Doing | None) -> None:
    """None: the next one began before a look could see that the first was whole."""
    pace = seen(Doing.READING)
    if between is None:
        pace.received()
    else:
        pace.look(START_S + REQUEST_S, between, 0)
    now = START_S + REQUEST_S + 1
    for _ in range(2):
        pace.moved = True
        assert pace.look(now, Doing.READING, 0) is Verdict.IN_TIME
        now += REQUEST_S


def test_who_has_just_come_may_be_about_to_ask() -> None:
    pace = seen(Doing.WAITING)
    assert pace.has_just_moved(START_S + REQUEST_IDLE_S - 1)
    assert not pace.has_just_moved(START_S + REQUEST_IDLE_S)
    pace.moved = True
    assert pace.has_just_moved(START_S + 1e6)


def test_the_longest_unused_comes_first() -> None:
    early, late, now = seen(Doing.WAITING), seen(Doing.WAITING), seen(Doing.WAITING)
    late.moved = True
    late.look(START_S + 5.0, Doing.WAITING, 0)
    now.moved = True
    assert [p.used_at for p in (early, late, now)] == [START_S, START_S + 5.0, math.inf]


@given(
    st.lists(
        st.tuples(
            st.floats(0.01, 100.0),
            st.booleans(),
            st.sampled_from(Doing),
            st.integers(0, 1 << 20),
        )
    )
)
def test_whatever_goes_on_only_a_request_that_is_read_is_too_slow(
    looks: list[tuple[float, bool, Doing, int]],
) -> None:
    pace, now = Pace(), START_S
    for after_s, moved, doing, waiting in looks:
        now += after_s
        pace.moved = pace.moved or moved
        verdict = pace.look(now, doing, waiting)
        assert verdict is not Verdict.TOO_SLOW or doing is Doing.READING
        assert verdict is not Verdict.GONE or doing in (Doing.WAITING, Doing.CLOSING)
