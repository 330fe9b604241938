"""Nobody can tell that the sidecar is there: through it, client and model server see of each other
what they see directly, but for what belongs to one connection."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio

from sidecar_process import SidecarProcess
from websocket_server import WebSockets
from wire_calls import CORPUS, DONE, STOP, STREAM, TOKEN, USAGE, chat
from wire_corpus import SSE, Case, chunked
from wire_play import Heard, Message, Pause, Server, ask, serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

AT_ONCE = {"TIDEGATE_DRAIN_ACCEPT_S": "0", "TIDEGATE_LINGER_S": "0"}
OF_ONE_CONNECTION = (
    *(b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade"),
    *(b"x-mine", b"x-hop"),  # by name of the Connection headers of the corpus
)
VIA = b"1.1 tidegate"


@dataclass
class Stand:
    """A scripted server, alone and behind a real sidecar."""

    server: Server
    host: str
    port: int
    process: SidecarProcess

    async def directly(self, case: Case) -> Heard:
        return await self._play(case, self.host, self.server.port)

    async def through(self, case: Case) -> Heard:
        return await self._play(case, self.host, self.port)

    async def _play(self, case: Case, host: str, port: int) -> Heard:
        self.server.begin(case.answers)
        return await ask(host, port, case.ask, case.methods, waits_for_close=case.waits_for_close)


async def standing(host: str) -> AsyncIterator[Stand]:
    async with serving(host) as server:
        at = f"[{host}]" if ":" in host else host
        flags = ("--listen", f"{at}:0", "--upstream", f"http://{at}:{server.port}")
        async with SidecarProcess(*flags, env=AT_ONCE) as process:
            yield Stand(server, host, urlsplit(process.url).port or 0, process)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stand() -> AsyncIterator[Stand]:
    async for stand in standing("127.0.0.1"):
        yield stand


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stand_of_ipv6() -> AsyncIterator[Stand]:
    async for stand in standing("::1"):
        yield stand


# --- what is compared ----------------------------------------------------------------------------


def answer_of(case: Case, message: Message) -> Message:
    """What of an answer has to be the same."""
    message = message.without(*OF_ONE_CONNECTION)
    if case.asks_usage:
        message = message.without(b"content-length")
    # A proxy speaks its own version (RFC 9110, 6.2).
    return replace(message, line=message.line.replace(b"HTTP/1.0", b"HTTP/1.1"))


def request_of(case: Case, message: Message) -> Message:
    """What of a request has to be the same."""
    message = message.without(*OF_ONE_CONNECTION, b"via")
    if case.read:
        message = message.without(b"accept-encoding", b"content-length")
    if case.asks_usage:
        message = replace(message, body=b"")
    return replace(message, line=message.line.replace(b"HTTP/1.0", b"HTTP/1.1"))


def differences(direct: Message, through: Message) -> list[str]:
    """Short, since a body may have megabytes."""
    return [
        f"{name}: directly {mine!r:.300}, through it {theirs!r:.300}"
        for name in ("line", "headers", "trailers", "whole", "body")
        if (mine := getattr(direct, name)) != (theirs := getattr(through, name))
    ]


def compare_heard(case: Case, direct: Heard, through: Heard) -> None:
    if case.instead:
        assert not direct.answers
        (answer,) = through.answers
        assert (answer.status, answer.whole) == (case.instead, True)
        return
    assert len(through.interim) == len(direct.interim)
    assert len(through.answers) == len(direct.answers) == len(case.methods)
    mine = [answer_of(case, one) for one in (*direct.interim, *direct.answers)]
    theirs = [answer_of(case, one) for one in (*through.interim, *through.answers)]
    if not case.to_the_end:
        assert not theirs[-1].whole
        mine = [replace(one, body=b"", whole=False) for one in mine]
        theirs = [replace(one, body=b"") for one in theirs]
    for one, other in zip(mine, theirs, strict=True):
        assert not differences(one, other)
    assert through.closed or not direct.closed


def compare_asked(case: Case, direct: list[Message], through: list[Message]) -> None:
    assert len(through) == len(direct)
    for mine, theirs in zip(direct, through, strict=True):
        assert not differences(request_of(case, mine), request_of(case, theirs))
        version = VIA.replace(b"1.1", b"1.0") if mine.line.endswith(b"1.0") else VIA
        assert theirs.values(b"via") == [*mine.values(b"via"), version]
        if case.read:
            assert theirs.values(b"content-length") == [b"%d" % len(theirs.body)]
            wanted = [b"identity"] if case.understood else mine.values(b"accept-encoding")
            assert theirs.values(b"accept-encoding") == wanted
        if case.asks_usage:
            call = json.loads(mine.body)
            options = call.get("stream_options") or {}
            call["stream_options"] = {**options, "include_usage": True}
            assert json.loads(theirs.body) == call


@pytest.mark.parametrize("case", CORPUS.values(), ids=CORPUS)
async def test_it_is_as_if_nothing_were_between(stand: Stand, case: Case) -> None:
    direct = await stand.directly(case)
    asked_directly = stand.server.asked
    through = await stand.through(case)
    compare_heard(case, direct, through)
    compare_asked(case, asked_directly, stand.server.asked)


ON_IPV6 = (
    "a plain chat",
    "host need not come first and keeps its spelling",
    "a chunked body that comes byte by byte, with trailers",
    "a protocol that both switch to",
)


@pytest.mark.parametrize("name", ON_IPV6)
async def test_it_is_so_on_ipv6(stand_of_ipv6: Stand, name: str) -> None:
    stand, case = stand_of_ipv6, CORPUS[name]
    direct = await stand.directly(case)
    asked_directly = stand.server.asked
    compare_heard(case, direct, await stand.through(case))
    compare_asked(case, asked_directly, stand.server.asked)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CR LF", "CR"])
async def test_a_stream_may_be_cut_anywhere(stand: Stand, line_end: bytes) -> None:
    told, untold = (
        b"".join(events).replace(b"\n", line_end)
        for events in ((TOKEN, STOP, USAGE, DONE), (TOKEN, STOP, DONE))
    )
    wire = chunked(told, more=SSE)
    head = wire.index(b"\r\n\r\n") + 4
    for cut in range(head - 4, len(wire)):
        case = chat(STREAM, wire[:cut], Pause(0.001), wire[cut:])
        (answer,) = (await stand.through(case)).answers
        assert (cut, answer.body, answer.whole) == (cut, untold, True)


async def test_a_websocket_outlives_the_order_to_leave() -> None:
    async with (
        WebSockets() as server,
        SidecarProcess("--upstream", server.url, env=AT_ONCE) as process,
    ):
        async with aiohttp.ClientSession() as http, http.ws_connect(process.url + "/ws") as socket:
            await socket.send_str("before")
            assert await socket.receive_str() == "BEFORE"
            process.terminate()
            await process.line("draining")
            await asyncio.sleep(0.3)
            await socket.send_str("while it leaves")
            assert await socket.receive_str() == "WHILE IT LEAVES"
        assert await process.exit_code(within_s=20) == 0
