"""The data path on loopback, against a model server that behaves and misbehaves."""

import asyncio
import inspect
import json
import socket
from contextlib import closing

import pytest
import uvloop

from proxied import Answer, post, proxied
from tidegate_sidecar.client import QUIET_REAL_S
from tidegate_wire.config import Do, Model, Order, SidecarConfig, Timeouts
from tidegate_wire.names import OTHER, Metric, Outcome, Refusal
from upstream import Call, chat_reply, chat_stream, like_a_server, serving, usage_chunk

PLAIN = b'{"model":"big","messages":[]}'
STREAM = b'{"model":"big","stream":true}'
STREAM_USAGE = b'{"model":"big","stream":true,"stream_options":{"include_usage":true}}'
TOKEN = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'
FAR = 4e9


def outcomes(answer: Answer) -> tuple[int, str, str]:
    error = json.loads(answer.body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return answer.status, error["type"], error["code"]


# --- what passes ---------------------------------------------------------------------------------


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
async def test_answers_without_a_body_keep_the_connection(method: str, reply: bytes) -> None:
    async def script(call: Call) -> None:
        await call.send(reply)

    async with proxied(script) as stand, asyncio.timeout(10):
        client = await stand.connect()
        for _ in range(2):
            await client.send(f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            answer = await client.answer(method)
            assert (answer.body, answer.whole) == (b"", True)
        assert stand.upstream.connections == 1


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


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["length", "chunked", "expect"])
async def test_too_large_a_body_is_refused(framing: str) -> None:
    async with proxied(like_a_server, SidecarConfig(max_request_bytes=100_000)) as stand:
        body = b"x" * 3_000_000
        request = post(body)
        if framing == "chunked":
            head = b"POST /v1/embeddings HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            request = head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        if framing == "expect":
            request = post(body, more="Expect: 100-continue\r\n")[: -len(body)]
        async with asyncio.timeout(10):
            answer = await stand.ask(request)
        assert outcomes(answer) == (413, "invalid_request_error", Refusal.TOO_LARGE)
        assert "100000 bytes" in json.loads(answer.body)["error"]["message"]
        assert answer.headers["connection"] == "close"
        assert not stand.upstream.calls
        assert stand.series.outcomes == {Outcome.CLIENT_ERROR: 1}
        assert f'{Metric.REFUSED}{{reason="request_too_large"}} 1' in stand.told


async def test_a_refusal_reaches_a_client_that_is_still_sending() -> None:
    loop = asyncio.get_running_loop()
    async with proxied(like_a_server, SidecarConfig(max_request_bytes=10)) as stand:
        with closing(socket.create_connection(("127.0.0.1", stand.port))) as client:
            client.setblocking(False)
            await loop.sock_sendall(client, post(b"x" * 50_000)[:10_000])
            for _ in range(4):
                # On a connection that was closed outright the second of these meets a reset,
                # and with it the refusal, not read yet, is gone.
                await asyncio.sleep(0.02)
                await loop.sock_sendall(client, b"x" * 10_000)
            assert (await loop.sock_recv(client, 65536)).startswith(b"HTTP/1.1 413 ")


async def test_a_request_that_could_be_smuggled_is_refused_and_ends_the_connection() -> None:
    async with proxied(like_a_server) as stand, asyncio.timeout(10):
        client = await stand.connect()
        smuggled = b"GET /admin HTTP/1.1\r\nHost: a\r\n\r\n"
        await client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n"
            b"\r\n0\r\n\r\n" + smuggled
        )
        answer = await client.answer()
        assert outcomes(answer) == (400, "invalid_request_error", Refusal.BAD_REQUEST)
        assert await client.closed()
        assert not stand.upstream.calls


def blocking(now: float) -> SidecarConfig:
    order = Order(do=Do.BLOCK, reason="BudgetExhausted", expires_at=now + 600, retry_after_s=42.2)
    return SidecarConfig(policy="ns/p", tenant_header="x-tenant-id", tenant_orders={"acme": order})


