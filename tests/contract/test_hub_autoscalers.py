"""The hub's doors for autoscalers, as a process: what KEDA is told follows the policy, and ends
with what is known of it."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import yaml

from hub import eventually
from hub_process import HubProcess, cluster
from hub_samples import policy
from keda_client import KedaClient
from tidegate_operator.demo.kubeapi.server import KubeApi

CRDS = Path(__file__).parents[2] / "crds" / "llmqualitypolicies.yaml"
METRIC = "tidegate-desired-replicas"
QUICK = {"TIDEGATE_STATUS_S": "2", "TIDEGATE_TICK_S": "0.5"}
"""A count counts for 4 s."""


def wanting(replicas: int) -> dict[str, Any]:
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    made = policy(status={"replicas": {"desired": replicas, "decidedAt": stamp}})
    made["spec"]["scaling"]["actuator"] = "KEDA"
    del made["metadata"]["resourceVersion"]
    return made


def decide(api: KubeApi, replicas: int) -> None:
    """As the reconciler does."""
    told = {"status": wanting(replicas)["status"]}
    api.store.patch("llmqualitypolicies", "shop", "chat", told, subresource="status")


async def told(keda: KedaClient) -> int | grpc.StatusCode:
    try:
        return (await keda.metrics(METRIC, policy="chat"))[0][1]
    except grpc.aio.AioRpcError as error:
        return error.code()


async def comes_to_be_told(keda: KedaClient, answer: int | grpc.StatusCode) -> None:
    async with asyncio.timeout(20):
        while await told(keda) != answer:
            await asyncio.sleep(0.1)


async def test_keda_is_told_what_is_decided_until_nobody_decides(tmp_path: Path) -> None:
    async with cluster(tmp_path, "shop") as (api, kubeconfig):
        api.store.create("customresourcedefinitions", None, yaml.safe_load(CRDS.read_text()))
        async with HubProcess(kubeconfig, **QUICK) as hub, KedaClient(hub.keda_port) as keda:
            await hub.ready()
            await comes_to_be_told(keda, grpc.StatusCode.NOT_FOUND)
            api.store.create("llmqualitypolicies", "shop", wanting(3))
            decide(api, 3)
            await comes_to_be_told(keda, 3)
            decide(api, 5)
            await comes_to_be_told(keda, 5)
            await comes_to_be_told(keda, grpc.StatusCode.UNAVAILABLE)  # nobody decides any more
            decide(api, 4)
            await comes_to_be_told(keda, 4)
            stream = keda.stream(policy="chat")
            assert await anext(stream) is True
            assert await hub.stop() == 0, "a stream that stands keeps nobody from leaving"
            with pytest.raises(grpc.aio.AioRpcError):
                await anext(stream)


async def test_without_an_api_server_a_count_ends_with_its_time(tmp_path: Path) -> None:
    async with cluster(tmp_path, "shop") as (api, kubeconfig):
        api.store.create("customresourcedefinitions", None, yaml.safe_load(CRDS.read_text()))
        async with HubProcess(kubeconfig, **QUICK) as hub, KedaClient(hub.keda_port) as keda:
            await hub.ready()
            api.store.create("llmqualitypolicies", "shop", wanting(3))
            decide(api, 3)
            await comes_to_be_told(keda, 3)
            await api.stop()
            await comes_to_be_told(keda, grpc.StatusCode.UNAVAILABLE)


async def test_where_a_cluster_lacks_what_external_metrics_need_that_is_told_and_no_more(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path, "shop") as (api, kubeconfig):
        env = {"TIDEGATE_EXTERNAL_METRICS": "true", "TIDEGATE_EXTERNAL_METRICS_PORT": "0"}
        async with HubProcess(kubeconfig, **env) as hub:
            await hub.ready()
            await eventually(
                lambda: any(line["event"] == "registration_failed" for line in hub.lines)
            )
            failed = next(line for line in hub.lines if line["event"] == "registration_failed")
            assert "extension-apiserver-authentication" in failed["message"]
            assert api.store.find("mutatingwebhookconfigurations", None, "tidegate")
            assert await hub.stop() == 0
