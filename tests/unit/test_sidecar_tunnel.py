"""What switches protocols is a tunnel from there on; what does not is an answer like any other."""

import asyncio
import json

import aiohttp
import pytest
import uvloop

from production_loop import Story, name_of, stories
from proxied import RawClient, Stand, proxied
from tidegate_sidecar.room import CONNECTION_BYTES
from tidegate_sidecar.sockets import reset
from tidegate_wire.config import Do, Order, SidecarConfig, Timeouts
from tidegate_wire.names import Outcome, Refusal
from upstream import Call
from websocket_server import WebSockets

ASK = b"GET /v1/realtime HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo/1\r\n\r\n"
SWITCHED = (
    b"HTTP/1.1 101 Switching Protocols\r\nX-A: b\r\nupgrade: echo/1\r\nconnection: upgrade\r\n\r\n"
)


async def switch(call: Call) -> None:
    await call.send(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo/1\r\nX-A: b\r\n"
        b"Connection: Upgrade\r\n\r\n"
    )


async def echo(call: Call) -> None:
    await switch(call)
    while data := await call.reader.read(1 << 20):
        await call.send(data)
    call.close()


async def tunnel(stand: Stand) -> RawClient:
    """A client that has switched."""
    client = await stand.connect()
    await client.send(ASK)
    assert await client.reader.readuntil(b"\r\n\r\n") == SWITCHED
    return client


async def test_bytes_pass_both_ways_and_an_end_ends_it() -> None:
    async with proxied(echo) as stand, asyncio.timeout(20):
        client = await tunnel(stand)
        (call,) = stand.upstream.calls
        assert (call.headers["upgrade"], call.headers["connection"]) == ("echo/1", "upgrade")
        for data in (b"hello", b"\x00\xff\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"):
            await client.send(data)
            assert await client.reader.readexactly(len(data)) == data
        assert stand.proxy.in_flight == 1
        client.writer.write_eof()
        assert await client.reader.read() == b""
        await stand.settled()
        assert (stand.series.outcomes, stand.series.tokens_in) == ({Outcome.OK: 1}, 0)
        while stand.proxy.clients:
            await asyncio.sleep(0.002)


async def test_a_side_that_has_ended_still_gets_what_the_other_sends() -> None:
    async def script(call: Call) -> None:
        await switch(call)
        assert await call.reader.read() == b"question"
        await asyncio.sleep(0.05)
        await call.send(b"answer")
        call.close()

    async def the_other_way(call: Call) -> None:
        await switch(call)
        call.writer.write_eof()
        assert await call.reader.read() == b"still here"
        call.closed = True

    async with proxied(script) as stand, asyncio.timeout(10):
        client = await tunnel(stand)
        await client.send(b"question")
        client.writer.write_eof()
        assert await client.reader.read() == b"answer"
        stand.upstream.script = the_other_way
        client = await tunnel(stand)
        assert await client.reader.read() == b""
        await client.send(b"still here")
        client.writer.write_eof()
        await stand.upstream.calls[-1].over.wait()
        await stand.settled()


async def test_what_comes_with_the_switch_is_not_lost() -> None:
    async def script(call: Call) -> None:
        early = b"from the server"
        await call.send(
            b"HTTP/1.1 101 Switching Protocols\r\nX-A: b\r\nUpgrade: echo/1\r\n\r\n" + early
        )
        assert await call.reader.readexactly(15) == b"from the client"
        call.close()

    async with proxied(script) as stand, asyncio.timeout(10):
        client = await stand.connect()
        await client.send(ASK + b"from the client")
        assert await client.reader.read() == SWITCHED + b"from the server"


@pytest.mark.parametrize("who", ["the client", "the server"])
async def test_who_does_not_read_stops_the_other_and_not_our_memory(who: str) -> None:
    total, got = 64 << 20, 0
    go_on = asyncio.Event()

    async def write_all(writer: asyncio.StreamWriter) -> None:
        for _ in range(total >> 20):
            writer.write(b"x" * (1 << 20))
            await writer.drain()
        writer.write_eof()

    async def read_all(reader: asyncio.StreamReader) -> None:
        nonlocal got
        await go_on.wait()
        while data := await reader.read(1 << 20):
            got += len(data)

    async def script(call: Call) -> None:
        await switch(call)
        await (write_all(call.writer) if who == "the client" else read_all(call.reader))
        call.close()

    async with proxied(script) as stand, asyncio.timeout(40):
        client = await tunnel(stand)
        reads = who == "the client"
        ours = read_all(client.reader) if reads else write_all(client.writer)
        task = asyncio.create_task(ours)
        await asyncio.sleep(0.5)
        (exchange,) = stand.proxy.live
        for side in (exchange._tunnel._client, exchange._tunnel._upstream):  # type: ignore[union-attr]
            assert side.to.get_write_buffer_size() < 1 << 20
        unread = sum(
            side.to.get_write_buffer_size()
            for side in (exchange._tunnel._client, exchange._tunnel._upstream)  # type: ignore[union-attr]
        )
        assert stand.proxy.room.held == CONNECTION_BYTES + unread > CONNECTION_BYTES
        assert got == 0
        go_on.set()
        await task
        client.writer.close()
        await stand.settled()
        assert got == total
        while stand.proxy.clients:
            await asyncio.sleep(0.002)
        assert stand.proxy.room.held == 0


