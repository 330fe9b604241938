"""Before a scale-down, and only then, the pods that are to go are marked: where the operator's
owner allowed it, once a pod, and never at the cost of the scale-down itself."""

import json

import pytest

from fake_cluster import POLICY, SCALE, pod
from stage import Stage
from tidegate_operator.cluster.observe import DELETION_COST, read_pod
from tidegate_operator.decide.leaving import MARK
from tidegate_operator.handlers.leaving import namespaces
from tidegate_operator.settings import Settings

PODS = "/api/v1/namespaces/shop/pods"


def busy(*in_flight: int, allowed: str = "shop") -> Stage:
    """A target of so many pods, with so many requests in flight, that needs one pod only."""
    stage = Stage(replicas=len(in_flight))
    for n, count in enumerate(in_flight):
        stage.api.put(f"{PODS}/llama-p{n}", pod(f"p{n}"))
        stage.in_flight[f"p{n}"] = count
    stage.settings = Settings(pod_deletion_cost_in=allowed)
    stage.restart()
    return stage


def marks(stage: Stage) -> dict[str, str | None]:
    return {
        path.rpartition("-")[2]: body["metadata"]["annotations"].get(DELETION_COST)
        for path, body in stage.api.objects.items()
        if path.startswith(PODS)
    }


async def scale_down(stage: Stage) -> None:
    """Tick until the count goes down."""
    before = stage.replicas
    for _ in range(60):
        await stage.tick(rps=0.4)
        if stage.replicas < before:
            return
    raise AssertionError("nothing was scaled down")


async def test_those_with_the_fewest_requests_go() -> None:
    stage = busy(1, 0, 1, 0)
    await scale_down(stage)
    assert stage.replicas == 2
    assert marks(stage) == {"p0": None, "p1": str(MARK), "p2": None, "p3": str(MARK)}
    assert len(stage.api.written("PATCH", PODS)) == 2


async def test_the_marks_stand_before_the_count_is_written() -> None:
    stage = busy(1, 0, 1, 0)
    await scale_down(stage)
    order = [path for method, path in stage.api.writes if path.startswith((PODS, SCALE))]
    assert order[-1] == SCALE
    assert len(order) == 3


async def test_while_nothing_is_scaled_down_no_pod_is_written() -> None:
    stage = busy(1, 0, 1, 0)
    await stage.tick(10, rps=12.0)
    assert stage.api.written("PATCH", PODS) == []


@pytest.mark.parametrize("allowed", ["", "other", "shop-2, test"])
async def test_where_nobody_allowed_it_no_pod_is_written(allowed: str) -> None:
    stage = busy(1, 0, 1, 0, allowed=allowed)
    await scale_down(stage)
    assert stage.api.written("PATCH", PODS) == []


async def test_in_shadow_no_pod_is_written() -> None:
    stage = busy(1, 0, 1, 0)
    manifest = json.loads(json.dumps(stage.api.objects[f"{POLICY}/chat"]))
    manifest["spec"]["mode"] = "Shadow"
    stage.see(manifest)
    await stage.tick(60, rps=0.4)
    assert stage.status()["replicas"]["desired"] < 4
    assert stage.api.written("PATCH", PODS) == []


@pytest.mark.parametrize("status", [403, 404, 409, 500, 0])
async def test_a_mark_that_cannot_be_written_stops_no_scale_down(status: int) -> None:
    stage = busy(1, 0, 1, 0)
    stage.api.refuse["PATCH", PODS] = status
    await scale_down(stage)
    assert stage.replicas == 2
    assert stage.condition("ScalingActive")[0] == "True"


async def test_a_statefulset_is_left_alone_since_its_last_pods_go_anyhow() -> None:
    stage = busy(1, 0, 1, 0)
    manifest = json.loads(json.dumps(stage.api.objects[f"{POLICY}/chat"]))
    manifest["spec"]["targetRef"]["kind"] = "StatefulSet"
    stage.see(manifest)
    moved = SCALE.replace("deployments", "statefulsets")
    stage.api.objects[moved] = stage.api.objects.pop(SCALE)
    for _ in range(60):
        await stage.tick(rps=0.4)
    assert stage.api.objects[moved]["spec"]["replicas"] < 4
    assert stage.api.written("PATCH", PODS) == []


@pytest.mark.parametrize(
    ("text", "names"),
    [("", set()), ("shop", {"shop"}), (" shop , test,", {"shop", "test"})],
    ids=["none", "one", "several, with blanks"],
)
def test_the_setting_names_namespaces(text: str, names: set[str]) -> None:
    assert namespaces(text) == names


@pytest.mark.parametrize(
    ("annotation", "cost"),
    [
        pytest.param(None, None, id="nobody wrote one"),
        pytest.param("-1000", MARK, id="ours"),
        pytest.param("50", 50, id="somebody's"),
        pytest.param("much", 0, id="what Kubernetes can't read either is somebody's all the same"),
    ],
)
def test_a_pods_cost_is_read(annotation: str | None, cost: int | None) -> None:
    manifest = pod("p0")
    if annotation is not None:
        manifest["metadata"]["annotations"][DELETION_COST] = annotation
    assert read_pod(manifest).deletion_cost == cost


ASKING_HPA = {
    "metadata": {"name": "llama-hpa", "namespace": "shop"},
    "spec": {
        "scaleTargetRef": {"kind": "Deployment", "name": "llama"},
        "metrics": [{"external": {"metric": {"name": "tidegate-desired-replicas"}}}],
    },
}


@pytest.mark.parametrize("there", [True, False])
async def test_for_an_autoscaler_that_comes_and_asks_they_stand_before_it_is_told(
    there: bool,
) -> None:
    stage = busy(1, 0, 1, 0)
    manifest = json.loads(json.dumps(stage.api.objects[f"{POLICY}/chat"]))
    manifest["spec"]["scaling"]["actuator"] = "ExternalMetric"
    stage.see(manifest)
    if there:
        stage.world.autoscalers.see(("shop", "llama-hpa"), ASKING_HPA)
    for _ in range(60):
        await stage.tick(rps=0.4)
        if stage.status()["replicas"]["desired"] < 4:
            break
    assert stage.status()["replicas"]["desired"] == 2
    assert stage.replicas == 4, "it is the autoscaler's to write"
    marked = [uid for uid, mark in marks(stage).items() if mark == str(MARK)]
    assert marked == (["p1", "p3"] if there else [])
