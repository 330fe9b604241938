"""The data path on loopback: what passes is as it was, and measured."""

import asyncio

import pytest
import uvloop

from asked import PLAIN, STREAM, STREAM_USAGE
from production_loop import Story, name_of, stories
from proxied import post, proxied
from tidegate_wire.names import Outcome
from upstream import Call, chat_reply, chat_stream, like_a_server, usage_chunk


async def test_a_plain_answer_passes_and_is_measured() -> None:
    async with proxied(like_a_server) as stand:
        answer = await stand.ask(post(PLAIN, more="Authorization: Bearer k\r\nX-A: b\r\n"))
        assert (answer.status, answer.body, answer.whole) == (200, chat_reply(), True)
        (call,) = stand.upstream.calls
        assert call.body == PLAIN
        assert call.headers["authorization"] == "Bearer k"
        assert call.headers["x-a"] == "b"
        stats = await stand.settled()
        (series,) = stats.series
        assert (series.model, series.tenant, series.outcomes) == ("big", "", {Outcome.OK: 1})
        assert (series.tokens_in, series.tokens_out, series.ttft_count) == (7, 3, 0)
        assert (stats.arrived, stats.in_flight) == (1, 0)


@pytest.mark.parametrize(("chunk", "cut"), [(0, 0), (1, 0), (50, 1), (90, 37), (7, 200), (0, 5)])
async def test_usage_is_asked_for_and_taken_out_again(chunk: int, cut: int) -> None:
    async def script(call: Call) -> None:
        await call.stream(chat_stream(5, usage=True), chunk=chunk, cut=cut)

    async with proxied(script) as stand:
        answer = await stand.ask(post(STREAM))
        assert (answer.body, answer.whole) == (chat_stream(5, usage=False), True)
        asked = stand.upstream.calls[0].body
        assert asked == b'{"stream_options":{"include_usage":true},' + STREAM[1:]
        await stand.settled()
        series = stand.series
        assert (series.tokens_in, series.tokens_out, series.tokens_estimated) == (7, 5, 0)
        assert (series.outcomes, series.ttft_count) == ({Outcome.OK: 1}, 1)


@pytest.mark.parametrize("null_usage", [False, True])
async def test_usage_that_the_client_asked_for_stays(null_usage: bool) -> None:
    whole = chat_stream(5, usage=True, null_usage=null_usage)

    async def script(call: Call) -> None:
        await call.stream(whole, chunk=61, cut=17)

    async with proxied(script) as stand:
        answer = await stand.ask(post(STREAM_USAGE))
        assert answer.body == whole
        assert stand.upstream.calls[0].body == STREAM_USAGE


async def test_null_usage_in_every_chunk_stays_where_the_extra_chunk_goes() -> None:
    async def script(call: Call) -> None:
        await call.stream(chat_stream(4, usage=True, null_usage=True), chunk=33)

    async with proxied(script) as stand:
        answer = await stand.ask(post(STREAM))
        assert answer.body == chat_stream(4, usage=False, null_usage=True)


async def test_a_stream_without_usage_is_estimated() -> None:
    async def script(call: Call) -> None:
        await call.stream(chat_stream(5, usage=False))

    async with proxied(script) as stand:
        await stand.ask(post(STREAM))
        await stand.settled()
        assert stand.series.tokens_estimated == 5 + len(STREAM) // 4


async def test_events_pass_as_they_come() -> None:
    """kserve#3809: whole streams were buffered."""
    go_on = asyncio.Event()

    async def script(call: Call) -> None:
        await call.begin_stream()
        await go_on.wait()
        await call.chunk(b"data: {}\n\n")
        await go_on.wait()
        await call.chunk(b"data: [DONE]\n\n")
        await call.send(b"0\r\n\r\n")

    async with proxied(script) as stand, asyncio.timeout(10):
        client = await stand.connect()
        await client.send(post(STREAM))
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert b"200 OK" in head
        go_on.set()
        go_on.clear()
        assert await client.reader.readuntil(b"data: {}\n\n\r\n") == b"a\r\ndata: {}\n\n\r\n"
        go_on.set()
        rest = await client.reader.readuntil(b"0\r\n\r\n")
        assert rest == b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


async def test_other_paths_pass_and_are_no_demand() -> None:
    async def script(call: Call) -> None:
        await call.answer(call.target.encode())

    async with proxied(script) as stand:
        for target in ("/v1/models", "/health?x=%20y", "/"):
            request = f"GET {target} HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n".encode()
            assert (await stand.ask(request)).body == target.encode()
        assert stand.upstream.calls[0].headers["accept-encoding"] == "gzip"
        assert "content-length" not in stand.upstream.calls[0].headers
        assert stand.stats.arrived == 0


async def test_embeddings_are_measured() -> None:
    async with proxied(like_a_server) as stand:
        await stand.ask(post(b'{"model":"e","input":"x"}', "/v1/embeddings"))
        await stand.settled()
        assert (stand.series.model, stand.series.tokens_in, stand.series.tokens_out) == ("e", 5, 0)


async def test_a_body_that_is_no_json_passes_without_a_model() -> None:
    async def script(call: Call) -> None:
        await call.answer(call.body)

    async with proxied(script) as stand:
        assert (await stand.ask(post(b"no json"))).body == b"no json"
        await stand.settled()
        assert stand.series.model == ""


