"""The real reconciler, a process against the embedded Kubernetes API and sidecars on loopback.

One process serves most tests, each in a namespace of its own, as one operator serves a cluster.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from reconcile_process import POLICIES, SYSTEM, Cluster, ReconcileProcess, eventually
from tidegate_operator.cluster.observe import DELETION_COST
from tidegate_operator.decide.leaving import MARK
from tidegate_operator.decide.rungs import Rung

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEGRADE = {
    "triggers": [
        {
            "name": "errors",
            "enter": "5%",
            "exit": "2%",
            "for": "30s",
            "minRequests": 5,
            "do": "Switch",
        }
    ],
    "minDwell": "10m",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with Cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def operator(cluster: Cluster) -> AsyncIterator[ReconcileProcess]:
    async with ReconcileProcess(
        cluster, TIDEGATE_LEADER_ELECTION="false", TIDEGATE_POD_DELETION_COST_IN="going, gone"
    ) as process:
        yield process


async def test_it_scales_up_through_the_scale_subresource(
    cluster: Cluster, operator: ReconcileProcess
) -> None:
    workload = await cluster.workload("up")
    workload.load(2.0)
    workload.policy()
    await eventually(lambda: workload.condition("MetricsAvailable") == ("True", "MetricsFound"))
    workload.load(12.0)
    await eventually(lambda: workload.replicas > 2)
    # The count is written before the status is.
    await eventually(
        lambda: workload.status().get("decisions", [{}])[0].get("action") == "ScaleUp"
    )
    newest = workload.status()["decisions"][0]
    assert newest["applied"]
    assert ("ScaleUp", newest["reason"]) in workload.events()
    lines = [line for line in operator.said("decision") if line["namespace"] == "up"]
    assert newest["reason"] in {line["reason"] for line in lines}


async def test_shadow_writes_nothing_to_the_target(
    cluster: Cluster, operator: ReconcileProcess
) -> None:
    workload = await cluster.workload("shadow")
    before = workload.store.get("deployments.apps", "shadow", "llama")
    workload.load(2.0)
    workload.policy(mode="Shadow", degrade=DEGRADE)
    await eventually(lambda: workload.condition("MetricsAvailable")[0] == "True")
    workload.load(20.0, error_share=0.5)
    await eventually(lambda: workload.status().get("phase") == "Degraded")
    await eventually(lambda: workload.status()["replicas"]["desired"] > 2)
    assert workload.store.get("deployments.apps", "shadow", "llama") == before
    config = workload.config()
    assert config is not None
    assert config.order is None
    assert all(not told["applied"] for told in workload.status()["decisions"])


async def test_errors_become_an_order_for_the_sidecars(
    cluster: Cluster, operator: ReconcileProcess
) -> None:
    workload = await cluster.workload("errors")
    workload.load(4.0)
    workload.policy(degrade=DEGRADE)
    await eventually(lambda: workload.config() is not None)
    config = workload.config()
    assert config is not None
    for sidecar in workload.sidecars:
        sidecar.config_hash = config.hash
    await eventually(lambda: workload.status().get("sidecars", {}).get("applied") == 2)
    workload.load(4.0, error_share=0.5)
    await eventually(lambda: (workload.config() or config).order is not None)
    order = (workload.config() or config).order
    assert order is not None
    assert (order.model, order.reason) == ("llama-8b", "ErrorRateHigh")

    def saved_rung() -> Rung | None:
        saved = workload.history()
        return saved.memory.rung if saved else None

    await eventually(lambda: saved_rung() is Rung.SWITCH)


@pytest.mark.parametrize("namespace", ["going", "staying"])
async def test_the_idlest_pods_are_marked_before_a_scale_down_where_that_is_allowed(
    cluster: Cluster, operator: ReconcileProcess, namespace: str
) -> None:
    workload = await cluster.workload(namespace, replicas=4)
    for sidecar, in_flight in zip(workload.sidecars, (1, 0, 1, 0), strict=True):
        sidecar.in_flight = in_flight
    workload.load(0.4)
    scaling = {"minReplicas": 2, "maxReplicas": 10, "capacityPerReplica": "2.5"}
    behavior = {"scaleDown": {"stabilization": "60s"}}
    workload.policy(scaling={**scaling, "behavior": behavior})
    await eventually(lambda: workload.replicas == 2)
    marked = {
        pod["metadata"]["name"]: pod["metadata"].get("annotations", {}).get(DELETION_COST)
        for pod in workload.store.list("pods", namespace)
    }
    mark = str(MARK) if namespace == "going" else None
    assert marked == {"llama-0": None, "llama-1": mark, "llama-2": None, "llama-3": mark}


async def test_a_target_that_comes_later_is_found(
    cluster: Cluster, operator: ReconcileProcess
) -> None:
    workload = await cluster.workload("late", replicas=1)
    workload.store.delete("deployments.apps", "late", "llama")
    workload.policy()
    await eventually(lambda: workload.condition("TargetResolved") == ("False", "TargetNotFound"))
    await eventually(lambda: ("TargetResolved", "TargetNotFound") in workload.events())
    workload.deploy(1)
    await eventually(lambda: workload.condition("TargetResolved") == ("True", "TargetFound"))


async def test_of_two_policies_the_older_has_the_target(
    cluster: Cluster, operator: ReconcileProcess
) -> None:
    workload = await cluster.workload("two")
    workload.policy("first")
    await cluster.clock.sleep(2.0)
    workload.policy("another")
    await eventually(lambda: workload.condition("NoConflict", "another")[0] == "False")
    await eventually(lambda: workload.condition("NoConflict", "first")[0] == "True")
    assert workload.config("another") is None
    workload.store.delete(POLICIES, "two", "first")
    await eventually(lambda: workload.condition("NoConflict", "another")[0] == "True")
    await eventually(lambda: workload.config("another") is not None)


async def test_a_spec_that_the_schema_lets_through_is_named(
    cluster: Cluster, operator: ReconcileProcess
) -> None:
    workload = await cluster.workload("invalid")
    workload.policy()
    await eventually(lambda: workload.config() is not None)
    good = workload.config()
    budget = {
        "name": "all-day",
        "limit": {"tokens": 1000},
        "window": {"unit": "Day", "timezone": "Mars/Olympus"},
        "actions": [{"at": "80%", "do": "Warn"}],
    }
    change = {"spec": {"budgets": [budget]}}
    workload.store.patch(POLICIES, "invalid", "chat", change)
    await eventually(lambda: workload.condition("Ready") == ("False", "InvalidSpec"))
    conditions = {c["type"]: c["message"] for c in workload.status()["conditions"]}
    assert conditions["Ready"] == (
        "spec.budgets[0].window.timezone must be an IANA time zone such as Europe/Berlin, "
        "was: Mars/Olympus"
    )
    assert workload.config() == good


async def test_sidecars_that_fail_hold_the_replicas(
    cluster: Cluster, operator: ReconcileProcess
) -> None:
    workload = await cluster.workload("stale", replicas=4)
    workload.load(6.5)
    behavior = {"scaleDown": {"stabilization": "60s"}}
    workload.policy(scaling={"capacityPerReplica": "2.5", "behavior": behavior})
    await eventually(lambda: workload.condition("MetricsAvailable")[0] == "True")
    for sidecar in workload.sidecars:
        sidecar.broken = True
    await eventually(lambda: workload.condition("MetricsAvailable") == ("False", "MetricsError"))
    looks = workload.sidecars[0].looks
    await eventually(lambda: workload.sidecars[0].looks > looks + 10)
    assert workload.replicas == 4


async def test_a_policy_that_is_deleted_takes_its_objects_along(
    cluster: Cluster, operator: ReconcileProcess
) -> None:
    workload = await cluster.workload("gone")
    workload.load(4.0)
    workload.policy()
    await eventually(lambda: workload.config() is not None)
    workload.store.delete(POLICIES, "gone", "chat")
    await eventually(lambda: workload.config() is None)
    looks = workload.sidecars[0].looks
    await asyncio.sleep(cluster.clock.real_s(60.0))
    assert workload.sidecars[0].looks <= looks + 1
    assert workload.config() is None


async def test_what_a_broken_watch_saw_last_is_mended(
    cluster: Cluster, operator: ReconcileProcess
) -> None:
    workload = await cluster.workload("watch")
    cluster.kube.drop_watches()
    cluster.kube.forget_history("pods")
    cluster.kube.forget_history(POLICIES)
    workload.load(2.0)
    workload.policy()
    await eventually(lambda: workload.condition("MetricsAvailable")[0] == "True")


async def test_it_shows_health_and_figures(cluster: Cluster, operator: ReconcileProcess) -> None:
    workload = await cluster.workload("figures")
    workload.load(4.0)
    workload.policy()
    await eventually(lambda: workload.condition("MetricsAvailable")[0] == "True")
    async with aiohttp.ClientSession(f"http://127.0.0.1:{operator.port}") as session:
        async with session.get("/healthz") as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")
        async with session.get("/metrics") as answer:
            text = await answer.text()
    assert 'tidegate_policy_ready_replicas{namespace="figures",policy="chat"} 2.0' in text
    assert 'tidegate_policy_tokens_total{namespace="figures",policy="chat",type="input"}' in text


async def test_nothing_of_kopf_stays_on_anybodys_objects(
    cluster: Cluster, operator: ReconcileProcess
) -> None:
    workload = await cluster.workload("clean", replicas=1)
    workload.policy()
    await eventually(lambda: workload.config() is not None)
    (pod,) = workload.store.list("pods", "clean")
    policy = workload.store.get(POLICIES, "clean", "chat")
    for manifest in (pod, policy):
        assert "finalizers" not in manifest["metadata"]
        assert "kopf" not in str(manifest)


async def test_a_restart_goes_on_where_the_last_process_stood(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        workload = await cluster.workload("restart", replicas=2)
        workload.load(4.0)
        workload.policy(degrade=DEGRADE)
        async with ReconcileProcess(cluster) as first:
            await eventually(lambda: workload.condition("MetricsAvailable")[0] == "True")
            workload.load(4.0, error_share=0.5)
            await eventually(lambda: workload.status().get("activeModel") == "llama-8b")
            first.terminate()
            assert await first.ended() == 0
        lease = cluster.kube.store.get("leases.coordination.k8s.io", SYSTEM, "tidegate-reconcile")
        assert lease["spec"]["holderIdentity"] == ""
        before = workload.status()
        saved = workload.history()
        assert saved is not None
        workload.load(0.0)
        async with ReconcileProcess(cluster) as second:
            await eventually(lambda: second.said("leader_elected"))
            looks = workload.sidecars[0].looks
            await eventually(lambda: workload.sidecars[0].looks > looks + 3)
            assert workload.status()["activeModel"] == "llama-8b"
            assert workload.replicas >= 2
            config = workload.config()
            assert config is not None
            assert config.order is not None
            second.terminate()
            assert await second.ended() == 0
        after = workload.history()
        assert after is not None
        assert after.start_minute == saved.start_minute
        assert list(after.counts[: len(saved.counts)]) == list(saved.counts)
        assert workload.status()["decisions"][-1] == before["decisions"][-1]


async def test_a_crd_that_comes_later_is_waited_for(tmp_path: Path) -> None:
    async with (
        Cluster(tmp_path, crd=False) as cluster,
        ReconcileProcess(cluster, TIDEGATE_LEADER_ELECTION="false") as process,
    ):
        await eventually(lambda: process.said("waiting_for_api"))
        cluster.install_crd()
        workload = await cluster.workload("early")
        workload.policy()
        await eventually(lambda: workload.config() is not None)
        assert len(process.said("waiting_for_api")) == 1


async def test_the_operators_own_credentials_are_never_logged(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        workload = await cluster.workload("secret")
        workload.policy()
        async with ReconcileProcess(cluster) as process:
            await eventually(lambda: workload.config() is not None)
            await cluster.kube.stop()
            await asyncio.sleep(1.0)
            process.terminate()
            await process.ended()
        assert cluster.kube.admin_token
        assert cluster.kube.admin_token not in str(process.lines)
