"""What model servers say of themselves goes the whole way: from a look to a pod, a status and a
reason."""

from stage import Stage
from tidegate_wire.stats import EngineLoad


async def test_a_queue_in_the_model_servers_becomes_a_pod_and_is_told() -> None:
    stage = Stage(replicas=2)
    await stage.tick(4, rps=2.0)
    assert stage.replicas == 2
    assert "engines" not in stage.status()
    stage.engine = EngineLoad(engine="vllm", waiting=12, running=8, kv_cache_usage=0.5)
    await stage.tick(8, rps=2.0)
    assert stage.replicas == 3
    newest = stage.status()["decisions"][0]
    assert (newest["action"], newest["reason"]) == ("ScaleUp", "EngineQueueLong")
    assert "12.0 requests wait in each model server" in newest["message"]
    assert stage.status()["engines"] == {"pods": 2, "waitingPerPod": "12", "kvCacheUsage": "50%"}


async def test_while_the_new_pod_starts_no_other_is_asked_for() -> None:
    stage = Stage(replicas=2)
    stage.engine = EngineLoad(engine="vllm", waiting=12)
    await stage.tick(10, rps=2.0)
    assert stage.replicas == 3, "not even before it is created"
    stage.add_pod("p2", ready=False)
    stage.api.objects[next(p for p in stage.api.objects if p.endswith("/scale"))]["status"][
        "replicas"
    ] = 3
    del stage.arrived["p2"]
    await stage.tick(10, rps=2.0)
    assert stage.replicas == 3
