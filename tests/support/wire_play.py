"""A scripted client and a scripted server that write and keep bytes, with anything or nothing
between them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from enum import Enum

from tidegate_sidecar.sockets import reset


class Do(Enum):
    """Steps without more to say."""

    TAKE_BODY = "the server reads the request's body"
    CLOSE = "whoever it is closes"
    RESET = "whoever it is resets the connection"


@dataclass(frozen=True)
class Pause:
    """Does nothing for so long."""

    seconds: float


@dataclass(frozen=True)
class Until:
    """The client goes on once this has come."""

    data: bytes


@dataclass(frozen=True)
class Stall:
    """The client reads nothing for so long."""

    seconds: float


@dataclass(frozen=True)
class Slowly:
    """Sent in so many bytes at a time, each on its way before the next."""

    data: bytes
    size: int = 1


@dataclass(frozen=True)
class IfAsked:
    """What the server sends depends on whether it was asked for usage."""

    usage: bytes
    none: bytes


Step = bytes | Do | Pause | Until | Stall | Slowly | IfAsked
Steps = tuple[Step, ...]


@dataclass(frozen=True)
class Message:
    """One message as it came, its framing taken off."""

    line: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    """In their order and case."""
    body: bytes = b""
    trailers: tuple[tuple[bytes, bytes], ...] = ()
    whole: bool = True
    """It ended where its framing says."""

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.headers if key.lower() == name]

    def without(self, *names: bytes) -> "Message":
        kept = tuple(header for header in self.headers if header[0].lower() not in names)
        return replace(self, headers=kept)

    @property
    def status(self) -> int:
        return int(self.line.split(b" ")[1])


class Bytes:
    """Reads messages from a stream, with none of the proxy's code."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    async def head(self) -> Message:
        while (line := await self._line()) == b"":
            pass  # before a message they mean nothing (RFC 9112, 2.2)
        lines = []
        while field := await self._line():
            lines.append(field)
        return Message(line, tuple(_header(line) for line in lines), whole=False)

    async def body(self, head: Message, *, until_close: bool = False) -> Message:
        """The head with its body, which may be cut."""
        body = b""
        try:
            if [value.lower() for value in head.values(b"transfer-encoding")] == [b"chunked"]:
                while size := int((await self._line()).split(b";")[0], 16):
                    async for piece in self._exactly(size):
                        body += piece
                    assert await self._line() == b""
                trailers = []
                while line := await self._line():
                    trailers.append(_header(line))
                return replace(head, body=body, trailers=tuple(trailers), whole=True)
            if until_close and not head.values(b"content-length"):
                while piece := await self._reader.read(1 << 16):
                    body += piece
            else:
                length = int((head.values(b"content-length") or [b"0"])[0])
                async for piece in self._exactly(length):
                    body += piece
            return replace(head, body=body, whole=True)
        except (asyncio.IncompleteReadError, ConnectionError):
            return replace(head, body=body, whole=False)

    async def _line(self) -> bytes:
        return (await self._reader.readuntil(b"\r\n"))[:-2]

    async def _exactly(self, size: int) -> AsyncIterator[bytes]:
        while size:
            piece = await self._reader.read(min(size, 1 << 16))
            if not piece:
                raise asyncio.IncompleteReadError(b"", size)
            size -= len(piece)
            yield piece


