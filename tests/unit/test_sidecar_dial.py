"""By TLS or a proxy an upstream answers as it does without, or its caller learns why not."""

import asyncio
import datetime as dt
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

import selfmade_ca
from forward_proxy import forwarding
from proxied import Answer, Stand, post, proxied
from tidegate_sidecar.dial import Dialer, proxy_for
from tidegate_sidecar.room import TLS_BYTES, Room
from tidegate_sidecar.upstream import Upstream
from tidegate_wire.base_url import BaseUrl
from tidegate_wire.config import Model, SidecarConfig
from tidegate_wire.names import Outcome, Refusal
from upstream import Call, chat_reply, chat_stream, like_a_server, serving

HOST = "model.example"
"""A name that only a proxy of ours knows."""
PLAIN = json.dumps({"model": "m", "messages": []}).encode()
STREAM = json.dumps({"model": "m", "stream": True, "messages": []}).encode()
TOLD = chat_stream(3, usage=False, null_usage=True)


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def both_loops(request: pytest.FixtureRequest) -> asyncio.Runner:
    """The loop of the tests and the one of production: their TLS is not the same code."""
    return asyncio.Runner(loop_factory=request.param)


@asynccontextmanager
async def before(
    url: str, *, proxies: Mapping[str, str] | None = None, ca: str = ""
) -> AsyncIterator[Stand]:
    """A sidecar whose policy sends model ``m`` to ``url``; at the end its books are empty."""
    config = SidecarConfig(models=(Model(name="m", upstream=url),))
    dialer = Dialer(proxies, ca=ca)
    async with asyncio.timeout(30), proxied(like_a_server, config, dialer=dialer) as stand:
        yield stand
        assert stand.upstream.calls == [], "it was for another upstream"
        await stand.proxy.close()
        while stand.proxy.room.held:
            await asyncio.sleep(0.002)


def refused(answer: Answer) -> str:
    """What the caller is told, of an upstream that can't be reached."""
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["code"]) == (502, Refusal.CONNECT)
    return str(error["message"]).removeprefix("The model server can't be reached: ")


async def refusal_of(stand: Stand) -> str:
    said = refused(await stand.ask(post(PLAIN)))
    assert stand.series.outcomes == {Outcome.CONNECT_ERROR: 1}
    return said


# --- TLS ----------------------------------------------------------------------------------------


def test_by_tls_the_answer_is_the_same_and_its_connection_is_kept(
    both_loops: asyncio.Runner, tmp_path: Path
) -> None:
    made = selfmade_ca.make(tmp_path, "localhost")

    async def story() -> None:
        async with (
            serving(like_a_server, made.server) as server,
            before(f"https://localhost:{server.port}", ca=made.ca_pem) as stand,
        ):
            assert (await stand.ask(post(PLAIN))).body == chat_reply()
            streamed = await stand.ask(post(STREAM))
            assert (streamed.body, streamed.whole) == (TOLD, True)
            assert server.connections == 1
            assert server.calls[0].headers["host"] == f"localhost:{server.port}"
            assert stand.series.outcomes == {Outcome.OK: 2}
            while stand.proxy.clients:
                await asyncio.sleep(0.002)
            assert stand.proxy.room.held == TLS_BYTES, "of the one that is kept"

    with both_loops as runner:
        runner.run(story())


async def test_by_tls_what_switches_protocols_leaves_the_books_as_it_ends(tmp_path: Path) -> None:
    made = selfmade_ca.make(tmp_path, "localhost")

    async def echo(call: Call) -> None:
        await call.send(b"HTTP/1.1 101 \r\nUpgrade: echo/1\r\nConnection: Upgrade\r\n\r\n")
        await call.send(await call.reader.readexactly(5))
        call.close()

    async with serving(echo, made.server) as server:
        url, dialer = f"https://localhost:{server.port}", Dialer(ca=made.ca_pem)
        async with proxied(like_a_server, url=url, dialer=dialer) as stand:
            client = await stand.connect()
            await client.send(
                b"GET /v1/realtime HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
                b"Upgrade: echo/1\r\n\r\nhello"
            )
            async with asyncio.timeout(10):
                assert (await client.reader.read()).endswith(b"hello")
            client.leave()
            async with asyncio.timeout(10):
                while stand.proxy.room.held:
                    await asyncio.sleep(0.002)


