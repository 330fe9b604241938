"""The table of autoscalers: by target, whatever comes and goes, and where it can't be had."""

import asyncio
from typing import Any

import pytest

from hub import eventually
from small_api import SmallApi, status
from tidegate_operator.cluster import paths
from tidegate_operator.cluster.autoscalers import Autoscalers, mirror_autoscalers
from tidegate_operator.cluster.lists import Kube
from tidegate_operator.decide.holding import Autoscaler
from tidegate_wire.clock import Clock

KEDA = [{"kind": "ScaledObject", "name": "chat", "controller": True}]


def hpa(target: str = "llama", kind: str = "Deployment", **more: Any) -> dict[str, Any]:
    ref = {"kind": kind, "name": target} | more
    return {"metadata": {"name": "any", "namespace": "shop"}, "spec": {"scaleTargetRef": ref}}


@pytest.mark.parametrize(
    ("manifest", "found"),
    [
        pytest.param(hpa(apiVersion="apps/v1"), True, id="it names the workload"),
        pytest.param(hpa(), True, id="it leaves the group out"),
        pytest.param(hpa(target="other"), False, id="it names another workload"),
        pytest.param(hpa(kind="StatefulSet"), False, id="it names another kind of that name"),
        pytest.param(hpa(apiVersion="argoproj.io/v1"), False, id="it names another group's kind"),
        pytest.param({"metadata": {}}, False, id="it names nothing"),
    ],
)
def test_what_it_points_at(manifest: dict[str, Any], found: bool) -> None:
    table = Autoscalers()
    table.see(("shop", "any"), manifest)
    assert (table.of("shop", "Deployment", "llama") is not None) is found
    assert table.of("other", "Deployment", "llama") is None


def test_one_that_moves_or_goes_leaves_its_target() -> None:
    table = Autoscalers()
    table.see(("shop", "b"), hpa())
    table.see(("shop", "a"), hpa())
    assert table.of("shop", "Deployment", "llama") == Autoscaler(name="a")
    table.see(("shop", "a"), hpa(target="other"))
    assert table.of("shop", "Deployment", "llama") == Autoscaler(name="b")
    table.see(("shop", "b"), None)
    table.see(("shop", "never"), None)
    assert table.of("shop", "Deployment", "llama") is None
    assert table.of("shop", "Deployment", "other") == Autoscaler(name="a")


def external(name: str) -> dict[str, Any]:
    return {"type": "External", "external": {"metric": {"name": name}}}


CPU = {"type": "Resource", "resource": {"name": "cpu"}}


@pytest.mark.parametrize(
    ("metrics", "asks"),
    [
        pytest.param([external("tidegate-desired-replicas")], True, id="by our metric"),
        pytest.param(
            [CPU, external("s1-tidegate-desired-replicas")], True, id="by KEDA's name of it"
        ),
        pytest.param([CPU, external("queue-length")], False, id="by others"),
        pytest.param([], False, id="by none"),
        pytest.param([{"type": "External"}], False, id="by one that is cut short"),
    ],
)
def test_whether_it_asks_for_our_count(metrics: list[dict[str, Any]], asks: bool) -> None:
    table = Autoscalers()
    made = hpa()
    made["spec"]["metrics"] = metrics
    table.see(("shop", "any"), made)
    found = table.of("shop", "Deployment", "llama")
    assert found is not None
    assert found.asks is asks


def test_who_made_it_is_known() -> None:
    table = Autoscalers()
    made = hpa()
    made["metadata"]["ownerReferences"] = KEDA
    table.see(("shop", "keda-hpa-chat"), made)
    found = table.of("shop", "Deployment", "llama")
    assert found == Autoscaler(name="keda-hpa-chat", owner="ScaledObject/chat")


async def test_where_they_may_not_be_listed_it_is_said_and_tried_again() -> None:
    async with SmallApi() as api:
        api.answers[paths.autoscalers()] = (403, status(403, "Forbidden"))
        table = Autoscalers()
        kube = Kube(api.configuration())
        mirror = mirror_autoscalers(kube, table, Clock(50.0))
        task = asyncio.create_task(mirror.run())
        try:
            await eventually(mirror.tried.is_set)
            problem = table.problem()
            assert problem is not None
            assert problem.status == 403
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await kube.close()
