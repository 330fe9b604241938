"""Clients' connections.

Law: what a client sends is bounded in size and in time, and read strictly; pipelined requests wait
their turn unread past a bound, and a body that goes on as it comes is read as fast as the model
server takes it. A client that closes its side has left, whether it would still read or not: so it
is with uvicorn, nginx and Envoy, and nothing else tells us early that nobody waits for an answer.
"""

import asyncio
import io
from typing import TYPE_CHECKING, Final

from tidegate_sidecar import h1
from tidegate_sidecar.answers import error_answer
from tidegate_sidecar.body import CHUNKED, Body, request_body
from tidegate_sidecar.dialect.paths import OTHER, dialect_of, dialect_of_upgrade
from tidegate_sidecar.dialect.shape import Dialect
from tidegate_sidecar.exchange import RETRY_AFTER_S, Exchange
from tidegate_sidecar.h1 import BadMessageError, RequestHead
from tidegate_sidecar.headreader import HeadReader
from tidegate_sidecar.onward import as_chunks, may_upgrade
from tidegate_sidecar.pace import RULE, Doing, Pace, Verdict
from tidegate_sidecar.room import CONNECTION_BYTES, SMALL_BYTES, UNREAD_BYTES, Scarce
from tidegate_sidecar.sockets import has_left, keep_little_unsent, reset
from tidegate_sidecar.tenant import tenant_of
from tidegate_sidecar.ways import Way
from tidegate_wire.names import Outcome, Refusal

if TYPE_CHECKING:
    from tidegate_sidecar.proxy import Proxy

MAX_PIPELINED_BYTES: Final = 65536
QUIET_REAL_S: Final = 1.0
"""How long a kept connection of a leaving sidecar stays open past its last answer: the time in
which a client that goes on at once sends its next request. Real seconds: it is the network."""
LINGER_REAL_S: Final = 2.0
"""How long a client that is answered before it has sent all may be silent before it is cut off:
closed at once, the connection would be reset and the answer lost. Real seconds, as the next: it is
the network that is waited for."""
LONGEST_LINGER_REAL_S: Final = 30.0
"""How long it may go on sending: as with nginx (lingering_time)."""
HANG_UP_LOOK_REAL_S: Final = 0.05
"""Between two looks whether the client of a paused connection has left. Real seconds."""


