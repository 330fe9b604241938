"""The plain HPA beside the demo: its pods, and what callers would have felt."""

import pytest

from tidegate_operator.demo.arrivals import Callers
from tidegate_operator.demo.rival import ready_pods, replay_hpa, share_in_time, usual_pods
from tidegate_operator.demo.run import ttft_target_s
from tidegate_operator.demo.world import load_policy

CALLERS = Callers(tenants={"acme": 1.0})


@pytest.mark.parametrize(
    ("pods", "ready"),
    [
        pytest.param([(0.0, 2)], [(0.0, 2)], id="nothing changes"),
        pytest.param([(0.0, 2), (10.0, 3)], [(0.0, 2), (110.0, 3)], id="up after a cold start"),
        pytest.param([(0.0, 2), (10.0, 1)], [(0.0, 2), (10.0, 1)], id="down at once"),
        pytest.param(
            [(0.0, 2), (10.0, 3), (50.0, 2)], [(0.0, 2), (50.0, 2)], id="a starting pod goes first"
        ),
        pytest.param(
            [(0.0, 1), (10.0, 2), (200.0, 1)],
            [(0.0, 1), (110.0, 2), (200.0, 1)],
            id="up and down again",
        ),
    ],
)
def test_when_pods_are_ready(
    pods: list[tuple[float, int]], ready: list[tuple[float, int]]
) -> None:
    assert ready_pods(pods, 100.0) == ready


def test_nobody_waits_for_a_free_slot_and_all_wait_for_none() -> None:
    assert share_in_time(iter([0.0, 100.0, 200.0]), [(0.0, 1)], 1.0, 1) == 1.0
    burst = iter([0.0] * 16)
    assert share_in_time(burst, [(0.0, 1)], 0.0, 1) == 0.5


def test_a_queue_is_served_in_turn() -> None:
    # 24 at once on 8 slots of some 7.3 s: eight at once, eight after one answer, eight after two
    assert share_in_time(iter([0.0] * 24), [(0.0, 1)], 11.0, 1) == pytest.approx(8 / 12, abs=0.1)


@pytest.mark.parametrize(
    ("counts", "pods"),
    [
        pytest.param([], 2, id="nothing known: the least"),
        pytest.param([None, 60], 2, id="little: the least"),
        pytest.param([168, 252], 5, id="3.5 a second at 0.7 of 1.0 a pod"),
        pytest.param([6000], 7, id="too much: the most"),
    ],
)
def test_pods_to_begin_with(counts: list[int | None], pods: int) -> None:
    assert usual_pods(counts, load_policy("")) == pods


def test_an_hpa_follows_a_ramp_and_is_late() -> None:
    counts = [60] * 30 + [220] * 30
    policy = load_policy("http://127.0.1.2:8000")
    hpa = replay_hpa(counts, 0.0, policy, CALLERS, ttft_target_s=5.0, cold_start_s=240.0, seed=1)
    assert 0.5 < hpa.slo_attained < 0.95
    assert max(pods for _, pods in hpa.pods) >= 5
    steady = replay_hpa(
        [60] * 60, 0.0, policy, CALLERS, ttft_target_s=5.0, cold_start_s=240.0, seed=1
    )
    assert steady.slo_attained > 0.97
    assert steady.pod_minutes < hpa.pod_minutes


def test_the_target_is_the_policys() -> None:
    assert ttft_target_s(load_policy("http://127.0.1.2:8000")) == 5.0
