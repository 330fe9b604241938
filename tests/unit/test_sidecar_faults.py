"""What a model server does wrong is told as what it is, and never ends as if it were right."""

import asyncio
import socket
from contextlib import closing

import pytest
import uvloop

from asked import PLAIN, STREAM, STREAM_USAGE
from production_loop import Story, name_of, stories
from proxied import post, proxied, refused_with
from tidegate_wire.config import Model, SidecarConfig
from tidegate_wire.names import Outcome, Refusal
from upstream import Call, chat_stream, like_a_server

GARBAGE = {
    "no HTTP at all": b"hello, world\r\n",
    "HTTP/2": b"HTTP/2 200 OK\r\n\r\n",
    "a bad header": b"HTTP/1.1 200 OK\r\nbad header: x\r\n\r\n",
    "both length headers": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "a protocol that nobody asked for": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "an endless head": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000,
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_garbage_is_answered_as_a_bad_gateway(garbage: bytes) -> None:
    async def script(call: Call) -> None:
        await call.send(garbage)
        await call.gone()

    async with proxied(script) as stand, asyncio.timeout(10):
        answer = await stand.ask(post(PLAIN))
        assert refused_with(answer) == (502, "server_error", Refusal.PROTOCOL)
        assert stand.series.outcomes == {Outcome.PROTOCOL_ERROR: 1}


async def test_nobody_there_is_a_bad_gateway() -> None:
    with closing(socket.socket()) as nobody:
        nobody.bind(("127.0.0.1", 0))
        config = SidecarConfig(
            models=(Model(name="big", upstream=f"http://127.0.0.1:{nobody.getsockname()[1]}"),)
        )
        async with proxied(like_a_server, config) as stand:
            answer = await stand.ask(post(PLAIN))
            assert refused_with(answer) == (502, "server_error", Refusal.CONNECT)
            assert stand.series.outcomes == {Outcome.CONNECT_ERROR: 1}


async def test_a_stream_that_is_cut_never_ends_cleanly() -> None:
    async def script(call: Call) -> None:
        await call.begin_stream()
        await call.chunk(chat_stream(3, usage=False)[:200])
        await asyncio.sleep(0.01)
        call.cut()

    async with proxied(script) as stand, asyncio.timeout(10):
        answer = await stand.ask(post(STREAM_USAGE))
        assert (answer.status, answer.whole) == (200, False)
        assert stand.series.outcomes == {Outcome.BROKEN: 1}
        assert stand.series.tokens_estimated > 0


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0"])
async def test_a_stream_that_stops_without_a_word_never_ends_cleanly(
    framing: str, version: bytes
) -> None:
    part = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'

    async def script(call: Call) -> None:
        if framing == "chunked":
            await call.stream(part)
        elif framing == "length":
            await call.answer(part, kind="text/event-stream")
        else:
            await call.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + part)
            call.close()

    async with proxied(script) as stand, asyncio.timeout(10):
        client = await stand.connect()
        await client.send(post(STREAM_USAGE).replace(b"HTTP/1.1", version))
        if version == b"HTTP/1.1":
            assert not (await client.answer()).whole
        elif framing == "length":
            got = (await client.reader.read()).partition(b"\r\n\r\n")[2]
            assert got == part[:-1]
        else:
            # Where only the end of the connection ends an answer, a reset alone tells it is cut.
            with pytest.raises(ConnectionResetError):
                await client.reader.read()
        await stand.settled()
        assert stand.series.outcomes == {Outcome.BROKEN: 1}


async def test_an_answer_shorter_than_its_length_never_ends_cleanly() -> None:
    async def script(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort")
        call.close()

    async with proxied(script) as stand, asyncio.timeout(10):
        assert not (await stand.ask(post(PLAIN))).whole
        assert stand.series.outcomes == {Outcome.RESET: 1}


async def test_errors_of_the_server_pass_and_are_told_apart() -> None:
    async def script(call: Call) -> None:
        status = "500 Oops" if b"500" in call.body else "404 Not Found"
        await call.answer(b'{"error":{}}', status=status)

    async with proxied(script) as stand:
        assert (await stand.ask(post(b'{"model":"500"}'))).status == 500
        assert (await stand.ask(post(b'{"model":"404"}'))).status == 404
        await stand.settled()
        told = {series.model: series.outcomes for series in stand.stats.series}
        assert told == {"500": {Outcome.SERVER_ERROR: 1}, "404": {Outcome.CLIENT_ERROR: 1}}


async def test_an_error_inside_a_stream_is_the_servers() -> None:
    async def script(call: Call) -> None:
        await call.stream(b'data: {"error":{"message":"x"}}\n\ndata: [DONE]\n\n')

    async with proxied(script) as stand:
        assert (await stand.ask(post(STREAM))).whole
        await stand.settled()
        assert stand.series.outcomes == {Outcome.SERVER_ERROR: 1}


@pytest.mark.parametrize("story", stories(globals()), ids=name_of)
def test_it_is_the_same_on_the_event_loop_of_production(story: Story) -> None:
    uvloop.run(story())
