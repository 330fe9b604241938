"""What the data path holds is counted to the byte, has a bound, and whoever comes past it is told
to come again; slow senders and idle connections don't take the room of others.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from proxied import Answer, Stand, post, proxied
from tidegate_sidecar.room import CONNECTION_BYTES, Room, Scarce
from tidegate_wire.config import Do, Order, SidecarConfig, Timeouts
from tidegate_wire.names import ERROR_OUTCOMES, Outcome, Refusal
from upstream import Call, chat_reply, like_a_server

PLAIN = b'{"model":"big","messages":[]}'
STREAM = b'{"model":"big","stream":true}'
LARGE = b'{"model":"big","messages":["' + b"x" * 300_000 + b'"]}'
UPLOAD = b"POST /v1/files HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"


def error_of(answer: Answer) -> tuple[int, str, str]:
    error = json.loads(answer.body)["error"]
    return answer.status, error["type"], error["code"]


async def held(stand: Stand, at_least: int) -> int:
    """Bytes in the books beside the connections' shares, once they are so many."""
    async with asyncio.timeout(10):
        while (beside := beside_shares(stand)) < at_least:
            await asyncio.sleep(0.002)
    return beside


def beside_shares(stand: Stand) -> int:
    return stand.proxy.room.held - len(stand.proxy.clients) * CONNECTION_BYTES


async def emptied(stand: Stand) -> None:
    async with asyncio.timeout(10):
        while stand.proxy.clients or stand.proxy.in_flight:
            await asyncio.sleep(0.002)
    assert stand.proxy.room.held == 0


# --- a full room ---------------------------------------------------------------------------------


async def test_in_a_full_room_a_request_is_told_to_come_again_in_the_apis_shape() -> None:
    async with proxied(like_a_server, room=Room(max_bytes=-1)) as stand:
        answer = await stand.ask(post(PLAIN))
        assert error_of(answer) == (503, "server_error", Refusal.OVERLOADED)
        assert (answer.headers["retry-after"], answer.headers["connection"]) == ("1", "close")
        anthropic = await stand.ask(post(PLAIN, "/v1/messages"))
        assert anthropic.status == 503
        assert json.loads(anthropic.body)["error"]["type"] == "overloaded_error"
        assert not stand.upstream.calls


async def test_whoever_finds_no_room_is_demand_and_no_error_of_the_server() -> None:
    config = SidecarConfig(tenant_header="x-tenant")
    async with proxied(like_a_server, config, room=Room(max_bytes=-1)) as stand:
        await stand.ask(post(PLAIN, more="X-Tenant: a\r\n"))
        stats = await stand.settled()
        assert (stats.arrived, stats.in_flight) == (1, 0)
        assert stand.series.tenant == "a"
        assert stand.series.outcomes == {Outcome.BLOCKED: 1}
        assert Outcome.BLOCKED not in ERROR_OUTCOMES
        assert f'tidegate_refused_total{{reason="{Refusal.OVERLOADED}"}} 1' in stand.told


BEGUN = {
    "a body that grows": post(LARGE)[:200_000],
    "a body in chunks that grows": post(b"", more="Transfer-Encoding: chunked\r\n").replace(
        b"Content-Length: 0\r\n", b""
    )
    + b"30000\r\n"
    + b"x" * 190_000,
    "a head that grows": b"GET / HTTP/1.1\r\n" + b"x-filler: y\r\n" * 4000,
}


@pytest.mark.parametrize("begun", BEGUN.values(), ids=BEGUN)
async def test_a_request_that_outgrows_the_room_is_refused_and_its_bytes_are_let_go(
    begun: bytes,
) -> None:
    async with proxied(like_a_server, room=Room(max_bytes=40_000)) as stand:
        client = await stand.connect()
        await client.send(begun)
        assert (await client.answer()).status == 503
        assert beside_shares(stand) == 0
        assert (await stand.ask(post(PLAIN))).status == 200, "there is room again"


