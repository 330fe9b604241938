"""Nothing of what could be read in two ways reaches the model server, and its connection ends."""

import asyncio
import json

import pytest

from asked import PLAIN
from bad_messages import BAD_CHUNKS, BAD_REQUESTS, GET, POST
from proxied import Answer, Stand, post, proxied
from tidegate_wire.names import Outcome, Refusal
from upstream import Call

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
GOOD = GET + b"\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

ATTEMPTS = BAD_REQUESTS | {
    name: (status, CHUNKED + data) for name, (status, data) in BAD_CHUNKS.items()
}


async def answers_all(call: Call) -> None:
    await call.answer(call.target.encode())


def assert_refused(answer: Answer, status: int) -> None:
    assert (answer.status, answer.whole) == (status, True)
    assert json.loads(answer.body)["error"]["code"] == Refusal.BAD_REQUEST
    assert answer.headers["connection"] == "close"


def seen(stand: Stand) -> list[str]:
    return [call.target for call in stand.upstream.calls]


@pytest.mark.parametrize(("status", "data"), ATTEMPTS.values(), ids=ATTEMPTS)
async def test_what_could_be_read_in_two_ways_never_reaches_the_server(
    status: int, data: bytes
) -> None:
    async with proxied(answers_all) as stand, asyncio.timeout(20):
        client = await stand.connect()
        # First on its own, then behind a good one, whose answer has to come unharmed.
        await client.send(data + SMUGGLED)
        assert_refused(await client.answer(), status)
        assert await client.closed()
        assert (seen(stand), stand.upstream.connections) == ([], 0)
        client = await stand.connect()
        await client.send(GOOD + data + SMUGGLED)
        assert (await client.answer("GET")).body == b"/v1/models"
        assert_refused(await client.answer(), status)
        assert await client.closed()
        assert seen(stand) == ["/v1/models"]
        # Nobody else pays for it: the next client is served on the kept connection.
        assert (await stand.ask(GOOD, "GET")).body == b"/v1/models"
        assert stand.upstream.connections == 1


@pytest.mark.parametrize(("status", "data"), BAD_CHUNKS.values(), ids=BAD_CHUNKS)
async def test_a_body_that_goes_on_as_it_comes_never_ends_for_the_server(
    status: int, data: bytes
) -> None:
    got: list[bytes] = []

    async def script(call: Call) -> None:
        if call.method == "GET":
            await call.answer(call.target.encode())
            return
        try:
            while piece := await call.reader.read(65536):
                got.append(piece)
        except ConnectionError:
            pass
        call.close()

    async with proxied(script, reads_bodies=False) as stand, asyncio.timeout(20):
        client = await stand.connect()
        await client.send(CHUNKED.replace(b"/v1/chat/completions", b"/files") + b"2\r\nok\r\n")
        while not got:
            await asyncio.sleep(0.002)
        await client.send(data + SMUGGLED)
        assert_refused(await client.answer(), status)
        assert await client.closed()
        await stand.upstream.calls[0].over.wait()
        wire = b"".join(got)
        assert wire.startswith(b"2\r\nok\r\n")
        assert b"0\r\n\r\n" not in wire
        assert b"smuggled" not in wire
        assert (await stand.ask(GOOD, "GET")).body == b"/v1/models"
        assert seen(stand) == ["/files", "/v1/models"]


async def test_what_comes_after_a_refused_request_is_never_read() -> None:
    async with proxied(answers_all) as stand, asyncio.timeout(20):
        client = await stand.connect()
        await client.send(POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert_refused(await client.answer(), 400)
        for _ in range(3):
            await client.send(SMUGGLED)
            await asyncio.sleep(0.01)
        assert await client.closed()
        assert not seen(stand)


async def test_the_authority_of_a_target_replaces_host() -> None:
    async with proxied(answers_all) as stand:
        answer = await stand.ask(b"GET http://b:81/x HTTP/1.1\r\nHost: a\r\n\r\n", "GET")
        assert answer.body == b"/x"
        (call,) = stand.upstream.calls
        hosts = [line for line in call.head.split(b"\r\n") if line.lower().startswith(b"host:")]
        assert hosts == [b"host: b:81"]


@pytest.mark.parametrize(
    "named", ["Host", "Content-Length", "Content-Type", "Transfer-Encoding", "close, Host"]
)
async def test_framing_and_routing_cant_be_taken_off_by_a_connection_header(named: str) -> None:
    async with proxied(answers_all) as stand:
        await stand.ask(post(PLAIN, more=f"Connection: {named}\r\n"))
        (call,) = stand.upstream.calls
        assert (call.headers["host"], call.body) == ("a", PLAIN)


OK = b"HTTP/1.1 200 OK\r\n"
BAD_ANSWERS = {
    "the same length twice": OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "two different lengths": OK + b"Content-Length: 2\r\nContent-Length: 0\r\n\r\n{}",
    "a signed length": OK + b"Content-Length: +2\r\n\r\n{}",
    "a coding that is not chunked": OK + b"Transfer-Encoding: identity\r\n\r\n{}",
    "chunked in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded line": OK + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",
    "a bare LF": OK + b"X: a\nContent-Length: 2\r\n\r\n{}",
    "a bare CR": OK + b"X: a\rb\r\nContent-Length: 2\r\n\r\n{}",
    "NUL": b"HTTP/1.1 200 O\x00K\r\nContent-Length: 2\r\n\r\n{}",
    "an interim answer with a length": (
        b"HTTP/1.1 103 Early\r\nContent-Length: 19\r\n\r\n" + OK + b"\r\n"
    ),
}


@pytest.mark.parametrize("data", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
async def test_an_answer_that_could_be_read_in_two_ways_is_none(data: bytes) -> None:
    async def script(call: Call) -> None:
        await call.send(data)
        await call.gone()

    async with proxied(script) as stand, asyncio.timeout(20):
        answer = await stand.ask(post(PLAIN))
        assert (answer.status, answer.whole) == (502, True)
        assert json.loads(answer.body)["error"]["code"] == Refusal.PROTOCOL
        await stand.settled()
        assert stand.series.outcomes == {Outcome.PROTOCOL_ERROR: 1}


@pytest.mark.parametrize("data", [data for _, data in BAD_CHUNKS.values()], ids=BAD_CHUNKS)
async def test_an_answer_with_bad_chunks_never_ends_cleanly(data: bytes) -> None:
    begun = asyncio.Event()

    async def script(call: Call) -> None:
        await call.begin_stream()
        await call.chunk(b"data: {}\n\n")
        await begun.wait()
        await call.send(data)
        await call.gone()

    async with proxied(script) as stand, asyncio.timeout(20):
        client = await stand.connect()
        await client.send(post(b'{"model":"big","stream":true}'))
        start = await client.reader.readuntil(b"data: {}\n\n\r\n")
        assert start.startswith(b"HTTP/1.1 200 ")
        begun.set()
        try:
            rest = await client.reader.read()
        except ConnectionError:
            rest = b""
        assert not rest.endswith(b"0\r\n\r\n")
        await stand.settled()
        assert Outcome.OK not in stand.series.outcomes
