"""Somebody else sets the replicas: no fight, and words for it.

A real reconciler on the embedded API. Writes are counted by the workload's generation, which each
change of its spec moves.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from reconcile_process import POLICIES, Cluster, ReconcileProcess, Workload, eventually
from tidegate_operator.demo.kubeapi.kinds import Kinds
from tidegate_operator.demo.kubeapi.server import KubeApi

pytestmark = pytest.mark.asyncio(loop_scope="module")

HPAS = "horizontalpodautoscalers.autoscaling"
HOLD_S = 90.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with Cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


def reconciler(cluster: Cluster, hold_s: float = HOLD_S) -> ReconcileProcess:
    return ReconcileProcess(
        cluster, TIDEGATE_LEADER_ELECTION="false", TIDEGATE_MANUAL_HOLD_S=str(hold_s)
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def operator(cluster: Cluster) -> AsyncIterator[ReconcileProcess]:
    async with reconciler(cluster) as process:
        yield process


def set_replicas(workload: Workload, count: int) -> None:
    spec = {"spec": {"replicas": count}}
    workload.store.patch("deployments.apps", workload.namespace, "llama", spec)


def generation(workload: Workload) -> int:
    found = workload.store.get("deployments.apps", workload.namespace, "llama")
    return int(found["metadata"]["generation"])


def message(workload: Workload, kind: str) -> str:
    conditions = workload.status().get("conditions", ())
    return next((str(c["message"]) for c in conditions if c["type"] == kind), "")


async def ticks(workload: Workload, count: int) -> None:
    sidecar = workload.sidecars[0]
    looks = sidecar.looks
    await eventually(lambda: sidecar.looks > looks + count)


async def scaled(cluster: Cluster, namespace: str, **spec: Any) -> Workload:
    """A target of 2 that the policy has brought to more."""
    workload = await cluster.workload(namespace)
    workload.load(2.0)
    workload.policy(**spec)
    await eventually(lambda: workload.condition("NoConflict") == ("True", "NobodyElseScales"))
    workload.load(8.0)
    await eventually(lambda: workload.replicas > 2)
    await ticks(workload, 2)
    return workload


def hpa(owner: str = "", uid: str = "") -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": "llama-hpa"}
    if owner:
        metadata["ownerReferences"] = [
            {
                "apiVersion": "keda.sh/v1alpha1",
                "kind": "ScaledObject",
                "name": owner,
                "uid": uid,
                "controller": True,
            }
        ]
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama"}
    spec = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 5}
    return {"metadata": metadata, "spec": spec}


async def test_beside_an_autoscaler_nothing_is_written_until_it_goes(
    cluster: Cluster, operator: ReconcileProcess
) -> None:
    workload = await cluster.workload("hpa")
    # Only its UID matters to the garbage collector: any object that is there will do.
    alive = workload.store.get("deployments.apps", "hpa", "llama")["metadata"]["uid"]
    workload.store.create(HPAS, "hpa", hpa(owner="llama-keda", uid=alive))
    workload.load(2.0)
    workload.policy()
    await eventually(lambda: workload.condition("NoConflict") == ("False", "HPAOnTarget"))
    before = generation(workload)
    workload.load(12.0)
    await eventually(lambda: workload.status()["replicas"]["desired"] > 2)
    await eventually(
        lambda: (
            [d["applied"] for d in workload.status()["decisions"] if d["action"] == "ScaleUp"]
            == [False]
        )
    )
    (newest, *_) = workload.status()["decisions"]
    assert newest["clamps"][-1]["reason"] == "HPAOnTarget"
    assert newest["clamps"][-1]["after"] == 2
    await eventually(lambda: workload.condition("ScalingActive") == ("False", "HPAOnTarget"))
    words = message(workload, "NoConflict")
    assert "HPA llama-hpa (of ScaledObject/llama-keda) sets the replicas" in words
    assert "kubectl delete scaledobject llama-keda -n hpa" in words
    assert generation(workload) == before
    workload.store.delete(HPAS, "hpa", "llama-hpa")
    await eventually(lambda: workload.replicas > 2)
    await eventually(lambda: workload.condition("NoConflict") == ("True", "NobodyElseScales"))
    assert ("NoConflict", "HPAOnTarget") in workload.events()
    assert ("NoConflict", "NobodyElseScales") in workload.events()


async def test_an_autoscaler_that_comes_later_takes_over(
    cluster: Cluster, operator: ReconcileProcess
) -> None:
    workload = await scaled(cluster, "later")
    workload.store.create(HPAS, "later", hpa())
    await eventually(lambda: workload.condition("NoConflict") == ("False", "HPAOnTarget"))
    set_replicas(workload, 5)
    await ticks(workload, 3)
    assert workload.condition("NoConflict") == ("False", "HPAOnTarget")
    assert workload.replicas == 5
    assert "kubectl delete hpa llama-hpa -n later" in message(workload, "NoConflict")


async def test_in_shadow_an_autoscaler_is_no_conflict(
    cluster: Cluster, operator: ReconcileProcess
) -> None:
    workload = await cluster.workload("beside")
    workload.store.create(HPAS, "beside", hpa())
    workload.policy(mode="Shadow")
    await eventually(lambda: "both can stay" in message(workload, "NoConflict"))
    assert workload.condition("NoConflict")[0] == "True"


async def test_a_count_set_by_hand_stands_for_its_time(
    cluster: Cluster, operator: ReconcileProcess
) -> None:
    workload = await scaled(cluster, "hand")
    asked = workload.replicas
    set_replicas(workload, 7)
    before = generation(workload)
    await eventually(lambda: workload.condition("NoConflict") == ("False", "ScaledByHand"))
    begun = cluster.clock.now()
    words = message(workload, "NoConflict")
    assert f"set replicas to 7 where Tidegate had asked for {asked}" in words
    assert f"kubectl scale deployment llama --replicas={asked} -n hand" in words
    assert workload.condition("ScalingActive") == ("False", "ScaledByHand")
    workload.load(20.0)
    await eventually(lambda: workload.condition("NoConflict")[0] == "True")
    assert cluster.clock.now() - begun > HOLD_S - 40.0
    await eventually(lambda: workload.replicas > 7)
    assert generation(workload) == before + 1


async def test_setting_back_what_stood_hands_back_at_once(
    cluster: Cluster, operator: ReconcileProcess
) -> None:
    workload = await scaled(cluster, "back")
    asked = workload.replicas
    set_replicas(workload, 7)
    await eventually(lambda: workload.condition("NoConflict") == ("False", "ScaledByHand"))
    since = cluster.clock.now()
    set_replicas(workload, asked)
    await eventually(lambda: workload.condition("NoConflict")[0] == "True")
    assert cluster.clock.now() - since < HOLD_S


async def test_one_who_always_reverts_sees_three_writes_and_is_named_a_fight(
    cluster: Cluster, operator: ReconcileProcess
) -> None:
    workload = await scaled(cluster, "fight")
    reverts, begun = 0, generation(workload)

    def contested() -> bool:
        return workload.condition("NoConflict") == ("False", "FieldContested")

    while not contested():
        set_replicas(workload, 2)
        reverts += 1
        await eventually(lambda: workload.replicas != 2 or contested())
    # Before the loop came the first write of three.
    assert (reverts, generation(workload) - begun - reverts) == (3, 2)
    assert "takes no part in a fight" in message(workload, "NoConflict")
    before = generation(workload)
    await asyncio.sleep(cluster.clock.real_s(2 * HOLD_S))
    assert generation(workload) == before


async def test_zero_means_stop_and_more_means_go(
    cluster: Cluster, operator: ReconcileProcess
) -> None:
    workload = await scaled(cluster, "zero")
    set_replicas(workload, 0)
    before = generation(workload)
    await eventually(lambda: workload.condition("ScalingActive") == ("False", "ScaledToZero"))
    assert "until somebody sets it above 0" in message(workload, "ScalingActive")
    assert workload.condition("NoConflict")[0] == "True"
    await ticks(workload, 3)
    assert generation(workload) == before
    set_replicas(workload, 1)
    await eventually(lambda: workload.replicas > 1)
    await eventually(lambda: workload.condition("ScalingActive")[0] == "True")
    assert workload.condition("NoConflict")[0] == "True"


async def test_a_deleted_target_that_returns_is_met_afresh(
    cluster: Cluster, operator: ReconcileProcess
) -> None:
    workload = await scaled(cluster, "anew")
    workload.store.delete("deployments.apps", "anew", "llama")
    await eventually(lambda: workload.condition("TargetResolved") == ("False", "TargetNotFound"))
    assert "Deployment/llama not found" in message(workload, "TargetResolved")
    workload.load(0.1)
    workload.deploy(6)
    await eventually(lambda: workload.condition("TargetResolved")[0] == "True")
    assert workload.condition("NoConflict") == ("True", "NobodyElseScales")
    await ticks(workload, 3)
    assert workload.condition("NoConflict") == ("True", "NobodyElseScales")


async def test_a_deleted_policy_leaves_the_replicas_as_they_are(
    cluster: Cluster, operator: ReconcileProcess
) -> None:
    workload = await scaled(cluster, "left")
    workload.store.delete(POLICIES, "left", "chat")
    await eventually(lambda: workload.history() is None and workload.config() is None)
    await eventually(lambda: any(e["namespace"] == "left" for e in operator.said("policy_gone")))
    before, count = generation(workload), workload.replicas
    workload.load(20.0)
    await asyncio.sleep(cluster.clock.real_s(60.0))
    assert (generation(workload), workload.replicas) == (before, count)
    assert workload.config() is None


async def test_a_restart_accuses_nobody_and_misses_nobody(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        workload = await cluster.workload("crash")
        async with reconciler(cluster, hold_s=900.0) as first:
            workload.load(2.0)
            workload.policy()
            await eventually(lambda: workload.condition("NoConflict")[0] == "True")
            workload.load(8.0)
            await eventually(lambda: workload.replicas > 2)
            first.kill()  # right after the write: its answer may never have been heard
            await first.ended()
        async with reconciler(cluster, hold_s=900.0) as second:
            await eventually(lambda: second.said("started"))
            await ticks(workload, 4)
            assert workload.condition("NoConflict") == ("True", "NobodyElseScales")
            second.kill()
            await second.ended()
        set_replicas(workload, 9)
        async with reconciler(cluster, hold_s=900.0) as third:
            await eventually(lambda: workload.condition("NoConflict") == ("False", "ScaledByHand"))
            third.kill()
            await third.ended()
        async with reconciler(cluster, hold_s=900.0):
            await ticks(workload, 2)
            assert workload.condition("NoConflict") == ("False", "ScaledByHand")
            assert workload.replicas == 9


async def test_where_autoscalers_cannot_be_listed_it_scales_and_says_what_is_not_known(
    tmp_path: Path,
) -> None:
    kinds = Kinds.builtin()
    kinds.replace_custom("autoscaling", "horizontalpodautoscalers", ())
    blind = Cluster(tmp_path)
    blind.kube = KubeApi(blind.clock, kinds=kinds)
    async with blind as cluster, reconciler(cluster) as process:
        workload = await scaled(cluster, "blind")
        assert "since they can't be listed" in message(workload, "NoConflict")
        assert len(process.said("watch_lost")) == 1
