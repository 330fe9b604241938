"""A model server that refuses to be asked for usage changes nothing for the client: the request
goes out as it was written, and the client gets the answer to that."""

import asyncio
import json

import pytest

from asked import STREAM
from proxied import post, proxied
from tidegate_sidecar.unasked import PATIENCE, Unasked
from tidegate_wire.config import Do, Model, Order, SidecarConfig
from tidegate_wire.names import Outcome
from upstream import Call, chat_stream

REFUSED = b'{"object":"error","message":"Extra inputs are not permitted: stream_options"}'
STREAMED = chat_stream(3, usage=False)


async def strict(call: Call) -> None:
    """Knows nothing of stream options."""
    if b"stream_options" in call.body:
        await call.answer(REFUSED, status="400 Bad Request")
    else:
        await call.stream(STREAMED)


async def lenient(call: Call) -> None:
    await call.stream(chat_stream(3, usage=b"include_usage" in call.body))


@pytest.mark.parametrize("status", ["400 Bad Request", "422 Unprocessable Entity"])
async def test_the_client_gets_the_answer_to_what_it_wrote(status: str) -> None:
    async def script(call: Call) -> None:
        if b"stream_options" in call.body:
            await call.answer(REFUSED, status=status)
        else:
            await strict(call)

    async with proxied(script) as stand:
        answer = await stand.ask(post(STREAM))
        assert (answer.status, answer.body, answer.whole) == (200, STREAMED, True)
        assert stand.upstream.calls[-1].body == STREAM
        stats = await stand.settled()
        assert (stats.arrived, stand.series.outcomes) == (1, {Outcome.OK: 1})
        assert (stand.series.tokens_out, stand.series.ttft_count) == (3, 1)
        assert stand.series.tokens_estimated == 3 + len(STREAM) // 4


async def test_nothing_of_the_first_answer_gets_into_the_second() -> None:
    async def script(call: Call) -> None:
        if b"stream_options" not in call.body:
            await strict(call)
            return
        head = "HTTP/1.1 400 Bad Request\r\nX-Ours: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
        await call.send(head.encode())
        for i in range(0, len(REFUSED), 20):
            await call.chunk(REFUSED[i : i + 20])
            await asyncio.sleep(0.001)
        await call.send(b"0\r\n\r\n")

    async with proxied(script) as stand:
        client = await stand.connect()
        for _ in range(PATIENCE + 2):
            await client.send(post(STREAM))
            answer = await client.answer()
            assert (answer.status, answer.body) == (200, STREAMED)
            assert "x-ours" not in answer.headers
        assert stand.upstream.connections == 1


async def test_a_server_that_always_refuses_is_soon_asked_no_more() -> None:
    async with proxied(strict) as stand:
        client = await stand.connect()
        for _ in range(PATIENCE + 4):
            await client.send(post(STREAM))
            assert (await client.answer()).body == STREAMED
        asked = [call for call in stand.upstream.calls if b"stream_options" in call.body]
        assert (len(asked), len(stand.upstream.calls)) == (PATIENCE, 2 * PATIENCE + 4)


