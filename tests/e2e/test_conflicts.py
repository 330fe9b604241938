"""Somebody else sets the replicas of a target: no fight, and a condition that says what and why.

Law: writes are counted on the Deployment itself, whose generation moves with each change of its
spec and whose managedFields name who made the last one.
"""

import time
from typing import Any

import pytest

from real_cluster import Cluster, Object, wait_until
from workloads import deployment, policy

LEAST = 2
STILL_S = 15.0
"""Five ticks: whoever would fight does it in that time."""


def scaling(least: int = LEAST) -> Object:
    """A policy that asks for a count whatever the demand: what is tested is who has the say."""
    limits = {"minReplicas": least, "maxReplicas": 5, "capacityPerReplica": "5"}
    return policy(mode="Enforce", scaling=limits)


def hpa(least: int = 1) -> Object:
    resource = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "llama-hpa"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama"},
            "minReplicas": least,
            "maxReplicas": 3,
            "metrics": [{"type": "Resource", "resource": resource}],
        },
    }


class Scene:
    """One namespace with Deployment/llama and policy chat."""

    def __init__(self, cluster: Cluster, space: str) -> None:
        self.cluster, self.space = cluster, space

    def apply(self, *manifests: Object) -> None:
        self.cluster.apply(*manifests, namespace=self.space)

    def target(self) -> Any:
        return self.cluster.get("deployment", "llama", "-n", self.space, "--show-managed-fields")

    @property
    def replicas(self) -> int:
        return int(self.target()["spec"]["replicas"])

    @property
    def generation(self) -> int:
        return int(self.target()["metadata"]["generation"])

    def writer(self) -> str:
        """Who set the replicas last."""
        owners = [
            str(entry["manager"])
            for entry in self.target()["metadata"]["managedFields"]
            if "f:replicas" in entry["fieldsV1"].get("f:spec", {})
        ]
        return owners[-1] if owners else ""

    def scale(self, count: int) -> None:
        """By hand."""
        words = ("scale", "deployment", "llama", f"--replicas={count}", "-n", self.space)
        self.cluster.kubectl(*words)

    def condition(self, kind: str) -> tuple[str, str]:
        found = self.cluster.conditions(self.space, "chat").get(kind, {})
        return str(found.get("status", "")), str(found.get("reason", ""))

    def message(self, kind: str) -> str:
        return str(self.cluster.conditions(self.space, "chat")[kind]["message"])

    def sees(self, kind: str, status: str, reason: str) -> None:
        wait_until(
            f"{kind}={status} {reason}", lambda: self.condition(kind) == (status, reason), 60
        )

    def scaled_to(self, count: int) -> None:
        wait_until(f"{count} replicas", lambda: self.replicas == count, 60)

    def stays(self, seconds: float = STILL_S) -> None:
        """Nobody writes the target."""
        before = self.generation
        time.sleep(seconds)
        assert self.generation == before

    def events(self) -> set[str]:
        return {str(event["reason"]) for event in self.cluster.events(self.space, "chat")}


@pytest.fixture
def scene(tidegate: Cluster, space: str) -> Scene:
    """A target that the policy has brought from 1 to 2."""
    made = Scene(tidegate, space)
    made.apply(deployment(), scaling())
    made.scaled_to(LEAST)
    assert made.writer() == "tidegate"
    made.sees("NoConflict", "True", "NobodyElseScales")
    return made


def test_kubectl_scale_stands_until_it_is_handed_back(scene: Scene) -> None:
    scene.scale(1)
    scene.sees("NoConflict", "False", "ScaledByHand")
    assert scene.condition("ScalingActive") == ("False", "ScaledByHand")
    said = scene.message("NoConflict")
    assert said.startswith("kubectl set replicas to 1 where Tidegate had asked for 2")
    command = said.partition("To hand back sooner: kubectl ")[2]
    scene.stays()
    assert scene.writer() == "kubectl"
    assert "ScaledByHand" in scene.events()

    scene.apply(scaling(LEAST + 1))  # a change of the policy ends it as well
    scene.scaled_to(LEAST + 1)
    assert scene.writer() == "tidegate"

    scene.scale(1)
    scene.sees("NoConflict", "False", "ScaledByHand")
    assert command == f"scale deployment llama --replicas={LEAST} -n {scene.space}"
    scene.scale(LEAST + 1)
    scene.sees("NoConflict", "True", "NobodyElseScales")
    assert "NobodyElseScales" in scene.events()


