"""Deployments, ReplicaSets and StatefulSets on the embedded API, beside a node that says ready."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate_operator.demo.kubeapi import rollouts
from tidegate_operator.demo.kubeapi.deployments import WorkloadController
from tidegate_operator.demo.kubeapi.direct import DirectAccess
from tidegate_operator.demo.kubeapi.rollouts import Fleet
from tidegate_operator.demo.kubeapi.server import KubeApi
from tidegate_wire.clock import Clock

Object = dict[str, Any]


class ReadyNode:
    """Makes every pod ready at once, and lets go of the ones that are deleted."""

    def __init__(self, store: DirectAccess) -> None:
        self.store = store
        self.is_stuck: Callable[[Object], bool] = lambda pod: False
        self.least_ready = 1_000

    async def run(self) -> None:
        async for kind, pod in self.store.watch("pods"):
            name, metadata = pod["metadata"]["name"], pod["metadata"]
            if kind == "DELETED" or self.is_stuck(pod):
                continue
            if "deletionTimestamp" in metadata:
                if metadata["deletionGracePeriodSeconds"]:  # else it is on its way out already
                    self.store.delete("pods", "default", name, grace_s=0)
            elif not rollouts.is_ready(pod):
                ready = {"type": "Ready", "status": "True"}
                status = {"status": {"phase": "Running", "conditions": [ready]}}
                self.store.patch("pods", "default", name, status, subresource="status")

    def count_ready(self) -> int:
        pods = self.store.list("pods", "default")
        return sum(rollouts.is_active(pod) and rollouts.is_ready(pod) for pod in pods)


@pytest.fixture
async def api() -> AsyncIterator[KubeApi]:
    server = KubeApi(Clock(), seed=1)
    yield server
    await server.stop()


@pytest.fixture
async def node(api: KubeApi) -> AsyncIterator[ReadyNode]:
    """The node, with the controller running beside it."""
    node = ReadyNode(api.store)
    controller = WorkloadController(api.store, Clock(speed=100))
    tasks = [asyncio.create_task(node.run()), asyncio.create_task(controller.run())]
    yield node
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.005)


def workload(replicas: int = 3, image: str = "app:1", **spec: Any) -> Object:
    template = {
        "metadata": {"labels": {"app": "app"}},
        "spec": {"containers": [{"name": "app", "image": image}]},
    }
    selector = {"matchLabels": {"app": "app"}}
    return {
        "metadata": {"name": "app"},
        "spec": {"replicas": replicas, "selector": selector, "template": template, **spec},
    }


def images(api: KubeApi) -> list[str]:
    return sorted(pod["spec"]["containers"][0]["image"] for pod in api.store.list("pods"))


async def test_a_deployment_becomes_pods_and_says_so(api: KubeApi, node: ReadyNode) -> None:
    api.store.create("deployments", "default", workload())

    def status() -> Object:
        found: Object = api.store.get("deployments", "default", "app")["status"]
        return found

    await until(lambda: status().get("availableReplicas") == 3)
    assert status()["observedGeneration"] == 1
    assert (status()["replicas"], status()["updatedReplicas"]) == (3, 3)
    [replicaset] = api.store.list("replicasets")
    pods = api.store.list("pods")
    digest = replicaset["metadata"]["labels"]["pod-template-hash"]
    assert {pod["metadata"]["labels"]["pod-template-hash"] for pod in pods} == {digest}
    assert all(pod["metadata"]["name"].startswith(f"app-{digest}-") for pod in pods)
    assert {pod["metadata"]["ownerReferences"][0]["kind"] for pod in pods} == {"ReplicaSet"}


async def test_a_new_template_rolls_without_a_gap(api: KubeApi, node: ReadyNode) -> None:
    api.store.create("deployments", "default", workload(4))
    await until(lambda: node.count_ready() == 4)
    least = 4

    def rolled() -> bool:
        nonlocal least
        least = min(least, node.count_ready())
        return images(api) == ["app:2"] * 4

    template = workload(image="app:2")["spec"]["template"]
    api.store.patch("deployments", "default", "app", {"spec": {"template": template}})
    await until(rolled)
    assert least >= 3, "25 % of 4 may be missing, no more"
    assert len(api.store.list("replicasets")) == 2, "the old one is kept to roll back to"


async def test_the_cheapest_pod_goes_first(api: KubeApi, node: ReadyNode) -> None:
    api.store.create("deployments", "default", workload(3))
    await until(lambda: node.count_ready() == 3)
    cheap = api.store.list("pods")[1]["metadata"]["name"]
    note = {"metadata": {"annotations": {rollouts.DELETION_COST: "-10"}}}
    api.store.patch("pods", "default", cheap, note)
    api.store.patch("deployments", "default", "app", {"spec": {"replicas": 2}})
    await until(lambda: len(api.store.list("pods")) == 2)
    assert cheap not in [pod["metadata"]["name"] for pod in api.store.list("pods")]


async def test_a_deleted_deployment_takes_its_pods_along(api: KubeApi, node: ReadyNode) -> None:
    api.store.create("deployments", "default", workload(2))
    await until(lambda: node.count_ready() == 2)
    api.store.delete("deployments", "default", "app")
    await until(lambda: not api.store.list("pods"))
    assert not api.store.list("replicasets")


async def test_a_lost_pod_is_replaced(api: KubeApi, node: ReadyNode) -> None:
    api.store.create("deployments", "default", workload(2))
    await until(lambda: node.count_ready() == 2)
    lost = api.store.list("pods")[0]["metadata"]["name"]
    api.store.delete("pods", "default", lost, grace_s=0)
    await until(lambda: node.count_ready() == 2)
    assert lost not in [pod["metadata"]["name"] for pod in api.store.list("pods")]


async def test_a_refused_pod_is_tried_again(api: KubeApi, node: ReadyNode) -> None:
    webhook = {
        "name": "shut.tidegate.io",
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "failurePolicy": "Fail",
        "rules": [
            {
                "operations": ["CREATE"],
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "resources": ["pods"],
            }
        ],
    }
    body = {"metadata": {"name": "shut"}, "webhooks": [webhook]}
    api.store.create("mutatingwebhookconfigurations", None, body)
    api.store.create("deployments", "default", workload(1))
    await until(lambda: bool(api.store.list("replicasets")))
    await asyncio.sleep(0.1)
    assert not api.store.list("pods"), "pods are made through the webhooks"
    api.store.delete("mutatingwebhookconfigurations", None, "shut")
    await until(lambda: node.count_ready() == 1)


async def test_a_statefulset_goes_up_and_down_in_order(api: KubeApi, node: ReadyNode) -> None:
    node.is_stuck = lambda pod: pod["metadata"]["name"] == "app-1"
    api.store.create("statefulsets", "default", workload(3))
    await until(lambda: len(api.store.list("pods")) == 2)
    await asyncio.sleep(0.05)
    assert [pod["metadata"]["name"] for pod in api.store.list("pods")] == ["app-0", "app-1"]
    node.is_stuck = lambda pod: False
    api.store.patch("pods", "default", "app-1", {"metadata": {"annotations": {"poke": "1"}}})
    await until(lambda: node.count_ready() == 3)
    api.store.patch("statefulsets", "default", "app", {"spec": {"replicas": 1}})
    await until(lambda: len(api.store.list("pods")) == 1)
    assert api.store.list("pods")[0]["metadata"]["name"] == "app-0"


def pod(name: str, *, ready: bool = True, cost: str = "0", made: str = "00") -> Object:
    conditions = [{"type": "Ready", "status": str(ready)}]
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": f"2026-01-01T00:00:{made}Z",
            "annotations": {rollouts.DELETION_COST: cost},
        },
        "spec": {"nodeName": "node"},
        "status": {"phase": "Running", "conditions": conditions},
    }


PENDING = pod("pending") | {"status": {"phase": "Pending"}, "spec": {}}


@pytest.mark.parametrize(
    ("pods", "first"),
    [
        pytest.param([pod("a"), PENDING], "pending", id="a pod that never started"),
        pytest.param([pod("a"), pod("b", ready=False)], "b", id="a pod that is not ready"),
        pytest.param([pod("a", cost="5"), pod("b", cost="-1")], "b", id="the cheapest"),
        pytest.param([pod("a", cost="x"), pod("b", cost="1")], "a", id="a bad cost counts as 0"),
        pytest.param([pod("a", made="01"), pod("b", made="09")], "b", id="the youngest"),
        pytest.param([pod("a", ready=False, cost="9"), pod("b")], "a", id="readiness before cost"),
    ],
)
def test_who_is_missed_least(pods: list[Object], first: str) -> None:
    assert rollouts.choose_victims(pods, 1)[0]["metadata"]["name"] == first


def replicaset(name: str, replicas: int) -> Object:
    return {"metadata": {"name": name}, "spec": {"replicas": replicas}}


@given(
    desired=st.integers(0, 12),
    old=st.integers(0, 12),
    new=st.integers(0, 12),
    old_ready=st.integers(0, 12),
    new_ready=st.integers(0, 12),
    surge=st.sampled_from([0, 1, 3, "25%", "100%"]),
    slack=st.sampled_from([0, 1, "25%", "50%"]),
)
def test_a_rollout_keeps_its_bounds(
    desired: int, old: int, new: int, old_ready: int, new_ready: int, surge: Any, slack: Any
) -> None:
    """Never more pods than surge allows, never a ready pod taken that cannot be spared."""
    rolling = {"maxSurge": surge, "maxUnavailable": slack}
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    deployment = {"spec": {"replicas": desired, "strategy": strategy}}
    available = {"old": min(old, old_ready), "new": min(new, new_ready)}
    fleet = Fleet(replicaset("new", new), (replicaset("old", old),), available, available)
    plan = rollouts.plan_rollout(deployment, fleet)
    most = desired + rollouts.resolve_share(surge, desired, up=True)
    least = desired - max(1, rollouts.resolve_share(slack, desired, up=False))
    assert sum(plan.values()) <= max(most, old + new, desired)
    assert 0 <= plan["old"] <= old
    left = min(plan["old"], available["old"]) + min(plan["new"], available["new"])
    assert left >= min(least, sum(available.values())) or not old
