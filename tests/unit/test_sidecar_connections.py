"""Connections are kept, left, stalled and drained, and no request is lost or mixed up by it."""

import asyncio
import socket

import pytest
import uvloop

from asked import PLAIN, STREAM, STREAM_USAGE
from production_loop import Story, name_of, stories
from proxied import post, proxied, refused_with
from tidegate_sidecar.client import QUIET_REAL_S
from tidegate_wire.names import Outcome, Refusal
from upstream import Call, Script, chat_reply, hang, like_a_server, stall


@pytest.mark.parametrize("body", [PLAIN, STREAM], ids=["plain", "stream"])
async def test_a_client_that_leaves_ends_the_call_at_once(body: bytes) -> None:
    async with proxied(stall if body == STREAM else hang) as stand, asyncio.timeout(10):
        client = await stand.connect()
        await client.send(post(body))
        while not stand.upstream.calls:
            await asyncio.sleep(0.002)
        if body == STREAM:
            await client.reader.readuntil(b"choices")
        client.leave()
        async with asyncio.timeout(2):
            await stand.upstream.calls[0].over.wait()
        await stand.settled()
        assert stand.series.outcomes == {Outcome.CANCELLED: 1}


@pytest.mark.parametrize(
    ("status", "outcome"),
    [("429 Too Many Requests", Outcome.CLIENT_ERROR), ("500 Oh", Outcome.SERVER_ERROR)],
    ids=["the client's error", "the server's error"],
)
async def test_an_error_counts_as_one_though_its_client_reads_the_head_alone(
    status: str, outcome: Outcome
) -> None:
    async def script(call: Call) -> None:
        await call.send(f"HTTP/1.1 {status}\r\nContent-Length: 9\r\n\r\n".encode())
        await call.gone()

    async with proxied(script) as stand, asyncio.timeout(10):
        client = await stand.connect()
        await client.send(post(STREAM))
        await client.reader.readuntil(b"\r\n\r\n")
        client.leave()
        await stand.upstream.calls[0].over.wait()
        await stand.settled()
        assert stand.series.outcomes == {outcome: 1}


async def test_connections_are_kept_and_used_again() -> None:
    async with proxied(like_a_server) as stand:
        client = await stand.connect()
        for body in (PLAIN, STREAM, STREAM_USAGE, PLAIN):
            await client.send(post(body))
            assert (await client.answer()).whole
        assert stand.upstream.connections == 1


async def test_a_pooled_connection_that_went_stale_is_not_the_clients_problem() -> None:
    """llama-server closes after a stream while it advertises keep-alive."""
    ask = asyncio.Event()

    async def script(call: Call) -> None:
        if len(stand.upstream.calls) == 1:
            await call.answer(chat_reply())
            await call.reader.readuntil(b"\r\n\r\n")  # the next request is met by a closed door
            call.cut()
        else:
            await like_a_server(call)

    async with proxied(script) as stand, asyncio.timeout(10):
        client = await stand.connect()
        for _ in range(2):
            await client.send(post(PLAIN))
            assert (await client.answer()).body == chat_reply()
        ask.set()
        assert stand.upstream.connections == 2
        await stand.settled()
        assert stand.series.outcomes == {Outcome.OK: 2}


async def test_a_fresh_connection_that_is_closed_is_not_tried_again() -> None:
    async def script(call: Call) -> None:
        call.cut()

    async with proxied(script) as stand:
        answer = await stand.ask(post(PLAIN))
        assert refused_with(answer) == (502, "server_error", Refusal.RESET)
        assert len(stand.upstream.calls) == 1


@pytest.mark.parametrize("at_once", [True, False], ids=["with the answer", "after it"])
async def test_bytes_that_nobody_asked_for_reach_nobody(at_once: bool) -> None:
    poison = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"

    async def script(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}" + poison * at_once)
        if not at_once:
            await asyncio.sleep(0.005)
            await call.send(poison)

    async with proxied(script) as stand, asyncio.timeout(10):
        client = await stand.connect()
        for _ in range(5):
            await client.send(post(PLAIN))
            assert (await client.answer()).body == b"{}"
            await asyncio.sleep(0.02)
        assert stand.upstream.connections == 5


