"""Real autoscalers set what a policy wants, by the manifests of docs/scaling.md, and stand still
when they are not told: a plain HPA by the external metrics API, and KEDA.

Law: what counts is the target's own count, and that another hand than Tidegate's wrote it.
"""

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

from real_cluster import (
    CLUSTER,
    NAMESPACE,
    QUICK,
    ROOT,
    UP_S,
    Cluster,
    Object,
    helm_install,
    wait_deleted,
    wait_until,
)
from workloads import deployment, model_container, policy

pytestmark = [pytest.mark.alone, pytest.mark.timeout(900)]

API_SERVICE = "v1beta1.external.metrics.k8s.io"
SCALED_OBJECTS = "scaledobjects.keda.sh"
STALE_SOON = ("--set", "settings.status_s=6")
"""A decision counts for 6 s and four ticks of 3 s."""
STILL_S = 15.0
"""Three looks of the cluster's autoscaler; on another cluster it looks once in that time."""


def documented(kind: str) -> Object:
    """The manifest of that kind in docs/scaling.md."""
    text = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    found: Object = next(block for block in blocks if block["kind"] == kind)
    return found


def wish(actuator: str, least: int, mode: str) -> Object:
    """A policy that asks for ``least``, whatever the demand."""
    return policy(
        mode=mode,
        scaling={
            "actuator": actuator,
            "minReplicas": least,
            "maxReplicas": 20,
            "capacityPerReplica": "5",
            "behavior": {"scaleUp": {"maxPods": 20}, "scaleDown": {"stabilization": "5s"}},
        },
    )


class Scene:
    """Deployment/llama, policy chat, and the autoscaler that asks for the policy's count."""

    def __init__(self, cluster: Cluster, space: str, actuator: str) -> None:
        self.cluster, self.space = cluster, space
        self._actuator = actuator

    def wants(self, least: int, mode: str = "Enforce") -> None:
        self.cluster.apply(wish(self._actuator, least, mode), namespace=self.space)

    @property
    def replicas(self) -> int:
        return int(self.cluster.get("deployment", "llama", "-n", self.space)["spec"]["replicas"])

    def comes_to(self, count: int) -> None:
        wait_until(f"{count} replicas", lambda: self.replicas == count, 120)

    def stays_at(self, count: int) -> None:
        deadline = time.monotonic() + STILL_S
        while time.monotonic() < deadline:
            assert self.replicas == count
            time.sleep(1)

    def condition(self, kind: str) -> tuple[str, str]:
        found = self.cluster.conditions(self.space, "chat").get(kind, {})
        return str(found.get("status", "")), str(found.get("message", ""))

    def writers(self) -> set[str]:
        """Field managers that have set the replicas."""
        words = ("deployment", "llama", "-n", self.space, "--show-managed-fields")
        return {
            str(entry["manager"])
            for entry in self.cluster.get(*words)["metadata"]["managedFields"]
            if "f:replicas" in entry["fieldsV1"].get("f:spec", {})
        }

    def hpa(self) -> Any:
        """The one HPA of the namespace."""
        (found,) = self.cluster.get("hpa", "-n", self.space)["items"]
        return found

    def hpa_is_refused(self, said: str) -> None:
        """The HPA says that it got no metric, and why."""

        def told() -> bool:
            active = {c["type"]: c for c in self.hpa()["status"]["conditions"]}["ScalingActive"]
            no_metric = (active["status"], active["reason"]) == (
                "False",
                "FailedGetExternalMetric",
            )
            return no_metric and said in active["message"]

        wait_until(f"the HPA is told: {said}", told, 120)


def scale_ours(cluster: Cluster, name: str, count: int) -> None:
    """One of our own Deployments, waited for."""
    where = ("-n", NAMESPACE)
    cluster.kubectl("scale", "deployment", name, f"--replicas={count}", *where)
    if count:
        cluster.rolled_out(NAMESPACE, f"Deployment/{name}")
        return
    ours = (*where, "-l", f"app.kubernetes.io/component={name.removeprefix('tidegate-')}")

    def none_left() -> bool:
        # Again and again: one may be made anew before its ReplicaSet hears of the 0.
        cluster.kubectl("delete", "pods", *ours, "--grace-period=1", "--wait=false")
        return not cluster.get("pods", *ours)["items"]

    wait_until(f"no pod of {name}", none_left, 60)


def homeless(replicas: int) -> Object:
    """Pods that find no node: what is tested is their number, and a small node has no room for
    so many."""
    made = deployment(replicas=replicas, inject=False, container=model_container())
    made["spec"]["template"]["spec"]["nodeSelector"] = {"tidegate.test/none": "such"}
    return made


@pytest.fixture
def external_metrics(tidegate: Cluster) -> Iterator[Cluster]:
    """The cluster with our external metrics API for one test: KEDA wants its place."""
    if keda_is_up(tidegate):
        pytest.fail("a cluster has one server of external metrics, and on this one it is KEDA")
    wait_deleted(tidegate, "keda")
    helm_install(tidegate, *QUICK, *STALE_SOON, "--set", "externalMetrics.enabled=true")
    available = ("wait", "--for=condition=Available", f"apiservice/{API_SERVICE}", "--timeout=60s")
    tidegate.kubectl(*available)
    yield tidegate
    helm_install(tidegate, *QUICK)
    assert tidegate.find("apiservice", API_SERVICE) is None, "it leaves the place to others"