def test_who_sets_it_back_again_and_again_is_left_alone(scene: Scene) -> None:
    """As a GitOps tool does; each round is handed back at once, to not wait for its time."""
    manifest = deployment(replicas=1)
    for _ in range(2):
        scene.apply(manifest)
        scene.sees("NoConflict", "False", "ScaledByHand")
        assert "take spec.replicas out of the manifest" in scene.message("NoConflict")
        scene.scale(LEAST)
        scene.sees("NoConflict", "True", "NobodyElseScales")
    scene.apply(manifest)
    scene.sees("NoConflict", "False", "FieldContested")
    assert "kubectl-client-side-apply keeps setting the replicas" in scene.message("NoConflict")
    scene.stays()
    assert "FieldContested" in scene.events()


def test_an_hpa_decides_until_it_is_deleted(scene: Scene) -> None:
    scene.apply(hpa(least=3))
    scene.sees("NoConflict", "False", "HPAOnTarget")
    scene.scaled_to(3)  # the HPA's own controller raises to its minimum without any metrics
    scene.sees("ScalingActive", "False", "HPAOnTarget")
    said = scene.message("NoConflict")
    assert "HPA llama-hpa sets the replicas of Deployment/llama" in said
    assert f"kubectl delete hpa llama-hpa -n {scene.space}" in said
    scene.apply(scaling(4))
    scene.stays()
    assert scene.replicas == 3
    newest = scene.cluster.get("lqp", "chat", "-n", scene.space)["status"]["decisions"][0]
    assert (newest["applied"], newest["clamps"][-1]["reason"]) == (False, "HPAOnTarget")

    scene.cluster.kubectl("delete", "hpa", "llama-hpa", "-n", scene.space)
    scene.scaled_to(4)
    scene.sees("NoConflict", "True", "NobodyElseScales")
    assert {"HPAOnTarget", "NobodyElseScales"} <= scene.events()


def test_zero_means_stop_and_more_means_go(scene: Scene) -> None:
    scene.scale(0)
    scene.sees("ScalingActive", "False", "ScaledToZero")
    assert "until somebody sets it above 0" in scene.message("ScalingActive")
    scene.stays()
    assert scene.condition("NoConflict") == ("True", "NobodyElseScales")
    scene.scale(1)
    scene.scaled_to(LEAST)
    assert "ScaledToZero" in scene.events()


def test_a_deleted_target_is_said_and_met_afresh(scene: Scene) -> None:
    scene.cluster.kubectl("delete", "deployment", "llama", "-n", scene.space)
    scene.sees("TargetResolved", "False", "TargetNotFound")
    assert "Deployment/llama not found" in scene.message("TargetResolved")
    scene.apply(deployment(replicas=3))
    scene.sees("TargetResolved", "True", "TargetFound")
    scene.stays()
    assert scene.condition("NoConflict") == ("True", "NobodyElseScales")
    assert scene.replicas == 3


def test_a_deleted_policy_leaves_the_replicas_and_takes_its_orders_along(scene: Scene) -> None:
    words = ("configmap", "-n", scene.space, "-l", "tidegate.io/part")
    wait_until("the policy's ConfigMaps", lambda: scene.cluster.get(*words)["items"])
    scene.cluster.kubectl("delete", "lqp", "chat", "-n", scene.space)
    wait_until("no ConfigMaps", lambda: not scene.cluster.get(*words)["items"])
    scene.scale(1)
    scene.stays()
    assert (scene.replicas, scene.writer()) == (1, "kubectl")
