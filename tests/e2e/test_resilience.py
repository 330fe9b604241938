"""What of Tidegate may die, and what nobody notices then: the reconciler, the hub, a sidecar, the
node's container runtime.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from live_load import Load, live_load
from memory_in_use import leader_pod
from node_processes import kill_container
from real_cluster import CLUSTER, NAMESPACE, Cluster, Object, chat, readiness, wait_until
from tidegate_wire.names import CONTAINER, PORT_INBOUND
from workloads import deployment, model_container, policy, service

pytestmark = [pytest.mark.alone, pytest.mark.timeout(600)]

NEW_LEADER_S = 20.0
"""A Lease of 15 s that its holder no longer renews, and tries of 2 s."""
LIMIT = 5000
"""Tokens of a tenant a day."""
SYSTEM = ("-n", NAMESPACE)
OURS = "TIDEGATE_E2E_MAY_BREAK_NODE"
"""In the environment: the cluster of KUBECONFIG is the one that lies beside the checkout."""


class Shop:
    """A model server whose tenant ``greedy`` has spent its budget."""

    def __init__(self, cluster: Cluster, space: str) -> None:
        self.cluster = cluster
        self.space = space
        quick = model_container(
            *("--inter-token-latency", "0.0005", "--output-tokens", "1000", "--max-num-seqs", "50")
        )
        made = deployment(container=quick, replicas=2)
        cluster.apply(made, service(), self.policy(), namespace=space)
        cluster.rolled_out(space, "Deployment/llama")
        self.url = cluster.service_url(space, "llama")

    @staticmethod
    def policy() -> Object:
        scaling = {"minReplicas": 2, "maxReplicas": 4, "capacityPerReplica": "50"}
        tenant_day = {
            "name": "tenant-day",
            "scope": "Tenant",
            "limit": {"tokens": LIMIT},
            "window": {"unit": "Day"},
            "actions": [{"at": "100%", "do": "Block"}],
        }
        identify = {"identify": {"header": "x-tenant-id"}}
        return policy(mode="Enforce", scaling=scaling, budgets=[tenant_day], gateway=identify)

    def ask_as(self, tenant: str, max_tokens: int = 400) -> int:
        return chat(self.url, tenant=tenant, max_tokens=max_tokens).status

    def block_greedy(self) -> None:
        """Spend until every sidecar says 429."""
        wait_until(
            "the tenant that spent its budget is blocked",
            lambda: [self.ask_as("greedy") for _ in range(6)] == [429] * 6,
            timeout_s=90,
            every_s=1,
        )

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.cluster.get("lqp", "chat", "-n", self.space)["status"]
        return found

    def used(self, tenant: str) -> int:
        """Tokens of today, as the policy's status has them; 0: not among the fullest."""
        for row in self.status()["budgets"][0].get("top") or ():
            if row["key"] == tenant:
                return int(row["used"])
        return 0

    def pods(self) -> list[Object]:
        return self.cluster.pods(self.space, "app=llama")

    def all_applied(self) -> bool:
        sidecars = self.status()["sidecars"]
        return bool(sidecars["applied"] == sidecars["reporting"] == sidecars["expected"] == 2)

    def replicas_written(self) -> tuple[int, int]:
        """``spec.replicas`` of the target, and how often its spec was ever written."""
        found = self.cluster.get("deployment", "llama", "-n", self.space)
        return int(found["spec"]["replicas"]), int(found["metadata"]["generation"])


@pytest.fixture
def shop(tidegate: Cluster, space: str) -> Shop:
    made = Shop(tidegate, space)
    made.block_greedy()
    return made


def tokens_of(shop: Shop, traffic: Load) -> int:
    """That its answers cost: each as much as the one that is asked here, for another tenant."""
    one = chat(shop.url, tenant="meter", max_tokens=traffic.max_tokens).json()["usage"]
    return int(one["total_tokens"]) * sum(answer.good for answer in traffic.answers)


def force_delete(cluster: Cluster) -> None:
    cluster.kubectl("delete", "pod", *SYSTEM, leader_pod(cluster), "--force", "--grace-period=0")


def kill_process(cluster: Cluster) -> None:
    kill_container(cluster.get("pod", leader_pod(cluster), *SYSTEM), "reconcile")


@pytest.mark.parametrize(
    "kill",
    [
        pytest.param(force_delete, id="its pod is deleted by force"),
        pytest.param(kill_process, id="its process is killed by SIGKILL"),
    ],
)
def test_a_leader_that_dies_is_followed_within_20_s_and_nothing_is_lost(
    tidegate: Cluster, shop: Shop, kill: Callable[[Cluster], None]
) -> None:
    wait_until("its usage is counted", lambda: shop.used("greedy") >= LIMIT)
    before, written = shop.used("greedy"), shop.replicas_written()
    holder = lease_holder(tidegate)
    with live_load(shop.url, 4, tenant="frugal", max_tokens=1) as traffic:
        kill(tidegate)
        died_at = time.monotonic()
        wait_until(
            "somebody else leads",
            lambda: lease_holder(tidegate) not in ("", holder),
            timeout_s=60,
            every_s=0.2,
        )
        followed_s = time.monotonic() - died_at
        # Five of its looks: time enough to write something wrong.
        end = time.monotonic() + 15
        while time.monotonic() < end:
            assert shop.ask_as("greedy", 1) == 429, "the blocked tenant was let in"
            assert shop.replicas_written() == written
            assert shop.used("greedy") >= before
            time.sleep(1)
    print(f"a new leader after {followed_s:.1f} s")
    assert followed_s <= NEW_LEADER_S
    assert not traffic.bad(), traffic.bad()[:3]
    spent = tokens_of(shop, traffic)
    wait_until(
        f"all {spent} tokens that were answered meanwhile are counted",
        lambda: shop.used("frugal") == spent,
    )
    both_reconcilers_are_back(tidegate)


