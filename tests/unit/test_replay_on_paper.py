"""An HPA on a request rate needs no plant to be known: on paper it asks for what the replay's HPA
asks for, from what was known by then."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate_operator.replay.autoscaler import HpaRules
from tidegate_operator.replay.hpa import Hpa
from tidegate_operator.replay.loop import replay
from tidegate_operator.replay.on_paper import Rate, counts_on_paper
from tidegate_operator.replay.plant import PlantRules
from tidegate_operator.replay.trace import Trace

GAP_S = 150.0
RULES = HpaRules(target_rps=1.0, min_replicas=1, max_replicas=20)


def minutes(*rates: float | None) -> list[Rate]:
    return [(60.0 * i, rate) for i, rate in enumerate(rates)]


@pytest.mark.parametrize(
    ("rates", "counts"),
    [
        pytest.param((), [], id="of nothing, nothing"),
        pytest.param((None, None), [None, None], id="no rate is known: no count either"),
        pytest.param((None, 3.2, 3.2), [None, 4, 4], id="it begins with what the first rate asks"),
        pytest.param((0.0, 0.0), [1, 1], id="not below the minimum"),
        pytest.param((90.0, 90.0), [20, 20], id="not above the maximum"),
        pytest.param((4.0, 4.4, 4.4), [4, 4, 4], id="10 % more is within tolerance"),
        pytest.param((4.0, 5.0, 5.0), [4, 5, 5], id="half way up to 5 it already asks for 5"),
        pytest.param((1.0, 9.0, 9.0), [1, 5, 9], id="a burst is seen half a minute late"),
        pytest.param((4.0, None, None), [4, 4, 4], id="without a metric the count stays"),
        pytest.param((4.0, None, 8.0, 8.0), [4, 4, 4, 8], id="and follows the next that is known"),
        pytest.param(
            (6.0, *(2.0,) * 8),
            [6, 6, 6, 6, 6, 6, 3, 2, 2],
            id="down after five minutes, not before",
        ),
    ],
)
def test_counts(rates: tuple[float | None, ...], counts: list[int | None]) -> None:
    assert counts_on_paper(minutes(*rates), RULES, GAP_S) == counts


def test_over_a_time_of_which_nothing_is_known_no_rate_is_made_up() -> None:
    """Between 2 and 8 there was no 5 that anybody saw."""
    away = [(0.0, 2.0), (60.0, 2.0), (3600.0, 8.0), (3660.0, 8.0)]
    assert counts_on_paper(away, RULES, GAP_S) == [2, 2, 2, 8]


def test_a_target_by_utilization_is_refused() -> None:
    with pytest.raises(ValueError, match="target_rps"):
        counts_on_paper(minutes(1.0), HpaRules(target_utilization=0.7), GAP_S)


series = st.lists(st.one_of(st.none(), st.floats(0, 40)), max_size=40)


@given(past=series, future=series, other=series)
def test_no_count_rests_on_what_is_yet_to_come(
    past: list[float | None], future: list[float | None], other: list[float | None]
) -> None:
    until = len(past)
    counts = counts_on_paper(minutes(*past, *future), RULES, GAP_S)
    assert counts[:until] == counts_on_paper(minutes(*past, *other), RULES, GAP_S)[:until]


@given(rates=series)
def test_it_stays_between_its_bounds_and_is_known_from_the_first_rate_on(
    rates: list[float | None],
) -> None:
    counts = counts_on_paper(minutes(*rates), RULES, GAP_S)
    first = next((i for i, rate in enumerate(rates) if rate is not None), len(rates))
    assert counts[:first] == [None] * first
    assert all(count is not None and 1 <= count <= 20 for count in counts[first:])


@given(level=st.floats(0, 40), length=st.integers(8, 20))
def test_on_a_steady_rate_it_is_the_ceiling(level: float, length: int) -> None:
    counts = counts_on_paper(minutes(*[level] * length), RULES, GAP_S)
    assert set(counts) == {min(20, max(1, math.ceil(level - 1e-9)))}


@pytest.mark.parametrize(
    ("busy", "least"),
    [
        pytest.param(10.0, 0.98, id="20 to 120 requests/s: 1 % fewer"),
        pytest.param(1.0, 0.95, id="2 to 12 requests/s, by chance alone less even: 4 % fewer"),
    ],
)
def test_it_is_never_dearer_than_the_hpa_on_the_plant(busy: float, least: float) -> None:
    """Six hours with a rise, a fall and a wave. Chance within a minute, which makes the one on the
    plant hold more pods, is not seen on paper."""
    rates = [busy * (6 + 4 * math.sin(i / 40) + 2 * (i % 60 > 40)) for i in range(360)]
    rules = HpaRules(target_rps=busy, max_replicas=20)
    trace = Trace(name="wave", start=0.0, step_s=60.0, requests=tuple(60 * r for r in rates))
    played = replay(trace, PlantRules(cold_start_s=60.0), Hpa(rules), start_pods=6)
    known = [(60.0 * (i + 1), rate) for i, rate in enumerate(rates)]
    paper = sum(count or 0 for count in counts_on_paper(known, rules, GAP_S))
    changes = [(0.0, 6), *((event.at, event.after) for event in played.events)]
    pods = sum(next(n for at, n in reversed(changes) if at <= time) for time, _ in known)
    assert least * pods <= paper <= pods
