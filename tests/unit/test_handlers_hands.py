"""Stories of a target that somebody else writes, too: what is saved, written and said."""

import json
from datetime import datetime
from typing import Any

import pytest

from fake_cluster import MAPS, SCALE, policy, scale
from stage import Stage

TARGET = SCALE.removesuffix("/scale")
HPA = {
    "metadata": {"name": "llama-hpa", "namespace": "shop"},
    "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "llama"}},
}


def set_by_hand(stage: Stage, count: int, manager: str = "") -> None:
    """A new count, and the API server's note of who set it."""
    manifest = scale(count)
    version = int(stage.api.objects[SCALE]["metadata"]["resourceVersion"])
    manifest["metadata"]["resourceVersion"] = str(version + 1)
    stage.api.put(SCALE, manifest)
    fields = [{"manager": manager, "fieldsV1": {"f:spec": {"f:replicas": {}}}}]
    stage.api.put(TARGET, {"metadata": {"name": "llama", "managedFields": fields}})


async def scaled() -> Stage:
    stage = Stage()
    await stage.tick(4, rps=2.0)
    await stage.tick(1, rps=12.0)
    assert stage.replicas > 2
    return stage


def said(stage: Stage, kind: str = "NoConflict") -> str:
    return next(str(c["message"]) for c in stage.status()["conditions"] if c["type"] == kind)


async def test_what_is_about_to_be_written_is_saved_first() -> None:
    stage = await scaled()
    paths = [path for _, path in stage.api.writes]
    saved = max(i for i, path in enumerate(paths) if path.startswith(MAPS))
    assert saved < paths.index(SCALE)
    history = stage.history()
    assert history is not None
    assert history.memory.hands.asking == stage.replicas


async def test_a_crash_after_the_write_accuses_nobody() -> None:
    stage = await scaled()
    stage.restart()
    await stage.tick(3, rps=12.0)
    assert stage.condition("NoConflict") == ("True", "NobodyElseScales")


async def test_an_intent_that_cannot_be_saved_holds_no_pods_back() -> None:
    stage = Stage()
    await stage.tick(4, rps=2.0)
    stage.api.refuse["POST", MAPS] = 403
    await stage.tick(1, rps=12.0)
    assert stage.replicas > 2


async def test_a_lost_answer_accuses_nobody() -> None:
    stage = Stage()
    await stage.tick(4, rps=2.0)
    stage.api.refuse["PUT", SCALE] = 500
    await stage.tick(1, rps=12.0)
    history = stage.history()
    assert history is not None
    wanted = history.memory.hands.asking
    assert wanted is not None
    stage.api.refuse.clear()
    set_by_hand(stage, wanted)  # as the server did before the connection broke
    await stage.tick(1, rps=12.0)
    assert stage.condition("NoConflict") == ("True", "NobodyElseScales")


async def test_a_hand_is_named_held_for_its_time_and_then_decided_over() -> None:
    stage = await scaled()
    asked = stage.replicas
    set_by_hand(stage, 8, "kubectl")
    stage.api.writes.clear()
    await stage.tick(59, rps=24.0)
    assert stage.api.written("PUT") == []
    assert stage.condition("NoConflict") == ("False", "ScaledByHand")
    assert f"kubectl set replicas to 8 where Tidegate had asked for {asked}" in said(stage)
    newest = stage.status()["decisions"][0]
    assert (newest["applied"], newest["clamps"][-1]["reason"]) == (False, "ScaledByHand")
    await stage.tick(3, rps=24.0)
    assert stage.replicas > 8
    assert stage.condition("NoConflict") == ("True", "NobodyElseScales")
    assert ("NoConflict", "ScaledByHand", 1) in stage.events()


async def test_who_it_was_may_not_be_known() -> None:
    stage = await scaled()
    set_by_hand(stage, 8)
    stage.api.objects.pop(TARGET)
    await stage.tick(1, rps=12.0)
    assert said(stage).startswith("somebody set replicas to 8")


async def test_our_own_field_manager_is_nobody_else() -> None:
    stage = await scaled()
    set_by_hand(stage, 8, "tidegate")
    await stage.tick(1, rps=12.0)
    assert stage.condition("NoConflict") == ("True", "NobodyElseScales")


async def test_a_changed_policy_ends_the_hold() -> None:
    stage = await scaled()
    set_by_hand(stage, 8, "kubectl")
    await stage.tick(1, rps=12.0)
    stage.see(policy(scaling={"minReplicas": 5, "maxReplicas": 10, "capacityPerReplica": "2.5"}))
    await stage.tick(1, rps=12.0)
    assert stage.replicas >= 5