async def test_compression_is_not_asked_for_where_answers_are_read() -> None:
    async with proxied(like_a_server) as stand:
        await stand.ask(post(PLAIN, more="Accept-Encoding: gzip, br\r\n"))
        assert stand.upstream.calls[0].headers["accept-encoding"] == "identity"


async def test_hop_by_hop_headers_end_here_in_both_directions() -> None:
    async def script(call: Call) -> None:
        more = "Connection: X-Private, keep-alive\r\nX-Private: 1\r\nKeep-Alive: x\r\nX-Y: Z\r\n"
        await call.answer(b"{}", more=more)

    async with proxied(script) as stand:
        answer = await stand.ask(post(PLAIN, more="Connection: X-Mine\r\nX-Mine: 1\r\nTE: x\r\n"))
        assert answer.headers == {
            "content-type": "application/json",
            "x-y": "Z",
            "content-length": "2",
        }
        assert set(stand.upstream.calls[0].headers) == {
            *("host", "content-type", "content-length", "accept-encoding", "via")
        }


async def test_traceparent_passes() -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with proxied(like_a_server) as stand:
        await stand.ask(post(PLAIN, more=f"traceparent: {trace}\r\n"))
        assert stand.upstream.calls[0].headers["traceparent"] == trace


@pytest.mark.parametrize(
    ("method", "reply"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n"),
    ],
)
async def test_answers_without_a_body_keep_the_clients_connection(
    method: str, reply: bytes
) -> None:
    async def script(call: Call) -> None:
        await call.send(reply)

    async with proxied(script) as stand, asyncio.timeout(10):
        client = await stand.connect()
        for _ in range(2):
            await client.send(f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            answer = await client.answer(method)
            assert (answer.body, answer.whole) == (b"", True)
        assert len(stand.proxy.clients) == 1


async def test_interim_answers_pass_and_100_does_not() -> None:
    async def script(call: Call) -> None:
        await call.send(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        )
        await call.answer(b"{}")

    async with proxied(script) as stand:
        client = await stand.connect()
        await client.send(post(PLAIN))
        first = await client.reader.readuntil(b"\r\n\r\n")
        assert first == b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        assert (await client.answer()).body == b"{}"


async def test_an_answer_that_ends_with_its_connection_becomes_chunked() -> None:
    async def script(call: Call) -> None:
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nhello")
        call.close()

    async with proxied(script) as stand:
        answer = await stand.ask(post(PLAIN))
        assert (answer.body, answer.headers["transfer-encoding"]) == (b"hello", "chunked")
        assert answer.whole


async def test_a_client_of_http_1_0_gets_what_it_can_read() -> None:
    async with proxied(like_a_server) as stand, asyncio.timeout(10):
        client = await stand.connect()
        await client.send(post(STREAM).replace(b"HTTP/1.1", b"HTTP/1.0"))
        head, _, body = (await client.reader.read()).partition(b"\r\n\r\n")
        assert b"chunked" not in head
        assert b"connection: close" in head
        assert body == chat_stream(3, usage=False, null_usage=True)
        kept = await stand.connect()
        request = post(PLAIN, more="Connection: keep-alive\r\n").replace(b"HTTP/1.1", b"HTTP/1.0")
        for _ in range(2):
            await kept.send(request)
            answer = await kept.answer()
            assert (answer.body, answer.headers["connection"]) == (chat_reply(), "keep-alive")


async def test_pipelined_requests_are_answered_in_order() -> None:
    async def script(call: Call) -> None:
        await asyncio.sleep(0.002)
        await call.answer(call.target.encode())

    async with proxied(script) as stand, asyncio.timeout(20):
        client = await stand.connect()
        many = [f"/{i}-{'x' * 700}" for i in range(150)]
        requests = b"".join(f"GET {t} HTTP/1.1\r\nHost: a\r\n\r\n".encode() for t in many)
        sending = asyncio.create_task(client.send(requests))
        for target in many:
            assert (await client.answer("GET")).body == target.encode()
        await sending


async def test_expect_is_answered_before_the_body() -> None:
    async with proxied(like_a_server) as stand, asyncio.timeout(10):
        client = await stand.connect()
        request = post(PLAIN, more="Expect: 100-continue\r\n")
        await client.send(request[: -len(PLAIN)])
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(PLAIN)
        assert (await client.answer()).status == 200
        assert "expect" not in stand.upstream.calls[0].headers


async def test_a_chunked_request_arrives_whole() -> None:
    async with proxied(like_a_server) as stand:
        head = (
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        parts = b"".join(b"1\r\n%c\r\n" % byte for byte in PLAIN)
        assert (await stand.ask(head + parts + b"0\r\n\r\n")).status == 200
        assert stand.upstream.calls[0].body == PLAIN


async def test_usage_of_the_extra_chunk_alone_in_its_read_leaves_no_trace() -> None:
    whole = chat_stream(2, usage=True)
    before, extra, after = whole.partition(usage_chunk(2))

    async def script(call: Call) -> None:
        await call.begin_stream()
        for part in (before, extra, after):
            await call.chunk(part)
            await asyncio.sleep(0.01)
        await call.send(b"0\r\n\r\n")

    async with proxied(script) as stand:
        answer = await stand.ask(post(STREAM))
        assert (answer.body, answer.whole) == (before + after, True)


@pytest.mark.parametrize("story", stories(globals()), ids=name_of)
def test_it_is_the_same_on_the_event_loop_of_production(story: Story) -> None:
    uvloop.run(story())