def lease_holder(cluster: Cluster) -> str:
    lease = cluster.get("lease", "tidegate-reconcile", *SYSTEM)
    return str(lease["spec"].get("holderIdentity") or "")


def both_reconcilers_are_back(cluster: Cluster) -> None:
    cluster.rolled_out(NAMESPACE, "Deployment/tidegate-reconcile")


@contextmanager
def no_hub(cluster: Cluster) -> Iterator[None]:
    """Both hubs killed, and none in their place for a while."""
    pods = hubs(cluster)
    cluster.kubectl("scale", *SYSTEM, "deployment/tidegate-hub", "--replicas=0")
    try:
        for pod in pods:
            kill_container(pod, "hub")
        # To their very end: the kubelet may start a killed container once more, and a pod that is
        # about to go, or deleted by force, answers the API server for seconds.
        of_hubs = ("pods", *SYSTEM, "-l", "app.kubernetes.io/component=hub")
        wait_until("no hub is there", lambda: not cluster.get(*of_hubs)["items"])
        yield
    finally:
        cluster.kubectl("scale", *SYSTEM, "deployment/tidegate-hub", "--replicas=2")
        cluster.rolled_out(NAMESPACE, "Deployment/tidegate-hub")


def hubs(cluster: Cluster) -> list[Object]:
    return cluster.pods(NAMESPACE, "app.kubernetes.io/component=hub")


def test_while_no_hub_is_there_traffic_goes_on_and_new_pods_start(
    tidegate: Cluster, shop: Shop
) -> None:
    with live_load(shop.url, 4, tenant="frugal", max_tokens=1) as traffic:
        with no_hub(tidegate):
            tidegate.apply(deployment("late"), namespace=shop.space)
            tidegate.rolled_out(shop.space, "Deployment/late", timeout_s=60)
            late = tidegate.pods(shop.space, "app=late")
            assert "initContainers" not in late[0]["spec"], "who injected it, without a hub?"
            assert [door(pod) for pod in shop.pods()] == [429, 429]
            time.sleep(10)  # of an outage that is longer than one long poll's first retries
        wait_until("both sidecars run the current config", shop.all_applied)
        tidegate.kubectl("rollout", "restart", "-n", shop.space, "deployment/late")
        # The workload was written anew, so that a hub saw its annotation and then its pods.
        tidegate.rolled_out(shop.space, "Deployment/late")
        assert tidegate.pods(shop.space, "app=late,tidegate.io/injected=true")
    assert not traffic.bad(), traffic.bad()[:3]
    assert len(traffic.answers) > 40


def test_a_sidecar_that_dies_while_no_hub_is_there_comes_back_with_its_orders(
    tidegate: Cluster, shop: Shop
) -> None:
    with no_hub(tidegate):
        pod = shop.pods()[0]
        name = pod["metadata"]["name"]
        kill_container(pod, CONTAINER)
        wait_until(
            "the kubelet has restarted it in its place",
            lambda: restarts(tidegate.get("pod", name, "-n", shop.space)) == 1,
        )
        # The first answer that it gives at all: it must not have let anyone in before it knew.
        first = wait_until("it answers", lambda: door(pod))
        assert first == 429
        wait_until("the pod is Ready", lambda: readiness(shop.pods()) == [True, True])
    wait_until("both sidecars run the current config", shop.all_applied)


def door(pod: Object) -> int:
    """What this pod's sidecar says to the blocked tenant."""
    return chat(f"http://{pod['status']['podIP']}:{PORT_INBOUND}", tenant="greedy").status


def restarts(pod: Object) -> int:
    statuses = pod["status"].get("initContainerStatuses") or ()
    return sum(each["restartCount"] for each in statuses if each["name"] == CONTAINER)


def restart_containerd() -> None:
    """End the one that is the cluster's beside the checkout, and have it started again."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    pid_file = Path(home) / "tidegate-cluster" / "containerd.pid"
    pid = int(pid_file.read_text())
    os.kill(pid, signal.SIGTERM)
    wait_until("containerd is gone", lambda: not Path(f"/proc/{pid}").exists(), timeout_s=30)
    subprocess.run([CLUSTER, "up"], check=True, timeout=300)


def test_all_come_back_when_the_nodes_container_runtime_is_restarted(
    tidegate: Cluster, shop: Shop
) -> None:
    if os.environ.get("KUBECONFIG") and not os.environ.get(OURS):
        pytest.skip(
            "LEFT OUT: KUBECONFIG names a cluster that is not ours to break; without it, or with "
            f"{OURS}=1 where it is the one beside the checkout, containerd is restarted"
        )
    before = {pod["metadata"]["uid"] for pod in shop.pods()}
    with live_load(shop.url, 4, tenant="frugal", max_tokens=1) as traffic:
        restart_containerd()
        tidegate.apply(deployment("late"), namespace=shop.space)
        tidegate.rolled_out(shop.space, "Deployment/late")
        for workload in ("tidegate-hub", "tidegate-reconcile"):
            tidegate.rolled_out(NAMESPACE, f"Deployment/{workload}")
        assert tidegate.pods(shop.space, "app=late,tidegate.io/injected=true")
    assert not traffic.bad(), traffic.bad()[:3]
    assert {pod["metadata"]["uid"] for pod in shop.pods()} == before
    assert readiness(shop.pods()) == [True, True]
    assert [door(pod) for pod in shop.pods()] == [429, 429]
