"""Connections to model servers, and the pool that keeps them.

Law: one exchange at a time owns a connection. A connection goes back to the pool only after an
answer that ended where its framing said, and one on which anything comes unasked is never used
again.
"""

import asyncio
import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from tidegate_sidecar import h1
from tidegate_sidecar.body import (
    UNTIL_CLOSE,
    Body,
    is_bodiless,
    response_body,
    tells_of_body,
)
from tidegate_sidecar.dial import Dialer, OutOfDescriptorsError, UnreachableError
from tidegate_sidecar.h1 import BadMessageError, ResponseHead
from tidegate_sidecar.headreader import ANSWER_START, HeadReader
from tidegate_sidecar.room import TLS_BYTES, Room, Scarce
from tidegate_sidecar.sockets import STREAM_UNREAD_BYTES, UNREAD_BYTES, keep_unread, last_words
from tidegate_sidecar.unasked import Unasked
from tidegate_wire.base_url import BaseUrl
from tidegate_wire.names import Refusal

if TYPE_CHECKING:
    from tidegate_sidecar.exchange import Exchange

MAX_IDLE: Final = 512
"""Idle connections kept to one upstream; as many as an engine runs sequences at once."""
IDLE_S: Final = 60.0
"""How long an idle connection is kept; servers close theirs after 5 s (uvicorn) to 75 (nginx)."""

_VERSION: Final = re.compile(rb"(?:^|/)v[0-9][0-9a-z]*(?:/|$)")
_ENDS_SEGMENT: Final = (b"", b"/", b"?")


class Upstream:
    """One model server, and the idle connections to it, last used first."""

    def __init__(
        self,
        url: str,
        loop: asyncio.AbstractEventLoop,
        dialer: Dialer,
        room: Room,
        *,
        named: bool = True,
    ) -> None:
        """``named``: it is asked under its own name. The server of the pod hears the one that the
        client called, unless TLS or a proxy leaves it no choice.

        Raises ValueError for a URL that can't be understood.
        """
        try:
            base = BaseUrl.read(url)
        except ValueError as error:
            raise ValueError(f"upstream {error}, was: {url!r}") from error
        proxy = dialer.proxy_for(base)
        self.authority = base.authority.encode()
        self.named = named or base.tls or proxy is not None
        self.proxy_line = b""
        """Header line for the proxy that reads our requests; empty: none does."""
        self._prefix = base.path.encode()
        self._has_version = _VERSION.search(self._prefix) is not None
        if proxy is not None and not base.tls:
            self._prefix = b"http://%b%b" % (self.authority, self._prefix)
            if proxy.authorization:
                self.proxy_line = b"proxy-authorization: " + proxy.authorization
        self._base = base
        self._proxy = proxy
        self._dialer = dialer
        self._loop = loop
        self.room = room
        self.tls_bytes = 0
        """What TLS holds for each connection, beside the flat share."""
        if base.tls or (proxy is not None and proxy.tls):
            self.tls_bytes = TLS_BYTES
            dialer.prepare(loop)
        self.unasked = Unasked()
        self._idle: list[UpstreamConnection] = []
        self._connecting: set[asyncio.Task[None]] = set()

    def target_of(self, target: bytes) -> bytes:
        """What is asked for here where a client asked for ``target``.

        The upstream's path goes before it; where that names a version of its own
        (``/openai/v1``, ``/v1beta/openai``, ``/api/v4``), in place of the client's ``/v1``, as
        the base URL of a client would.
        """
        if not self._prefix:
            return target
        if self._has_version and target[:3] == b"/v1" and target[3:4] in _ENDS_SEGMENT:
            target = target[3:]
        return self._prefix + target

    def serve(self, exchange: "Exchange", *, fresh: bool = False) -> None:
        """Send the exchange's request on an idle connection, or on a new one."""
        while self._idle and not fresh:
            connection = self._idle.pop()
            if connection.usable:
                connection.reused = True
                connection.send(exchange)
                return
        exchange.connecting = self._loop.create_task(self._connect(exchange))
        self._connecting.add(exchange.connecting)
        exchange.connecting.add_done_callback(self._connecting.discard)

    async def _connect(self, exchange: "Exchange") -> None:
        make: Callable[[], UpstreamConnection] = partial(UpstreamConnection, self)
        try:
            connection = await self._dialer.connect(make, self._base, self._proxy)
        except OutOfDescriptorsError:
            exchange.connecting = None
            why = "This sidecar has no file descriptor left to ask the model server with."
            exchange.overloaded(Scarce.DESCRIPTORS, why)
            return
        except UnreachableError as error:
            exchange.connecting = None
            exchange.fail(Refusal.CONNECT, f"can't be reached: {error}")
            return
        exchange.connecting = None
        if exchange.over:
            self.keep(connection)
        elif not connection.usable:  # nobody would hear of its end any more
            exchange.fail(Refusal.RESET, "closed the connection without an answer")
        else:
            connection.send(exchange)

    def keep(self, connection: "UpstreamConnection") -> None:
        """Take back a connection that is between two exchanges."""
        if len(self._idle) < MAX_IDLE:
            connection.idle_since = None
            self._idle.append(connection)
        else:
            connection.close()

    def sweep(self, now: float) -> bool:
        """Close what was idle too long; whether anything is left."""
        kept = []
        for connection in self._idle:
            if connection.idle_since is None:
                connection.idle_since = now
            if connection.usable and now - connection.idle_since <= IDLE_S:
                kept.append(connection)
            else:
                connection.close()
        self._idle = kept
        return bool(kept or self._connecting)

    def close(self) -> None:
        """Close the idle connections; the others end with their exchanges."""
        for connection in self._idle:
            connection.close()
        self._idle = []


