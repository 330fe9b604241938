"""An HPA on a request rate needs no plant to be known: told the rate alone, it wants tick by tick
what the HPA on the plant wants."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate_operator.decide.words import ScalingRules
from tidegate_operator.replay.autoscaler import SYNC_S, HpaRules
from tidegate_operator.replay.control import Seen
from tidegate_operator.replay.hpa import Hpa
from tidegate_operator.replay.on_paper import OnPaper, usual_hpa
from tidegate_operator.replay.plant import STEP_S

RULES = HpaRules(target_rps=1.0, min_replicas=1, max_replicas=20)


def told(rates: list[float | None], *, found: int = 4, begun: int | None = None) -> list[int]:
    """The count at each tick."""
    paper = OnPaper(begun)
    counts = (paper.look(SYNC_S * i, rps, found, RULES) for i, rps in enumerate(rates))
    return [count for count in counts if count is not None]


@pytest.mark.parametrize(
    ("rates", "counts"),
    [
        pytest.param([4.0] * 4, [4] * 4, id="what it finds is enough: it stays"),
        pytest.param([9.0] * 4, [4, 4, 8, 9], id="half a minute passes until a rate is seen"),
        pytest.param([4.4] * 4, [4] * 4, id="10 % more is within tolerance"),
        pytest.param([4.5] * 4, [4, 4, 5, 5], id="beyond it: rounded up"),
        pytest.param([90.0] * 6, [4, 4, 8, 16, 20, 20], id="doubled each tick, up to the maximum"),
        pytest.param([1e300] * 6, [4, 4, 8, 16, 20, 20], id="however high the rate"),
        pytest.param([0.0] * 24, [4] * 22 + [1] * 2, id="down after five minutes, to one"),
        pytest.param([None] * 30, [4] * 30, id="without a metric it stays"),
        pytest.param([math.nan] * 30, [4] * 30, id="and with one that is none"),
        pytest.param([6.0, None, 9.0, 9.0, 9.0], [4, 4, 6, 6, 9], id="one look that failed"),
    ],
)
def test_counts(rates: list[float | None], counts: list[int]) -> None:
    assert told(rates) == counts


@pytest.mark.parametrize(
    ("found", "begun", "count"),
    [
        pytest.param(3, None, 3, id="met for the first time: the pods that there are"),
        pytest.param(3, 7, 7, id="met again: as it was left"),
        pytest.param(0, None, 1, id="none are there: it has at least one"),
        pytest.param(99, None, 20, id="too many are there: the most that it may have"),
    ],
)
def test_where_it_begins(found: int, begun: int | None, count: int) -> None:
    assert told([None], found=found, begun=begun) == [count]


def test_without_anything_to_aim_at_there_is_no_count_and_what_it_was_is_kept() -> None:
    paper = OnPaper()
    wanted = [paper.look(SYNC_S * i, 8.0, 4, RULES) for i in range(3)]
    wanted += [paper.look(SYNC_S * i, 8.0, 4, None) for i in (3, 4)]
    wanted += [paper.look(SYNC_S * i, 8.0, 4, RULES) for i in (5, 6, 7)]
    assert wanted == [4, 4, 8, None, None, 8, 8, 8]


def test_it_follows_the_target_of_the_day() -> None:
    """A capacity that is learned anew is another target."""
    paper = OnPaper()
    for i in range(4):
        paper.look(SYNC_S * i, 8.0, 8, RULES)
    assert paper.look(SYNC_S * 4, 8.0, 8, HpaRules(target_rps=0.5, max_replicas=20)) == 16


@pytest.mark.parametrize(
    ("limits", "least", "most"),
    [
        pytest.param(ScalingRules(min_replicas=2, max_replicas=7), 2, 7, id="the policy's own"),
        pytest.param(ScalingRules(min_replicas=0), 1, 10, id="an HPA does not go to zero"),
    ],
)
def test_it_is_set_up_as_people_do(limits: ScalingRules, least: int, most: int) -> None:
    rules = usual_hpa(limits, 2.0)
    assert rules.target_rps == pytest.approx(1.4), "each replica at 70 % of what it carries"
    assert (rules.min_replicas, rules.max_replicas) == (least, most)


@given(
    steps=st.lists(st.integers(0, 150), min_size=60, max_size=240),
    start=st.integers(1, 20),
)
def test_tick_by_tick_it_wants_what_the_hpa_on_the_plant_wants(
    steps: list[int], start: int
) -> None:
    """On requests that come in any way, in each step of 5 s; from when a whole window of them has
    been seen."""
    seen, hpa, paper = Seen(0.0, start, start), Hpa(RULES), OnPaper()
    settled = round((RULES.window_s + RULES.lag_s) / STEP_S)
    for i, requests in enumerate([round(STEP_S * start)] * settled + steps, 1):
        seen.note(requests, 0.0, 0.0, start)
        seen.now = STEP_S * i
        if seen.now % SYNC_S == 0:
            seen.current = hpa.wanted(seen)
            assert paper.look(seen.now, seen.rps(RULES.window_s), start, RULES) == seen.current
