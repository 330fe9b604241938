"""Replicas on a real cluster: up before the load comes, down after it, and in Shadow not at all.

Law: what counts is what the workload's own object says, and what the callers of its Service got.
"""

import math
import time
from typing import Any

import pytest

from live_load import Load, live_load
from preloaded_history import history_of, rushes
from real_cluster import Cluster, answering, readiness, wait_until
from workloads import deployment, model_container, patient, policy, service

Object = dict[str, Any]

CAPACITY_RPS = 4
QUIET_RPS = 1.0
RUSH_RPS = 8.0
"""Of the rushes in the history."""
LOAD_RPS = 6.0
"""Of the rush that comes: more than one pod carries."""
RUSH_MINUTES = 2
LOAD_S = 75.0
LEAD_S = 110.0
"""Least time from the policy to the rush: for a training and for pods to start."""
STREAM_TOKENS = 400
"""A stream of 8 s."""


def scaling(**more: Any) -> Object:
    return {
        "minReplicas": 1,
        "maxReplicas": 4,
        "capacityPerReplica": str(CAPACITY_RPS),
        "forecast": {"horizon": "3m"},
        "behavior": {"scaleDown": {"stabilization": "15s"}},
        **more,
    }


def serve(cluster: Cluster, space: str, kind: str = "Deployment") -> str:
    """One replica behind a Service; its URL."""
    container = model_container(
        *("--max-num-seqs", "64", "--output-tokens", str(STREAM_TOKENS)),
        *("--inter-token-latency", "0.02"),
    )
    made = deployment(container=patient(container), kind=kind, grace_s=60)
    cluster.apply(made, service(), namespace=space)
    cluster.rolled_out(space, f"{kind}/llama")
    return answering(cluster, space)


def announce_rush(cluster: Cluster, space: str) -> float:
    """Put a history there that lets a rush be foreseen; when it comes, in unix seconds."""
    minute = math.floor(time.time() / 60)
    rush = math.ceil((time.time() + LEAD_S) / 60)
    counts = rushes(
        minute, rush, quiet_rps=QUIET_RPS, rush_rps=RUSH_RPS, rush_minutes=RUSH_MINUTES
    )
    cluster.apply(history_of("chat", space, *counts))
    return rush * 60.0


def status_of(cluster: Cluster, space: str) -> Object:
    found: Object = cluster.get("lqp", "chat", "-n", space).get("status", {})
    return found


def steps(cluster: Cluster, space: str, action: str) -> list[Object]:
    """Decisions of that kind, oldest first."""
    told = status_of(cluster, space).get("decisions", [])
    return [decision for decision in reversed(told) if decision["action"] == action]


def replicas(cluster: Cluster, space: str, workload: str = "deployment/llama") -> int:
    return int(cluster.get(workload, "-n", space)["spec"]["replicas"])


def whole_target(cluster: Cluster, space: str) -> Object:
    """With who wrote what, which kubectl leaves out otherwise."""
    found: Object = cluster.get("deployment/llama", "-n", space, "--show-managed-fields")
    return found


def all_ready(cluster: Cluster, space: str, count: int) -> bool:
    pods = cluster.pods(space, "app=llama")
    return len(pods) == count and all(readiness(pods))


def assert_answered_in_time(load: Load) -> None:
    assert not load.bad(), f"of {len(load.answers)}: {load.bad()[:5]}"
    waits = sorted(answer.first_s for answer in load.answers)
    assert waits[int(0.9 * len(waits))] < 3.0, "90 % of the requests begin to be answered in 3 s"