async def test_what_runs_goes_on_in_a_full_room() -> None:
    go = asyncio.Event()

    async def script(call: Call) -> None:
        await go.wait()
        await call.answer(chat_reply())

    async with proxied(script) as stand, asyncio.timeout(10):
        client = await stand.connect()
        await client.send(post(PLAIN))
        while not stand.upstream.calls:
            await asyncio.sleep(0.002)
        stand.proxy.room.max_bytes = 0
        assert (await stand.ask(post(PLAIN))).status == 503
        go.set()
        assert (await client.answer()).status == 200


# --- the books -----------------------------------------------------------------------------------


async def a_plain_call(stand: Stand) -> None:
    await stand.ask(post(PLAIN))


async def a_stream(stand: Stand) -> None:
    await stand.ask(post(STREAM))


async def a_large_body(stand: Stand) -> None:
    client = await stand.connect()
    await client.send(post(LARGE)[:250_000])
    assert 200_000 < await held(stand, 200_000) < 300_000
    await client.send(post(LARGE)[250_000:])
    assert (await client.answer()).status == 200
    assert beside_shares(stand) == 0, "no longer than until the answer begins"
    client.leave()


async def a_client_that_leaves_in_its_body(stand: Stand) -> None:
    client = await stand.connect()
    await client.send(post(LARGE)[:250_000])
    await held(stand, 200_000)
    client.leave()


async def a_client_that_leaves_in_its_head(stand: Stand) -> None:
    client = await stand.connect()
    await client.send(b"GET / HTTP/1.1\r\nx-filler: ")
    assert await held(stand, 26) == 26
    client.leave()


async def an_upload_that_the_server_does_not_read(stand: Stand) -> None:
    client = await stand.connect()
    client.writer.write(UPLOAD + b"x" * 999_000)
    await asyncio.sleep(0.1)
    client.leave()


async def pipelined_requests(stand: Stand) -> None:
    client = await stand.connect()
    await client.send(post(PLAIN) * 50)
    for _ in range(50):
        assert (await client.answer()).status == 200
    client.leave()


async def a_body_that_is_refused_for_its_size(stand: Stand) -> None:
    assert (
        await stand.ask(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n"
            b"Content-Length: 99999999\r\n\r\n" + b"x" * 90_000
        )
    ).status == 413


async def bad_chunks(stand: Stand) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert (await stand.ask(head + b"5000\r\n" + b"x" * 0x5000 + b"no\r\n")).status == 400


async def a_blocked_tenant(stand: Stand) -> None:
    assert (await stand.ask(post(LARGE, more="X-Tenant: blocked\r\n"))).status == 429


async def a_server_that_can_not_be_reached(stand: Stand) -> None:
    stand.upstream.close_connections()
    await stand.ask(post(LARGE, more="X-Tenant: t\r\n"))


STORIES = (
    *(a_plain_call, a_stream, a_large_body, a_client_that_leaves_in_its_body),
    *(a_client_that_leaves_in_its_head, an_upload_that_the_server_does_not_read),
    *(pipelined_requests, a_body_that_is_refused_for_its_size, bad_chunks, a_blocked_tenant),
    a_server_that_can_not_be_reached,
)
Story = Callable[[Stand], Awaitable[None]]


async def tell(story: Story) -> None:
    block = Order(do=Do.BLOCK, reason="BudgetExhausted", expires_at=4e9)
    config = SidecarConfig(tenant_header="x-tenant", tenant_orders={"blocked": block})
    async with proxied(like_a_server, config) as stand, asyncio.timeout(30):
        await story(stand)
        await emptied(stand)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_when_all_have_left_the_books_say_nothing(story: Story) -> None:
    await tell(story)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_nor_do_they_on_the_event_loop_of_production(story: Story) -> None:
    uvloop.run(tell(story))


async def test_what_a_reader_leaves_unread_is_in_the_books_until_it_reads_on() -> None:
    async def script(call: Call) -> None:
        await call.begin_stream()
        for _ in range(1000):
            await call.chunk(b"data: " + b"x" * 16_000 + b"\n\n")
        await call.send(b"0\r\n\r\n")

    async with proxied(script) as stand, asyncio.timeout(30):
        client = await stand.connect()
        await client.send(post(STREAM))
        await client.reader.readuntil(b"data: ")
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        assert await held(stand, 1) < 400_000
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        while await client.reader.read(1 << 20):
            pass
        client.leave()
        await emptied(stand)