def test_by_tls_a_long_answer_waits_for_its_reader(tmp_path: Path) -> None:
    made = selfmade_ca.make(tmp_path, "localhost")
    body = bytes(range(256)) * 100_000
    sent = 0

    async def script(call: Call) -> None:
        nonlocal sent
        await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        for at in range(0, len(body), 65536):
            await call.send(body[at : at + 65536])
            sent = at + 65536

    async def story() -> None:
        async with (
            serving(script, made.server) as server,
            before(f"https://localhost:{server.port}", ca=made.ca_pem) as stand,
        ):
            client = await stand.connect()
            await client.send(post(PLAIN))
            while not sent:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            assert sent < len(body), "a reader that stalls holds the server back"
            await client.reader.readuntil(b"\r\n\r\n")
            got = bytearray()
            while len(got) < len(body):
                got += await client.reader.read(65536)
            assert got == body

    uvloop.run(story())


IN_AN_HOUR, JUST_OVER = dt.timedelta(hours=1), -dt.timedelta(minutes=5)
BAD_CERTIFICATES = {
    "it is for another host": (
        "other.example",
        IN_AN_HOUR,
        True,
        "Hostname mismatch, certificate is not valid for 'localhost'",
    ),
    "it is over": ("localhost", JUST_OVER, True, "certificate has expired"),
    "nobody here knows who signed it": (
        "localhost",
        IN_AN_HOUR,
        False,
        "unable to get local issuer certificate",
    ),
}


@pytest.mark.parametrize(
    ("name", "ends_in", "known", "reason"), BAD_CERTIFICATES.values(), ids=BAD_CERTIFICATES
)
def test_a_certificate_is_refused_with_host_and_reason_because(
    both_loops: asyncio.Runner,
    tmp_path: Path,
    name: str,
    ends_in: dt.timedelta,
    known: bool,
    reason: str,
) -> None:
    made = selfmade_ca.make(tmp_path, name, ends_in=ends_in)

    async def story() -> None:
        async with (
            serving(like_a_server, made.server) as server,
            before(f"https://localhost:{server.port}", ca=made.ca_pem if known else "") as stand,
        ):
            said = await refusal_of(stand)
            assert said == f"the certificate of localhost is not accepted: {reason}."
            assert server.calls == []

    with both_loops as runner:
        runner.run(story())