@pytest.mark.parametrize("changes", [{"mode": "Shadow"}, {"mode": "Paused"}, {"scaling": None}])
async def test_a_policy_that_writes_nothing_is_in_nobodys_way(changes: dict[str, Any]) -> None:
    stage = Stage(policy(**changes))
    stage.world.autoscalers.see(("shop", "llama-hpa"), HPA)
    await stage.tick(2, rps=2.0)
    set_by_hand(stage, 7)
    await stage.tick(2, rps=2.0)
    assert stage.condition("NoConflict") == ("True", "NobodyElseScales")
    assert "both can stay" in said(stage)


async def test_an_autoscaler_and_after_it_whatever_stands() -> None:
    stage = Stage()
    stage.world.autoscalers.see(("shop", "llama-hpa"), HPA)
    await stage.tick(4, rps=2.0)
    set_by_hand(stage, 6, "kube-controller-manager")
    stage.api.writes.clear()
    await stage.tick(8, rps=20.0)
    assert stage.api.written("PUT") == []
    assert stage.condition("ScalingActive") == ("False", "HPAOnTarget")
    stage.world.autoscalers.see(("shop", "llama-hpa"), None)
    await stage.tick(2, rps=20.0)
    assert stage.api.written("PUT") == [SCALE]
    assert stage.condition("NoConflict") == ("True", "NobodyElseScales")


async def test_a_stop_and_a_start_are_no_conflict() -> None:
    stage = await scaled()
    set_by_hand(stage, 0)
    stage.api.writes.clear()
    await stage.tick(4, rps=12.0)
    assert stage.condition("ScalingActive") == ("False", "ScaledToZero")
    assert stage.api.written("PUT") == []
    set_by_hand(stage, 2)
    await stage.tick(6, rps=12.0)
    assert stage.replicas > 2
    assert stage.condition("NoConflict") == ("True", "NobodyElseScales")


ASKING = json.loads(json.dumps(HPA))
ASKING["spec"]["metrics"] = [
    {"type": "External", "external": {"metric": {"name": "s0-tidegate-desired-replicas"}}}
]
PULLED = {"minReplicas": 1, "maxReplicas": 10, "capacityPerReplica": "2.5"}


@pytest.mark.parametrize("actuator", ["KEDA", "ExternalMetric"])
async def test_an_autoscaler_that_is_the_hand_is_no_conflict_and_alone_writes(
    actuator: str,
) -> None:
    stage = Stage(policy(scaling=PULLED | {"actuator": actuator}))
    stage.world.autoscalers.see(("shop", "llama-hpa"), ASKING)
    await stage.tick(4, rps=2.0)
    await stage.tick(2, rps=20.0)
    assert stage.api.written("PUT") == []
    assert stage.condition("NoConflict") == ("True", "NobodyElseScales")
    assert stage.condition("ScalingActive") == ("True", "Ready")
    wanted = stage.status()["replicas"]["desired"]
    assert wanted > 2
    assert said(stage, "ScalingActive").startswith("HPA llama-hpa asks Tidegate for the count")
    assert stage.status()["decisions"][0]["applied"] is True
    set_by_hand(stage, wanted, "kube-controller-manager")
    await stage.tick(2, rps=20.0)
    assert stage.condition("NoConflict") == ("True", "NobodyElseScales")


async def test_an_autoscaler_that_asks_somebody_else_is_in_the_way() -> None:
    stage = Stage(policy(scaling=PULLED | {"actuator": "ExternalMetric"}))
    stage.world.autoscalers.see(("shop", "llama-hpa"), HPA)
    await stage.tick(4, rps=2.0)
    await stage.tick(2, rps=20.0)
    assert stage.api.written("PUT") == []
    assert stage.condition("NoConflict") == ("False", "HPAOnTarget")
    assert stage.condition("ScalingActive") == ("False", "NoHPAOnTarget")
    assert "without asking Tidegate" in said(stage)
    assert stage.status()["decisions"][0]["applied"] is False


async def test_an_autoscaler_that_should_ask_and_is_not_there_is_missed() -> None:
    stage = Stage(policy(scaling=PULLED | {"actuator": "KEDA"}))
    await stage.tick(4, rps=2.0)
    await stage.tick(2, rps=20.0)
    assert stage.api.written("PUT") == []
    assert stage.condition("ScalingActive") == ("False", "NoHPAOnTarget")
    assert "make a ScaledObject" in said(stage, "ScalingActive")
    assert stage.status()["decisions"][0]["applied"] is False


async def test_when_it_was_decided_is_told_afresh_each_minute_to_those_who_ask() -> None:
    stage = Stage(policy(scaling=PULLED | {"actuator": "KEDA"}))
    await stage.tick(8, rps=2.0)
    ages_s = []
    for _ in range(8):
        await stage.tick(1, rps=2.0)
        decided = datetime.fromisoformat(stage.status()["replicas"]["decidedAt"])
        ages_s.append(stage.clock.at - decided.timestamp())
    assert max(ages_s) < 60.0 + 1.0


async def test_a_policy_that_writes_itself_tells_no_time_of_decision() -> None:
    stage = await scaled()
    assert "decidedAt" not in stage.status()["replicas"]
