"""Waits that lie evenly between two ends are told exactly: those above a limit, and the mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate_operator.replay.waits import BIN_S, Waits, mean_wait_s, percentile, share_above

ends = st.floats(-20, 60, allow_nan=False)


@pytest.mark.parametrize(
    ("first", "last", "share"),
    [
        pytest.param(0.0, 3.0, 0.0, id="all within the limit"),
        pytest.param(4.0, 4.0, 0.0, id="at the limit is within"),
        pytest.param(5.0, 9.0, 1.0, id="all beyond"),
        pytest.param(2.0, 6.0, 0.5, id="a backlog that grows past it"),
        pytest.param(6.0, 2.0, 0.5, id="one that shrinks"),
        pytest.param(-4.0, 6.0, 0.2, id="below 0 nobody waited"),
    ],
)
def test_what_lies_above_a_limit(first: float, last: float, share: float) -> None:
    assert share_above(first, last, 4.0) == pytest.approx(share)


@given(first=ends, last=ends)
def test_the_line_is_the_limit_of_many_requests(first: float, last: float) -> None:
    size = 4000
    waits = [max(0.0, first + (last - first) * (n + 0.5) / size) for n in range(size)]
    assert mean_wait_s(first, last) == pytest.approx(sum(waits) / size, abs=0.02)
    late = sum(wait > 4.0 for wait in waits) / size
    if abs(first - last) > 1e-3:  # else the limit may lie between two that are the same
        assert share_above(first, last, 4.0) == pytest.approx(late, abs=0.01)


@given(parts=st.lists(st.tuples(st.integers(1, 50), ends, ends), min_size=1, max_size=10))
def test_the_histogram_loses_nobody_and_rounds_up(parts: list[tuple[int, float, float]]) -> None:
    waits = Waits()
    for number, first, last in parts:
        waits.note(number, first, last)
    total = sum(number for number, _, _ in parts)
    assert sum(waits.counts.values()) == pytest.approx(total)
    waited_s = sum(number * mean_wait_s(first, last) for number, first, last in parts)
    binned_s = sum(wait * count for wait, count in waits.counts.items())
    assert waited_s - 1e-6 <= binned_s <= waited_s + total * BIN_S + 1e-6
    longest = max(0.0, *(max(first, last) for _, first, last in parts))
    assert longest - 1e-6 <= max(waits.counts) < longest + BIN_S + 1e-6


@pytest.mark.parametrize(
    ("share", "wait"), [(0.5, 0.0), (0.9, 0.0), (0.95, 5.0), (0.99, 5.0), (1.0, 60.0)]
)
def test_percentiles_of_waits(share: float, wait: float) -> None:
    assert percentile({0.0: 90, 60.0: 1, 5.0: 9}, share) == wait


def test_nobody_waited_where_there_was_nobody() -> None:
    assert percentile({}, 0.99) == 0.0