def test_a_plain_hpa_sets_what_is_wanted_to_the_pod_and_stands_still_when_it_is_not_told(
    external_metrics: Cluster, space: str
) -> None:
    scene = Scene(external_metrics, space, "ExternalMetric")
    external_metrics.apply(homeless(9), documented("HorizontalPodAutoscaler"), namespace=space)
    scene.wants(10)
    scene.comes_to(10)
    scene.wants(11)  # a tenth more: by its own tolerance an HPA would stay at 10
    scene.comes_to(11)
    assert "tidegate" not in scene.writers()
    assert raw_value(scene) == "11"
    status, said = scene.condition("NoConflict")
    assert status == "True"
    assert said.startswith("HPA llama is the one hand that sets the replicas of Deployment/llama")

    scale_ours(external_metrics, "tidegate-hub", 0)
    scene.wants(12)
    scene.hpa_is_refused("")  # the API server itself says that nobody serves the API
    scene.stays_at(11)
    scale_ours(external_metrics, "tidegate-hub", 2)
    scene.comes_to(12)

    scale_ours(external_metrics, "tidegate-reconcile", 0)
    scene.hpa_is_refused("must be at most 18 s old")
    scene.stays_at(12)
    scale_ours(external_metrics, "tidegate-reconcile", 2)
    scene.wants(13)
    scene.comes_to(13)


def raw_value(scene: Scene) -> str:
    """As a person asks the API for it."""
    path = f"/apis/external.metrics.k8s.io/v1beta1/namespaces/{scene.space}"
    query = "tidegate-desired-replicas?labelSelector=policy%3Dchat"
    found = json.loads(scene.cluster.kubectl("get", "--raw", f"{path}/{query}"))
    return str(found["items"][0]["value"])


def keda_is_up(cluster: Cluster) -> bool:
    if cluster.find("crd", SCALED_OBJECTS) is None:
        return False
    found = cluster.run(
        "kubectl",
        "wait",
        "--for=condition=Available",
        "deployment",
        "--all",
        "-n",
        "keda",
        "--timeout=1s",
        check=False,
    )
    return found.code == 0


def bring_up_keda(cluster: Cluster, environ: Mapping[str, str]) -> None:
    if keda_is_up(cluster):
        return
    ours = not environ.get("KUBECONFIG") or environ.get("TIDEGATE_E2E_MAY_BREAK_NODE")
    if not (ours and CLUSTER.exists()):
        pytest.fail("this test needs KEDA on the cluster of KUBECONFIG: https://keda.sh/docs")
    wait_deleted(cluster, "keda")  # an earlier one may be on its way out
    subprocess.run(["nice", str(CLUSTER), "keda"], timeout=UP_S, check=True)


@pytest.fixture
def keda(tidegate: Cluster) -> Iterator[Cluster]:
    """The cluster with real KEDA for one test, where it was not there before."""
    was_up = keda_is_up(tidegate)
    bring_up_keda(tidegate, os.environ)
    yield tidegate
    if not was_up:
        tidegate.kubectl("delete", "apiservice", API_SERVICE, "--ignore-not-found")
        tidegate.kubectl("delete", "namespace", "keda", "--wait=false")


@pytest.fixture
def scaled(keda: Cluster, space: str) -> Iterator[Scene]:
    """What KEDA scales; its finalizer wants KEDA while it goes."""
    yield Scene(keda, space, "KEDA")
    keda.kubectl("delete", SCALED_OBJECTS, "--all", "-n", space, "--timeout=60s")


def test_keda_sets_what_is_wanted_and_stands_still_when_it_is_not_told(scaled: Scene) -> None:
    scaled.cluster.apply(deployment(), documented("ScaledObject"), namespace=scaled.space)
    scaled.wants(2)
    scaled.comes_to(2)
    assert "tidegate" not in scaled.writers()
    by_keda = "HPA keda-hpa-llama (of ScaledObject/llama)"
    wait_until("it is known", lambda: scaled.condition("ScalingActive")[1].startswith(by_keda), 30)
    assert scaled.condition("NoConflict")[0] == "True"
    metric = scaled.hpa()["spec"]["metrics"][0]["external"]
    assert metric["metric"]["name"] == "s0-tidegate-desired-replicas"
    assert metric["target"] == {"type": "AverageValue", "averageValue": "1"}
    scaled.cluster.rolled_out(scaled.space, "Deployment/llama")
    scaled.wants(1)  # nobody asks anything, which the sidecars say: one is enough
    scaled.comes_to(1)

    scale_ours(scaled.cluster, "tidegate-hub", 0)
    scaled.wants(3)
    scaled.hpa_is_refused("")
    scaled.stays_at(1)
    scale_ours(scaled.cluster, "tidegate-hub", 2)
    scaled.comes_to(3)

    scaled.wants(4, mode="Shadow")
    scaled.hpa_is_refused("")
    scaled.stays_at(3)
