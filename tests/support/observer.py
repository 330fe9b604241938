"""Somebody who asks through the sidecar, and keeps books of what was asked, got and spent.

The observer and the model server share nothing with the sidecar: sockets, clock and counts of
their own. What happens to a request stands in its body, so that the observer knows what is true.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from proxied import Answer, RawClient, post
from tidegate_wire.names import Outcome
from upstream import Call, chat_stream, event

PROMPT_TOKENS = 7
"""What each answer says that its prompt had."""
CHARS_PER_TOKEN = 4
"""What the sidecar estimates by, where no answer said."""

_PART = event({"choices": [{"index": 0, "delta": {"content": "x"}}]})
"""An event of a stream that carries one token."""


@dataclass(frozen=True)
class Fate:
    """What the model server does with a request, and what is then true of it."""

    outcome: Outcome
    status: int
    """That the client sees; 0: none."""
    whole: bool = True
    """The answer that the client sees ends where its framing says."""
    stream: bool = False
    usage: bool = False
    """The server tells its usage; without, an answer that began is estimated."""
    leaves: bool = False
    """The client goes away once it has seen what there is to see."""


FATES = {
    "answer": Fate(Outcome.OK, 200, usage=True),
    "stream": Fate(Outcome.OK, 200, stream=True, usage=True),
    "stream that asks for no usage": Fate(Outcome.OK, 200, stream=True, usage=True),
    "not found": Fate(Outcome.CLIENT_ERROR, 404),
    "fault": Fate(Outcome.SERVER_ERROR, 500),
    "hang up": Fate(Outcome.RESET, 502),
    "garbage": Fate(Outcome.PROTOCOL_ERROR, 502),
    "short answer": Fate(Outcome.RESET, 200, whole=False),
    "cut stream": Fate(Outcome.BROKEN, 200, whole=False, stream=True),
    "stream without an end": Fate(Outcome.BROKEN, 200, whole=False, stream=True),
    "nobody waits": Fate(Outcome.CANCELLED, 0, whole=False, leaves=True),
    "nobody reads on": Fate(Outcome.CANCELLED, 200, whole=False, stream=True, leaves=True),
}


async def fateful_server(call: Call) -> None:
    """The model server's script."""
    asked = json.loads(call.body)
    await _DOES[asked["fate"]](call, asked["tokens"])


async def _answer(call: Call, tokens: int) -> None:
    usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": tokens}
    await call.answer(json.dumps({"choices": [], "usage": usage}).encode())


async def _stream(call: Call, tokens: int) -> None:
    await call.stream(chat_stream(tokens, usage=True), chunk=211, cut=97)


async def _begin(call: Call, tokens: int) -> None:
    await call.begin_stream()
    await call.chunk(_PART * tokens)


async def _cut(call: Call, tokens: int) -> None:
    await _begin(call, tokens)
    await asyncio.sleep(0.01)  # or the reset would overtake the bytes
    call.cut()


async def _stop(call: Call, tokens: int) -> None:
    await _begin(call, tokens)
    await call.send(b"0\r\n\r\n")


async def _hold_on(call: Call, tokens: int) -> None:
    await _begin(call, tokens)
    await call.gone()