def _header(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    return name, value.strip(b" \t")


@dataclass
class Server:
    """Gives each request of a case its scripted answer; keeps what it was asked."""

    answers: tuple[Steps, ...] = ()
    asked: list[Message] = field(default_factory=list)
    port: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        messages = Bytes(reader)
        try:
            while True:
                head = await messages.head()
                at = len(self.asked)
                self.asked.append(head)
                if not await self._answer(at, messages, writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the case is over, or whoever is between us has closed
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, at: int, messages: Bytes, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection stays."""
        for step in self.answers[at]:
            if step is Do.TAKE_BODY:
                self.asked[at] = await messages.body(self.asked[at])
            elif isinstance(step, IfAsked):
                usage = b'"include_usage":true' in self.asked[at].body.replace(b" ", b"")
                writer.write(step.usage if usage else step.none)
            elif not await _do(step, writer):
                return False
        await writer.drain()
        return True

    def begin(self, answers: tuple[Steps, ...]) -> None:
        """Play another case; who is still connected is dropped."""
        self.answers = answers
        self.asked = []
        for writer in self._writers:
            writer.transport.abort()


@asynccontextmanager
async def serving(host: str = "127.0.0.1") -> AsyncIterator[Server]:
    server = Server()
    listener = await asyncio.start_server(server.serve, host, 0, limit=1 << 18)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        server.begin(())


async def _do(step: Step, writer: asyncio.StreamWriter) -> bool:
    """A step that both know; whether the connection stays."""
    if isinstance(step, bytes):
        writer.write(step)
        await writer.drain()
    elif isinstance(step, Slowly):
        for at in range(0, len(step.data), step.size):
            writer.write(step.data[at : at + step.size])
            await asyncio.sleep(0.0005)
    elif isinstance(step, Pause):
        await asyncio.sleep(step.seconds)
    elif step is Do.RESET:
        await asyncio.sleep(0.05)  # what was sent before is read by then
        reset(writer.transport)  # type: ignore[arg-type]
        return False
    elif step is Do.CLOSE:
        return False
    else:
        raise AssertionError(step)
    return True


@dataclass(frozen=True)
class Heard:
    """What a client got."""

    interim: tuple[Message, ...]
    answers: tuple[Message, ...]
    """As many as it asked for, or until the connection ended."""
    closed: bool
    """By the other side, after the last answer or before."""


async def ask(
    host: str, port: int, steps: Steps, methods: tuple[str, ...], *, waits_for_close: bool = False
) -> Heard:
    """Play the client's part and read one answer for each of ``methods``."""
    reader, writer = await asyncio.open_connection(host, port, limit=1 << 18)
    tap = _Tap(reader)
    sending = asyncio.create_task(_send(steps, writer, tap))
    try:
        heard = await _listen(tap, methods, waits_for_close)
        await asyncio.wait([sending], timeout=0.5)
        return heard
    finally:
        sending.cancel()
        tap.pump.cancel()
        writer.transport.abort()


class _Tap(asyncio.StreamReader):
    """Hands bytes on, unless it stalls, and remembers that they came."""

    def __init__(self, source: asyncio.StreamReader) -> None:
        super().__init__(limit=1 << 18)
        self.flows = asyncio.Event()
        self.flows.set()
        self._seen = b""
        self._changed = asyncio.Event()
        self.pump = asyncio.create_task(self._run(source))

    async def _run(self, source: asyncio.StreamReader) -> None:
        try:
            while True:
                await self.flows.wait()
                data = await source.read(1 << 16)
                self._seen = (self._seen + data)[-(1 << 17) :]
                self._changed.set()
                if not data:
                    self.feed_eof()
                    return
                self.feed_data(data)
        except ConnectionError as error:
            self.set_exception(error)

    async def saw(self, data: bytes) -> None:
        while data not in self._seen:
            self._changed.clear()
            await self._changed.wait()


async def _send(steps: Steps, writer: asyncio.StreamWriter, tap: _Tap) -> None:
    try:
        for step in steps:
            if isinstance(step, Until):
                await tap.saw(step.data)
            elif isinstance(step, Stall):
                tap.flows.clear()
                await asyncio.sleep(step.seconds)
                tap.flows.set()
            elif not await _do(step, writer):
                writer.close()
                return
    except ConnectionError:
        pass  # the other side has had enough of it; what it said is what counts


async def _listen(tap: _Tap, methods: tuple[str, ...], waits_for_close: bool) -> Heard:
    messages = Bytes(tap)
    interim: list[Message] = []
    answers: list[Message] = []
    try:
        for method in methods:
            head = await messages.head()
            while head.status < 200 and head.status != 101:
                interim.append(head)
                head = await messages.head()
            bodiless = method == "HEAD" or head.status in (204, 304)
            body = replace(head, whole=True)
            if not bodiless:
                body = await messages.body(head, until_close=True)
            answers.append(body)
        closed = waits_for_close and await tap.read(1) == b""
    except (asyncio.IncompleteReadError, ConnectionError):
        closed = True
    return Heard(tuple(interim), tuple(answers), closed)
