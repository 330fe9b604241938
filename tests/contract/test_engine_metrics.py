"""A real sidecar before a model server with vLLM's metrics: its queue is told in a look and on the
page, while requests go on, and costs no request."""

import asyncio
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from model_servers import serving
from sidecar_process import SidecarProcess
from tidegate_wire.clock import Clock
from tidegate_wire.names import Metric
from tidegate_wire.stats import EngineLoad, SidecarStats

SPEED = 10.0
LOOKING = {**Clock(SPEED).to_env(), "TIDEGATE_ENGINE_METRICS_S": "15"}
CLIENTS = 10


async def look(http: aiohttp.ClientSession, admin: str) -> SidecarStats:
    async with http.get(f"{admin}/stats") as answer:
        return SidecarStats.from_json(await answer.read())


async def page(http: aiohttp.ClientSession, admin: str) -> dict[str, float]:
    async with http.get(f"{admin}/metrics") as answer:
        families = text_string_to_metric_families(await answer.text())
        return {
            sample.name: sample.value
            for family in families
            for sample in family.samples
            if sample.labels.get("engine") == "vllm"
        }


async def test_the_queue_of_a_model_server_is_told() -> None:
    # One request at a time, of some eight seconds each: the others wait inside.
    knobs: dict[str, Any] = {"max_num_seqs": 1, "time_to_first_token": 8.0}
    ask = {"model": "llama-70b", "max_tokens": 4, "messages": [{"role": "user", "content": "hi"}]}
    async with (
        serving(SPEED, **knobs) as server,
        aiohttp.ClientSession() as http,
        SidecarProcess("--upstream", server.url, env=LOOKING) as sidecar,
    ):

        async def call() -> int:
            async with http.post(f"{sidecar.url}/v1/chat/completions", json=ask) as answer:
                await answer.read()
                return answer.status

        calls = [asyncio.create_task(call()) for _ in range(CLIENTS)]
        load: EngineLoad | None = None
        async with asyncio.timeout(60):
            while load is None:
                await asyncio.sleep(0.1)
                load = (await look(http, sidecar.admin)).engine
        assert load.engine == "vllm"
        assert load.running == 1
        assert load.waiting is not None
        assert 2 < load.waiting < CLIENTS
        assert load.kv_cache_usage is not None
        assert 0 <= load.kv_cache_usage <= 1
        told = await page(http, sidecar.admin)
        assert told.keys() == {
            Metric.ENGINE_WAITING,
            Metric.ENGINE_RUNNING,
            Metric.ENGINE_KV_CACHE,
        }
        assert await asyncio.gather(*calls) == [200] * CLIENTS
        stats = await look(http, sidecar.admin)
        assert (stats.arrived, stats.in_flight) == (CLIENTS, 0), "a scrape is no request"