@pytest.mark.parametrize(
    "request_bytes",
    [
        post(PLAIN, more="X-Tenant-ID: acme\r\n"),
        post(b"no json", more="X-Tenant-ID: acme\r\n"),
        post(PLAIN, "/v1/responses", "X-Tenant-ID: acme\r\n"),
        post(PLAIN, "/v1/chat/completion%73", "x-tenant-id:acme\r\n"),
    ],
)
async def test_a_blocked_tenant_is_told_so_in_the_clients_own_shape(request_bytes: bytes) -> None:
    async with proxied(like_a_server) as stand:
        stand.proxy.configure(blocking(stand.proxy.clock.now()))
        answer = await stand.ask(request_bytes)
        assert outcomes(answer) == (429, "insufficient_quota", Refusal.BLOCKED_BUDGET)
        assert answer.headers["retry-after"] == "43"
        assert "'acme'" in json.loads(answer.body)["error"]["message"]
        assert not stand.upstream.calls
        stats = stand.stats
        assert stats.arrived == 0
        assert stats.series[0].outcomes == {Outcome.BLOCKED: 1}
        assert f'{Metric.REFUSED}{{reason="token_budget_exhausted"}} 1' in stand.told
        assert (await stand.ask(post(PLAIN, more="X-Tenant-ID: zoo\r\n"))).status == 200
        health = b"GET /health HTTP/1.1\r\nHost: a\r\nX-Tenant-ID: acme\r\n\r\n"
        stand.upstream.script = lambda call: call.answer(b"ok")
        assert (await stand.ask(health, "GET")).body == b"ok"


async def test_a_key_never_becomes_a_tenants_name() -> None:
    config = SidecarConfig(tenant_header="authorization")
    async with proxied(like_a_server, config) as stand:
        await stand.ask(post(PLAIN, more="Authorization: Bearer planted\r\n"))
        await stand.settled()
        assert stand.series.tenant.startswith("key-")
        assert "planted" not in "".join(stand.told) + stand.stats.to_json().decode()


async def test_tenants_past_the_cap_share_one_name() -> None:
    async with proxied(like_a_server, SidecarConfig(tenant_header="x-t")) as stand:
        client = await stand.connect()
        for i in range(210):
            await client.send(post(PLAIN, more=f"X-T: {i}\r\n"))
            await client.answer()
        await stand.settled()
        tenants = {series.tenant: series.ended for series in stand.stats.series}
        assert (len(tenants), tenants[OTHER]) == (201, 10)


# --- where it goes -------------------------------------------------------------------------------


async def test_a_switch_rewrites_the_model_and_goes_elsewhere() -> None:
    async with serving(like_a_server) as cheap, proxied(like_a_server) as stand:
        models = (
            Model(name="big", input_price_per_mtok=100.0),
            Model(name="small", upstream=cheap.url, input_price_per_mtok=1.0),
        )
        order = Order(do=Do.SWITCH, model="small", reason="ErrorRateHigh", expires_at=FAR)
        stand.proxy.configure(SidecarConfig(models=models, order=order))
        body = b'{ "stream" : true ,"model": "big","x":1.50}'
        answer = await stand.ask(post(body))
        assert answer.body == chat_stream(3, usage=False, null_usage=True)
        assert not stand.upstream.calls
        (call,) = cheap.calls
        assert call.body == (
            b'{"stream_options":{"include_usage":true},'
            b' "stream" : true ,"model": "small","x":1.50}'
        )
        assert call.headers["host"] == f"127.0.0.1:{cheap.port}"
        await stand.settled()
        assert (stand.series.model, stand.series.cost) == ("small", pytest.approx(7e-6))


async def test_probes_go_to_the_first_model_and_are_counted_there() -> None:
    async with serving(like_a_server) as cheap, proxied(like_a_server) as stand:
        models = (Model(name="big"), Model(name="small", upstream=cheap.url))
        client = await stand.connect()
        for renewal in range(4):
            order = Order(
                do=Do.SWITCH,
                model="small",
                reason="ProbeStarted",
                expires_at=FAR + renewal,
                probe_share=0.05,
            )
            stand.proxy.configure(SidecarConfig(models=models, order=order))
            for _ in range(10):  # fewer than one probe's turn between two renewals of the order
                await client.send(post(PLAIN))
                await client.answer()
        stats = await stand.settled()
        assert {series.model: series.ended for series in stats.series} == {"big": 2, "small": 38}


