"""Nobody's answer is cut because a pod leaves: rolling restarts and scale-downs under live
streams.
"""

import asyncio
import time
from typing import Any

import pytest

from audience import Audience, listening
from real_cluster import Cluster, Object, ask, chat, wait_until
from tidegate_wire.names import PATH_STATS, PORT_ADMIN
from workloads import deployment, model_container, policy, service

pytestmark = pytest.mark.timeout(600)

STREAMS = 50
GRACE_S = 90
"""Above the longest stream (40 s) and the 5 s in which a leaving sidecar still takes requests."""
SLOW = model_container(
    *("--inter-token-latency", "0.25", "--output-tokens", "1000", "--tokens-per-chunk", "1"),
    *("--max-num-seqs", "200"),
)
"""Four tokens a second: 80 to 160 of them take 20 to 40 s."""


def serve(cluster: Cluster, space: str, replicas: int, **spec: Any) -> str:
    """A model server behind a Service, watched by a policy; the Service's URL."""
    made = deployment(container=SLOW, replicas=replicas, grace_s=GRACE_S)
    cluster.apply(made, service(), policy(**spec), namespace=space)
    cluster.rolled_out(space, "Deployment/llama")
    wait_until("the policy hears every sidecar", lambda: reporting(cluster, space) == replicas)
    url = cluster.service_url(space, "llama")
    wait_until("the Service sends requests to each pod", lambda: reaches_all(cluster, space, url))
    return url


def reaches_all(cluster: Cluster, space: str, url: str) -> bool:
    """Endpoints come after readiness, and the node's rules after those."""
    if any(chat(url, max_tokens=1).status != 200 for _ in range(10)):
        return False
    return all(look(pod)["arrived"] for pod in cluster.pods(space, "app=llama"))


def reporting(cluster: Cluster, space: str) -> int:
    sidecars = cluster.get("lqp", "chat", "-n", space).get("status", {}).get("sidecars", {})
    return int(sidecars.get("reporting", 0))


def in_flight(pods: list[Object]) -> dict[str, int]:
    """Requests under way in each pod, as its sidecar counts them."""
    return {pod["metadata"]["name"]: look(pod)["in_flight"] for pod in pods}


def look(pod: Object) -> Object:
    """At its sidecar's counters."""
    url = f"http://{pod['status']['podIP']}:{PORT_ADMIN}{PATH_STATS}"
    found: Object = ask(url).json()
    return found


async def gone(cluster: Cluster, space: str, names: list[str]) -> None:
    """Until none of these pods is there any more, terminating ones counted."""
    words = ["wait", "--for=delete", "-n", space, f"--timeout={GRACE_S + 60}s"]
    await asyncio.to_thread(cluster.kubectl, *words, *[f"pod/{name}" for name in names])


def assert_heard_out(audience: Audience, least: int = STREAMS) -> None:
    streams = [ending for ending in audience.endings if ending.stream]
    assert not audience.failures, (
        f"{len(audience.failures)} of {len(audience.endings)} failed, the first: "
        f"{audience.failures[:5]}"
    )
    assert len(streams) >= least
    assert len(audience.endings) > len(streams)


async def test_a_rolling_restart_cuts_none_of_50_streams(tidegate: Cluster, space: str) -> None:
    url = await asyncio.to_thread(serve, tidegate, space, 2)
    async with listening(Audience(url, STREAMS)) as audience:
        before = tidegate.pods(space, "app=llama")
        carried = in_flight(before)
        assert all(carried.values()), f"a pod without streams would prove nothing: {carried}"
        restarted_at = time.monotonic()
        tidegate.kubectl("rollout", "restart", "-n", space, "deployment/llama")
        await asyncio.to_thread(tidegate.rolled_out, space, "Deployment/llama")
        await gone(tidegate, space, [pod["metadata"]["name"] for pod in before])
        left_s = time.monotonic() - restarted_at
    assert_heard_out(audience)
    assert audience.ended_well_since(restarted_at, stream=True) >= STREAMS
    assert audience.ended_well_since(restarted_at, stream=False) > 0
    # Ended by themselves, and not by the kubelet at the end of the grace period.
    assert left_s < GRACE_S + 30, f"the old pods took {left_s:.0f} s to go"


