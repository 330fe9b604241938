"""Whatever engine a model server is, its queue and its cache are understood by its own words,
however the page is cut; what is no engine's page tells nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from tidegate_sidecar.engine import MAX_LINE_BYTES, EnginePage
from tidegate_sidecar.scrape import BACKOFF_MAX_S, MAX_PAGE_BYTES, EngineScraper
from tidegate_wire.clock import Clock
from tidegate_wire.stats import EngineLoad

VLLM = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="big"} 8.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="big"} 3.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="big",reason="capacity"} 3.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="big"} 0.42
vllm:e2e_request_latency_seconds_bucket{le="0.3",model_name="big"} 7.0
process_resident_memory_bytes 9.1e+09
"""


def read(text: str) -> EngineLoad | None:
    page = EnginePage()
    page.feed(text.encode())
    return page.load()


@pytest.mark.parametrize(
    ("text", "load"),
    [
        pytest.param(
            VLLM,
            EngineLoad(engine="vllm", waiting=3, running=8, kv_cache_usage=0.42),
            id="vLLM",
        ),
        pytest.param(
            VLLM.replace("vllm:", "vllm_"),
            EngineLoad(engine="vllm", waiting=3, running=8, kv_cache_usage=0.42),
            id="vLLM, as prometheus_client tells it to OpenMetrics scrapers",
        ),
        pytest.param(
            VLLM.replace("kv_cache", "gpu_cache"),
            EngineLoad(engine="vllm", waiting=3, running=8, kv_cache_usage=0.42),
            id="vLLM before it renamed the cache",
        ),
        pytest.param(
            VLLM + 'vllm:gpu_cache_usage_perc{engine="0",model_name="big"} 0.42\n',
            EngineLoad(engine="vllm", waiting=3, running=8, kv_cache_usage=0.42),
            id="vLLM while it told the cache by both names",
        ),
        pytest.param(
            VLLM
            + 'vllm:num_requests_waiting{engine="1",model_name="big"} 4\n'
            + 'vllm:kv_cache_usage_perc{engine="1",model_name="big"} 0.9\n',
            EngineLoad(engine="vllm", waiting=7, running=8, kv_cache_usage=0.9),
            id="vLLM with two engines: their queues add up, the fuller cache counts",
        ),
        pytest.param(
            'sglang:token_usage{model_name="a",tp_rank="0"} 0.5\n'
            'sglang:num_running_reqs{model_name="a",tp_rank="0"} 8\n'
            'sglang:num_queue_reqs{model_name="a",tp_rank="0"} 4\n'
            'sglang:num_queue_reqs{model_name="a",tp_rank="1"} 4\n'
            'sglang:num_queue_reqs{pp_rank="2",model_name="a"} 4\n',
            EngineLoad(engine="sglang", waiting=4, running=8, kv_cache_usage=0.5),
            id="SGLang, whose every GPU tells the same queue",
        ),
        pytest.param(
            "tgi_queue_size 6\ntgi_batch_current_size 2\ntgi_request_count 9\n",
            EngineLoad(engine="tgi", waiting=6, running=2),
            id="TGI, which tells nothing of its cache",
        ),
        pytest.param(
            "llamacpp:requests_processing 4\nllamacpp:requests_deferred 46\n",
            EngineLoad(engine="llamacpp", waiting=46, running=4),
            id="llama.cpp",
        ),
        pytest.param(
            "llamacpp:requests_deferred 0\nllamacpp:kv_cache_usage_ratio 0.625\n",
            EngineLoad(engine="llamacpp", waiting=0),
            id="llama.cpp of an older build, whose full cache is no load",
        ),
        pytest.param(
            'vllm:num_requests_waiting{model_name="a} 9 \\" b"} 2\r\n',
            EngineLoad(engine="vllm", waiting=2),
            id="a label with all that could mislead",
        ),
        pytest.param(
            "tgi_queue_size 6 1767225600000", EngineLoad(engine="tgi", waiting=6), id="a time"
        ),
        pytest.param(
            "tgi_queue_size NaN\ntgi_batch_current_size 1\n",
            EngineLoad(engine="tgi", running=1),
            id="a figure that is none",
        ),
        pytest.param("tgi_queue_size -1\n", None, id="a queue shorter than none"),
        pytest.param("tgi_queue_size\n", None, id="a name alone"),
        pytest.param("# tgi_queue_size 6\n", None, id="a comment"),
        pytest.param("my_tgi_queue_size 6\n", None, id="a name that ends alike"),
        pytest.param("http_requests_total 6\n", None, id="another server's page"),
        pytest.param("<html>not found</html>", None, id="no page of metrics"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_a_page_tells(text: str, load: EngineLoad | None) -> None:
    assert read(text) == load


@given(st.lists(st.integers(0, len(VLLM)), max_size=20))
def test_a_page_tells_the_same_however_it_is_cut(cuts: list[int]) -> None:
    page = EnginePage()
    raw = VLLM.encode()
    places = [0, *sorted(cuts), len(raw)]
    for start, end in pairwise(places):
        page.feed(raw[start:end])
    assert page.load() == read(VLLM)


@given(st.binary(max_size=2000))
def test_no_page_is_an_accident(raw: bytes) -> None:
    page = EnginePage()
    page.feed(raw + b"\ntgi_queue_size 6\n")
    load = page.load()
    assert load is None or load.engine


def test_a_line_without_end_is_not_kept() -> None:
    page = EnginePage()
    for _ in range(100):
        page.feed(b"x" * MAX_LINE_BYTES)
    assert len(page._rest) <= MAX_LINE_BYTES
    page.feed(b"\ntgi_queue_size 6\n")
    assert page.load() == EngineLoad(engine="tgi", waiting=6)


# --- asking -------------------------------------------------------------------------------------


class StillClock(Clock):
    """Time passes only by sleeping; who waits so long is told."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0.001)


Answer = Callable[[web.Request], web.StreamResponse]


@asynccontextmanager
async def model_server(answer: Answer) -> AsyncIterator[str]:
    async def handle(request: web.Request) -> web.StreamResponse:
        return answer(request)

    app = web.Application()
    app.router.add_get("/metrics", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


async def looks(upstream: str, count: int) -> tuple[list[EngineLoad | None], list[float]]:
    """What the first looks told, and the waits before each."""
    told: list[EngineLoad | None] = []
    enough = asyncio.Event()

    def take(load: EngineLoad | None) -> None:
        told.append(load)
        if len(told) >= count:
            enough.set()

    clock = StillClock()
    scraper = asyncio.create_task(EngineScraper(upstream, clock, take, 15.0).run())
    async with asyncio.timeout(60):
        await enough.wait()
    scraper.cancel()
    return told[:count], clock.slept[:count]


async def test_a_server_that_tells_is_asked_every_15_seconds() -> None:
    seen: list[str] = []

    def answer(request: web.Request) -> web.Response:
        seen.append(request.headers["Accept"])
        return web.Response(text=VLLM)

    async with model_server(answer) as upstream:
        told, waits = await looks(upstream, 3)
    assert [load and load.waiting for load in told] == [3, 3, 3]
    assert waits == [15.0, 15.0, 15.0]
    assert set(seen) == {"text/plain;version=0.0.4"}, "else vLLM's colons are lost"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda _: web.Response(status=404), id="has no such page"),
        pytest.param(lambda _: web.Response(text="up 1\n"), id="tells nothing of itself"),
        pytest.param(lambda _: web.Response(body=b"\x1f\x8b\0\0"), id="compresses what it says"),
        pytest.param(
            lambda _: web.Response(status=302, headers={"Location": "/metrics"}),
            id="sends us elsewhere",
        ),
        pytest.param(
            lambda _: web.Response(body=VLLM.encode() + b"#" * MAX_PAGE_BYTES),
            id="tells without end",
        ),
    ],
)
async def test_a_server_is_asked_ever_less_often_that(answer: Answer) -> None:
    async with model_server(answer) as upstream:
        told, waits = await looks(upstream, 8)
    assert told == [None] * 8
    assert waits == [15, 30, 60, 120, 240, 480, BACKOFF_MAX_S, BACKOFF_MAX_S]


async def test_a_server_that_is_not_there_yet_is_understood_once_it_is() -> None:
    calls = 0

    def answer(_: web.Request) -> web.Response:
        nonlocal calls
        calls += 1
        return web.Response(text=VLLM) if calls > 2 else web.Response(status=503)

    async with model_server(answer) as upstream:
        told, waits = await looks(upstream, 4)
    assert [load and load.waiting for load in told] == [None, None, 3, 3]
    assert waits == [15, 30, 60, 15]


async def test_who_listens_to_nobody_is_no_reason_to_end() -> None:
    told, _ = await looks("http://127.0.0.1:9", 2)
    assert told == [None, None]
