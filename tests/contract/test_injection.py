"""Injection and its watchdog as processes, against the embedded Kubernetes API."""

from pathlib import Path
from typing import Any

import pytest

from hub import eventually as hub_eventually
from hub_process import HubProcess
from hub_process import cluster as hub_cluster
from reconcile_process import Cluster, ReconcileProcess, eventually
from tidegate_operator.demo.kubeapi.errors import ApiError
from tidegate_operator.demo.kubeapi.server import KubeApi
from tidegate_wire.names import CONTAINER, INJECT, PORT

PORTS = [{"name": "metrics", "containerPort": 9000}, {"name": "http", "containerPort": 8000}]
SPEC: dict[str, Any] = {"containers": [{"name": "a", "image": "a", "ports": PORTS}]}


async def registered(api: KubeApi) -> None:
    await hub_eventually(
        lambda: api.store.find("mutatingwebhookconfigurations", None, "tidegate"), within_s=20
    )


def deployment(**annotations: str) -> dict[str, Any]:
    named = {f"tidegate.io/{name}": value for name, value in annotations.items()}
    return {
        "metadata": {"name": "llama", "annotations": named},
        "spec": {
            "selector": {"matchLabels": {"app": "llama"}},
            "template": {"metadata": {"labels": {"app": "llama"}}, "spec": SPEC},
        },
    }


async def test_who_asks_in_every_way_at_once_gets_one_sidecar(tmp_path: Path) -> None:
    """Three webhook entries match; the later ones see a pod whose named port has moved."""
    async with hub_cluster(tmp_path, "all") as (api, kubeconfig):
        asking = {"metadata": {"labels": {INJECT: "true"}}}
        api.store.patch("namespaces", None, "all", asking)
        async with HubProcess(kubeconfig) as hub:
            await hub.ready()
            await registered(api)
            metadata = {
                "name": "p",
                "labels": {INJECT: "true"},
                "annotations": {INJECT: "true", PORT: "http"},
            }
            pod = await api.store.admit("pods", "all", {"metadata": metadata, "spec": SPEC})
            assert [c["name"] for c in pod["spec"]["initContainers"]] == [CONTAINER]


async def test_a_wrong_option_is_refused_where_it_is_said(tmp_path: Path) -> None:
    async with hub_cluster(tmp_path, "shop") as (api, kubeconfig), HubProcess(kubeconfig) as hub:
        await hub.ready()
        await registered(api)
        with pytest.raises(ApiError) as refused:
            await api.store.admit(
                "deployments", "shop", deployment(inject="true", **{"cpu-limit": "lots"})
            )
        assert (
            "metadata.annotations[tidegate.io/cpu-limit] must be a quantity above 0 such as 100m, "
            "was: 'lots'"
        ) in str(refused.value)
        # Nobody asked: an option alone is copied for when a namespace does.
        made = await api.store.admit("deployments", "shop", deployment(**{"cpu-limit": "2"}))
        template = made["spec"]["template"]["metadata"]
        assert template["annotations"]["tidegate.io/cpu-limit"] == "2"
        assert INJECT not in template["labels"]


async def test_the_reconciler_tells_what_injection_lacks(tmp_path: Path) -> None:
    async with Cluster(tmp_path) as cluster:
        workload = await cluster.workload("bare")
        workload.policy()
        async with ReconcileProcess(cluster):
            await eventually(
                lambda: workload.condition("InjectionHealthy") == ("False", "NotAsked")
            )
            wish = {"metadata": {"annotations": {INJECT: "true", PORT: "8000"}}}
            deployments = "deployments.apps"
            workload.store.patch(deployments, "bare", "llama", wish)
            await eventually(
                lambda: workload.condition("InjectionHealthy") == ("False", "SidecarsRollingOut")
            )
            rolled = {"status": {"updatedReplicas": 2, "observedGeneration": 9}}
            workload.store.patch(deployments, "bare", "llama", rolled, subresource="status")
            await eventually(
                lambda: workload.condition("InjectionHealthy") == ("False", "PodsWithoutSidecar")
            )
            assert ("InjectionHealthy", "PodsWithoutSidecar") in workload.events()
            # Its pods go; the next would get one.
            for pod in workload.store.list("pods", "bare"):
                workload.store.delete("pods", "bare", pod["metadata"]["name"])
            await eventually(
                lambda: workload.condition("InjectionHealthy") == ("True", "AllInjected")
            )
