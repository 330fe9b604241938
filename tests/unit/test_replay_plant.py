"""The plant conserves requests and bills every pod from its creation to its end."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate_operator.replay.plant import STEP_S, Plant, PlantRules
from tidegate_operator.replay.waits import BIN_S

RULES = PlantRules()
LLM = PlantRules(service_s=23.0, cold_start_sigma=0.4, start_failure_share=0.3, drain_s=60.0)

moves = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 30)), min_size=1, max_size=80)
"""(requests in a step, pods wanted before it)"""
plants = st.sampled_from([RULES, LLM, PlantRules(service_s=0.3), PlantRules(service_s=5.0)])


def plant_of(rules: PlantRules, ready: int = 0, seed: int = 0) -> Plant:
    made = Plant(rules, 0.0, seed=seed)
    made.start_with(ready)
    return made


def step(plant: Plant, requests: int = 0) -> None:
    plant.step(requests, requests * plant.rules.service_s)


@settings(max_examples=150)
@given(moves=moves, rules=plants)
def test_what_came_in_was_served_or_dropped_or_waits(
    moves: list[tuple[int, int]], rules: PlantRules
) -> None:
    plant = plant_of(rules, 3)
    for load, pods in moves:
        plant.scale(pods)
        assert plant.current == pods
        step(plant, load)
        assert plant.arrived == plant.served + plant.dropped + plant.waiting
        assert sum(plant.waits.counts.values()) == pytest.approx(plant.served)
        assert min(plant.waits.counts, default=0.0) >= 0
        assert 0 <= plant.late <= plant.served + 1e-6
        assert sum(plant.violated.values()) == pytest.approx(plant.late + plant.dropped)
        assert 0 <= plant.ended <= plant.served
        assert 0 <= plant.busy_share <= 1 + 1e-9
        assert plant.ready <= plant.current <= plant.paid


@settings(max_examples=100)
@given(moves=moves, rules=plants)
def test_pods_are_paid_for_the_sum_of_their_lives(
    moves: list[tuple[int, int]], rules: PlantRules
) -> None:
    plant = plant_of(rules, 3)
    ever = {id(pod): pod for pod in plant.pods()}
    for load, pods in moves:
        plant.scale(pods)
        ever.update((id(pod), pod) for pod in plant.pods())
        step(plant, load)
    lives = [min(pod.ends, plant.now) - pod.created for pod in ever.values()]
    assert min(lives) >= 0
    assert plant.paid_s == pytest.approx(sum(lives), abs=1e-6)


@settings(max_examples=100)
@given(moves=moves, rules=plants)
def test_no_more_slots_are_busy_than_there_are(
    moves: list[tuple[int, int]], rules: PlantRules
) -> None:
    """And all that was let in is served, once pods have had the time."""
    plant = plant_of(rules, 3)
    busy_s = 0.0
    for load, _ in moves:
        step(plant, load)
        assert plant.busy_slots <= 3 * rules.slots_per_pod + 1e-9
        busy_s += plant.busy_slots * STEP_S
    while plant.waiting or plant.ended < plant.served:
        step(plant)
        busy_s += plant.busy_slots * STEP_S
    assert busy_s == pytest.approx(plant.served * rules.service_s, abs=1e-6)
    waited_s = sum(wait * count for wait, count in plant.waits.counts.items())
    held_s = plant.duration_s - plant.served * rules.service_s
    assert waited_s - plant.served * BIN_S - 1e-6 <= held_s <= waited_s + 1e-6, "to a bin"


def test_a_pod_is_paid_from_creation_and_serves_from_ready() -> None:
    plant = plant_of(RULES)
    plant.scale(1)
    served = []
    for _ in range(40):
        step(plant, 5)
        served.append(plant.served)
    assert plant.paid_s == 200
    assert served[35] == 0 and plant.now == 200.0
    assert served[36] > 0, "Ready after 180 s, in the 37th step"


def test_the_queue_is_bounded_by_seconds_of_work() -> None:
    plant = plant_of(RULES, 2)
    step(plant, 1000)
    per_s = 2 * RULES.pod_rps
    assert plant.served == STEP_S * per_s
    assert plant.waiting == RULES.queue_cap_s * per_s
    assert plant.dropped == 1000 - (STEP_S + RULES.queue_cap_s) * per_s


def test_waits_are_first_come_first_served() -> None:
    """15 in 5 s, and one a second is served: the n-th comes after n/3 s and begins after n."""
    plant = plant_of(PlantRules(slots_per_pod=1, service_s=1.0, slo_wait_s=4.0), 1)
    for requests in (15, 0, 0):
        step(plant, requests)
    assert plant.served == 15
    waits = plant.waits.counts
    assert sum(waits.values()) == pytest.approx(15)
    assert max(waits) == 10.0
    assert all(count == pytest.approx(0.75) for count in waits.values()), "evenly up to 10 s"
    assert plant.late == pytest.approx(9.0)


@pytest.mark.parametrize(
    ("more", "late"),
    [
        pytest.param(0, 0.0, id="as many as can be served: nobody waits"),
        pytest.param(10, 0.0, id="ten too many wait half a second at 20 requests a second"),
        pytest.param(70, 0.0, id="70 too many wait 3.5 s"),
        pytest.param(120, 220 / 3, id="120 too many: the last waits 6 s, a third above 4 s"),
    ],
)
def test_a_backlog_is_late_by_what_it_takes_to_serve_it(more: int, late: float) -> None:
    plant = plant_of(RULES, 10)
    step(plant, 100 + more)
    while plant.waiting:
        step(plant, 0)
    assert plant.late == pytest.approx(late)
    assert max(plant.waits.counts) == pytest.approx(more / 20.0, abs=BIN_S)


def test_idle_slots_take_a_burst_of_long_requests_at_once() -> None:
    """And nothing more until these end: 16 slots of 23 s are no stream of 3.5 requests a step."""
    plant = plant_of(LLM, 2)
    step(plant, 20)
    assert (plant.served, plant.waiting, plant.busy_slots) == (16, 4, 16)
    for _ in range(3):
        step(plant)
    assert (plant.served, plant.ended) == (16, 0)
    step(plant)
    assert (plant.served, plant.waiting, plant.ended) == (20, 0, 16), "freed 23 s after the start"


def test_scaling_down_takes_the_unready_first_and_drains_the_ready() -> None:
    plant = plant_of(RULES, 2)
    plant.scale(4)
    step(plant)
    plant.scale(1)
    step(plant)
    assert [(p.created, p.ready <= plant.now) for p in plant.pods()] == [(0.0, True)]
    # two unready for one step, one Ready for a step and its drain, one Ready all along
    assert plant.paid_s == 2 * STEP_S + (STEP_S + RULES.drain_s) + 2 * STEP_S


def test_a_removed_pod_is_paid_until_its_requests_have_ended() -> None:
    plant = plant_of(PlantRules(service_s=23.0), 2)
    step(plant, 16)
    plant.scale(1)
    step(plant)
    assert plant.busy_slots == 8, "it took its half of what runs along"
    for _ in range(5):
        step(plant)
    assert plant.paid_s == 7 * STEP_S + (5 + 20), "four more steps of 5 s: 18 s were left"


def test_cold_starts_vary_about_their_median_and_p90() -> None:
    rules = PlantRules(cold_start_sigma=0.3)
    plant = plant_of(rules)
    plant.scale(4000)
    cold = sorted(pod.ready for pod in plant.pods())
    assert cold[2000] == pytest.approx(rules.cold_start_s, rel=0.03)
    assert cold[3600] == pytest.approx(rules.cold_start_p90_s, rel=0.03)
    assert rules.cold_start_p90_s == pytest.approx(180 * math.exp(1.2816 * 0.3), rel=1e-3)


def test_each_pod_has_the_cold_start_of_its_number_however_scaled() -> None:
    at_once, by_and_by = plant_of(LLM, seed=7), plant_of(LLM, seed=7)
    at_once.scale(6)
    for count in (1, 3, 6):
        step(by_and_by)
        by_and_by.scale(count)
    one, other = (
        sorted(pod.ready - pod.created for pod in plant.pods()) for plant in (at_once, by_and_by)
    )
    assert one == pytest.approx(other)


def test_a_start_that_crashes_is_tried_again_with_a_growing_back_off() -> None:
    plant = plant_of(PlantRules(start_failure_share=0.5), seed=3)
    plant.scale(400)
    tries = {len(pod.fails): pod for pod in plant.pods()}
    assert tries[0].ready == 180.0
    assert tries[1].fails == (180.0,) and tries[1].ready == 180.0 + 10 + 180
    assert tries[3].ready == 4 * 180.0 + 10 + 20 + 40
    assert sum(bool(pod.fails) for pod in plant.pods()) == pytest.approx(200, abs=40)
    assert plant.starts_failed == 0, "none has yet"
    for _ in range(37):
        step(plant)
    assert plant.starts_failed == sum(bool(pod.fails) for pod in plant.pods())


def test_a_pod_that_is_never_ready_is_paid_and_counted_until_it_goes() -> None:
    plant = plant_of(PlantRules(never_ready_share=1.0))
    plant.scale(3)
    for _ in range(1000):
        step(plant)
    assert (plant.ready, plant.current, plant.starts_failed) == (0, 3, 3)
    plant.scale(0)
    assert (plant.current, plant.starts_failed, plant.paid_s) == (0, 3, 15000)
