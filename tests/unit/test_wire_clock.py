"""The injected clock: fast where asked, the system's otherwise."""

import time

import pytest

from tidegate_wire.clock import CLOCK_VARIABLE, Clock, InvalidClockError


def test_a_fast_clock_runs_at_its_speed() -> None:
    clock = Clock(1000.0, origin=5e8)
    before = clock.now()
    time.sleep(0.05)
    passed_s = clock.now() - before
    assert 50.0 <= passed_s < 5000.0
    assert 5e8 <= before < 5e8 + 5000.0


def test_a_child_process_gets_the_same_clock() -> None:
    clock = Clock(60.0, origin=1e9)
    child = Clock.from_env(clock.to_env())
    assert child.speed == 60.0
    assert abs(child.now() - clock.now()) < 60.0 * 0.5


def test_without_the_variable_it_is_the_system_s() -> None:
    assert abs(Clock.from_env({}).now() - time.time()) < 1.0


def test_a_library_time_out_is_real_seconds() -> None:
    assert Clock(60.0).real_s(30.0) == 0.5


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param("fast", id="a word"),
        pytest.param("60", id="no anchors"),
        pytest.param("0@1=1", id="a standing clock"),
        pytest.param("-1@1=1", id="a clock that runs backwards"),
        pytest.param("nan@1=1", id="no number"),
    ],
)
def test_a_clock_that_cannot_be_read_says_so(raw: str) -> None:
    with pytest.raises(InvalidClockError, match=r"clock|CLOCK"):
        Clock.from_env({CLOCK_VARIABLE: raw})
