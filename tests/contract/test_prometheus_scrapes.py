"""A real Prometheus reads from a real sidecar all that it tells, in both formats, and finds the
trace of a slow request by its bucket; ``promtool`` has nothing to mend."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from debian_server import debian_tool
from prometheus_process import Labels, PrometheusProcess
from sidecar_process import ModelServer, SidecarProcess
from tidegate_operator.handlers.metrics import Metrics
from tidegate_operator.hub.measure import Measures, Review
from tidegate_wire.names import Metric

CHAT = "/v1/chat/completions"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
SCRAPED = "scrape_.+|up"
"""What Prometheus says of its own scrapes."""
TRACES = [f"{n:032x}" for n in range(1, 5)]
ODD_NAMES = (
    'quo"te',
    "back\\slash",
    "line\nend",
    "ünï 🌊",
    "50% {a=b}",
    "line\u2028separator",
    "NUL \0",
)


@asynccontextmanager
async def standing() -> AsyncIterator[tuple[SidecarProcess, aiohttp.ClientSession]]:
    """A sidecar before a server that answers at once."""
    async with ModelServer() as server, aiohttp.ClientSession() as http:
        server.hold.set()
        async with SidecarProcess("--upstream", server.url) as sidecar:
            yield sidecar, http


async def chat(
    http: aiohttp.ClientSession,
    sidecar: SidecarProcess,
    *,
    model: str = "big",
    stream: bool = False,
    traceparent: str = "",
) -> None:
    ask = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "hello"}]}
    headers = {"traceparent": traceparent} if traceparent else {}
    async with http.post(sidecar.url + CHAT, json=ask, headers=headers) as answer:
        await answer.read()
        assert answer.status == 200


async def serve_some(http: aiohttp.ClientSession, sidecar: SidecarProcess) -> None:
    """Something of everything: streams, answers at once, odd names, refusals, traces."""
    for n, trace in enumerate(TRACES):
        traceparent = f"00-{trace}-00f067aa0ba902b7-{'01' if n < 3 else '00'}"
        await chat(http, sidecar, stream=n % 2 == 0, traceparent=traceparent)
    for name in ODD_NAMES:
        await chat(http, sidecar, model=name)
    async with http.get(sidecar.url + "/v1/models") as answer:
        await answer.read()
    async with http.post(sidecar.url + CHAT, data=b"x", headers={"Expect": "wonders"}) as answer:
        assert answer.status == 417


async def page(
    http: aiohttp.ClientSession, sidecar: SidecarProcess, accept: str = ""
) -> dict[Labels, float]:
    """What the sidecar tells, as a reader understands it that is not Prometheus."""
    async with http.get(f"{sidecar.admin}/metrics", headers={"Accept": accept}) as answer:
        text = await answer.text()
    read = openmetrics.text_string_to_metric_families if accept else text_string_to_metric_families
    return {
        # An empty label is none to Prometheus.
        tuple(sorted((k, v) for k, v in (s.labels | {"__name__": s.name}).items() if v)): s.value
        for family in read(text)
        for s in family.samples
    }


@asynccontextmanager
async def a_door_of_old(admin: str) -> AsyncIterator[str]:
    """Passes scrapes on as a Prometheus asked that knew the older format alone."""

    async def metrics(_: web.Request) -> web.Response:
        accept = {"Accept": "text/plain;version=0.0.4;q=1,*/*;q=0.1"}
        async with http.get(f"{admin}/metrics", headers=accept) as answer:
            kind = {"Content-Type": answer.headers["Content-Type"]}
            return web.Response(body=await answer.read(), headers=kind)

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    async with aiohttp.ClientSession() as http:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield "{}:{}".format(*runner.addresses[0][:2])
        await runner.cleanup()


@pytest.mark.timeout(180)
async def test_prometheus_reads_what_the_sidecar_tells(tmp_path: Path) -> None:
    async with standing() as (sidecar, http), a_door_of_old(sidecar.admin) as old:
        targets = {"openmetrics": sidecar.admin.removeprefix("http://"), "text": old}
        async with PrometheusProcess(tmp_path, targets) as prometheus:
            await serve_some(http, sidecar)
            told = await page(http, sidecar)
            assert await page(http, sidecar, OPENMETRICS) == told
            for job in targets:
                query = f'{{job="{job}",__name__!~"{SCRAPED}"}}'
                await settled(prometheus, query, told)
            await check_series(prometheus)
            await check_exemplars(prometheus)
            await check_targets(prometheus)


async def settled(prometheus: PrometheusProcess, query: str, told: dict[Labels, float]) -> None:
    """Series and values are those of the page, none more and none less."""
    read: dict[Labels, float] = {}
    try:
        async with asyncio.timeout(30):
            while read != told:
                await asyncio.sleep(0.1)
                read = await prometheus.samples(query)
    except TimeoutError:
        assert read == told, query


async def check_series(prometheus: PrometheusProcess) -> None:
    by_model = await prometheus.samples(f'sum by (model) ({Metric.REQUESTS}{{job="text"}})')
    odd: dict[Labels, float] = {(("model", name),): 1 for name in ODD_NAMES}
    refused: dict[Labels, float] = {(): 1}  # it named no model
    assert by_model == {(("model", "big"),): 4} | odd | refused
    (quantile,) = (
        await prometheus.samples(
            f"histogram_quantile(0.5, sum by (le) ({Metric.TIME_TO_FIRST_TOKEN}_bucket))"
        )
    ).values()
    assert 0 < quantile < 1
    (used,) = (await prometheus.samples(f'sum({Metric.TOKENS}{{job="text"}})')).values()
    assert used == (4 + len(ODD_NAMES)) * 12


async def check_exemplars(prometheus: PrometheusProcess) -> None:
    """Of the recorded traces each is found where it ended, and the one that is not is not."""
    found: list[dict[str, Any]] = await prometheus.ask(
        "query_exemplars", query=f"{Metric.REQUEST_DURATION}_bucket", start=0, end=4e9
    )
    assert {one["seriesLabels"]["job"] for one in found} == {"openmetrics"}
    seen = {}
    for one in found:
        assert one["seriesLabels"]["gen_ai_request_model"] == "big"
        for exemplar in one["exemplars"]:
            assert float(exemplar["value"]) <= float(one["seriesLabels"]["le"])
            seen[exemplar["labels"]["trace_id"]] = float(exemplar["timestamp"])
    # A bucket keeps one for a second; Prometheus keeps of the earlier what it came by to see. The
    # last was not recorded.
    assert set() < set(seen) <= set(TRACES[:3])
    ((now,),) = [(await prometheus.samples("vector(time())")).values()]
    assert all(now - 120 < at <= now + 1 for at in seen.values())
    first = await prometheus.ask(
        "query_exemplars", query=f"{Metric.TIME_TO_FIRST_TOKEN}_bucket", start=0, end=4e9
    )
    traces = {x["labels"]["trace_id"] for one in first for x in one["exemplars"]}
    assert set() < traces <= {TRACES[0], TRACES[2]}, "the second was no stream"


async def check_targets(prometheus: PrometheusProcess) -> None:
    targets = (await prometheus.ask("targets"))["activeTargets"]
    assert [(t["health"], t["lastError"]) for t in targets] == [("up", "")] * 2
    metadata = await prometheus.ask("metadata")
    duration = {(x["type"], x["unit"]) for x in metadata[Metric.REQUEST_DURATION]}
    assert duration == {("histogram", "seconds"), ("histogram", "")}
    # By OpenMetrics a counter's name is that of its samples without the ending.
    assert {x["type"] for x in metadata["tidegate_requests"]} == {"counter"}
    assert {x["type"] for x in metadata["tidegate_config"]} == {"info"}


async def test_promtool_has_nothing_to_mend() -> None:
    async with standing() as (sidecar, http):
        await serve_some(http, sidecar)
        async with http.get(f"{sidecar.admin}/metrics") as answer:
            text = await answer.read()
    assert promtool_says(text) == (0, "")


def test_promtool_has_nothing_to_mend_in_the_operators_pages() -> None:
    metrics = Metrics()
    metrics.forecast.labels("ns", "p", "0.9").set(1)
    metrics.budget.labels("ns", "p", "tokens").set(1)
    metrics.ticks.labels("ok").observe(1)
    hub = Measures()
    hub.reviewed(Review.FAILED, 0.1)
    assert promtool_says(metrics.render()) == (0, "")
    assert promtool_says(hub.render()) == (0, "")


def promtool_says(page: bytes) -> tuple[int, str]:
    checked = subprocess.run(
        [debian_tool("promtool"), "check", "metrics"],
        input=page,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return checked.returncode, (checked.stdout + checked.stderr).decode()


async def test_a_reader_that_leaves_in_the_middle_of_a_page_harms_nothing() -> None:
    async with standing() as (sidecar, http):
        for n in range(40):
            await chat(http, sidecar, model=f"model-{n}")
        host, _, port = sidecar.admin.removeprefix("http://").partition(":")
        for _ in range(20):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            await reader.readexactly(100)
            writer.transport.abort()
        told = await page(http, sidecar, OPENMETRICS)
        assert not [key for key in told if ("__name__", Metric.SIDECAR_FAILURES) in key]
        assert sidecar.events() == ["started"]
