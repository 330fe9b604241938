"""The demo's hands on the embedded API: its client, and the node behind it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tidegate_operator.demo.api import ApiCallError, ApiClient
from tidegate_operator.demo.kubeapi.server import KubeApi
from tidegate_operator.demo.node import Node
from tidegate_operator.demo.pods_view import PodsView
from tidegate_operator.demo.processes import Children
from tidegate_operator.demo.world import IMAGES, Doors, load_policy
from tidegate_wire.clock import Clock

PODS = "/api/v1/namespaces/default/pods"


@asynccontextmanager
async def serving(clock: Clock, folder: Path) -> AsyncIterator[tuple[KubeApi, ApiClient]]:
    server = KubeApi(clock)
    await server.start()
    client = ApiClient.from_kubeconfig(server.kubeconfig(folder / "kubeconfig"))
    try:
        yield server, client
    finally:
        await client.close()
        await server.stop()


async def until(holds: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.02)


def manifest() -> dict[str, Any]:
    probe = {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 1}
    return {
        "metadata": {"name": "one", "labels": {"app": "llama"}},
        "spec": {
            "containers": [
                {
                    "name": "model-server",
                    "image": "tidegate-demo/model-server:1.0",
                    "args": ["--host=$(POD_IP)", "--totals-file=/dev/termination-log"],
                    "env": [
                        {
                            "name": "POD_IP",
                            "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}},
                        }
                    ],
                    "ports": [{"name": "http", "containerPort": 8000}],
                    "readinessProbe": probe,
                }
            ]
        },
    }


async def test_a_pod_put_to_the_api_runs_and_leaves_when_it_is_deleted(tmp_path: Path) -> None:
    clock, children, view = Clock(20.0), Children(), PodsView()
    async with serving(clock, tmp_path) as (server, api):
        node = Node(Doors(api, server), clock, children, tmp_path, IMAGES)

        async def follow() -> None:
            async for kind, pod in api.watch(PODS):
                view.take(kind, pod, clock.now())

        tasks = [asyncio.create_task(node.run()), asyncio.create_task(follow())]
        await api.create(PODS, manifest())
        await until(lambda: len(view.ready_urls("llama")) == 1)
        await api.delete(f"{PODS}/one")
        await until(lambda: view.pods == {})
        assert children.running() == []
        assert next(iter(view.lives.values())).ended is not None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_watch_goes_on_after_the_server_dropped_it(tmp_path: Path) -> None:
    async with serving(Clock(), tmp_path) as (server, api):
        seen: list[tuple[str, str]] = []

        async def follow() -> None:
            async for kind, found in api.watch("/api/v1/namespaces/default/configmaps"):
                seen.append((kind, found["metadata"]["name"]))

        task = asyncio.create_task(follow())
        path = "/api/v1/namespaces/default/configmaps"
        await api.create(path, {"metadata": {"name": "a"}})
        await until(lambda: ("ADDED", "a") in seen)
        await until(lambda: server.drop_watches() > 0)
        await api.create(path, {"metadata": {"name": "b"}})
        await until(lambda: ("ADDED", "b") in seen)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_the_api_refuses_is_an_error_with_its_words(tmp_path: Path) -> None:
    async with serving(Clock(), tmp_path) as (_, api):
        with pytest.raises(ApiCallError, match="not found") as refused:
            await api.get(f"{PODS}/nobody")
        assert refused.value.status == 404
    gone = ApiClient("http://127.0.0.1:9", "")
    with pytest.raises(ApiCallError) as away:
        await gone.get(PODS)
    assert away.value.status == 0
    await gone.close()


def test_the_policy_as_it_ships_gets_the_fallbacks_address() -> None:
    spec = load_policy("http://127.0.1.2:8000")["spec"]
    assert [m.get("upstream") for m in spec["models"]] == [None, "http://127.0.1.2:8000"]
    assert spec["mode"] == "Enforce"
