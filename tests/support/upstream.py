"""A model server on loopback that does, byte for byte, what a test tells it."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field


@dataclass
class Call:
    """One request as it came, and the means to answer it."""

    method: str
    target: str
    headers: dict[str, str]
    head: bytes
    body: bytes
    reader: asyncio.StreamReader = field(repr=False)
    writer: asyncio.StreamWriter = field(repr=False)
    closed: bool = False
    over: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    """Its connection has ended."""

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(
        self,
        body: bytes,
        *,
        status: str = "200 OK",
        kind: str = "application/json",
        more: str = "",
    ) -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{more}"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        await self.send(head.encode() + body)

    async def begin_stream(self) -> None:
        await self.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def stream(self, data: bytes, *, chunk: int = 0, cut: int = 0) -> None:
        """A whole event stream in chunks of ``chunk`` bytes, written ``cut`` bytes at a time."""
        chunk = chunk or len(data)
        wire = b"".join(
            b"%x\r\n%b\r\n" % (len(part), part)
            for part in (data[i : i + chunk] for i in range(0, len(data), chunk))
        )
        await self.begin_stream()
        await self.pieces(wire + b"0\r\n\r\n", cut)

    async def pieces(self, data: bytes, size: int) -> None:
        for i in range(0, len(data), size or len(data)):
            await self.send(data[i : i + (size or len(data))])
            await asyncio.sleep(0)

    def cut(self) -> None:
        """End the connection with a reset."""
        self.closed = True
        self.writer.transport.abort()

    def close(self) -> None:
        self.closed = True
        self.writer.close()

    async def gone(self) -> None:
        """Until the other side has closed the connection."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass


Script = Callable[[Call], Awaitable[None]]


class Upstream:
    """Serves a script; keeps what it saw."""

    def __init__(self, script: Script, *, reads_bodies: bool = True) -> None:
        self.script = script
        self.reads_bodies = reads_bodies
        self.calls: list[Call] = []
        self.connections = 0
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while True:
                call = await self._read(reader, writer)
                self.calls.append(call)
                await self.script(call)
                if call.closed:
                    return
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the test is over, or the proxy has closed the connection
        finally:
            self._writers.discard(writer)
            writer.close()
            for call in self.calls:
                if call.writer is writer:
                    call.over.set()

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Call:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").strip().split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        body = b""
        if self.reads_bodies:
            whole = "a proxy that has the body whole says its length"
            assert "transfer-encoding" not in headers, whole
            body = await reader.readexactly(int(headers.get("content-length", 0)))
        method, target, _ = first.split(" ")
        return Call(method, target, headers, head, body, reader, writer)

    def close_connections(self) -> None:
        for writer in self._writers:
            writer.close()


@asynccontextmanager
async def serving(
    script: Script, tls: ssl.SSLContext | None = None, *, reads_bodies: bool = True
) -> AsyncIterator[Upstream]:
    """``reads_bodies``: before the script is called; else it finds them in the call's reader."""
    upstream = Upstream(script, reads_bodies=reads_bodies)
    server = await asyncio.start_server(upstream._serve, "127.0.0.1", 0, ssl=tls)
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        server.close()
        upstream.close_connections()


TOKEN = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'


def event(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def chat_stream(tokens: int = 3, *, usage: bool, null_usage: bool = False) -> bytes:
    """A chat stream as servers send it; ``usage``: with the extra chunk."""
    base = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    extra = {"usage": None} if null_usage else {}
    events = [
        event({**base, "choices": [{"index": 0, "delta": {"content": f"t{i}\u2028"}}], **extra})
        for i in range(tokens)
    ]
    last = {"index": 0, "delta": {}, "finish_reason": "stop"}
    events.append(event({**base, "choices": [last], **extra}))
    if usage:
        events.append(usage_chunk(tokens))
    return b"".join([b": hello\n\n", *events, b"data: [DONE]\n\n"])


def usage_chunk(tokens: int) -> bytes:
    return event(
        {
            "id": "c",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [],
            "usage": {
                "prompt_tokens": 7,
                "completion_tokens": tokens,
                "total_tokens": 7 + tokens,
            },
        }
    )


def chat_reply(text: str = "hello", *, usage: bool = True) -> bytes:
    reply: dict[str, object] = {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }
        ],
    }
    if usage:
        reply["usage"] = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    return json.dumps(reply).encode()


async def like_a_server(call: Call) -> None:
    """Answers each call of the API as a well-behaved model server does."""
    if call.target.startswith("/v1/models"):
        await call.answer(b'{"object":"list","data":[{"id":"m","object":"model","created":1}]}')
        return
    asked = json.loads(call.body)
    if call.target.startswith("/v1/embeddings"):
        await call.answer(
            b'{"object":"list","model":"m","data":[{"object":"embedding","index":0,'
            b'"embedding":[0.5]}],"usage":{"prompt_tokens":5,"total_tokens":5}}'
        )
    elif asked.get("stream"):
        wants = bool((asked.get("stream_options") or {}).get("include_usage"))
        await call.stream(chat_stream(3, usage=wants, null_usage=wants), chunk=90, cut=37)
    else:
        await call.answer(chat_reply())


async def hang(call: Call) -> None:
    """Never answers."""
    await call.gone()


async def stall(call: Call) -> None:
    """Says one token of a stream, and nothing more."""
    await call.begin_stream()
    await call.chunk(TOKEN)
    await call.gone()


@contextmanager
def deaf() -> Iterator[str]:
    """A model server, by its URL, whose queue is full: the kernel answers no connection."""
    with closing(socket.socket()) as server, closing(socket.socket()) as filler:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        filler.connect(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