class UpstreamConnection:
    """An asyncio protocol: one connection to a model server."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.reused = False
        self.stalled = False
        """The model server does not read as fast as the request comes."""
        self.idle_since: float | None = None
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._head: ResponseHead | None = None
        self._body: Body | None = None
        # Told at once: a head that never ends would only be noticed by its time-out.
        self._reader = HeadReader(ANSWER_START)
        self._heard = False
        self._streamed = False
        self._paused = False
        self._closed = False
        self._held_bytes = 0

    @property
    def usable(self) -> bool:
        transport = self._transport
        return not self._closed and transport is not None and not transport.is_closing()

    @property
    def unsent(self) -> int:
        """Bytes of the request that the model server has not taken, while it is behind."""
        transport = self._transport
        return transport.get_write_buffer_size() if self.stalled and transport is not None else 0

    # for the exchange

    def send(self, exchange: "Exchange") -> None:
        """Send the exchange's request; it hears from us until its answer is over."""
        self._exchange = exchange
        self._head = None
        self._body = None
        self._heard = False
        exchange.connection = self
        transport = self._transport
        assert transport is not None
        if exchange.patience.waits_for_first and not self._streamed:
            self._streamed = True
            keep_unread(transport, STREAM_UNREAD_BYTES)
        transport.writelines(exchange.wire)  # in one system call, however many they are
        if exchange.client.stalled:
            self.pause(exchange)
        if not exchange.received:
            exchange.wire = []
            if not self.stalled:
                exchange.client.go_on()

    def write(self, data: bytes) -> None:
        """Send more of the request's body."""
        if self._transport is not None:
            self._transport.write(data)

    def pause(self, exchange: "Exchange") -> None:
        """Stop reading the exchange's answer: its client does not keep up. Once the answer is
        over, that is no matter of this connection any more: others may be served on it."""
        mine = self._exchange is exchange and not self._paused
        if mine and self._transport is not None and self.usable:
            self._paused = True
            self._transport.pause_reading()

    def resume(self, exchange: "Exchange") -> None:
        """Read on."""
        if self._exchange is exchange:
            self._read_on()

    def _read_on(self) -> None:
        if self._paused and self._transport is not None and self.usable:
            self._paused = False
            self._transport.resume_reading()

    def drop(self, exchange: "Exchange") -> None:
        """Give up the exchange's call, unless it is over and the connection serves another."""
        if self._exchange is exchange:
            self.abort()

    def abort(self) -> None:
        """Drop the connection at once, whatever is on it; nobody hears of it."""
        self._exchange = None
        self._closed = True
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        self._closed = True
        if self._transport is not None:
            self._transport.close()

    # for the event loop

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        keep_unread(transport, UNREAD_BYTES)
        self._held_bytes = self.upstream.tls_bytes
        self.upstream.room.held += self._held_bytes

    def pause_writing(self) -> None:
        self.stalled = True
        exchange = self._exchange
        if exchange is not None and not exchange.received:
            exchange.client.hold()
            exchange.client.recount()

    def resume_writing(self) -> None:
        self.stalled = False
        exchange = self._exchange
        if exchange is not None:
            exchange.client.go_on()
            exchange.client.recount()

    def eof_received(self) -> bool:
        transport = self._transport
        if transport is not None and transport.get_write_buffer_size():
            transport.abort()  # closed, it would wait until what nobody reads is sent
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._left()  # told of it, too, where a handshake within a proxy's tunnel has failed
        if error is not None and self._exchange is not None and self._transport is not None:
            # Who answers a request that is still being sent, and closes, breaks off our writing.
            words = last_words(self._transport)
            if words:
                self.data_received(words)
        exchange = self._exchange
        self._exchange = None
        if exchange is None:
            return
        body = self._body
        if body is None:
            if self.reused and not self._heard:
                exchange.retry()
            elif self._reader.empty:
                exchange.fail(Refusal.RESET, "closed the connection without an answer")
            else:
                exchange.fail(Refusal.PROTOCOL, "closed the connection inside its answer's head")
        elif body.mode == UNTIL_CLOSE and error is None:
            body.done = True
            exchange.on_piece(b"", b"", body)
        else:
            exchange.fail(Refusal.RESET, "closed the connection in the middle of its answer")

    def _left(self) -> None:
        self._closed = True
        self.upstream.room.held -= self._held_bytes
        self._held_bytes = 0

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            self.abort()
            return
        self._heard = True
        try:
            body = self._body
            if body is None:
                self._read_head(exchange, data)
                return
            piece = body.feed(data)
        except BadMessageError as fault:
            self.abort()
            exchange.fail(Refusal.PROTOCOL, f"answered what is no HTTP: {fault.reason}")
            return
        if body.done:
            self._release(exchange, body)
        exchange.on_piece(piece, data, body)

    def _read_head(self, exchange: "Exchange", data: bytes) -> None:
        head = self._next_head(data)
        while head is not None and head.status < 200:
            if head.status == 101:
                self._switch(exchange, head)
                return
            exchange.on_interim(head)
            head = self._next_head(self._reader.rest) if self._reader.rest else None
        if head is None:
            return
        rest = self._reader.rest
        body = response_body(head, exchange.request.method)
        self._head = head
        self._body = body
        exchange.on_head(head, body)
        piece = body.feed(rest) if rest else b""
        if body.done:
            self._release(exchange, body)
        if rest or body.done:
            exchange.on_piece(piece, rest, body)
        else:
            exchange.flush_head()

    def _switch(self, exchange: "Exchange", head: ResponseHead) -> None:
        transport = self._transport
        assert transport is not None
        if not (exchange.upgrades and exchange.received and head.upgrade):
            raise BadMessageError(502, "it switches protocols unasked")
        exchange.on_switch(head, transport, self._reader.rest, self._left)

    def _next_head(self, data: bytes) -> ResponseHead | None:
        block = self._reader.feed(data)
        return None if block is None else h1.parse_response(block)

    def _release(self, exchange: "Exchange", body: Body) -> None:
        """The answer is over: keep the connection, if it can serve another."""
        self._exchange = None
        head = self._head
        transport = self._transport
        if not exchange.received or transport is None or transport.get_write_buffer_size():
            self.abort()  # what it was still to be told is of no use any more
        elif head is None or not head.keep_alive or self._closed or body.rest:
            self.close()
        elif is_bodiless(head, exchange.request.method) and tells_of_body(head):
            self.close()  # some servers send one all the same, late: it would be the next answer
        else:
            if self._paused:
                self._read_on()  # or it would not hear the server close
            self.upstream.keep(self)