async def test_a_new_config_holds_for_the_next_request() -> None:
    release = asyncio.Event()

    async def slow(call: Call) -> None:
        await release.wait()
        await call.answer(chat_reply())

    async with proxied(slow) as stand, asyncio.timeout(10):
        running = asyncio.create_task(stand.ask(post(PLAIN)))
        while not stand.upstream.calls:
            await asyncio.sleep(0.002)
        order = Order(do=Do.BLOCK, reason="ErrorRateHigh", expires_at=FAR)
        stand.proxy.configure(SidecarConfig(order=order))
        assert (await stand.ask(post(PLAIN))).status == 429
        release.set()
        assert (await running).status == 200


async def test_an_upstream_that_cant_be_understood_replaces_nothing() -> None:
    async with proxied(like_a_server, SidecarConfig(models=(Model(name="big"),))) as stand:
        with pytest.raises(ValueError, match="upstream must be like http:"):
            stand.proxy.configure(SidecarConfig(models=(Model(name="x", upstream="http://"),)))
        assert stand.proxy.config.models[0].name == "big"


# --- when the model server misbehaves ------------------------------------------------------------

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
        assert outcomes(answer) == (502, "server_error", Refusal.PROTOCOL)
        assert stand.series.outcomes == {Outcome.PROTOCOL_ERROR: 1}


async def test_nobody_there_is_a_bad_gateway() -> None:
    with closing(socket.socket()) as nobody:
        nobody.bind(("127.0.0.1", 0))
        config = SidecarConfig(
            models=(Model(name="big", upstream=f"http://127.0.0.1:{nobody.getsockname()[1]}"),)
        )
        async with proxied(like_a_server, config) as stand:
            answer = await stand.ask(post(PLAIN))
            assert outcomes(answer) == (502, "server_error", Refusal.CONNECT)
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


# --- time-outs, on a clock that runs 60 times as fast --------------------------------------------


async def hang(call: Call) -> None:
    await call.gone()


async def only_comments(call: Call) -> None:
    """livekit/agents#6171: keep-alives must not reset the clock of the first token."""
    await call.begin_stream()
    while not call.writer.transport.is_closing():
        await call.chunk(b": keep-alive\n\n")
        await asyncio.sleep(0.01)


async def stop_after_a_token(call: Call) -> None:
    await call.stream(TOKEN)
    await call.gone()


async def stall(call: Call) -> None:
    await call.begin_stream()
    await call.chunk(TOKEN)
    await call.gone()


async def drip(call: Call) -> None:
    await call.begin_stream()
    while not call.writer.transport.is_closing():
        await call.chunk(TOKEN)
        await asyncio.sleep(0.01)


TIMEOUTS = {
    "no first token, litellm#19909": (hang, STREAM, Timeouts(first_token_s=6, connect_s=60), 504),
    "nothing but comments": (only_comments, STREAM, Timeouts(first_token_s=6, connect_s=60), 200),
    "no answer, production-stack#749": (hang, PLAIN, Timeouts(total_s=6, connect_s=60), 504),
    "a stream that stalls": (stall, STREAM, Timeouts(idle_s=6, connect_s=60), 200),
    "a stream without end": (drip, STREAM, Timeouts(total_s=12, idle_s=30, connect_s=60), 200),
}


