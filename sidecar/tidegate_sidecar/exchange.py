"""One request and its answer: admission, the call of the model server, time-outs, the end.

Law: an answer's bytes leave as they came, one write for each read; nothing but the request's body
is ever held whole. An exchange ends once, with one outcome. A call is repeated only if a pooled
connection was closed before it answered a byte, and two answers are never mixed. What a client
can't tell from a whole answer is never the end of a broken one.
"""

import hashlib
from typing import TYPE_CHECKING, Final

from tidegate_sidecar.admit import Blocked, Route, admit
from tidegate_sidecar.answers import error_answer
from tidegate_sidecar.body import LENGTH, Body
from tidegate_sidecar.dialect.paths import OTHER, dialect_of
from tidegate_sidecar.dialect.schema import Call
from tidegate_sidecar.dialect.shape import Dialect, parse_call
from tidegate_sidecar.h1 import RequestHead, ResponseHead
from tidegate_sidecar.measure import Measurement
from tidegate_sidecar.trace import sampled_trace
from tidegate_wire.config import SidecarConfig
from tidegate_wire.names import Outcome, Refusal

if TYPE_CHECKING:
    import asyncio

    from tidegate_sidecar.client import ClientConnection
    from tidegate_sidecar.proxy import Proxy
    from tidegate_sidecar.upstream import Upstream, UpstreamConnection

ONE_WRITE_BYTES: Final = 32768
"""Up to here head and body are joined: one segment train, one system call."""

_FAILED: Final = {
    Refusal.CONNECT: Outcome.CONNECT_ERROR,
    Refusal.RESET: Outcome.RESET,
    Refusal.PROTOCOL: Outcome.PROTOCOL_ERROR,
    Refusal.TIMEOUT: Outcome.TIMEOUT,
}
_CREDENTIALS: Final = (
    b"authorization",
    b"proxy-authorization",
    b"cookie",
    b"x-api-key",
    b"api-key",
)


def tenant_of(config: SidecarConfig, request: RequestHead) -> str:
    """Whose request it is, by the policy's header; empty without one.

    A header that comes twice names both tenants, so that nobody can speak for another. Of a
    credential only a hash leaves this function: labels are public.
    """
    name = config.tenant_header.lower().encode()
    if not name:
        return ""
    value = b", ".join(request.values(name))
    if value and name in _CREDENTIALS:
        return "key-" + hashlib.sha256(value).hexdigest()[:12]
    return value.decode("utf-8", "replace")


