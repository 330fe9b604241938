"""The operator scales down under 100 live streams: the pods that it marked as those to go do go,
and not one stream is cut."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from audience import Audience, listening
from real_cluster import QUICK, Cluster, ask, chat, helm_install, namespace, wait_until
from tidegate_operator.cluster.observe import DELETION_COST
from tidegate_operator.decide.leaving import MARK
from tidegate_wire.names import PATH_STATS, PORT_ADMIN
from workloads import deployment, model_container, policy, service

pytestmark = [pytest.mark.alone, pytest.mark.timeout(600)]

SPACE = "leaving"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
STREAMS = 100
PODS, STAY = 4, 2
GRACE_S = 90
SLOW = model_container(
    *("--inter-token-latency", "0.25", "--output-tokens", "1000", "--tokens-per-chunk", "1"),
    *("--max-num-seqs", "200"),
)
"""Four tokens a second: 80 to 160 of them take 20 to 40 s."""
SCALING = {
    "minReplicas": STAY,
    "maxReplicas": PODS,
    # One pod could carry all of these streams: the minimum alone keeps two.
    "capacityPerReplica": "20",
    "behavior": {"scaleDown": {"stabilization": "15s"}},
}


@pytest.fixture
def space(tidegate: Cluster) -> Iterator[str]:
    """A namespace in which the operator may annotate pods, while the test lasts."""
    with namespace(tidegate, SPACE, RESTRICTED) as made:
        helm_install(tidegate, *QUICK, "--set", f"podDeletionCost.namespaces={{{SPACE}}}")
        yield made
        helm_install(tidegate, *QUICK)


def in_flight(cluster: Cluster, space: str) -> dict[str, int]:
    """Requests under way, by the pods that are not about to go."""
    return {
        pod["metadata"]["name"]: ask(
            f"http://{pod['status']['podIP']}:{PORT_ADMIN}{PATH_STATS}"
        ).json()["in_flight"]
        for pod in cluster.pods(space, "app=llama")
    }


def marked(cluster: Cluster, space: str) -> set[str]:
    return {
        pod["metadata"]["name"]
        for pod in cluster.get("pods", "-n", space, "-l", "app=llama")["items"]
        if pod["metadata"].get("annotations", {}).get(DELETION_COST) == str(MARK)
    }


def reaches_all(cluster: Cluster, space: str, url: str) -> bool:
    if any(chat(url, max_tokens=1).status != 200 for _ in range(20)):
        return False
    reached = in_flight(cluster, space)
    return len(reached) == PODS


async def test_a_scale_down_under_100_streams_cuts_none(tidegate: Cluster, space: str) -> None:
    made = deployment(container=SLOW, replicas=PODS, grace_s=GRACE_S)
    tidegate.apply(made, service(), namespace=space)
    await asyncio.to_thread(tidegate.rolled_out, space, "Deployment/llama")
    url = tidegate.service_url(space, "llama")
    await asyncio.to_thread(
        wait_until, "each pod answers", lambda: reaches_all(tidegate, space, url)
    )
    async with listening(Audience(url, STREAMS)) as audience:
        before = in_flight(tidegate, space)
        assert all(before.values()), f"a pod without streams would prove nothing: {before}"
        scaled_at = time.monotonic()
        tidegate.apply(policy(mode="Enforce", scaling=SCALING), namespace=space)
        await asyncio.to_thread(
            wait_until,
            "two pods are left",
            lambda: len(tidegate.pods(space, "app=llama")) == STAY,
        )
        staying = {pod["metadata"]["name"] for pod in tidegate.pods(space, "app=llama")}
        left = set(before) - staying
        assert marked(tidegate, space) & set(before) == left, "those that were marked went"
        words = ["wait", "--for=delete", "-n", space, f"--timeout={GRACE_S + 60}s"]
        await asyncio.to_thread(tidegate.kubectl, *words, *[f"pod/{name}" for name in left])
    assert not audience.failures, audience.failures[:5]
    assert audience.ended_well_since(scaled_at, stream=True) >= STREAMS
