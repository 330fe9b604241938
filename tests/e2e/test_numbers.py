"""What Tidegate may cost on a cluster, measured there; ``python -m benchmarks.on_cluster`` prints
the same figures.
"""

import pytest

from admission_load import DURATION_S, LIMIT_S, RATE, measure_admission
from memory_in_use import POLICIES, measure_memory
from pod_start import PAIRS, measure_pod_start
from real_cluster import Cluster

pytestmark = [pytest.mark.alone, pytest.mark.timeout(900)]

MAX_ADDED_S = 2.0
MAX_MB = 200.0


def test_the_sidecar_adds_at_most_two_seconds_to_a_pods_start(
    tidegate: Cluster, space: str
) -> None:
    start = measure_pod_start(tidegate, space)
    print(f"added: median {start.added_median_s:.2f} s, p99 {start.added_p99_s:.2f} s")
    assert len(start.pairs) == PAIRS
    assert start.added_p99_s <= MAX_ADDED_S, [f"{p.added_s:.2f}" for p in start.pairs]


def test_the_injector_answers_99_of_100_reviews_within_25_ms_at_20_pods_per_second(
    tidegate: Cluster, space: str
) -> None:
    admission = measure_admission(tidegate, space)
    print(
        f"hub p99 {admission.hub.quantile_s(0.99) * 1000:.1f} ms, "
        f"API server p99 {admission.api_server.quantile_s(0.99) * 1000:.1f} ms"
    )
    assert admission.created == admission.injected == RATE * DURATION_S
    assert admission.hub.total >= admission.created, "reviews that no hub has counted"
    assert admission.rate > 0.9 * RATE
    assert admission.hub.share_within(LIMIT_S) >= 0.99, admission.hub


def test_reconciler_and_hub_hold_at_most_200_mb_each_with_50_policies(
    tidegate: Cluster, space: str
) -> None:
    containers = measure_memory(tidegate, space, POLICIES)
    for each in containers:
        print(
            f"{each.role} {each.pod}: {each.main_mb:.0f} MB, forecast worker "
            f"{each.worker_mb:.0f} MB, container {each.working_set_mb:.0f} MB"
        )
    assert {each.role for each in containers} == {"reconcile", "hub"}
    assert sum(each.leads for each in containers) == 1
    assert all(0 < each.main_mb <= MAX_MB for each in containers), containers
