"""``behavior`` limits an HPA as Kubernetes does: the examples of its documentation and tests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate_operator.replay.behavior import (
    SCALE_DOWN,
    SCALE_UP,
    Past,
    Policy,
    PolicyType,
    ScalingRules,
    SelectPolicy,
    limited,
    stabilized,
)

PODS, PERCENT = PolicyType.PODS, PolicyType.PERCENT
DOCUMENTED = ScalingRules(0.0, (Policy(PODS, 4, 60.0), Policy(PERCENT, 10, 60.0)))
"""kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale, "Scaling policies"."""
counts = st.integers(1, 200)
pasts = st.builds(
    Past,
    st.lists(st.tuples(st.floats(-600, 0), counts), max_size=20),
    st.lists(st.tuples(st.floats(-600, 0), st.integers(-50, 50)), max_size=10),
)


def down(current: int, rules: ScalingRules, *changes: tuple[float, int]) -> int:
    return limited(Past(changes=[*changes]), 0.0, current, 1, SCALE_UP, rules)


def up(current: int, rules: ScalingRules, *changes: tuple[float, int]) -> int:
    return limited(Past(changes=[*changes]), 0.0, current, 1000, rules, SCALE_DOWN)


@pytest.mark.parametrize(
    ("current", "left"),
    [
        pytest.param(80, 72, id="80: 10 % are 8 pods"),
        pytest.param(72, 64, id="72: 10 % are 7.2, rounded up to 8"),
        pytest.param(40, 36, id="at 40 both allow 4"),
        pytest.param(12, 8, id="below 40 the four pods"),
    ],
)
def test_the_documented_scale_down(current: int, left: int) -> None:
    assert down(current, DOCUMENTED) == left


@pytest.mark.parametrize(
    ("select", "left", "grown"),
    [
        pytest.param(SelectPolicy.MAX, 64, 88, id="the larger change"),
        pytest.param(SelectPolicy.MIN, 76, 84, id="the smaller change"),
        pytest.param(SelectPolicy.DISABLED, 80, 80, id="none at all"),
    ],
)
def test_select_policy(select: SelectPolicy, left: int, grown: int) -> None:
    downwards = ScalingRules(0.0, (Policy(PODS, 4, 60.0), Policy(PERCENT, 20, 60.0)), select)
    upwards = ScalingRules(0.0, (Policy(PODS, 4, 60.0), Policy(PERCENT, 10, 60.0)), select)
    assert down(80, downwards) == left
    assert up(80, upwards) == grown


def test_what_was_done_within_the_period_counts_against_it() -> None:
    one = ScalingRules(0.0, (Policy(PODS, 4, 60.0),))
    assert up(10, one, (-30.0, 3)) == 11
    assert up(10, one, (-61.0, 3)) == 14, "older than the period"
    assert up(10, one, (-30.0, 6)) == 10, "more than allowed is not taken back"
    assert up(10, one, (-30.0, -2)) == 16, "what was removed may come back"
    assert down(10, one, (-30.0, -3)) == 9


def test_upscale_cap() -> None:
    """TestUpscaleCap: 700 % in 60 s make at most 24 of 3."""
    assert up(3, ScalingRules(0.0, (Policy(PERCENT, 700, 60.0),))) == 24


def test_a_percentage_of_one_pod_still_adds_one() -> None:
    assert up(1, ScalingRules(0.0, (Policy(PERCENT, 10, 60.0),))) == 2


@pytest.mark.parametrize(
    ("recommended", "current", "desired", "count"),
    [
        pytest.param([], 5, 8, 8, id="up at once"),
        pytest.param([(-200.0, 7)], 5, 3, 5, id="7 were wanted lately: down waits"),
        pytest.param([(-200.0, 4)], 5, 3, 4, id="4 were: down to these"),
        pytest.param([(-301.0, 7)], 5, 3, 3, id="longer ago than the window"),
    ],
)
def test_the_default_stabilisation(
    recommended: list[tuple[float, int]], current: int, desired: int, count: int
) -> None:
    past = Past(recommended)
    assert stabilized(past, 0.0, current, desired, SCALE_UP, SCALE_DOWN) == count


def test_a_scale_up_window_takes_the_lowest() -> None:
    slow = ScalingRules(120.0, SCALE_UP.policies)
    past = Past([(-100.0, 6), (-50.0, 9)])
    assert stabilized(past, 0.0, 5, 10, slow, SCALE_DOWN) == 6
    assert stabilized(past, 0.0, 7, 10, slow, SCALE_DOWN) == 7, "and takes nothing back"


@given(past=pasts, current=counts, desired=counts)
def test_it_never_overshoots_nor_turns_round(past: Past, current: int, desired: int) -> None:
    low, high = min(current, desired), max(current, desired)
    assert low <= limited(past, 0.0, current, desired, SCALE_UP, SCALE_DOWN) <= high
    assert low <= stabilized(past, 0.0, current, desired, SCALE_UP, SCALE_DOWN) <= high
