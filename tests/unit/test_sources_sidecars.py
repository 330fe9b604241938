"""Pulling from real sockets: a look is whole or none, and never waits for long."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from fake_cluster import stats
from tidegate_operator.sources import sidecars as module
from tidegate_operator.sources.sidecars import Address, Sidecars
from tidegate_wire.clock import Clock
from tidegate_wire.stats import SidecarStats

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def server(answer: Answer) -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_get("/stats", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def whole(look: SidecarStats) -> Answer:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=look.to_json())

    return answer


async def pull(port: int, uid: str = "p1") -> SidecarStats | None:
    async with Sidecars(Clock(), pull_timeout_s=5.0) as source:
        return (await source.look([Address(uid, "127.0.0.1", port)]))[uid]


async def test_a_look_is_read() -> None:
    look = stats("p1", 12, tokens=40)
    async with server(whole(look)) as port:
        assert await pull(port) == look


async def test_many_are_asked_at_once_and_each_answers_for_itself() -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.2)
        return await whole(stats("", 1))(request)

    async with server(slow) as port, Sidecars(Clock(), pull_timeout_s=30.0) as source:
        begun = asyncio.get_running_loop().time()
        found = await source.look([Address(f"p{n}", "127.0.0.1", port) for n in range(40)])
        assert asyncio.get_running_loop().time() - begun < 40 * 0.2 / 2
    assert all(found.values())
    assert len(found) == 40


async def no_stats(_: web.Request) -> web.StreamResponse:
    return web.Response(status=503, body=stats("p1", 1).to_json())


async def garbage(_: web.Request) -> web.StreamResponse:
    return web.Response(body=b"\x00\xff not JSON")


async def nested(_: web.Request) -> web.StreamResponse:
    return web.Response(body=b"[" * 200_000)


async def another_schema(_: web.Request) -> web.StreamResponse:
    return web.Response(body=b'{"schema_version": 99, "series": []}')


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" " * 65536)


async def cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"schema_version": 1')
    assert request.transport is not None
    request.transport.close()
    return response


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(no_stats, id="an error with a body"),
        pytest.param(garbage, id="garbage"),
        pytest.param(nested, id="JSON nested without end"),
        pytest.param(another_schema, id="another schema version"),
        pytest.param(endless, id="a body without end"),
        pytest.param(cut, id="a body that is cut"),
        pytest.param(whole(stats("p2", 5)), id="another pod at this address"),
    ],
)
async def test_what_is_not_a_whole_look_is_none(answer: Answer) -> None:
    async with server(answer) as port:
        assert await pull(port) is None


async def test_a_sidecar_that_hangs_costs_no_more_than_the_time_out() -> None:
    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    async with server(hang) as port, Sidecars(Clock(60.0), pull_timeout_s=3.0) as source:
        begun = asyncio.get_running_loop().time()
        found = await source.look([Address("p1", "127.0.0.1", port)])
        took_s = asyncio.get_running_loop().time() - begun
    assert found == {"p1": None}
    # 3 s of a clock at 60x would be 50 ms: too little for any connection.
    assert module.MIN_PULL_S <= took_s < 10


async def test_nobody_there_is_none() -> None:
    async with server(garbage) as port:
        pass
    assert await pull(port) is None
