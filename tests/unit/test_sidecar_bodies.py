"""A request's body that nobody has to read goes on as it comes, as fast as it is taken."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import uvloop

from production_loop import Story, name_of, stories
from proxied import RawClient, Stand, post, proxied
from tidegate_sidecar.client import LINGER_REAL_S
from tidegate_sidecar.exchange import Exchange
from tidegate_sidecar.sockets import reset
from tidegate_wire.config import SidecarConfig, Timeouts
from tidegate_wire.names import Outcome, Refusal
from upstream import Call, deaf

UPLOAD = b"POST /v1/files HTTP/1.1\r\nHost: a\r\n"
CHUNKED = UPLOAD + b"Transfer-Encoding: chunked\r\n\r\n"
LARGE = 64 << 20


def sized(length: int, more: bytes = b"") -> bytes:
    return UPLOAD + more + b"Content-Length: %d\r\n\r\n" % length


async def called(stand: Stand) -> Call:
    while not stand.upstream.calls:
        await asyncio.sleep(0.002)
    return stand.upstream.calls[-1]


async def wait(call: Call) -> None:
    await call.gone()


async def test_each_piece_goes_on_as_it_comes() -> None:
    for head, parts in (
        (sized(10), [b"hello", b"world"]),
        (CHUNKED, [b"5\r\nhello\r\n", b"5\r\nworld\r\n", b"0\r\nX-Sum: 1\r\n\r\n"]),
    ):

        async def script(call: Call, parts: list[bytes] = parts) -> None:
            for part in parts:
                assert await call.reader.readexactly(len(part)) == part
                await call.send(b"HTTP/1.1 102 Processing\r\n\r\n")
            await call.answer(b"ok")

        async with proxied(script, reads_bodies=False) as stand, asyncio.timeout(10):
            client = await stand.connect()
            await client.send(head)
            for part in parts:
                await client.send(part)
                assert await client.reader.readuntil(b"\r\n\r\n")
            answer = await client.answer()
            assert (answer.body, answer.whole) == (b"ok", True)
            expected = b"transfer-encoding: chunked" if head is CHUNKED else b"Content-Length: 10"
            assert expected in stand.upstream.calls[0].head.split(b"\r\n")


async def test_a_body_of_any_size_passes_and_the_cap_is_for_those_that_are_held() -> None:
    size = 30_000_000
    got = 0

    async def script(call: Call) -> None:
        nonlocal got
        while got < size:
            got += len(await call.reader.read(1 << 20))
        await call.answer(b"ok")

    config = SidecarConfig(max_request_bytes=1000)
    async with proxied(script, config, reads_bodies=False) as stand, asyncio.timeout(30):
        client = await stand.connect()
        await client.send(sized(size))
        for _ in range(30):
            await client.send(b"x" * 1_000_000)
        assert (await client.answer()).body == b"ok"
        # The request is over, and the connections with it can serve another.
        got = 0
        await client.send(sized(size) + b"x" * size)
        assert (await client.answer()).body == b"ok"


async def test_a_server_that_does_not_read_stops_the_client_and_not_our_memory() -> None:
    go_on = asyncio.Event()
    got = 0

    async def script(call: Call) -> None:
        nonlocal got
        call.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await go_on.wait()
        call.writer.transport.resume_reading()  # type: ignore[attr-defined]
        while got < LARGE:
            got += len(await call.reader.read(1 << 20))
        await call.answer(b"ok")

    async with proxied(script, reads_bodies=False) as stand, asyncio.timeout(40):
        client = await stand.connect()
        sent = await send_until_it_stops(client, sized(LARGE))
        assert sent < LARGE  # it stood still before the end: the sockets' buffers were full
        (exchange,) = stand.proxy.live
        transport = exchange.connection._transport  # type: ignore[union-attr]
        assert transport.get_write_buffer_size() < 1 << 20  # type: ignore[union-attr]
        go_on.set()
        while sent < LARGE:
            await client.send(b"x" * min(1 << 20, LARGE - sent))
            sent += min(1 << 20, LARGE - sent)
        assert (await client.answer()).body == b"ok"


async def send_until_it_stops(client: RawClient, head: bytes) -> int:
    """Bytes of the body that could be sent."""
    sent = 0
    await client.send(head)
    try:
        while sent < LARGE:
            client.writer.write(b"x" * (1 << 20))
            sent += 1 << 20
            async with asyncio.timeout(0.5):
                await client.writer.drain()
    except TimeoutError:
        pass
    return sent


async def test_an_answer_may_come_while_the_request_still_does() -> None:
    async def script(call: Call) -> None:
        await call.begin_stream()
        while (line := await call.reader.readline()) != b"0\r\n":
            if line.startswith(b"data"):
                await call.chunk(line)
        await call.send(b"0\r\n\r\n")

    async with proxied(script, reads_bodies=False) as stand, asyncio.timeout(10):
        client = await stand.connect()
        await client.send(CHUNKED)
        assert b" 200 OK" in await client.reader.readuntil(b"\r\n\r\n")
        for i in range(5):
            await client.send(b"8\r\ndata: %d\n\r\n" % i)
            assert await client.reader.readuntil(b"\n\r\n") == b"8\r\ndata: %d\n\r\n" % i
        await client.send(b"0\r\n\r\n")
        assert await client.reader.readuntil(b"\r\n\r\n") == b"0\r\n\r\n"
        assert await client.closed()


async def test_an_answer_that_ends_before_the_request_reaches_a_client_that_still_sends() -> None:
    async def script(call: Call) -> None:
        await call.answer(b"too much", status="413 Content Too Large")
        await call.gone()

    async with proxied(script, reads_bodies=False) as stand, asyncio.timeout(10):
        client = await stand.connect()
        await client.send(sized(1 << 30))
        answer = await client.answer()
        assert (answer.status, answer.body, answer.whole) == (413, b"too much", True)
        assert answer.headers["connection"] == "close"
        await stand.upstream.calls[0].over.wait()
        for _ in range(5):  # closed outright, the second of these would meet a reset
            await client.send(b"x" * 100_000)
            await asyncio.sleep(0.01)
        assert await client.closed()
        assert not stand.proxy.in_flight


async def test_an_answer_is_not_lost_where_the_server_hangs_up_on_what_it_does_not_read() -> None:
    """What it had not read makes its close a reset, which breaks off our writing."""

    async def script(call: Call) -> None:
        await call.answer(b"too much", status="413 Content Too Large")
        call.close()

    async with proxied(script, reads_bodies=False) as stand, asyncio.timeout(20):
        for _ in range(10):
            client = await stand.connect()
            client.writer.write(sized(1 << 30) + b"x" * 5_000_000)
            answer = await client.answer()
            assert (answer.status, answer.body) == (413, b"too much")
            client.leave()


async def test_an_answer_ends_with_its_connection_whatever_is_left_of_the_request() -> None:
    async def script(call: Call) -> None:
        call.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(0.3)  # by then nothing of the request moves any more
        await call.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        call.writer.write_eof()
        await asyncio.sleep(60)

    async with proxied(script, reads_bodies=False) as stand, asyncio.timeout(20):
        client = await stand.connect()
        client.writer.write(sized(1 << 30) + b"x" * 20_000_000)
        answer = await client.answer()
        assert (answer.status, answer.body, answer.whole) == (200, b"hello", True)


@pytest.mark.parametrize("silent", [False, True], ids=["while it sends", "when it is silent"])
async def test_an_answered_client_is_cut_off_only(silent: bool) -> None:
    async def script(call: Call) -> None:
        await call.answer(b"too much", status="413 Content Too Large")
        await call.gone()

    async with proxied(script, reads_bodies=False) as stand, asyncio.timeout(20):
        client = await stand.connect()
        await client.send(sized(1 << 30) + b"x")
        answered_at = asyncio.get_running_loop().time()
        assert (await client.answer()).status == 413
        while stand.proxy.clients:
            if not silent:
                client.writer.write(b"x" * 1000)
            await asyncio.sleep(0.1)
            waited_s = asyncio.get_running_loop().time() - answered_at
            if waited_s > 1.3 * LINGER_REAL_S:
                break
        assert bool(stand.proxy.clients) is not silent


async def test_the_server_decides_on_an_expectation() -> None:
    async def script(call: Call) -> None:
        if "x-refuse" in call.headers:
            await call.answer(b"no", status="417 Expectation Failed")
            return
        await call.send(b"HTTP/1.1 100 Continue\r\nX-Hint: 1\r\n\r\n")
        assert await call.reader.readexactly(4) == b"body"
        await call.answer(b"yes")

    async with proxied(script, reads_bodies=False) as stand, asyncio.timeout(10):
        client = await stand.connect()
        await client.send(sized(4, b"Expect: 100-continue\r\n"))
        told = await client.reader.readuntil(b"\r\n\r\n")
        assert told == b"HTTP/1.1 100 Continue\r\nX-Hint: 1\r\n\r\n"
        await client.send(b"body")
        assert (await client.answer()).body == b"yes"
        await client.send(sized(4, b"Expect: 100-continue\r\nX-Refuse: 1\r\n"))
        answer = await client.answer()
        assert (answer.status, answer.headers["connection"]) == (417, "close")


async def test_a_body_that_breaks_off_in_its_framing_ends_both_connections() -> None:
    async with proxied(wait, reads_bodies=False) as stand, asyncio.timeout(10):
        client = await stand.connect()
        await client.send(CHUNKED + b"5\r\nhello\r\n")
        call = await called(stand)
        await client.send(b"zz\r\n")
        answer = await client.answer()
        assert answer.status == 400
        assert json.loads(answer.body)["error"]["code"] == Refusal.BAD_REQUEST
        assert await client.closed()
        await call.over.wait()
        await stand.settled()
        assert stand.series.outcomes == {Outcome.CLIENT_ERROR: 1}
        assert 'tidegate_refused_total{reason="bad_request"} 1' in stand.told


async def test_what_is_on_its_way_gets_no_connection_that_may_be_stale() -> None:
    async def script(call: Call) -> None:
        length = int(call.headers.get("content-length", 0))
        if await call.reader.readexactly(length) == b"stale":
            await call.answer(b"ok")
            await call.reader.readuntil(b"\r\n\r\n")
            call.cut()
        else:
            await call.answer(b"ok")

    async with proxied(script, reads_bodies=False) as stand, asyncio.timeout(10):
        client = await stand.connect()
        for size in (4, 100):
            await client.send(sized(5) + b"stale")
            assert (await client.answer()).status == 200
            # Whole at once it is sent twice if need be, and else on a connection of its own.
            await client.send(sized(size))
            if size == 100:
                await asyncio.sleep(0.02)
            await client.send(b"x" * size)
            assert (await client.answer()).status == 200
        await stand.settled()
        assert stand.series.outcomes == {Outcome.OK: 4}


LEAVING = {
    "while its body is passed on": (sized(1000) + b"x", False),
    "while nobody takes its body": (sized(LARGE), True),
    "while it waits for an answer": (sized(1) + b"x", False),
    "with requests waiting that nobody reads": (
        # No more than the kernel's buffers take: the end of a client's side comes after its bytes.
        sized(1) + b"x" + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 4_000,
        False,
    ),
}


WITHIN_S = 0.1
"""A client that has left is noticed."""


def leave(client: RawClient, how: str) -> None:
    if how == "half-closes":
        client.writer.write_eof()
        return
    if how == "resets":
        reset(client.writer.transport)
    else:
        client.writer.close()


async def quickest(once: Callable[[], Awaitable[float]]) -> float:
    """The best of three seconds, unless one is good: the machine may be busy with others."""
    best = await once()
    for _ in range(2):
        if best >= WITHIN_S:
            best = min(best, await once())
    return best


async def seconds_until_over(client: RawClient, exchange: Exchange, how: str = "closes") -> float:
    """From when the client leaves."""
    now = asyncio.get_running_loop().time
    left_at = now()
    leave(client, how)
    while not exchange.over:
        await asyncio.sleep(0.001)
    assert exchange.connection is None
    assert exchange.connecting is None
    return now() - left_at


@pytest.mark.parametrize("how", ["closes", "resets", "half-closes"])
@pytest.mark.parametrize(("sent", "stalls"), LEAVING.values(), ids=LEAVING)
@pytest.mark.parametrize("loop", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_client_that_leaves_ends_the_call_within_100_ms(
    sent: bytes, stalls: bool, how: str, loop: Callable[[Awaitable[float]], float]
) -> None:
    assert loop(quickest(partial(seconds_until_ended, sent, stalls, how))) < WITHIN_S


async def seconds_until_ended(sent: bytes, stalls: bool, how: str) -> float:
    async def script(call: Call) -> None:
        if stalls:
            call.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(60)

    async with proxied(script, reads_bodies=False) as stand, asyncio.timeout(10):
        client = await stand.connect()
        await client.send(sent)
        await called(stand)
        (exchange,) = stand.proxy.live
        while stalls and not exchange.client.held:
            await client.send(b"x" * 65536)
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.1)
        took_s = await seconds_until_over(client, exchange, how)
        assert stand.series.outcomes == {Outcome.CANCELLED: 1}
        return took_s


IN_BETWEEN = {
    "within a head": b"HTTP/1.1 200 OK\r\nX-A",
    "within a stream": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "within a body": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
    "after interim answers": b"HTTP/1.1 103 Early Hints\r\n\r\n",
}


@pytest.mark.parametrize("target", ["/v1/chat/completions", "/a"], ids=["a call", "anything"])
@pytest.mark.parametrize("sent", IN_BETWEEN.values(), ids=IN_BETWEEN)
async def test_a_client_that_leaves_while_it_is_answered(sent: bytes, target: str) -> None:
    async def script(call: Call) -> None:
        await call.send(sent)
        await asyncio.sleep(60)

    async def once() -> float:
        """The server hears of it in that time, too."""
        async with proxied(script) as stand, asyncio.timeout(10):
            client = await stand.connect()
            await client.send(post(b"{}", target))
            call = await called(stand)
            await asyncio.sleep(0.05)
            (exchange,) = stand.proxy.live
            now = asyncio.get_running_loop().time
            left_at = now()
            await seconds_until_over(client, exchange)
            assert await call.reader.read() == b""
            return now() - left_at

    assert await quickest(once) < WITHIN_S


@pytest.mark.parametrize("how", ["closes", "resets", "half-closes"])
@pytest.mark.parametrize("loop", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_client_that_leaves_an_answer_that_it_does_not_read(
    how: str, loop: Callable[[Awaitable[float]], float]
) -> None:
    async def script(call: Call) -> None:
        await call.begin_stream()
        while True:
            await call.chunk(b"data: " + b"x" * 16_000 + b"\n\n")

    async def once() -> float:
        async with proxied(script) as stand, asyncio.timeout(10):
            client = await stand.connect()
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await client.send(post(b'{"stream":true}'))
            await called(stand)
            (exchange,) = stand.proxy.live
            while not exchange.client.stalled:
                await asyncio.sleep(0.001)
            return await seconds_until_over(client, exchange, how)

    assert loop(quickest(once)) < WITHIN_S


async def test_a_client_that_leaves_while_its_call_is_connected() -> None:
    with deaf() as url:

        async def once(sent: bytes) -> float:
            async with proxied(wait, url=url) as stand, asyncio.timeout(10):
                client = await stand.connect()
                await client.send(sent)
                while not stand.proxy.live:
                    await asyncio.sleep(0.001)
                (exchange,) = stand.proxy.live
                assert exchange.connecting is not None
                return await seconds_until_over(client, exchange)

        for sent in (sized(1) + b"x", sized(10) + b"x", post(b"{}")):
            assert await quickest(partial(once, sent)) < WITHIN_S


async def test_a_server_that_takes_nothing_of_a_body_is_timed_out() -> None:
    async def script(call: Call) -> None:
        call.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(60)

    config = SidecarConfig(timeouts=Timeouts(idle_s=12, total_s=6000, connect_s=60))
    async with proxied(script, config, speed=60, reads_bodies=False) as stand:
        async with asyncio.timeout(20):
            client = await stand.connect()
            await send_until_it_stops(client, sized(LARGE))
            answer = await client.answer()
        assert answer.status == 504
        assert "took nothing of the request" in json.loads(answer.body)["error"]["message"]
        assert stand.series.outcomes == {Outcome.TIMEOUT: 1}


async def test_a_client_that_stops_in_the_middle_of_a_body_is_let_go() -> None:
    config = SidecarConfig(timeouts=Timeouts(total_s=60_000, connect_s=600))
    async with proxied(wait, config, speed=600, reads_bodies=False) as stand:
        async with asyncio.timeout(10):
            client = await stand.connect()
            await client.send(sized(10) + b"x")
            answer = await client.answer()
            assert (answer.status, answer.headers["connection"]) == (408, "close")
        assert stand.series.outcomes == {Outcome.CLIENT_ERROR: 1}


@pytest.mark.parametrize("story", stories(globals()), ids=name_of)
def test_it_is_the_same_on_the_event_loop_of_production(story: Story) -> None:
    uvloop.run(story())