class ClientConnection:
    """An asyncio protocol: one client's connection."""

    __slots__ = (
        "_body",
        "_dialect",
        "_exchange",
        "_gathered",
        "_head",
        "_keeps_little",
        "_looking",
        "_pace",
        "_pending",
        "_quiet_since",
        "_reader",
        "_refused",
        "_served",
        "_transport",
        "counted",
        "held",
        "proxy",
        "stalled",
        "way",
    )

    def __init__(self, proxy: "Proxy", way: Way) -> None:
        self.proxy = proxy
        self.way = way
        self.stalled = False
        """The client does not read as fast as its answer comes."""
        self.held = False
        """We do not read what the client sends."""
        self.counted = 0
        """Bytes that lie here beside the flat share, as the room has them in its books."""
        self._looking = False
        self._transport: asyncio.Transport | None = None
        self._reader = HeadReader()
        self._head: RequestHead | None = None
        self._dialect: Dialect = OTHER
        self._body: Body | None = None
        """Of the request that is being read, in or without an exchange."""
        self._gathered: io.BytesIO | None = None
        """Of a body that is read here and comes in pieces."""
        self._pending = b""
        self._quiet_since = 0.0
        """By the loop's time, the end of the last answer; kept only by a leaving sidecar."""
        self._exchange: Exchange | None = None
        self._refused = False
        self._served = False
        self._keeps_little = False
        self._pace = Pace()

    # for the event loop

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        transport.set_write_buffer_limits(high=UNREAD_BYTES)
        self.proxy.clients.add(self)
        self.proxy.room.held += CONNECTION_BYTES

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self.proxy.clients.discard(self)
        self.proxy.room.held -= CONNECTION_BYTES + self.counted
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.cancel()

    def eof_received(self) -> bool:
        if self._exchange is not None:
            self.cut()
        return False

    def pause_writing(self) -> None:
        self.stalled = True
        self.recount()
        exchange = self._exchange
        if exchange is not None and exchange.connection is not None:
            exchange.connection.pause(exchange)

    def resume_writing(self) -> None:
        self.stalled = False
        self.recount()
        exchange = self._exchange
        if exchange is not None and exchange.connection is not None:
            exchange.connection.resume(exchange)

    def data_received(self, data: bytes) -> None:
        self._pace.moved = True
        if self._refused:
            return
        exchange = self._exchange
        if exchange is None and not self._pending:
            self._take(data)
        elif exchange is not None and self._body is not None:
            self._pass_on(exchange, self._body, data)
        else:
            self._pending += data
            self.recount()
            if len(self._pending) > MAX_PIPELINED_BYTES:
                self.hold()

    # the request

    def _take(self, data: bytes) -> None:
        try:
            self._read(data)
        except BadMessageError as fault:
            self._reject(fault.status, Refusal.BAD_REQUEST, f"Bad request: {fault.reason}.")

    def _read(self, data: bytes) -> None:
        body = self._body
        if body is None:
            block = self._reader.feed(data)
            if block is None:
                self._make_room()
                return
            head = self._head = h1.parse_request(block)
            data = self._reader.rest
            body = self._body = request_body(head)
            self._dialect = dialect_of(head.method, head.target)
            if self._dialect is OTHER and head.upgrade and may_upgrade(head):
                self._dialect = dialect_of_upgrade(head.target)
            if self.proxy.room.full:
                self._reject_full()
                return
            if not self._dialect.read:
                self._begin_with(head, body, data)
                return
            if not body.done and not self._may_send(head, body, bool(data)):
                return
        piece = body.feed(data) if data else b""
        if piece and self._gathered is None and not body.done:
            # Not a bytearray: grown to 1 MB and made bytes it takes half a millisecond, this 0.02.
            self._gathered = io.BytesIO()
        gathered = self._gathered
        if gathered is not None:
            gathered.write(piece)
        size = len(piece) if gathered is None else gathered.tell()
        if size > self.proxy.config.max_request_bytes:
            self._reject_size()
        elif body.done:
            self._begin(piece if gathered is None else gathered.getvalue(), body)
        else:
            self._make_room()

    @property
    def _gathered_bytes(self) -> int:
        return 0 if self._gathered is None else self._gathered.tell()

    def _may_send(self, head: RequestHead, body: Body, sends: bool) -> bool:
        """Whether the client may send a body that is read here; tells it so if it asked."""
        if head.content_length > self.proxy.config.max_request_bytes:
            self._reject_size()
            return False
        if head.expect == b"100-continue" and head.http11 and not sends:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def _begin_with(self, head: RequestHead, body: Body, data: bytes) -> None:
        """Begin on a request whose body goes on as it comes."""
        piece = body.feed(data) if data else b""
        if body.mode == CHUNKED:
            piece = as_chunks(piece, data, body)
        if not body.done:
            self.hold()
        self._begin(piece, body)

    def _begin(self, payload: bytes, body: Body) -> None:
        head = self._head
        assert head is not None
        if body.done:
            self._received(body)
        self._gathered = None
        self._served = True
        self._exchange = Exchange(self, head, self._dialect, payload, received=body.done)
        self._exchange.begin()
        if self.counted or len(payload) > SMALL_BYTES:
            self.recount()

    def _pass_on(self, exchange: Exchange, body: Body, data: bytes) -> None:
        try:
            piece = body.feed(data)
        except BadMessageError as fault:
            exchange.refuse(fault)
            return
        if body.done:
            self._received(body)
        self._pace.passed_on += len(data)
        exchange.on_body(piece, data, body)

    def _received(self, body: Body) -> None:
        self._pending = body.rest
        self._head = None
        self._body = None
        self._pace.received()

    def _reject_size(self) -> None:
        limit = self.proxy.config.max_request_bytes
        message = f"The request body must be at most {limit} bytes."
        self._reject(413, Refusal.TOO_LARGE, message)

    def _make_room(self) -> None:
        """Count what has come of a request; refuse it if that is too much with all the others."""
        self.recount()
        if self.proxy.room.full:
            self._reject_full()

    def _reject_full(self) -> None:
        self.proxy.short_of(Scarce.MEMORY)
        self._reject(503, Refusal.OVERLOADED, self.proxy.room.says())

    def _reject(self, status: int, code: Refusal, message: str) -> None:
        """Refuse what can't be served and close: where the next request begins is unknown."""
        self._refused = True
        self._gathered = None
        self._reader = HeadReader()
        self.recount()
        head = self._head
        tenant = "" if head is None else tenant_of(self.proxy.config, head)
        overloaded = code is Refusal.OVERLOADED
        outcome = Outcome.BLOCKED if overloaded else Outcome.CLIENT_ERROR
        self.proxy.meter.refused(code, tenant, outcome)
        dialect = OTHER if head is None else self._dialect
        body = dialect.error_body(status, message, code)
        retry_after_s = RETRY_AFTER_S if overloaded else None
        self.write(error_answer(status, body, keep_alive=False, retry_after_s=retry_after_s))
        self._linger()

    def _linger(self) -> None:
        """Close, but read and drop for a while what still comes (RFC 9112, 9.6): closed with
        something unread, the connection is reset, and the client may lose its answer."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.write_eof()
            self._read_again()
            self._pace.moved = True
            self._linger_on(self.proxy.loop.time() + LONGEST_LINGER_REAL_S)

    def _linger_on(self, until: float) -> None:
        if self._pace.moved and self._transport is not None and self.proxy.loop.time() < until:
            self._pace.moved = False
            self.proxy.loop.call_later(LINGER_REAL_S, self._linger_on, until)
        else:
            self.cut()

    # the answer, for the exchange

    def write(self, data: bytes) -> None:
        """Send bytes, if the client is still there."""
        if self._transport is not None:
            self._transport.write(data)

    def leave_http(self) -> tuple[asyncio.Transport | None, bytes]:
        """Give the connection to a tunnel; with it what has come of the other protocol. We stay
        its owner until it is lost."""
        early, self._pending = self._pending, b""
        self.held = False
        return self._transport, early

    def answer(self, data: bytes, *, keep: bool) -> None:
        """Send a whole answer."""
        self.write(data)
        self.finished(keep=keep)

    def finished(self, *, keep: bool) -> None:
        """The answer is written: go on with the next request, or close."""
        self._exchange = None
        transport = self._transport
        if transport is None:
            return
        if self.counted:
            self.recount()
        if not keep:
            self._refused = True
            if self._body is None:
                transport.close()
            else:
                self._linger()
            return
        if self.proxy.draining:
            self._quiet_since = self.proxy.loop.time()
        if self._pending:
            # Not from here: a long row of pipelined requests would nest as deep.
            self.proxy.loop.call_soon(self._read_on)

    def cut(self, *, flush: bool = False) -> None:
        """End the connection in the middle of an answer; ``flush``: after what is written.

        Without, it is reset: to a client that reads until the end, a closed connection is one.
        """
        exchange, self._exchange = self._exchange, None
        self._refused = True
        if self._transport is not None:
            if flush:
                self._transport.close()
            else:
                reset(self._transport)
        if exchange is not None:
            exchange.cancel()

    def _read_on(self) -> None:
        data, self._pending = self._pending, b""
        if self._transport is None or self._refused:
            return
        self._read_again()
        self._take(data)

    # memory and backpressure

    def keep_little(self) -> None:
        """From now on have the kernel take little of an answer that is not read."""
        if not self._keeps_little and self._transport is not None:
            self._keeps_little = True
            keep_little_unsent(self._transport)

    def recount(self) -> None:
        """Tell the room what lies here now; not called while that is little."""
        transport = self._transport
        if transport is None:
            return
        counted = self._reader.waiting + self._gathered_bytes + len(self._pending)
        if self._exchange is not None:
            counted += self._exchange.waiting
        if self.stalled:
            counted += transport.get_write_buffer_size()
        self.proxy.room.held += counted - self.counted
        self.counted = counted

    def hold(self) -> None:
        """Read no more of what the client sends."""
        if not self.held and self._transport is not None:
            self.held = True
            self._transport.pause_reading()
            if not self._looking:
                self._looking = True
                self.proxy.loop.call_later(HANG_UP_LOOK_REAL_S, self._look)

    def go_on(self) -> None:
        """Read on, unless too much waits here already."""
        if len(self._pending) <= MAX_PIPELINED_BYTES:
            self._read_again()

    def _read_again(self) -> None:
        if self.held and self._transport is not None:
            self.held = False
            self._transport.resume_reading()

    def _look(self) -> None:
        """A connection that is not read from hears of nothing; so look whether its client is
        there."""
        self._looking = self.held and self._transport is not None
        if not self._looking or self._transport is None:
            return
        if has_left(self._transport):
            self.cut()
        else:
            self.proxy.loop.call_later(HANG_UP_LOOK_REAL_S, self._look)

    # for the proxy

    @property
    def idle(self) -> bool:
        """No request is on the connection, nor a part of one."""
        reading = self._body is not None or not self._reader.empty or bool(self._pending)
        return self._exchange is None and not reading and not self._refused

    def spare(self, now: float) -> bool:
        """Idle, and not one whose client has come and is about to ask: closed then, a connection
        leaves its client with an error, and not with a reason to try again."""
        return self.idle and (self._served or not self._pace.has_just_moved(now))

    @property
    def used_at(self) -> float:
        """When it was last seen in use, for comparing."""
        return self._pace.used_at

    def close(self) -> None:
        """Close an idle connection; its client may just be sending, and has to try again."""
        self._refused = True
        if self._transport is not None:
            self._transport.close()

    def close_if_quiet(self, since: float) -> None:
        """Close a kept connection on which nothing has gone on since then; one that was never used
        may be just about to be, and its client would not try again."""
        if self._served and self.idle and self._quiet_since <= since:
            self.close()

    def check(self, now: float) -> None:
        """Close what has stood still too long, or sends too slowly."""
        verdict = self._pace.look(now, self._doing(), self._gathered_bytes)
        if verdict is Verdict.GONE:
            self.cut()
        elif verdict is Verdict.TOO_SLOW and self._exchange is None:
            self._reject(408, Refusal.TOO_SLOW, f"Bad request: {RULE}.")
        elif verdict is Verdict.TOO_SLOW and self._exchange is not None:
            self._exchange.refuse(BadMessageError(408, RULE), Refusal.TOO_SLOW)

    def _doing(self) -> Doing:
        if self._refused or (self._transport is not None and self._transport.is_closing()):
            return Doing.CLOSING
        if self._exchange is not None and (self._body is None or self.held):
            return Doing.ANSWERING
        reading = self._body is not None or not self._reader.empty
        return Doing.READING if reading else Doing.WAITING