async def test_a_scale_down_of_tidegates_own_cuts_none_of_100_streams(
    tidegate: Cluster, space: str
) -> None:
    limits = {
        "minReplicas": 3,
        "maxReplicas": 3,
        "capacityPerReplica": "50",  # of 100 streams of half a minute one pod would do
        "behavior": {"scaleDown": {"stabilization": "5s"}},
    }
    url = await asyncio.to_thread(serve, tidegate, space, 3, mode="Enforce", scaling=limits)
    async with listening(Audience(url, 2 * STREAMS)) as audience:
        before = tidegate.pods(space, "app=llama")
        carried = in_flight(before)
        assert all(carried.values()), f"a pod without streams would prove nothing: {carried}"
        scaled_at = time.monotonic()
        fewer = policy(mode="Enforce", scaling=limits | {"minReplicas": 1})
        await asyncio.to_thread(tidegate.apply, fewer, namespace=space)
        staying = await asyncio.to_thread(
            wait_until, "one pod stays", lambda: only_one(tidegate, space), 120
        )
        leaving = {pod["metadata"]["name"] for pod in before} - {staying}
        await gone(tidegate, space, sorted(leaving))
    assert_heard_out(audience, 2 * STREAMS)
    assert audience.ended_well_since(scaled_at, stream=True) >= 2 * STREAMS


def only_one(cluster: Cluster, space: str) -> str | None:
    names = [pod["metadata"]["name"] for pod in cluster.pods(space, "app=llama")]
    return names[0] if len(names) == 1 else None


async def test_what_the_streams_used_is_counted_though_their_pods_left(
    tidegate: Cluster, space: str
) -> None:
    """The reconciler hears a leaving sidecar's last figures before it is gone."""
    budget = {
        "name": "day",
        "limit": {"tokens": 10_000_000},
        "window": {"unit": "Day"},
        "actions": [{"at": "100%", "do": "Warn"}],
    }
    url = await asyncio.to_thread(serve, tidegate, space, 2, budgets=[budget])
    settled = await asyncio.to_thread(settled_tokens, tidegate, space)
    async with listening(Audience(url, 10, tokens=(20, 40))) as audience:
        before = tidegate.pods(space, "app=llama")
        tidegate.kubectl("rollout", "restart", "-n", space, "deployment/llama")
        await asyncio.to_thread(tidegate.rolled_out, space, "Deployment/llama")
        await gone(tidegate, space, [pod["metadata"]["name"] for pod in before])
    assert not audience.failures, audience.failures[:5]
    spent = sum(ending.tokens for ending in audience.endings)
    assert spent > 0
    await asyncio.to_thread(counted, tidegate, space, settled + spent)


def used_tokens(cluster: Cluster, space: str) -> int | None:
    budgets = cluster.get("lqp", "chat", "-n", space).get("status", {}).get("budgets") or []
    return int(budgets[0].get("used", 0)) if budgets else None


def settled_tokens(cluster: Cluster, space: str) -> int:
    """What the requests before the test's own have used, once all of it is counted."""
    sums = [
        sum(series["tokens_in"] + series["tokens_out"] for series in look(pod)["series"])
        for pod in cluster.pods(space, "app=llama")
    ]
    counted(cluster, space, sum(sums))
    return sum(sums)


def counted(cluster: Cluster, space: str, tokens: int) -> None:
    """Until status says so."""
    seen: list[int | None] = []

    def equal() -> bool:
        seen.append(used_tokens(cluster, space))
        return seen[-1] == tokens

    try:
        wait_until("status counts the tokens", equal)
    except AssertionError as error:
        raise AssertionError(f"{tokens} tokens were used, status has {seen[-1]}") from error
