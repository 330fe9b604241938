"""One request and its answer: admission, the call of the model server, time-outs, the end.

Law: bytes leave as they came, one write for each read; only the body of a request that has to be
read is ever held whole. An exchange ends once, with one outcome. A call is repeated only if a
pooled connection was closed before it answered a byte, or as its client wrote it if what we added
may have been refused; two answers are never mixed. What a client can't tell from a whole answer is
never the end of a broken one.
"""

from typing import TYPE_CHECKING, Final

from tidegate_sidecar.admit import Blocked, Route, admit
from tidegate_sidecar.answers import error_answer
from tidegate_sidecar.body import CHUNKED, LENGTH, UNTIL_CLOSE, Body, is_bodiless
from tidegate_sidecar.dialect.paths import model_in_path, with_model_in_path
from tidegate_sidecar.dialect.schema import Call
from tidegate_sidecar.dialect.shape import Dialect, parse_call
from tidegate_sidecar.dialect.usage import request_tokens
from tidegate_sidecar.h1 import BadMessageError, RequestHead, ResponseHead
from tidegate_sidecar.measure import Measurement
from tidegate_sidecar.onward import (
    answer_lines,
    as_chunks,
    may_upgrade,
    request_head,
    switch_head,
)
from tidegate_sidecar.patience import Patience
from tidegate_sidecar.room import LONG_BYTES, Scarce
from tidegate_sidecar.tenant import tenant_of
from tidegate_sidecar.tunnel import Tunnel
from tidegate_sidecar.unasked import REFUSALS, HeldAnswer
from tidegate_wire.names import Outcome, Refusal

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from tidegate_sidecar.client import ClientConnection
    from tidegate_sidecar.proxy import Proxy
    from tidegate_sidecar.upstream import Upstream, UpstreamConnection

ONE_WRITE_BYTES: Final = 32768
"""Up to here head and body are joined; larger ones are written from where they lie."""

_FAILED: Final = {
    Refusal.CONNECT: Outcome.CONNECT_ERROR,
    Refusal.RESET: Outcome.RESET,
    Refusal.PROTOCOL: Outcome.PROTOCOL_ERROR,
    Refusal.TIMEOUT: Outcome.TIMEOUT,
}
RETRY_AFTER_S: Final = 1
"""What a client is told that finds no room. It is a matter of moments: either requests end, or so
many come that the next try is best made elsewhere."""
_NO_ROUTE: Final = Route("", None)


