"""What only the operator can know of a policy: the real reconciler on the embedded API says it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from operator_only import SHARED, UNSEEN, Unseen
from reconcile_process import POLICIES, Cluster, ReconcileProcess, Workload, eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with (
        Cluster(tmp_path_factory.mktemp("cluster")) as running,
        ReconcileProcess(running, TIDEGATE_LEADER_ELECTION="false"),
    ):
        yield running


async def said_in_condition_and_event(workload: Workload, fault: Unseen, name: str) -> None:
    def condition() -> dict[str, Any] | None:
        conditions = workload.status(name).get("conditions", ())
        return next((c for c in conditions if c["type"] == fault.condition), None)

    await eventually(lambda: (condition() or {}).get("reason") == fault.reason)
    found = condition()
    assert found is not None
    assert found["status"] == "False"
    assert fault.words in found["message"]

    def told() -> bool:
        events = workload.store.list("events", workload.namespace)
        return any(
            e["reason"] == fault.reason
            and e["involvedObject"]["name"] == name
            and fault.words in e["message"]
            for e in events
        )

    await eventually(told)


@pytest.mark.parametrize("fault", [pytest.param(fault, id=fault.sentence) for fault in UNSEEN])
async def test_the_operator_says_of_a_policy_that(cluster: Cluster, fault: Unseen) -> None:
    workload = await cluster.workload(f"unseen-{UNSEEN.index(fault)}", replicas=1)
    workload.store.create(POLICIES, workload.namespace, fault.policy())
    await said_in_condition_and_event(workload, fault, "chat")
    assert workload.condition("Ready")[0] == "False"
    assert workload.replicas == 1


async def test_the_operator_says_of_the_younger_policy_that_its_target_is_taken(
    cluster: Cluster,
) -> None:
    workload = await cluster.workload("unseen-shared", replicas=1)
    workload.store.create(POLICIES, workload.namespace, _on_llama(SHARED.policy()))
    await cluster.clock.sleep(2.0)
    workload.store.create(POLICIES, workload.namespace, _on_llama(SHARED.policy("again")))
    await said_in_condition_and_event(workload, SHARED, "again")
    await eventually(lambda: workload.condition("NoConflict")[0] == "True")


def _on_llama(policy: dict[str, Any]) -> dict[str, Any]:
    policy["spec"]["targetRef"]["name"] = "llama"
    return policy
