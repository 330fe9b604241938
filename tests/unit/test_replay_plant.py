"""The plant conserves requests and bills every pod from its creation."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate_operator.replay.plant import STEP_S, Plant, PlantRules

RULES = PlantRules()

moves = st.lists(st.tuples(st.floats(0, 400), st.integers(0, 30)), min_size=1, max_size=80)
"""(requests in a step, pods wanted before it)"""


@settings(max_examples=150, deadline=None)
@given(moves=moves)
def test_what_came_in_was_served_or_dropped_or_waits(moves: list[tuple[float, int]]) -> None:
    plant = Plant(RULES, 0.0)
    plant.start_with(3)
    for load, pods in moves:
        plant.scale(pods)
        assert plant.current == pods
        plant.step(load)
        held = plant.served + plant.dropped + plant.waiting
        assert plant.arrived == pytest.approx(held, abs=1e-6)
        assert sum(plant.waits.values()) == pytest.approx(plant.served, abs=1e-6)
        assert 0 <= plant.late <= plant.served + 1e-6
        assert 0 <= plant.busy_share <= 1 + 1e-9
        assert plant.ready <= plant.current


@settings(max_examples=100, deadline=None)
@given(moves=moves)
def test_pod_minutes_are_the_sum_of_lives(moves: list[tuple[float, int]]) -> None:
    plant = Plant(RULES, 0.0)
    plant.start_with(3)
    ever = {id(pod): pod for pod in plant.pods}
    for load, pods in moves:
        plant.scale(pods)
        ever.update((id(pod), pod) for pod in plant.pods)
        plant.step(load)
    ends = [plant.now if pod.ends is None else pod.ends for pod in ever.values()]
    lives = [end - pod.created for end, pod in zip(ends, ever.values(), strict=True)]
    assert RULES.drain_s < STEP_S, "so whoever was told to go is gone a step later"
    assert plant.pod_minutes() * 60 == pytest.approx(sum(lives), abs=1e-6)


def test_a_pod_is_paid_from_creation_and_serves_from_ready() -> None:
    plant = Plant(RULES, 0.0)
    plant.scale(1)
    served = []
    for _ in range(40):
        plant.step(5.0)
        served.append(plant.served)
    assert plant.pod_minutes() == pytest.approx(200 / 60)
    assert served[35] == 0 and plant.now == 200.0
    assert served[36] > 0, "Ready after 180 s, in the 37th step"


def test_the_queue_is_bounded_by_seconds_of_work() -> None:
    plant = Plant(RULES, 0.0)
    plant.start_with(2)
    plant.step(1000.0)
    per_s = 2 * RULES.pod_rps
    assert plant.served == STEP_S * per_s
    assert plant.waiting == RULES.queue_cap_s * per_s
    assert plant.dropped == 1000 - (STEP_S + RULES.queue_cap_s) * per_s


def test_waits_are_first_come_first_served() -> None:
    plant = Plant(PlantRules(slots_per_pod=1, service_s=1.0, slo_wait_s=4.0), 0.0)
    plant.start_with(1)
    plant.step(15.0)
    plant.step(0.0)
    plant.step(0.0)
    assert plant.waits == {0.0: 5.0, 5.0: 5.0, 10.0: 5.0}
    assert plant.late == 10.0


def test_scaling_down_takes_the_unready_first_and_drains_the_ready() -> None:
    plant = Plant(RULES, 0.0)
    plant.start_with(2)
    plant.scale(4)
    plant.step(0.0)
    plant.scale(1)
    plant.step(0.0)
    assert [(p.created, p.ready <= plant.now) for p in plant.pods] == [(0.0, True)]
    # two unready for one step, one Ready for a step and its drain, one Ready all along
    assert plant.pod_minutes() * 60 == 2 * STEP_S + (STEP_S + RULES.drain_s) + 2 * STEP_S