@pytest.mark.timeout(600)
def test_replicas_rise_before_the_load_comes_and_fall_after_it(
    tidegate: Cluster, space: str
) -> None:
    url = serve(tidegate, space)
    with live_load(url, QUIET_RPS, stream=True, max_tokens=STREAM_TOKENS) as streams:
        rush_at = announce_rush(tidegate, space)
        tidegate.apply(policy(mode="Enforce", scaling=scaling()), namespace=space)

        ahead_s = rush_at - time.time()
        wait_until("replicas rise", lambda: replicas(tidegate, space) > 1, ahead_s)
        count = replicas(tidegate, space)
        wait_until("they are Ready", lambda: all_ready(tidegate, space, count), ahead_s)
        assert time.time() < rush_at, "pods were Ready before the load came"
        first = wait_until("told", lambda: steps(tidegate, space, "ScaleUp"), 10)[0]
        inputs = {name: float(value) for name, value in first["inputs"].items()}
        assert (first["reason"], first["applied"]) == ("ForecastAboveCapacity", True)
        assert inputs["demandRps"] < CAPACITY_RPS / 2, "demand was still low"
        assert inputs["reactive"] <= inputs["current"], "demand alone asked for no more"
        assert inputs["forecast"] > inputs["current"]
        assert tidegate.conditions(space, "chat")["ForecastReliable"]["status"] == "True"

        time.sleep(max(0.0, rush_at - time.time()))
        with live_load(url, LOAD_RPS) as rush:
            time.sleep(LOAD_S)
            most = replicas(tidegate, space)
        assert_answered_in_time(rush)
        assert most >= count, "what was started ahead was there for the load"

        wait_until("replicas fall", lambda: replicas(tidegate, space) < most, 150)
        left = replicas(tidegate, space)
        wait_until("pods have left", lambda: all_left(tidegate, space, left), 90)
        down = wait_until("told", lambda: steps(tidegate, space, "ScaleDown"), 10)[-1]
        assert (down["reason"], down["applied"]) == ("CapacityAboveDemand", True)
    assert not streams.bad(), f"of {len(streams.answers)} streams: {streams.bad()[:5]}"
    assert len(streams.answers) > 60


def all_left(cluster: Cluster, space: str, count: int) -> bool:
    """Whether those that were to go are gone altogether, streams and all."""
    return len(cluster.get("pods", "-n", space, "-l", "app=llama")["items"]) <= count


@pytest.mark.timeout(600)
def test_shadow_says_what_it_would_do_and_writes_nothing_to_the_target(
    tidegate: Cluster, space: str
) -> None:
    serve(tidegate, space)
    announce_rush(tidegate, space)
    before = whole_target(tidegate, space)
    tidegate.apply(policy(mode="Shadow", scaling=scaling()), namespace=space)

    up = wait_until("a step is told", lambda: steps(tidegate, space, "ScaleUp"), 120)[0]
    assert up["applied"] is False
    assert int(up["to"]) > int(up["from"]) == 1
    event = wait_until(
        "an Event",
        lambda: [e for e in tidegate.events(space, "chat") if e["reason"] == up["reason"]],
        20,
    )[0]
    assert event["message"].startswith("Not applied: ")

    time.sleep(10)  # some ticks more
    after = whole_target(tidegate, space)
    for name in ("generation", "managedFields", "resourceVersion"):
        assert after["metadata"][name] == before["metadata"][name], f"metadata.{name}"
    assert status_of(tidegate, space)["replicas"]["desired"] > 1
    active = tidegate.conditions(space, "chat")["ScalingActive"]
    assert (active["status"], active["reason"]) == ("False", "Shadow")


@pytest.mark.timeout(600)
def test_a_statefulset_is_scaled_to_its_demand(tidegate: Cluster, space: str) -> None:
    url = serve(tidegate, space, kind="StatefulSet")
    wish = policy(mode="Enforce", scaling=scaling(maxReplicas=2, forecast={"enabled": False}))
    wish["spec"]["targetRef"]["kind"] = "StatefulSet"
    tidegate.apply(wish, namespace=space)
    with live_load(url, LOAD_RPS) as load:
        wait_until(
            "the StatefulSet grows",
            lambda: replicas(tidegate, space, "statefulset/llama") == 2,
            60,
        )
        wait_until("both are Ready", lambda: all_ready(tidegate, space, 2), 90)
    assert_answered_in_time(load)
    up = wait_until("told", lambda: steps(tidegate, space, "ScaleUp"), 20)[0]
    assert (up["reason"], up["applied"]) == ("DemandAboveCapacity", True)