@pytest.mark.parametrize(
    ("asked", "head", "kept"),
    [
        pytest.param(b"HEAD", b"200 OK\r\nContent-Length: 5", False, id="to HEAD, with a length"),
        pytest.param(
            b"HEAD", b"200 OK\r\nTransfer-Encoding: chunked", False, id="to HEAD, chunked"
        ),
        pytest.param(b"GET", b"304 Not Modified\r\nContent-Length: 5", False, id="of a 304"),
        pytest.param(b"HEAD", b"200 OK\r\nContent-Length: 0", True, id="none at all"),
        pytest.param(b"GET", b"204 No Content", True, id="none of a 204"),
    ],
)
async def test_a_body_that_must_not_come_and_comes_late_is_nobodys_answer(
    asked: bytes, head: bytes, kept: bool
) -> None:
    """aiohttp's servers have sent one to HEAD, and the next request on the connection got it."""

    async def script(call: Call) -> None:
        if call.method != "POST":
            await call.send(b"HTTP/1.1 " + head + b"\r\n\r\n")
        elif not kept and call.writer is stand.upstream.calls[0].writer:
            await call.send(b"hello")
        else:
            await like_a_server(call)

    async with proxied(script) as stand:
        client = await stand.connect()
        await client.send(asked + b" /v1/models HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.answer(asked.decode())).whole
        await client.send(post(PLAIN))
        assert (await client.answer()).body == chat_reply()
        assert stand.upstream.connections == (1 if kept else 2)


async def test_a_reader_that_stalls_stalls_the_server_and_not_our_memory() -> None:
    sent = 0

    async def script(call: Call) -> None:
        nonlocal sent
        await call.begin_stream()
        for _ in range(2000):
            await call.chunk(b"data: " + b"x" * 16_000 + b"\n\n")
            sent += 16_000
        await call.chunk(b"data: [DONE]\n\n")
        await call.send(b"0\r\n\r\n")

    async with proxied(script) as stand, asyncio.timeout(20):
        client = await stand.connect()
        await client.send(post(STREAM))
        await client.reader.readuntil(b"data: ")
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 32_000_000  # it stood still before the end: the sockets' buffers were full
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        rest = b""
        while not rest.endswith(b"\r\n0\r\n\r\n"):
            rest = rest[-16:] + await client.reader.read(1 << 20)
        await stand.settled()
        assert stand.series.outcomes == {Outcome.OK: 1}


async def test_a_reader_that_stalls_at_the_very_end_stalls_nobody_after_it() -> None:
    """Its answer is read in one piece and then written: by that time the connection on which it
    came is free, and soon another's."""

    async def script(call: Call) -> None:
        await call.answer(b"x" * 50_000)

    async with proxied(script) as stand, asyncio.timeout(10):
        loop = asyncio.get_running_loop()
        door = socket.create_server(("127.0.0.1", 0))
        door.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the least that the kernel has
        server = await loop.create_server(stand.proxy.client, sock=door)
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        slow.setblocking(False)
        await loop.sock_connect(slow, door.getsockname())
        await loop.sock_sendall(slow, post(PLAIN))
        while not any(client.stalled for client in stand.proxy.clients):
            await asyncio.sleep(0.005)
        assert (await stand.ask(post(PLAIN))).whole
        assert stand.upstream.connections == 1, "it was free, and used again"
        slow.close()
        server.close()


def ends_once(release: asyncio.Event) -> Script:
    """A stream that says something and ends when it is told to."""

    async def script(call: Call) -> None:
        await call.begin_stream()
        await call.chunk(b"data: {}\n\n")
        await release.wait()
        await call.chunk(b"data: [DONE]\n\n")
        await call.send(b"0\r\n\r\n")

    return script


async def test_draining_finishes_answers_and_tells_each_connection_that_it_ends() -> None:
    release = asyncio.Event()
    async with proxied(ends_once(release)) as stand, asyncio.timeout(10):
        idle = await stand.connect()
        release.set()
        await idle.send(post(STREAM))
        assert (await idle.answer()).whole
        release.clear()
        running = await stand.connect()
        fresh = await stand.connect()
        await running.send(post(STREAM))
        await running.reader.readuntil(b"data: {}")
        assert stand.proxy.in_flight == 1
        stand.proxy.drain()
        release.set()
        await running.reader.readuntil(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        # What was promised to stay open takes the next request, sent as the last answer ends.
        for client in (running, idle, fresh):
            await client.send(post(STREAM))
            answer = await client.answer()
            assert (answer.whole, answer.headers["connection"]) == (True, "close")
            assert await client.closed()
        assert stand.proxy.in_flight == 0


async def test_a_leaving_sidecar_closes_what_is_quiet_and_nothing_that_may_be_asked_on() -> None:
    release = asyncio.Event()
    async with proxied(ends_once(release)) as stand, asyncio.timeout(10):
        running, unused = await stand.connect(), await stand.connect()
        await running.send(post(STREAM))
        await running.reader.readuntil(b"data: {}")
        stand.proxy.drain()
        stand.proxy.close_quiet()
        release.set()
        await running.reader.readuntil(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        ended_at = asyncio.get_running_loop().time()
        while not running.reader.at_eof():
            stand.proxy.close_quiet()
            await asyncio.sleep(0.01)
        assert asyncio.get_running_loop().time() - ended_at >= 0.9 * QUIET_REAL_S
        await unused.send(post(STREAM))
        assert (await unused.answer()).whole


@pytest.mark.parametrize("story", stories(globals()), ids=name_of)
def test_it_is_the_same_on_the_event_loop_of_production(story: Story) -> None:
    uvloop.run(story())
