"""A small HTTP/1.1 server for the simulated model server: one protocol object a connection, one
request at a time.

Law: a plain asyncio protocol and nothing else, because the demo starts a server for every pod
while the same two cores carry the traffic; a web framework's import alone costs more than this
server's whole start. It reads what well-behaved clients send and answers 400 to the rest; it never
faces the internet.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

MAX_HEAD_BYTES = 64 * 1024
MAX_BODY_BYTES = 64 * 1024 * 1024
JSON_TYPE = "application/json"


class MalformedRequestError(ValueError):
    """The bytes of a request can't be read as HTTP/1.1."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request that has arrived whole."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


Handler = Callable[[Request, "Reply"], Awaitable[None]]


class Reply:
    """The way back for one request: ``send`` once, or ``begin``, ``write`` ..., ``end``."""

    __slots__ = ("_transport", "started")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.started = False

    def send(
        self,
        status: int,
        body: bytes,
        content_type: str = JSON_TYPE,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """A whole answer with its length."""
        fields = {
            **(headers or {}),
            "content-type": content_type,
            "content-length": str(len(body)),
        }
        self._write_head(status, fields, body)

    def send_json(self, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        self.send(status, json.dumps(value, separators=(",", ":")).encode(), headers=headers)

    def begin(self, status: int, content_type: str) -> None:
        """Head of an answer whose length is not known yet."""
        self._write_head(status, {"content-type": content_type, "transfer-encoding": "chunked"})

    def write(self, data: bytes) -> None:
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        self._transport.write(b"0\r\n\r\n")

    def cut(self) -> None:
        """Drop the connection in the middle of the answer."""
        self._transport.abort()

    def _write_head(self, status: int, fields: Mapping[str, str], body: bytes = b"") -> None:
        self.started = True
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{lines}\r\n"
        self._transport.write(head.encode("latin-1") + body)


class Connection(asyncio.Protocol):
    """Collects requests and hands each to ``handler``; a client that goes away cancels its
    handler."""

    def __init__(self, handler: Handler, open_connections: set["Connection"]) -> None:
        self._handler = handler
        self._open = open_connections
        self._buffer = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._continued = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.discard(self)
        self._transport = None
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._take_next()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _take_next(self) -> None:
        """Start the handler of the next whole request, unless one is running."""
        transport = self._transport
        if transport is None or self._task is not None:
            return
        try:
            request, used = read_request(self._buffer)
        except MalformedRequestError as error:
            reply = Reply(transport)
            reply.send(400, str(error).encode(), "text/plain", {"connection": "close"})
            transport.close()
            return
        if request is None:
            if not self._continued and b"\r\nexpect: 100-continue" in bytes(self._buffer).lower():
                self._continued = True
                transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return
        del self._buffer[:used]
        self._continued = False
        self._task = asyncio.ensure_future(self._answer(request, transport))

    async def _answer(self, request: Request, transport: asyncio.Transport) -> None:
        await self._handler(request, Reply(transport))
        self._task = None
        if request.headers.get("connection", "").lower() == "close":
            transport.close()
        else:
            self._take_next()


def read_request(buffer: bytearray) -> tuple[Request | None, int]:
    """The first request in ``buffer`` and the bytes that it takes; ``(None, 0)`` while it is not
    whole."""
    head_end = buffer.find(b"\r\n\r\n")
    if head_end < 0:
        if len(buffer) > MAX_HEAD_BYTES:
            raise MalformedRequestError(f"request head must be at most {MAX_HEAD_BYTES} bytes")
        return None, 0
    lines = buffer[:head_end].decode("latin-1").split("\r\n")
    method, path = _read_request_line(lines[0])
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            raise MalformedRequestError(f"header must be NAME: VALUE, was: {line[:40]!r}")
        headers[name.lower()] = value.strip()
    start = head_end + 4
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body, used = _read_chunked(buffer, start)
    else:
        body, used = _read_sized(buffer, start, headers.get("content-length", "0"))
    if body is None:
        return None, 0
    return Request(method, path, headers, body), used


def _read_request_line(line: str) -> tuple[str, str]:
    parts = line.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise MalformedRequestError(
            f"request line must be METHOD PATH HTTP/1.x, was: {line[:40]!r}"
        )
    return parts[0], parts[1].partition("?")[0]


def _read_sized(buffer: bytearray, start: int, length: str) -> tuple[bytes | None, int]:
    if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
        raise MalformedRequestError(
            f"content-length must be a number up to {MAX_BODY_BYTES}, was: {length[:20]!r}"
        )
    end = start + int(length)
    return (bytes(buffer[start:end]), end) if len(buffer) >= end else (None, 0)


def _read_chunked(buffer: bytearray, start: int) -> tuple[bytes | None, int]:
    body = bytearray()
    while (line_end := buffer.find(b"\r\n", start)) >= 0:
        try:
            size = int(buffer[start:line_end].split(b";")[0], 16)
        except ValueError:
            raise MalformedRequestError("chunk size must be hexadecimal") from None
        end = line_end + 2 + size
        if len(buffer) < end + 2:
            break
        body += buffer[line_end + 2 : end]
        start = end + 2
        if size == 0:
            return bytes(body), start
    return None, 0


@dataclass(slots=True)
class Listener:
    """A bound port and its open connections."""

    server: asyncio.Server
    connections: set[Connection]

    @property
    def port(self) -> int:
        return int(self.server.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Stop listening and drop every connection."""
        self.server.close()
        for connection in tuple(self.connections):
            connection.close()


async def listen(handler: Handler, host: str, port: int) -> Listener:
    """Bind ``host:port`` (0: any free one); raises ``OSError`` where that can't be had."""
    connections: set[Connection] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(handler, connections), host, port, backlog=1024
    )
    return Listener(server, connections)