@pytest.mark.parametrize("who", ["the client", "the server"])
async def test_a_reset_ends_a_tunnel_that_is_held_up_and_clears_the_books(who: str) -> None:
    async def script(call: Call) -> None:
        await switch(call)
        if who == "the client":
            call.writer.write(b"x" * (16 << 20))
        else:
            call.writer.transport.pause_reading()  # type: ignore[attr-defined]
        while stand.proxy.in_flight:
            await asyncio.sleep(0.002)
        call.cut()

    async with proxied(script) as stand, asyncio.timeout(20):
        client = await tunnel(stand)
        if who == "the client":
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        else:
            client.writer.write(b"x" * (16 << 20))
        while stand.proxy.room.held <= CONNECTION_BYTES:
            await asyncio.sleep(0.002)
        reset(client.writer.transport)
        await stand.upstream.calls[0].over.wait()
        await stand.settled()
        assert stand.series.outcomes == {Outcome.CANCELLED: 1}
        while stand.proxy.clients:
            await asyncio.sleep(0.002)
        assert stand.proxy.room.held == 0


async def refuse(call: Call) -> None:
    await call.answer(b"no", status="426 Upgrade Required")


async def ignore(call: Call) -> None:
    await call.answer(b"no")


@pytest.mark.parametrize("script", [refuse, ignore])
async def test_a_server_that_does_not_switch_gives_an_ordinary_answer(script: object) -> None:
    async with proxied(script) as stand, asyncio.timeout(10):  # type: ignore[arg-type]
        client = await stand.connect()
        for _ in range(2):
            await client.send(ASK)
            answer = await client.answer("GET")
            assert (answer.body, answer.whole) == (b"no", True)
        assert stand.upstream.connections == 1


UNASKED = {
    "nobody asked": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/2 was asked for, which is not let through": ASK.replace(b"echo/1", b"h2c"),
    "a call that is read was to become another protocol": (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
        b"Upgrade: echo/1\r\nContent-Length: 2\r\n\r\n{}"
    ),
}


@pytest.mark.parametrize("request_bytes", UNASKED.values(), ids=UNASKED)
async def test_a_switch_that_was_not_asked_for_is_no_answer(request_bytes: bytes) -> None:
    async def script(call: Call) -> None:
        assert "upgrade" not in call.headers
        await switch(call)
        await call.gone()

    async with proxied(script) as stand, asyncio.timeout(10):
        answer = await stand.ask(request_bytes)
        assert answer.status == 502
        assert json.loads(answer.body)["error"]["code"] == Refusal.PROTOCOL
        assert "unasked" in json.loads(answer.body)["error"]["message"]


async def test_who_breaks_off_ends_it_for_both() -> None:
    async with proxied(echo) as stand, asyncio.timeout(10):
        client = await tunnel(stand)
        reset(client.writer.transport)
        await stand.upstream.calls[0].over.wait()
        await stand.settled()
        assert stand.series.outcomes == {Outcome.CANCELLED: 1}
        client = await tunnel(stand)
        reset(stand.upstream.calls[1].writer.transport)
        with pytest.raises(ConnectionResetError):
            await client.reader.read()
        await stand.settled()
        assert stand.series.outcomes == {Outcome.CANCELLED: 1, Outcome.RESET: 1}


async def test_silence_is_no_time_out_but_a_leaving_sidecar_waits_no_longer_than_for_a_call() -> (
    None
):
    limits = Timeouts(connect_s=60, first_token_s=6, idle_s=12, total_s=24)
    async with proxied(echo, SidecarConfig(timeouts=limits), speed=60) as stand:
        async with asyncio.timeout(20):
            silent, busy = await tunnel(stand), await tunnel(stand)
            await asyncio.sleep(0.8)
            assert stand.proxy.in_flight == 2
            stand.proxy.drain()
            ended = asyncio.create_task(silent.closed())
            while not ended.done():
                await busy.send(b"x")
                assert await busy.reader.readexactly(1) == b"x"
                await asyncio.sleep(0.01)
            assert stand.proxy.in_flight == 1
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                while True:
                    await busy.send(b"x")
                    await busy.reader.readexactly(1)
            await stand.settled()
            assert stand.series.outcomes == {Outcome.TIMEOUT: 2}


async def test_of_the_api_it_is_a_call_that_orders_apply_to() -> None:
    order = Order(do=Do.BLOCK, reason="BudgetExhausted", expires_at=4e9)
    async with proxied(echo, SidecarConfig(order=order)) as stand, asyncio.timeout(10):
        assert (await stand.ask(ASK, "GET")).status == 429
        assert stand.stats.arrived == 0
        client = await stand.connect()
        await client.send(ASK.replace(b"/v1/realtime", b"/live-reload"))
        assert await client.reader.readuntil(b"\r\n\r\n") == SWITCHED
        client.leave()
        assert (await stand.settled()).arrived == 0


async def test_closing_the_proxy_closes_its_tunnels() -> None:
    async with proxied(echo) as stand, asyncio.timeout(10):
        client = await tunnel(stand)
        await stand.proxy.close()
        assert await client.closed()
        await stand.upstream.calls[0].over.wait()


async def test_a_real_websocket_works_through_it() -> None:
    async with WebSockets() as server, proxied(echo, url=server.url) as stand:
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(
                f"http://127.0.0.1:{stand.port}/v1/realtime?model=m",
                protocols=("realtime",),
                compress=15,
            ) as talking,
        ):
            assert (talking.protocol, talking.compress) == ("realtime", 15)
            for text in ("hello", "x" * 1_000_000, "ende"):
                await talking.send_str(text)
                assert (await talking.receive_str()) == text.upper()
            await talking.send_bytes(b"abc")
            assert (await talking.receive_bytes()) == b"cba"
            await talking.ping()
            await talking.close()
            assert talking.close_code == 1000
        await stand.settled()


@pytest.mark.parametrize("story", stories(globals()), ids=name_of)
def test_it_is_the_same_on_the_event_loop_of_production(story: Story) -> None:
    uvloop.run(story())