async def _short(call: Call, _: int) -> None:
    await call.send(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort")
    call.close()


async def _garbage(call: Call, _: int) -> None:
    await call.send(b"SSH-2.0-OpenSSH_9.2\r\n")
    await call.gone()


async def _hang_up(call: Call, _: int) -> None:
    call.close()


_DOES: dict[str, Callable[[Call, int], Awaitable[None]]] = {
    "answer": _answer,
    "stream": _stream,
    "stream that asks for no usage": _stream,
    "not found": lambda call, _: call.answer(b'{"error":{}}', status="404 Not Found"),
    "fault": lambda call, _: call.answer(b'{"error":{}}', status="500 Oops"),
    "hang up": _hang_up,
    "garbage": _garbage,
    "short answer": _short,
    "cut stream": _cut,
    "stream without an end": _stop,
    "nobody waits": lambda call, _: call.gone(),
    "nobody reads on": _hold_on,
}


@dataclass
class Books:
    """What is true, by the observer."""

    ended: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Requests by model, tenant and outcome."""
    tokens: Counter[tuple[str, str, str, str]] = field(default_factory=Counter)
    """By model, tenant, type and source."""

    def note(self, model: str, tenant: str, fate: Fate, tokens: int, body: bytes) -> None:
        self.ended[model, tenant, fate.outcome] += 1
        if fate.usage:
            source, incoming = "reported", PROMPT_TOKENS
        elif fate.stream:
            source, incoming = "estimated", len(body) // CHARS_PER_TOKEN
        else:
            return
        self.tokens[model, tenant, "input", source] += incoming
        self.tokens[model, tenant, "output", source] += tokens


class Observer:
    """Asks, looks at what comes, and writes it down."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.books = Books()

    async def ask(self, name: str, *, model: str, tenant: str, tokens: int) -> None:
        """Ask for what ``FATES`` calls so; fails if the client sees anything else."""
        fate = FATES[name]
        ask: dict[str, object] = {"model": model, "fate": name, "tokens": tokens}
        if fate.stream:
            ask["stream"] = True
            if name != "stream that asks for no usage":
                ask["stream_options"] = {"include_usage": True}
        body = json.dumps(ask).encode()
        client = RawClient(*await asyncio.open_connection("127.0.0.1", self._port))
        await client.send(post(body, more=f"X-Tenant-ID: {tenant}\r\n"))
        if fate.leaves:
            await self._leave(client, tokens if fate.stream else 0)
        else:
            answer = await client.answer()
            client.leave()
            self._check(name, fate, answer)
        self.books.note(model, tenant, fate, tokens, body)

    @staticmethod
    async def _leave(client: RawClient, tokens: int) -> None:
        seen = b""
        while seen.count(_PART) < tokens:
            seen += await client.reader.read(65536)
        if not tokens:
            await asyncio.sleep(0.02)
        client.leave()

    @staticmethod
    def _check(name: str, fate: Fate, answer: Answer) -> None:
        assert (answer.status, answer.whole) == (fate.status, fate.whole), name
        if name == "stream that asks for no usage":
            assert b"completion_tokens" not in answer.body


# --- by the clock --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Api:
    """A stream of one API, as far as a clock needs to know it."""

    target: str
    opening: bytes
    """Sent at once; no token."""
    token: bytes
    """An event with one token, which ``TICK`` marks."""
    closing: Callable[[int], bytes]
    """Tells how many tokens there were."""


TICK = b"tick"


def _typed(kind: str, **rest: object) -> bytes:
    return f"event: {kind}\n".encode() + event({"type": kind, **rest})


APIS = {
    "chat completions": Api(
        "/v1/chat/completions",
        event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}),
        event({"choices": [{"index": 0, "delta": {"content": "tick"}}]}),
        lambda tokens: (
            event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
            + event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": tokens}})
            + b"data: [DONE]\n\n"
        ),
    ),
    "messages": Api(
        "/v1/messages",
        _typed("message_start", message={"usage": {"input_tokens": 7, "output_tokens": 1}})
        + _typed("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        _typed("content_block_delta", index=0, delta={"type": "text_delta", "text": "tick"}),
        lambda tokens: (
            _typed("content_block_stop", index=0)
            + _typed(
                "message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": tokens}
            )
            + _typed("message_stop")
        ),
    ),
    "responses": Api(
        "/v1/responses",
        _typed("response.created", response={"status": "in_progress", "output": []})
        + _typed("response.output_item.added", item={"type": "message", "content": []}),
        _typed("response.output_text.delta", delta="tick"),
        lambda tokens: _typed(
            "response.completed",
            response={
                "status": "completed",
                "usage": {"input_tokens": 7, "output_tokens": tokens},
            },
        ),
    ),
}


@dataclass
class Timed:
    """One stream by a clock that is not the sidecar's, in seconds from the whole request."""

    first: float
    """Until the first token."""
    last: float
    """Until the last byte."""


async def time_stream(port: int, api: Api, model: str, tokens: int) -> Timed:
    """Read a stream of ``PacedServer`` with a watch in hand."""
    body = json.dumps({"model": model, "stream": True, "tokens": tokens}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.perf_counter()  # before: it is sent at once, and this process may lose its turn
    writer.write(post(body, api.target))
    first = 0.0
    seen = b""
    while b"\r\n0\r\n\r\n" not in seen[-64:]:
        data = await reader.read(65536)
        now = time.perf_counter()
        assert data, seen
        seen += data
        if not first and TICK in seen:
            first = now
    writer.transport.abort()
    return Timed(first - began, now - began)


class PacedServer:
    """A server whose first token takes so long, and each further one so long again; with a watch
    of its own."""

    def __init__(self, api: Api, first_s: float, gap_s: float) -> None:
        self._api = api
        self._first_s = first_s
        self._gap_s = gap_s
        self.served: dict[str, Timed] = {}
        """By model, from the whole request until a byte was about to be sent."""

    async def __call__(self, call: Call) -> None:
        began = time.perf_counter()
        asked = json.loads(call.body)
        tokens = asked["tokens"]
        await call.begin_stream()
        await call.chunk(self._api.opening)
        await asyncio.sleep(self._first_s)
        first_s = time.perf_counter() - began
        for n in range(tokens):
            await call.chunk(self._api.token)
            if n + 1 < tokens:
                await asyncio.sleep(self._gap_s)
        await call.chunk(self._api.closing(tokens))
        self.served[asked["model"]] = Timed(first_s, time.perf_counter() - began)
        await call.send(b"0\r\n\r\n")