async def test_a_model_is_asked_on_after_single_refusals() -> None:
    """Azure refuses requests with data sources, and no others."""
    data = b'{"data_sources":[],"model":"big","stream":true}'

    async def script(call: Call) -> None:
        await (strict if b"data_sources" in call.body else lenient)(call)

    async with proxied(script) as stand:
        client = await stand.connect()
        for body in (data, STREAM) * (PATIENCE + 1):
            await client.send(post(body))
            assert (await client.answer()).status == 200
        await stand.settled()
        assert stand.series.tokens_in == (PATIENCE + 1) * (7 + len(data) // 4)


BAD = b'{"error":{"message":"max_tokens is too large"}}'
ONCE = {
    "a bad request": (STREAM, "400 Bad Request", BAD),
    "what can't be processed": (STREAM, "422 Unprocessable Entity", BAD),
    "a long error": (STREAM, "400 Bad Request", BAD + b" " * 200_000 + REFUSED),
    "an error without a word": (STREAM, "400 Bad Request", b""),
    "what we did not change": (
        b'{"model":"big","stream":true,"stream_options":{"include_usage":true}}',
        "400 Bad Request",
        REFUSED,
    ),
    "what is no stream": (b'{"model":"big"}', "400 Bad Request", REFUSED),
    "a wrong key": (STREAM, "401 Unauthorized", REFUSED),
    "an unknown model": (STREAM, "404 Not Found", REFUSED),
    "too many requests": (STREAM, "429 Too Many Requests", REFUSED),
    "a failure": (STREAM, "500 Internal Server Error", REFUSED),
}


@pytest.mark.parametrize(("body", "status", "error"), ONCE.values(), ids=ONCE)
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_it_is_asked_once_for(body: bytes, status: str, error: bytes, framing: str) -> None:
    async def script(call: Call) -> None:
        if framing == "length":
            await call.answer(error, status=status)
            return
        await call.send(f"HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for i in range(0, len(error), 7001):
            await call.chunk(error[i : i + 7001])
        await call.send(b"0\r\n\r\n")

    async with proxied(script) as stand:
        answer = await stand.ask(post(body))
        assert (str(answer.status), answer.body, answer.whole) == (status[:3], error, True)
        assert len(stand.upstream.calls) == 1
        await stand.settled()
        outcome = Outcome.SERVER_ERROR if status[0] == "5" else Outcome.CLIENT_ERROR
        assert stand.series.outcomes == {outcome: 1}


async def test_half_a_refusal_is_a_failure_of_the_server() -> None:
    async def script(call: Call) -> None:
        await call.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 99\r\n\r\nstream_options")
        call.cut()

    async with proxied(script) as stand:
        answer = await stand.ask(post(STREAM))
        assert (answer.status, answer.whole) == (502, True)
        assert stand.series.outcomes == {Outcome.RESET: 1}


async def test_what_the_client_said_of_its_stream_is_said_to_the_model_that_answers() -> None:
    body = b'{"stream_options":{"include_obfuscation" : false},"model":"big","stream":true}'

    async def script(call: Call) -> None:
        if b"include_usage" in call.body:
            await call.answer(REFUSED, status="400 Bad Request")
        else:
            await call.stream(STREAMED)

    models = (Model(name="big"), Model(name="small"))
    order = Order(do=Do.SWITCH, model="small", reason="ErrorRateHigh", expires_at=4e9)
    async with proxied(script, SidecarConfig(models=models, order=order)) as stand:
        assert (await stand.ask(post(body))).body == STREAMED
        first, second = (call.body for call in stand.upstream.calls)
        assert json.loads(first)["stream_options"]["include_usage"] is True
        assert second == body.replace(b"big", b"small")


async def test_a_client_that_leaves_in_between_ends_both() -> None:
    async def script(call: Call) -> None:
        if b"stream_options" in call.body:
            await call.answer(REFUSED, status="400 Bad Request")
        else:
            await call.gone()

    async with proxied(script) as stand, asyncio.timeout(20):
        client = await stand.connect()
        await client.send(post(STREAM))
        while len(stand.upstream.calls) < 2:
            await asyncio.sleep(0.002)
        client.leave()
        await stand.settled()
        await stand.upstream.calls[1].over.wait()
        assert stand.series.outcomes == {Outcome.CANCELLED: 1}


# --- what is remembered --------------------------------------------------------------------------


def test_patience_is_for_each_model_and_starts_anew_with_each_consent() -> None:
    unasked = Unasked()
    for _ in range(PATIENCE):
        assert unasked.asks("a")
        unasked.answered("a", plain=True)
    assert (unasked.asks("a"), unasked.asks("b")) == (False, True)
    unasked.answered("a", plain=False)
    assert unasked.asks("a")


def test_made_up_models_take_no_memory_without_bound() -> None:
    unasked = Unasked()
    for i in range(5000):
        unasked.answered(f"model-{i}", plain=True)
    assert len(unasked._refusals) <= 200
    for _ in range(PATIENCE):
        unasked.answered("model-0", plain=True)
    assert not unasked.asks("model-0")
