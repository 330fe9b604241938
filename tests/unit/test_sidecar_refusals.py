"""What the sidecar refuses itself is told to its client, counted, and reaches no model server."""

import asyncio
import json
import socket
from contextlib import closing

import pytest
import uvloop

from asked import PLAIN
from production_loop import Story, name_of, stories
from proxied import post, proxied, refused_with
from tidegate_wire.config import Do, Order, SidecarConfig
from tidegate_wire.names import OTHER, Metric, Outcome, Refusal
from upstream import like_a_server


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
        assert refused_with(answer) == (413, "invalid_request_error", Refusal.TOO_LARGE)
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
        assert refused_with(answer) == (400, "invalid_request_error", Refusal.BAD_REQUEST)
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
        assert refused_with(answer) == (429, "insufficient_quota", Refusal.BLOCKED_BUDGET)
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


@pytest.mark.parametrize("story", stories(globals()), ids=name_of)
def test_it_is_the_same_on_the_event_loop_of_production(story: Story) -> None:
    uvloop.run(story())