@pytest.mark.parametrize(("script", "body", "limits", "status"), TIMEOUTS.values(), ids=TIMEOUTS)
async def test_what_takes_too_long_is_ended(
    script: object, body: bytes, limits: Timeouts, status: int
) -> None:
    config = SidecarConfig(timeouts=limits)
    async with proxied(script, config, speed=60) as stand, asyncio.timeout(10):  # type: ignore[arg-type]
        answer = await stand.ask(post(body))
        assert answer.status == status
        if status == 504:
            assert outcomes(answer) == (504, "server_error", Refusal.TIMEOUT)
        else:
            assert not answer.whole
        assert stand.series.outcomes == {Outcome.TIMEOUT: 1}
        await stand.upstream.calls[0].over.wait()


async def test_a_plain_call_may_take_longer_than_a_first_token() -> None:
    async def script(call: Call) -> None:
        await asyncio.sleep(0.2)
        await call.answer(chat_reply())

    config = SidecarConfig(timeouts=Timeouts(first_token_s=3, idle_s=3, connect_s=60))
    async with proxied(script, config, speed=60) as stand:
        assert (await stand.ask(post(PLAIN))).status == 200


async def test_a_stream_may_last_longer_than_its_pauses() -> None:
    async def script(call: Call) -> None:
        await call.begin_stream()
        for _ in range(60):
            await call.chunk(TOKEN)
            await asyncio.sleep(0.02)
        await call.chunk(b"data: [DONE]\n\n")
        await call.send(b"0\r\n\r\n")

    config = SidecarConfig(timeouts=Timeouts(idle_s=45, connect_s=60))
    async with proxied(script, config, speed=60) as stand:
        assert (await stand.ask(post(STREAM))).whole


async def test_a_connection_that_is_not_accepted_times_out() -> None:
    with closing(socket.socket()) as deaf, closing(socket.socket()) as filler:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        filler.connect(deaf.getsockname())
        upstream = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        config = SidecarConfig(
            models=(Model(name="big", upstream=upstream),), timeouts=Timeouts(connect_s=6)
        )
        async with proxied(like_a_server, config, speed=60) as stand, asyncio.timeout(10):
            answer = await stand.ask(post(PLAIN))
            assert outcomes(answer) == (504, "server_error", Refusal.CONNECT)
            assert stand.series.outcomes == {Outcome.CONNECT_ERROR: 1}
            assert "accept a connection" in json.loads(answer.body)["error"]["message"]


@pytest.mark.parametrize("begun", [b"", b"POST /v1/chat", post(PLAIN)[:-5]])
async def test_a_client_that_stands_still_is_let_go(begun: bytes) -> None:
    async with proxied(like_a_server, speed=600 if begun else 36_000) as stand:
        client = await stand.connect()
        await client.send(begun)
        async with asyncio.timeout(10):
            if begun:
                answer = await client.answer()
                assert outcomes(answer) == (408, "invalid_request_error", Refusal.TOO_SLOW)
            assert await client.closed()
            client.leave()
            while stand.proxy.clients:
                await asyncio.sleep(0.002)


# --- connections ---------------------------------------------------------------------------------


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
        assert outcomes(answer) == (502, "server_error", Refusal.RESET)
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


async def test_draining_finishes_answers_and_tells_each_connection_that_it_ends() -> None:
    release = asyncio.Event()

    async def script(call: Call) -> None:
        await call.begin_stream()
        await call.chunk(b"data: {}\n\n")
        await release.wait()
        await call.chunk(b"data: [DONE]\n\n")
        await call.send(b"0\r\n\r\n")

    async with proxied(script) as stand, asyncio.timeout(10):
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

    async def script(call: Call) -> None:
        await call.begin_stream()
        await call.chunk(b"data: {}\n\n")
        await release.wait()
        await call.chunk(b"data: [DONE]\n\n")
        await call.send(b"0\r\n\r\n")

    async with proxied(script) as stand, asyncio.timeout(10):
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


@pytest.mark.parametrize(
    "test",
    [
        test
        for name, test in list(globals().items())
        if inspect.iscoroutinefunction(test)
        and name.startswith("test_")
        and not inspect.signature(test).parameters
    ],
    ids=lambda test: test.__name__.removeprefix("test_"),
)
def test_it_is_the_same_on_the_event_loop_of_production(test: object) -> None:
    uvloop.run(test())  # type: ignore[operator]