class Exchange:
    """Joins a client's connection and an upstream's for one request."""

    __slots__ = (
        "_again",
        "_call",
        "_dialect",
        "_framing",
        "_head_out",
        "_held",
        "_keep",
        "_measurement",
        "_payload",
        "_proxy",
        "_retried",
        "_route",
        "_status",
        "_take_usage",
        "_tunnel",
        "_upstream",
        "client",
        "connecting",
        "connection",
        "over",
        "patience",
        "received",
        "request",
        "upgrades",
        "wire",
    )

    def __init__(
        self,
        client: "ClientConnection",
        request: RequestHead,
        dialect: Dialect,
        payload: bytes,
        *,
        received: bool,
    ) -> None:
        """``payload``: the request's body, or what has come of one that goes on as it comes."""
        proxy = client.proxy
        self.client = client
        self.request = request
        self.patience = Patience(proxy.config.timeouts, proxy.clock.monotonic())
        self.over = False
        self.received = received
        """The request has come whole."""
        self.upgrades = False
        """The upstream may switch protocols."""
        self.wire: list[bytes] = []
        """The request as it goes to the upstream, until that is sent."""
        self.connection: UpstreamConnection | None = None
        self.connecting: asyncio.Task[None] | None = None
        self._proxy: Proxy = proxy
        self._payload = payload
        self._upstream: Upstream | None = None
        self._dialect = dialect
        self._call: Call | None = None
        self._take_usage = False
        self._route = _NO_ROUTE
        self._again = False
        """The request goes out once more, as its client wrote it."""
        self._retried = False
        self._status = 0
        self._head_out = b""
        self._held: HeldAnswer | None = None
        self._framing = LENGTH
        """How the answer's body goes to the client."""
        self._keep = request.keep_alive
        self._tunnel: Tunnel | None = None

    # the request

    def begin(self) -> None:
        """Decide on the request and send it off, or refuse it."""
        proxy = self._proxy
        request = self.request
        dialect = self._dialect
        if dialect.read:
            self._call = parse_call(self._payload)
        self._measurement = Measurement(proxy.meter, dialect, request_tokens(self._payload))
        route = _NO_ROUTE
        if dialect.asks_model:
            tenant = tenant_of(proxy.config, request)
            named = "" if self._call is None else self._call.model
            asked = model_in_path(request.target) or named
            verdict = admit(
                proxy.config, tenant, asked, proxy.clock.unix(self.patience.started), proxy.turn
            )
            if isinstance(verdict, Blocked):
                proxy.meter.blocked(verdict.model, tenant, verdict.code)
                self._refuse(verdict)
                return
            route = verdict
            proxy.turn += route.took_turn
            self._measurement.arrived(route, tenant)
        proxy.live.add(self)
        url = route.upstream or self.client.way.url_for(request)
        self._upstream = proxy.upstream_for(url)
        self._route = route
        self._build()
        # What is still on its way can't be sent twice, so it gets no connection that may be stale.
        self._upstream.serve(self, fresh=not self.received)

    def _refuse(self, verdict: Blocked) -> None:
        self.over = True
        answer = error_answer(
            429,
            self._dialect.error_body(429, verdict.message, verdict.code),
            keep_alive=self._stays(),
            retry_after_s=verdict.retry_after_s,
        )
        self.client.answer(answer, keep=self._keep)

    def _build(self) -> None:
        request = self.request
        route = self._route
        call = self._call
        body = self._payload
        upstream = self._upstream
        assert upstream is not None
        if call is not None:
            dialect = self._dialect
            if dialect.streamed and call.stream:
                self.patience.waits_for_first = True
                asks = not self._again and upstream.unasked.asks(route.model)
                self._take_usage = asks and dialect.must_ask_usage(call)
            if self._take_usage or route.rewrite is not None:
                body = dialect.rewrite(body, call, route.rewrite, self._take_usage)
        target = request.target
        if route.rewrite is not None:
            target = with_model_in_path(target, route.rewrite)
        if request.host is None or upstream.named:
            request.route_to(upstream.authority)
        # What is read stays HTTP: in another protocol nobody could.
        self.upgrades = not self._dialect.read and may_upgrade(request)
        head = request_head(
            request,
            upstream.target_of(target),
            length=len(body) if self._dialect.read else -1,
            reads_answer=call is not None and self._dialect.charged,
            upgrades=self.upgrades,
            for_proxy=upstream.proxy_line,
        )
        if not self._take_usage:
            self._payload = b""
        self.wire = [head + body] if len(body) <= ONE_WRITE_BYTES else [head, body]

    def on_body(self, piece: bytes, wire: bytes, body: Body) -> None:
        """More came of a request's body that goes on as it comes; arguments as in ``on_piece``."""
        self.patience.moved = True
        self.received = body.done
        out = as_chunks(piece, wire, body) if body.mode == CHUNKED else piece
        if self.connection is not None:
            self.connection.write(out)
        else:
            self.wire.append(out)

    def retry(self) -> None:
        """A pooled connection was closed before it answered a byte: servers do so in idle time."""
        self.connection = None
        if self.over:
            return
        if self._retried or self._upstream is None:
            self.fail(Refusal.RESET, "closed the connection without an answer")
            return
        self._retried = True
        self.patience.moved = True
        self._upstream.serve(self, fresh=True)

    def _go_again(self) -> None:
        """The answer refuses what we added: the request goes out as its client wrote it."""
        self.connection = None
        self._again = True
        self._held = None
        self._head_out = b""
        self._framing = LENGTH
        self._keep = self.request.keep_alive
        self._build()
        if self._upstream is not None:
            self._upstream.serve(self)

    # the answer

    def on_interim(self, head: ResponseHead) -> None:
        """An informational answer: passed on, but for a 100 where the body has come already."""
        if self.request.http11 and (head.status != 100 or not self._dialect.read):
            self.client.write(b"\r\n".join([head.line, *head.forward, b"", b""]))

    def on_switch(
        self,
        head: ResponseHead,
        upstream: "asyncio.Transport",
        rest: bytes,
        upstream_lost: "Callable[[], None]",
    ) -> None:
        """The upstream goes on in another protocol; ``rest`` is of that already. ``upstream_lost``
        wants to hear of its end."""
        self.wire = []
        self._status = head.status
        client, early = self.client.leave_http()
        if client is None:
            self.cancel()
            return
        client.write(switch_head(head))
        self._tunnel = Tunnel(self, client, upstream, upstream_lost)
        self._tunnel.open(early, rest)

    def end_tunnel(self, outcome: Outcome) -> None:
        """The tunnel has ended, or one of its ends is gone."""
        if not self.over:
            self._settle(outcome)

    def on_head(self, head: ResponseHead, body: Body) -> None:
        """The answer begins."""
        self.patience.moved = True
        self.wire = []  # up to the cap on bodies in size, and not sent again from here on
        if self._take_usage and head.status in REFUSALS:
            self._held = HeldAnswer(head.status)
        else:
            self._status = head.status
            self._payload = b""
        if self.client.counted:
            self.client.recount()
        if (self._take_usage or self._again) and head.status == 200 and self._upstream is not None:
            self._upstream.unasked.answered(self._route.model, plain=self._again)
        if body.mode != LENGTH or body.left > LONG_BYTES:
            self.client.keep_little()
        if not self._measurement.answered(head, self._take_usage):
            self.patience.waits_for_first = False
        bodiless = is_bodiless(head, self.request.method)
        if not bodiless and (body.mode != LENGTH or self._measurement.filter is not None):
            self._framing = CHUNKED if self.request.http11 else UNTIL_CLOSE
        lines = answer_lines(head, body, self._framing, bodiless=bodiless)
        if not self._stays():
            lines.append(b"connection: close")
        elif not self.request.http11:
            lines.append(b"connection: keep-alive")
        lines.append(b"\r\n")
        self._head_out = b"\r\n".join(lines)

    def _stays(self) -> bool:
        """Whether the client's connection outlives this answer; not one to half a request, since
        it is unknown whether the rest will come (RFC 9110, 10.1.1)."""
        busy = self._framing == UNTIL_CLOSE or not self.received
        self._keep = self._keep and not (busy or self._proxy.draining)
        return self._keep

    def flush_head(self) -> None:
        """Nothing of the body came with the head: send the head alone."""
        if self._held is not None:
            return
        head, self._head_out = self._head_out, b""
        self.client.write(head)

    def on_piece(self, piece: bytes, wire: bytes, body: Body) -> None:
        """Bytes of the answer's body came; ``wire`` is the same as it was framed."""
        self.patience.moved = True
        if self._held is not None:
            whole = self._held.feed(piece, last=body.done)
            if whole is None:
                if self._held.refuses:
                    self._go_again()
                return
            self._status = self._held.status
            self._held = None
            piece, wire = whole, b"%x\r\n%b\r\n" % (len(whole), whole)
        measurement = self._measurement
        if piece:
            measurement.feed(piece)
            if measurement.first_seen and self.patience.first_at is None:
                self.patience.output_began(self._proxy.clock.monotonic())
        if body.done:
            self._finish(piece, wire, body)
            return
        out = self._framed(piece, wire, body)
        if self._head_out:
            out = self._head_out + out
            self._head_out = b""
        if out:
            self.client.write(out)

    def _framed(self, piece: bytes, wire: bytes, body: Body) -> bytes:
        if self._measurement.filter is not None:
            piece = self._measurement.pass_on(piece, body.done)
        elif body.whole and self._framing == CHUNKED and not body.done:
            return wire
        if self._framing == CHUNKED and piece:
            return b"%x\r\n%b\r\n" % (len(piece), piece)
        return piece

    def _finish(self, piece: bytes, wire: bytes, body: Body) -> None:
        outcome = _told_by(self._status) or self._measurement.finish()
        out = self._head_out + self._framed(piece, wire, body)
        self._head_out = b""
        broken = outcome is Outcome.BROKEN
        if self._framing == CHUNKED and not broken:
            out += b"0\r\n%b\r\n" % body.trailers
        if broken and self._framing != CHUNKED:
            out = out[:-1]  # one byte short of its length, the answer can't be taken for whole
        if out:
            self.client.write(out)
        self._settle(outcome)
        if broken:
            self.client.cut(flush=self._framing != UNTIL_CLOSE)
        else:
            # As its head has promised: a client that reads the last byte may send the next request
            # in the same moment, and would meet a closed connection.
            self.client.finished(keep=self._keep)

    @property
    def waiting(self) -> int:
        """Bytes that lie here: of a request that is not with the upstream yet, or of an answer
        that its usage is read from."""
        size = self._measurement.kept + len(self._payload)
        for part in self.wire:
            size += len(part)
        if self.connection is not None and not self.received:
            size += self.connection.unsent
        return size

    # the end

    def fail(self, code: Refusal, why: str, status: int = 502) -> None:
        """The upstream failed; the client is still there. ``why`` completes "The model server"."""
        if self.over:
            return
        outcome = _FAILED[code]
        if self._measurement.reads_stream and code is not Refusal.TIMEOUT:
            # Cut after its last word, a stream has lost nothing but its framing.
            outcome = self._measurement.finish()
            outcome = Outcome.BROKEN if outcome is not Outcome.OK else outcome
        self._end(outcome, status, code, f"The model server {why}.")

    def refuse(self, fault: BadMessageError, code: Refusal = Refusal.BAD_REQUEST) -> None:
        """The client sends a body that can't be read on."""
        self._detach()
        message = f"Bad request: {fault.reason}."
        self._proxy.meter.turned_away(code)
        self._end(Outcome.CLIENT_ERROR, fault.status, code, message)

    def _end(self, outcome: Outcome, status: int, code: Refusal, message: str) -> None:
        """End without the upstream's answer: with our own, or where that has begun with a cut."""
        unanswered = self._status == 0 or bool(self._head_out)
        self._settle(outcome)
        if not unanswered:
            self.client.cut(flush=self._framing != UNTIL_CLOSE)
            return
        answer = error_answer(
            status,
            self._dialect.error_body(status, message, code),
            keep_alive=self._stays(),
            retry_after_s=RETRY_AFTER_S if code is Refusal.OVERLOADED else None,
            bodiless=self.request.method == b"HEAD",
        )
        self.client.answer(answer, keep=self._keep)

    def overloaded(self, short_of: Scarce, why: str) -> None:
        """We have run out of something, and no model server is to blame."""
        self._proxy.short_of(short_of)
        if not self.over:
            self._proxy.meter.turned_away(Refusal.OVERLOADED)
            self._end(Outcome.BLOCKED, 503, Refusal.OVERLOADED, why)

    def cancel(self) -> None:
        """The client went away: so does the call."""
        if not self.over:
            self._detach()
            # On the head of an error some clients close at once: openai for Python does to retry.
            self._settle(_told_by(self._status) or self._measurement.left())

    def check(self, now: float) -> None:
        """End the exchange if it has taken too long; ``now`` is on the clock's monotonic scale."""
        if self._tunnel is not None:
            self._check_tunnel(self._tunnel, now)
            return
        problem = self.patience.overdue(
            now,
            connecting=self.connecting is not None,
            answering=self._status > 0,
            refuses_body=self._refuses_body,
        )
        if not problem:
            return
        code = Refusal.TIMEOUT if self.connecting is None else Refusal.CONNECT
        self._detach()
        if self.client.stalled:
            # We stopped reading because the client did: that is no fault of the model server.
            self._settle(Outcome.CANCELLED)
            self.client.cut(flush=False)
        else:
            self.fail(code, problem, 504)

    def _check_tunnel(self, tunnel: Tunnel, now: float) -> None:
        tunnel.look()
        if self._proxy.draining and tunnel.is_overdue(now, self.patience.limits):
            self._detach()
            self._settle(Outcome.TIMEOUT)
            self.client.cut(flush=False)

    @property
    def _refuses_body(self) -> bool:
        return not self.received and self.connection is not None and self.client.held

    def _detach(self) -> None:
        if self.connecting is not None:
            self.connecting.cancel()
            self.connecting = None
        if self.connection is not None:
            self.connection.drop(self)
            self.connection = None

    def _settle(self, outcome: Outcome) -> None:
        self.over = True
        self._proxy.live.discard(self)
        clock = self._proxy.clock
        ended = clock.monotonic()
        patience = self.patience
        self._measurement.close(
            outcome,
            ended - patience.started,
            patience.ttft_s,
            self.request.traceparent,
            clock.unix(ended),
        )


def _told_by(status: int) -> Outcome | None:
    """How a request ended by its answer's status alone; None if the answer has to be read."""
    if status < 400:
        return None
    return Outcome.SERVER_ERROR if status >= 500 else Outcome.CLIENT_ERROR
