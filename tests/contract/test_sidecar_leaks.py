"""Twenty thousand requests leave nothing behind, however they ended: no object, no descriptor, no
memory.
"""

import asyncio
import gc
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from proxied import Stand, post, proxied
from tidegate_sidecar.client import LINGER_REAL_S
from tidegate_wire.config import Do, Order, SidecarConfig
from upstream import Call, chat_reply, chat_stream

PLAIN = post(b'{"model":"big","messages":[]}')
STREAM = post(b'{"model":"big","stream":true}')
ROW = 35
"""Plain requests in a row on one connection, which are most of what there is."""
PER_ROUND = ROW + 10
ROUNDS = 20_000 // PER_ROUND + 1
WARM_UP = 40
"""Rounds until pools, caches and label sets are as full as they get."""
DATA_PATH = ("Client", "Exchange", "Upstream", "Measure", "Body", "Head", "Tunnel", "Watcher")

pytestmark = pytest.mark.timeout(300)


async def model_server(call: Call) -> None:
    ask = json.loads(call.body) if call.body else {}
    if "upgrade" in call.headers:
        await call.send(b"HTTP/1.1 101 S\r\nUpgrade: echo/1\r\nConnection: Upgrade\r\n\r\n")
        await call.send(await call.reader.read(100))
        call.close()
    elif ask.get("model") == "cut":
        await call.begin_stream()
        await call.chunk(b"data: {}\n\n")
        call.cut()
    elif ask.get("model") == "endless":
        await call.begin_stream()
        await call.chunk(b"data: {}\n\n")
        await call.gone()
        call.close()
    elif ask.get("model") == "garbage":
        await call.send(b"SMTP ready\r\n")
        call.close()
    elif ask.get("stream"):
        await call.stream(chat_stream(3, usage=True))
    else:
        await call.answer(chat_reply())


async def a_row_of_plain_calls(stand: Stand) -> None:
    client = await stand.connect()
    await client.send(PLAIN * ROW)
    for _ in range(ROW):
        assert (await client.answer()).status == 200
    client.leave()


async def a_stream(stand: Stand) -> None:
    assert (await stand.ask(STREAM)).whole


async def a_stream_that_is_cut(stand: Stand) -> None:
    assert not (await stand.ask(post(b'{"model":"cut","stream":true}'))).whole


async def a_client_that_leaves_its_stream(stand: Stand) -> None:
    client = await stand.connect()
    await client.send(post(b'{"model":"endless","stream":true}'))
    await client.reader.readuntil(b"data: {}")
    client.leave()


async def a_client_that_leaves_its_body(stand: Stand) -> None:
    client = await stand.connect()
    await client.send(PLAIN[:-3])
    client.leave()


async def an_answer_that_is_no_http(stand: Stand) -> None:
    assert (await stand.ask(post(b'{"model":"garbage"}'))).status == 502


async def a_request_that_is_none(stand: Stand) -> None:
    assert (await stand.ask(b"GET / HTTP/1.1\r\n folded: x\r\n\r\n")).status == 400


async def a_body_that_is_too_large(stand: Stand) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n"
    assert (await stand.ask(head)).status == 413


async def a_blocked_tenant(stand: Stand) -> None:
    assert (await stand.ask(post(b'{"model":"big"}', more="X-Tenant: bad\r\n"))).status == 429


async def a_full_house(stand: Stand) -> None:
    stand.proxy.room.max_bytes, most = 0, stand.proxy.room.max_bytes
    assert (await stand.ask(PLAIN)).status == 503
    stand.proxy.room.max_bytes = most


async def a_tunnel(stand: Stand) -> None:
    client = await stand.connect()
    await client.send(
        b"GET /v1/realtime HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo/1\r\n\r\n"
    )
    await client.reader.readuntil(b"\r\n\r\n")
    await client.send(b"hello")
    assert await client.reader.read() == b"hello"
    client.leave()


STORIES: tuple[Callable[[Stand], Awaitable[None]], ...] = (
    *(a_row_of_plain_calls, a_stream, a_stream_that_is_cut, a_client_that_leaves_its_stream),
    *(a_client_that_leaves_its_body, an_answer_that_is_no_http, a_request_that_is_none),
    *(a_body_that_is_too_large, a_blocked_tenant, a_full_house, a_tunnel),
)


async def play(stand: Stand, rounds: int) -> None:
    for _ in range(rounds):
        for story in STORIES:
            await story(stand)
        stand.upstream.calls.clear()
    await asyncio.sleep(LINGER_REAL_S)
    async with asyncio.timeout(20):
        while stand.proxy.clients or stand.proxy.in_flight:
            await asyncio.sleep(0.01)


def left_behind() -> tuple[Counter[str], int, float]:
    """Objects of the data path by class, all objects, and resident megabytes."""
    gc.collect()
    objects = gc.get_objects()
    names = Counter(type(each).__name__ for each in objects)
    ours = Counter({k: v for k, v in names.items() if k.startswith(DATA_PATH)})
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return ours, len(objects), pages * 4096 / 1e6


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def leak_nothing() -> None:
    block = Order(do=Do.BLOCK, reason="BudgetExhausted", expires_at=4e9)
    config = SidecarConfig(tenant_header="x-tenant", tenant_orders={"bad": block})
    async with proxied(model_server, config) as stand:
        await play(stand, WARM_UP)
        ours, objects, megabytes = left_behind()
        open_before = descriptors()
        await play(stand, ROUNDS)
        ours_after, objects_after, megabytes_after = left_behind()
        assert ours_after == ours
        assert objects_after - objects < ROUNDS, "not one for any kind of request"
        assert descriptors() <= open_before
        assert megabytes_after - megabytes < 4
        assert stand.proxy.room.held == 0
        stats = stand.stats
        counted = sum(sum(series.outcomes.values()) for series in stats.series)
        # A body that was never whole asked for nothing.
        assert counted == (PER_ROUND - 1) * (ROUNDS + WARM_UP)


def test_twenty_thousand_requests_leave_nothing_behind() -> None:
    uvloop.run(leak_nothing())
