"""What was known of a trace at a minute is what the live loop would have read at that minute."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate_operator.forecast.beside import ALONE
from tidegate_operator.forecast.series import clean
from tidegate_operator.replay.known import known_of

busy = st.one_of(st.integers(30, 400), st.none(), st.just(0))
stretches = st.lists(
    st.one_of(
        st.lists(busy, min_size=1, max_size=20),
        st.integers(1, 40).map(lambda size: [0] * size),
        st.integers(1, 40).map(lambda size: [None] * size),
    ),
    min_size=2,
    max_size=8,
)
"""Loads with short and long silences and gaps."""


def joined(parts: list[list[int | None]]) -> tuple[float | None, ...]:
    counts = [100, *(count for part in parts for count in part)]
    return tuple(None if count is None else float(count) for count in counts)


@settings(max_examples=30)
@given(parts=stretches, start=st.integers(0, 3000))
def test_before_a_minute_is_the_history_read_at_that_minute(
    parts: list[list[int | None]], start: int
) -> None:
    counts = joined(parts)
    known = known_of(start, counts, ALONE)
    for size in range(1, len(counts) + 1):
        then = clean(start, counts[:size])
        seen = known.before(start + size, most=len(counts))
        assert (seen.start_minute, len(seen)) == (then.start_minute, len(then))
        assert np.array_equal(seen.known, then.known)
        assert np.array_equal(seen.values, then.values)


@pytest.mark.parametrize(
    ("counts", "silent"),
    [
        pytest.param([5, 0, 5], [False] * 3, id="an empty minute"),
        pytest.param([5, *[0] * 9, 5], [False] * 11, id="nine of them"),
        pytest.param([5, *[0] * 10, 5], [False, *[True] * 10, False], id="ten"),
        pytest.param(
            [5, *[0] * 5, *[None] * 5], [False, *[True] * 10], id="zero and missing, to the end"
        ),
    ],
)
def test_long_silences(counts: list[float | None], silent: list[bool]) -> None:
    assert list(known_of(0, tuple(counts), ALONE).silent) == silent


def test_no_more_than_is_asked_for() -> None:
    known = known_of(100, tuple(float(n + 1) for n in range(50)), ALONE)
    part = known.before(140, most=10)
    assert (part.start_minute, part.end_minute) == (130, 140)
    assert list(part.values[:2]) == [31.0, 32.0]
    assert known.end == 150