async def test_a_server_in_the_clear_is_told_from_one_that_is_away() -> None:
    async def not_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(not_tls, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, before(f"https://localhost:{port}") as stand:
        assert await refusal_of(stand) == "no TLS with localhost: wrong version number."


async def test_the_name_asked_for_is_sent_and_http_1_1_is_offered(tmp_path: Path) -> None:
    made = selfmade_ca.make(tmp_path, "localhost")
    asked: list[str | None] = []
    made.server.set_alpn_protocols(["h2", "http/1.1"])
    made.server.sni_callback = lambda _socket, name, _context: asked.append(name)
    spoken: list[str | None] = []

    async def script(call: Call) -> None:
        spoken.append(call.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await like_a_server(call)

    async with (
        serving(script, made.server) as server,
        before(f"https://localhost:{server.port}", ca=made.ca_pem) as stand,
    ):
        assert (await stand.ask(post(PLAIN))).status == 200
    assert (asked, spoken) == (["localhost"], ["http/1.1"])


# --- proxies ------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["", "us%65r:p%40ss"], ids=["open to all", "with a password"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_through_a_proxy_the_answer_is_the_same(
    both_loops: asyncio.Runner, tmp_path: Path, scheme: str, user: str
) -> None:
    made = selfmade_ca.make(tmp_path, HOST)

    async def story() -> None:
        tls = made.server if scheme == "https" else None
        async with (
            serving(like_a_server, tls) as server,
            forwarding({f"{HOST}:8443": server.port}, user="user:p@ss" if user else "") as proxy,
            before(
                f"{scheme}://{HOST}:8443/base",
                proxies={scheme: f"http://{user}@127.0.0.1:{proxy.port}".replace("//@", "//")},
                ca=made.ca_pem,
            ) as stand,
        ):
            for _ in range(2):
                assert (await stand.ask(post(PLAIN))).body == chat_reply()
            target = "/base/v1/chat/completions"
            asked = f"CONNECT {HOST}:8443"
            if scheme == "http":
                asked = f"POST http://{HOST}:8443{target}"
            assert proxy.asked == [asked]
            assert server.calls[0].headers["host"] == f"{HOST}:8443"
            assert server.calls[0].target.endswith(target)
            if scheme == "https":
                assert b"proxy-authorization" not in server.calls[0].head.lower()

    with both_loops as runner:
        runner.run(story())


async def test_a_proxy_may_itself_be_reached_by_tls(tmp_path: Path) -> None:
    made = selfmade_ca.make(tmp_path, HOST, "localhost")
    async with (
        serving(like_a_server, made.server) as server,
        forwarding({f"{HOST}:443": server.port}, tls=made.server) as proxy,
        before(
            f"https://{HOST}",
            proxies={"all": f"https://localhost:{proxy.port}"},
            ca=made.ca_pem,
        ) as stand,
    ):
        assert (await stand.ask(post(PLAIN))).body == chat_reply()


REFUSING = {
    "wants another password": (
        b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n",
        "answered 407 Proxy Authentication Required",
    ),
    "forbids the host": (b"HTTP/1.0 403 Forbidden\r\n\r\n", "answered 403 Forbidden"),
    "is none": (b"SSH-2.0-OpenSSH_9\r\n\r\n", "answered what is no HTTP: status line must be"),
    "hangs up": (b"", "closed the connection without an answer"),
    "hangs up inside its answer": (b"HTTP/1.1 2", "closed the connection without an answer"),
}


@pytest.mark.parametrize(("answer", "why"), REFUSING.values(), ids=REFUSING)
async def test_what_is_told_of_a_proxy_that(answer: bytes, why: str) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(script, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    proxies = {"https": f"http://user:secret@127.0.0.1:{port}"}
    async with server, before(f"https://{HOST}", proxies=proxies) as stand:
        said = await refusal_of(stand)
        assert said.startswith(f"proxy 127.0.0.1:{port}: {why}")
        assert "secret" not in said


async def test_a_proxy_that_is_away_is_named() -> None:
    proxies = {"http": "http://user:secret@127.0.0.1:9"}
    async with before(f"http://{HOST}", proxies=proxies) as stand:
        said = await refusal_of(stand)
        assert said.startswith("proxy 127.0.0.1:9: ")
        assert "secret" not in said


async def test_behind_a_proxy_a_bad_certificate_is_told_as_it_is_without(tmp_path: Path) -> None:
    made = selfmade_ca.make(tmp_path, "other.example")
    async with (
        serving(like_a_server, made.server) as server,
        forwarding({f"{HOST}:443": server.port}) as proxy,
        before(
            f"https://{HOST}", proxies={"https": f"127.0.0.1:{proxy.port}"}, ca=made.ca_pem
        ) as stand,
    ):
        assert f"the certificate of {HOST} is not accepted: Hostname mismatch" in (
            await refusal_of(stand)
        )


async def test_a_client_that_leaves_takes_back_the_question_to_a_silent_proxy() -> None:
    gone = asyncio.Event()
    asked = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await reader.read()
        gone.set()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    proxies = {"https": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"}
    async with server, before(f"https://{HOST}", proxies=proxies) as stand:
        client = await stand.connect()
        await client.send(post(PLAIN))
        await asked.wait()
        client.leave()
        await gone.wait()
        assert (await stand.settled()).series[0].outcomes == {Outcome.CANCELLED: 1}


PROXIES = {"http": "http://p:1", "https": "http://p:2"}
WAYS: dict[str, tuple[str, dict[str, str], str | None]] = {
    "without a proxy it goes directly": ("https://a.com", {}, None),
    "each scheme has its own": ("https://a.com", PROXIES, "p:2"),
    "in the clear too": ("http://a.com", PROXIES, "p:1"),
    "one for all where a scheme has none": (
        "https://a.com",
        {"http": "http://p:1", "all": "http://q:3"},
        "q:3",
    ),
    "its scheme may be left out": ("http://a.com", {"http": "p:1"}, "p:1"),
    "without a port it has its scheme's": ("http://a.com", {"http": "https://p"}, "p:443"),
    "this pod by name": ("http://localhost:8000", PROXIES, None),
    "this pod by address": ("http://127.0.0.1:8000", PROXIES, None),
    "this pod by another address of it": ("http://127.8.0.1:8000", PROXIES, None),
    "this pod by IPv6": ("http://[::1]:8000", PROXIES, None),
    "a host that is excepted": ("https://a.com", PROXIES | {"no": "b.com,a.com"}, None),
    "with its subdomains": ("https://x.a.com", PROXIES | {"no": ".a.com"}, None),
    "and no other that ends so": ("https://xa.com", PROXIES | {"no": "a.com"}, "p:2"),
    "a host that is excepted at one port": ("https://a.com", PROXIES | {"no": "a.com:443"}, None),
    "and not at another": ("https://a.com", PROXIES | {"no": "a.com:8443"}, "p:2"),
    "a cluster's names": ("http://llama.shop.svc", PROXIES | {"no": "x, .svc"}, None),
    "a cluster's range of addresses": (
        "http://10.96.3.4:8000",
        PROXIES | {"no": "10.96.0.0/12,.svc"},
        None,
    ),
    "and no address outside": ("http://11.0.0.1", PROXIES | {"no": "10.0.0.0/8"}, "p:1"),
    "all are excepted": ("https://a.com", PROXIES | {"no": "*"}, None),
}


@pytest.mark.parametrize(("url", "proxies", "wanted"), WAYS.values(), ids=WAYS)
def test_which_proxy_is_asked(url: str, proxies: dict[str, str], wanted: str | None) -> None:
    found = proxy_for(BaseUrl.read(url), proxies)
    assert (None if found is None else str(found)) == wanted


@pytest.mark.parametrize(
    ("proxies", "said"),
    [
        pytest.param(
            {"https": "socks5://user:secret@p:1080"},
            "HTTPS_PROXY must be like http://host:port, was: 'socks5://p:1080'",
            id="it speaks what we don't",
        ),
        pytest.param(
            {"all": "http://p:http"},
            "ALL_PROXY must be like http://host:port, was: 'http://p:http'",
            id="its port is text",
        ),
        pytest.param({"https": "http://"}, "HTTPS_PROXY must be like", id="it has no host"),
    ],
)
async def test_a_proxy_that_cant_be_used_is_told_without_its_password(
    proxies: dict[str, str], said: str
) -> None:
    async with before("https://a.com", proxies=proxies) as stand:
        assert said in await refusal_of(stand)
        assert "secret" not in "\n".join(stand.told)


# --- base paths ---------------------------------------------------------------------------------

JOINED = {
    "without a path nothing changes": ("", "/v1/models?x=/v1", "/v1/models?x=/v1"),
    "a path goes before the request's": ("/anthropic", "/v1/messages", "/anthropic/v1/messages"),
    "a version is not doubled": ("/openai/v1", "/v1/models", "/openai/v1/models"),
    "a version of another name takes the place of ours": (
        "/api/v4",
        "/v1/models",
        "/api/v4/models",
    ),
    "a version before the end does so too": (
        "/v1beta/openai",
        "/v1/chat/completions",
        "/v1beta/openai/chat/completions",
    ),
    "a request without version gets the path's": ("/v1", "/models?a=b", "/v1/models?a=b"),
    "a version alone": ("/v1", "/v1?a=b", "/v1?a=b"),
    "what only begins like a version is none": ("/v1", "/v10/models", "/v1/v10/models"),
    "nor does a path that only looks like one have it": ("/vllm", "/v1/models", "/vllm/v1/models"),
}


@pytest.mark.parametrize(("path", "asked", "wanted"), JOINED.values(), ids=JOINED)
def test_how_paths_join(path: str, asked: str, wanted: str) -> None:
    with asyncio.Runner() as runner:
        upstream = Upstream(f"https://host{path}/", runner.get_loop(), Dialer(), Room())
        assert upstream.target_of(asked.encode()).decode() == wanted