# --- slow senders --------------------------------------------------------------------------------


TRICKLES = {
    "a head": (b"POST /v1/chat/completions HTTP/1.1\r\n", b"x: y\r\n"),
    "a body that is read here": (post(LARGE)[:-300_000], b"x"),
    "a body that goes on as it comes": (UPLOAD, b"x"),
}


@pytest.mark.parametrize(("begun", "bit"), TRICKLES.values(), ids=TRICKLES)
async def test_a_byte_now_and_then_is_no_sign_of_life(begun: bytes, bit: bytes) -> None:
    """Each bit comes well within the time that a client may stand still."""

    async def script(call: Call) -> None:
        await call.gone()

    patient = SidecarConfig(timeouts=Timeouts(connect_s=6000, total_s=60_000))
    async with (
        proxied(script, patient, speed=600, reads_bodies=False) as stand,
        asyncio.timeout(20),
    ):
        client = await stand.connect()
        await client.send(begun)
        sent = asyncio.create_task(_trickle(client.writer, bit))
        answer = await client.answer()
        sent.cancel()
        assert error_of(answer) == (408, "invalid_request_error", Refusal.TOO_SLOW)
        (series,) = stand.stats.series or (None,)
        assert series is None or series.outcomes == {Outcome.CLIENT_ERROR: 1}


async def _trickle(writer: asyncio.StreamWriter, bit: bytes) -> None:
    while True:
        writer.write(bit)
        await asyncio.sleep(0.02)  # 12 s of the clock


async def test_a_large_body_that_keeps_its_pace_may_take_its_time() -> None:
    async with proxied(like_a_server, speed=600) as stand, asyncio.timeout(20):
        client = await stand.connect()
        whole = post(LARGE)
        for at in range(0, len(whole), 30_000):
            await client.send(whole[at : at + 30_000])
            await asyncio.sleep(0.02)  # twelve seconds of the clock: 2,500 bytes a second
        assert (await client.answer()).status == 200


async def test_many_requests_on_one_connection_are_not_one_slow_one() -> None:
    """Though each sweep finds one that is being read."""
    async with proxied(like_a_server, speed=600) as stand, asyncio.timeout(20):
        client = await stand.connect()
        await client.send(post(PLAIN)[:-5])
        for _ in range(25):
            await asyncio.sleep(0.02)
            await client.send(post(PLAIN)[-5:] + post(PLAIN)[:-5])
            assert (await client.answer()).status == 200


# --- idle connections ----------------------------------------------------------------------------


async def test_who_has_come_and_not_yet_asked_is_not_closed_to_make_room() -> None:
    async with proxied(like_a_server) as stand, asyncio.timeout(10):
        used, fresh = await stand.connect(), await stand.connect()
        await used.send(post(PLAIN))
        assert (await used.answer()).status == 200
        while any(client.used_at > 1e9 for client in stand.proxy.clients):
            await asyncio.sleep(0.01)  # until a sweep has seen that neither is in use
        stand.proxy.short_of(Scarce.MEMORY)
        assert await used.closed()
        await fresh.send(post(PLAIN))
        assert (await fresh.answer()).status == 200


async def test_of_too_many_idle_connections_those_unused_for_longest_are_closed() -> None:
    async with proxied(like_a_server, speed=60) as stand, asyncio.timeout(10):
        clients = [await stand.connect() for _ in range(5)]
        now = stand.proxy.clock.monotonic
        while not all(client.spare(now()) for client in stand.proxy.clients):
            await asyncio.sleep(0.01)  # who has never asked has a minute to do so
        for client in clients[2:]:
            await client.send(post(PLAIN))
            assert (await client.answer()).status == 200
        stand.proxy.room.max_idle = 3
        assert [await client.closed() for client in clients[:2]] == [True, True]
        for client in clients[2:]:
            await client.send(post(PLAIN))
            assert (await client.answer()).status == 200