class Exchange:
    """Joins a client's connection and an upstream's for one request."""

    __slots__ = (
        "_call",
        "_chunked",
        "_close_delimited",
        "_dialect",
        "_first_at",
        "_head_out",
        "_keep",
        "_measurement",
        "_moved",
        "_moved_at",
        "_payload",
        "_proxy",
        "_retried",
        "_started",
        "_status",
        "_take_usage",
        "_timeouts",
        "_upstream",
        "_waits_for_first",
        "client",
        "connecting",
        "connection",
        "over",
        "request",
        "wire",
    )

    def __init__(self, client: "ClientConnection", request: RequestHead, payload: bytes) -> None:
        self.client = client
        self.request = request
        self.over = False
        self.wire: list[bytes] = []
        """The request as it goes to the upstream."""
        self.connection: UpstreamConnection | None = None
        self.connecting: asyncio.Task[None] | None = None
        self._proxy: Proxy = client.proxy
        self._payload = payload
        self._timeouts = self._proxy.config.timeouts
        self._upstream: Upstream | None = None
        self._dialect: Dialect = OTHER
        self._call: Call | None = None
        self._take_usage = False
        self._retried = False
        self._status = 0
        self._head_out = b""
        self._chunked = False
        self._close_delimited = False
        self._keep = request.keep_alive
        self._started = self._proxy.clock.monotonic()
        self._moved_at = self._started
        self._moved = False
        self._first_at: float | None = None
        self._waits_for_first = False

    # the request

    def begin(self) -> None:
        """Decide on the request and send it off, or refuse it."""
        proxy = self._proxy
        request = self.request
        dialect = self._dialect = dialect_of(request.method, request.target)
        if dialect.read:
            self._call = parse_call(self._payload)
        self._measurement = Measurement(proxy.meter, dialect, len(self._payload))
        route = Route("", None)
        if dialect.asks_model:
            tenant = tenant_of(proxy.config, request)
            asked = "" if self._call is None else self._call.model
            verdict = admit(proxy.config, tenant, asked, proxy.clock.now(), proxy.turn)
            if isinstance(verdict, Blocked):
                proxy.meter.blocked(verdict.model, tenant, verdict.code)
                self._refuse(verdict)
                return
            route = verdict
            proxy.turn += route.took_turn
            self._measurement.arrived(route, tenant)
        proxy.live.add(self)
        self._upstream = proxy.upstream_for(route.upstream)
        self._build(route)
        self._upstream.serve(self)

    def _refuse(self, verdict: Blocked) -> None:
        self.over = True
        answer = error_answer(
            429,
            self._dialect.error_body(429, verdict.message, verdict.code),
            keep_alive=self._stays(),
            retry_after_s=verdict.retry_after_s,
        )
        self.client.answer(answer, keep=self._keep)

    def _build(self, route: Route) -> None:
        request = self.request
        call = self._call
        body = self._payload
        if call is not None:
            dialect = self._dialect
            if dialect.streamed and call.stream:
                self._waits_for_first = True
                self._take_usage = dialect.must_ask_usage(call)
            if self._take_usage or route.rewrite is not None:
                body = dialect.rewrite(body, call, route.rewrite, self._take_usage)
        upstream = self._upstream
        assert upstream is not None
        lines = [b"%b %b HTTP/1.1" % (request.method, upstream.target_of(request.target))]
        host = None if route.upstream or upstream.own_host else request.host
        lines.append(b"host: " + (upstream.authority if host is None else host))
        if upstream.proxy_line:
            lines.append(upstream.proxy_line)
        lines += request.forward
        if call is None:
            lines += request.accept_encoding
        else:
            lines.append(b"accept-encoding: identity")  # what is compressed can't be measured
        if request.content_length >= 0 or request.chunked:
            lines.append(b"content-length: %d" % len(body))
        lines.append(b"\r\n")
        head = b"\r\n".join(lines)
        self._payload = b""
        self.wire = [head + body] if len(body) <= ONE_WRITE_BYTES else [head, body]

    def retry(self) -> None:
        """A pooled connection was closed before it answered a byte: servers do so in idle time."""
        self.connection = None
        if self.over:
            return
        if self._retried or self._upstream is None:
            self.fail(Refusal.RESET, "closed the connection without an answer")
            return
        self._retried = True
        self._moved = True
        self._upstream.serve(self, fresh=True)

    # the answer

    def on_interim(self, head: ResponseHead) -> None:
        """An informational answer: passed on, but for the one that we asked for ourselves."""
        if head.status != 100 and self.request.http11:
            self.client.write(b"\r\n".join([head.line, *head.forward, b"", b""]))

    def on_head(self, head: ResponseHead, body: Body) -> None:
        """The answer begins."""
        self.wire = []  # up to the cap on bodies in size, and not sent again from here on
        self._status = head.status
        self._moved = True
        event_stream = head.content_type.startswith(b"text/event-stream")
        self._measurement.answered(head.status, event_stream, head.encoded, self._take_usage)
        if not self._measurement.reads_stream:
            self._waits_for_first = False
        lines = [head.line, *head.forward]
        self._frame_head(head, body, lines)
        if not self._stays():
            lines.append(b"connection: close")
        elif not self.request.http11:
            lines.append(b"connection: keep-alive")
        lines.append(b"\r\n")
        self._head_out = b"\r\n".join(lines)

    def _frame_head(self, head: ResponseHead, body: Body, lines: list[bytes]) -> None:
        bodiless = self.request.method == b"HEAD" or head.status in (204, 304)
        if bodiless:
            if head.content_length >= 0 and head.status != 204:
                lines.append(b"content-length: %d" % head.content_length)
        elif body.mode == LENGTH and self._measurement.filter is None:
            lines.append(b"content-length: %d" % body.left)
        elif self.request.http11:
            lines.append(b"transfer-encoding: chunked")
            self._chunked = True
        else:
            self._close_delimited = True
            self._keep = False

    def _stays(self) -> bool:
        """Whether the client's connection outlives this answer."""
        self._keep = self._keep and not self._proxy.draining
        return self._keep

    def flush_head(self) -> None:
        """Nothing of the body came with the head: send the head alone."""
        head, self._head_out = self._head_out, b""
        self.client.write(head)

    def on_piece(self, piece: bytes, wire: bytes, body: Body) -> None:
        """Bytes of the answer's body came; ``wire`` is the same as it was framed."""
        self._moved = True
        measurement = self._measurement
        if piece:
            measurement.feed(piece)
            if self._first_at is None and measurement.first_seen:
                self._first_at = self._proxy.clock.monotonic()
                self._waits_for_first = False
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
        elif body.whole and self._chunked and not body.done:
            return wire
        if self._chunked and piece:
            return b"%x\r\n%b\r\n" % (len(piece), piece)
        return piece

    def _finish(self, piece: bytes, wire: bytes, body: Body) -> None:
        outcome = Outcome.OK
        if self._status >= 400:
            outcome = Outcome.SERVER_ERROR if self._status >= 500 else Outcome.CLIENT_ERROR
        else:
            outcome = self._measurement.finish()
        out = self._head_out + self._framed(piece, wire, body)
        self._head_out = b""
        if self._chunked and outcome is not Outcome.BROKEN:
            out += b"0\r\n\r\n"
        broken = outcome is Outcome.BROKEN
        if broken and not self._chunked:
            out = out[:-1]  # one byte short of its length, the answer can't be taken for whole
        if out:
            self.client.write(out)
        self._settle(outcome)
        if broken:
            self.client.cut(flush=not self._close_delimited)
        else:
            # As its head has promised: a client that reads the last byte may send the next request
            # in the same moment, and would meet a closed connection.
            self.client.finished(keep=self._keep)

    # the end

    def fail(self, code: Refusal, why: str) -> None:
        """The upstream failed; the client is still there. ``why`` completes "The model server"."""
        if self.over:
            return
        timed_out = code is Refusal.TIMEOUT
        outcome = _FAILED[code]
        if self._measurement.reads_stream and not timed_out:
            # Cut after its last word, a stream has lost nothing but its framing.
            outcome = self._measurement.finish()
            outcome = Outcome.BROKEN if outcome is not Outcome.OK else outcome
        unanswered = self._status == 0 or bool(self._head_out)
        self._settle(outcome)
        if not unanswered:
            self.client.cut(flush=not self._close_delimited)
            return
        status = 504 if timed_out else 502
        answer = error_answer(
            status,
            self._dialect.error_body(status, f"The model server {why}.", code),
            keep_alive=self._stays(),
            bodiless=self.request.method == b"HEAD",
        )
        self.client.answer(answer, keep=self._keep)

    def cancel(self) -> None:
        """The client went away: so does the call."""
        if not self.over:
            self._detach()
            self._settle(Outcome.CANCELLED)

    def check(self, now: float) -> None:
        """End the exchange if it has taken too long; ``now`` is on the clock's monotonic scale."""
        if self._moved:
            self._moved = False
            self._moved_at = now
        problem = self._overdue(now)
        if not problem:
            return
        self._detach()
        if self.client.stalled:
            # We stopped reading because the client did: that is no fault of the model server.
            self._settle(Outcome.CANCELLED)
            self.client.cut(flush=False)
        else:
            self.fail(Refusal.TIMEOUT, problem)

    def _overdue(self, now: float) -> str:
        """What the model server failed to do in time; empty if nothing."""
        limits = self._timeouts
        waited_s = now - self._started
        if waited_s >= limits.total_s:
            return f"did not finish within {limits.total_s:g} s"
        if self._waits_for_first:
            if waited_s >= limits.first_token_s:
                return f"sent no first token within {limits.first_token_s:g} s"
        elif self._status and now - self._moved_at >= limits.idle_s:
            return f"sent nothing for {limits.idle_s:g} s"
        if self.connecting is not None and now - self._moved_at >= limits.connect_s:
            return f"did not accept a connection within {limits.connect_s:g} s"
        return ""

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
        duration_s = self._proxy.clock.monotonic() - self._started
        first_at = self._first_at
        ttft_s = None if first_at is None else first_at - self._started
        trace = None
        if self.request.traceparent:
            trace = sampled_trace(self.request.traceparent, self._proxy.clock.now())
        self._measurement.close(outcome, duration_s, ttft_s, trace)
