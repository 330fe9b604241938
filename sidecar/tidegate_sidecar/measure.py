"""What is learnt from one request and its answer while both pass by.

Law: pure, and never in the way. Whatever goes wrong in here is counted and the request goes on
unmeasured: no answer is lost because we could not read it.
"""

from typing import Final

from tidegate_sidecar.admit import Route
from tidegate_sidecar.dialect.shape import Dialect, Stream, StreamEnd
from tidegate_sidecar.dialect.usage import PlainAnswer, Usage
from tidegate_sidecar.h1 import ResponseHead
from tidegate_sidecar.meter import Meter, Series
from tidegate_sidecar.sse import EventFilter, Watcher
from tidegate_wire.names import Outcome

FAILURE: Final = "measure"
EVENT_STREAM: Final = b"text/event-stream"
_MTOK: Final = 1_000_000


class Measurement:
    """One request's books, from admission to the last byte."""

    __slots__ = (
        "_answer",
        "_dialect",
        "_end",
        "_meter",
        "_request_tokens",
        "_route",
        "_series",
        "_stream",
        "_watcher",
        "filter",
        "first_seen",
    )

    def __init__(self, meter: Meter, dialect: Dialect, request_tokens: int) -> None:
        """``request_tokens``: our estimate of the input, for answers that tell nothing of it."""
        self._meter = meter
        self._dialect = dialect
        self._request_tokens = request_tokens
        self._route: Route | None = None
        self._series: Series | None = None
        self._stream: Stream | None = None
        self._watcher: Watcher | None = None
        self._answer: PlainAnswer | None = None
        self._end: StreamEnd | None = None
        self.filter: EventFilter | None = None
        self.first_seen = False
        """The first event that carries output has come."""

    def arrived(self, route: Route, tenant: str) -> None:
        """Open the books of a request that counts as demand."""
        self._route = route
        try:
            self._series = self._meter.arrived(route.model, tenant)
        except Exception:  # noqa: BLE001 - the law of this file
            self._meter.failures(FAILURE)

    def answered(self, head: ResponseHead, take_usage: bool) -> bool:
        """The head of the answer came; ``take_usage``: the client did not ask for usage. Whether
        its body is read as a stream."""
        dialect = self._dialect
        if head.status != 200 or head.encoded or not dialect.charged:
            return False
        if head.content_type[: len(EVENT_STREAM)].lower() != EVENT_STREAM:
            self._answer = PlainAnswer(head.content_length)
            return False
        if not dialect.streamed:
            return False
        self._stream = dialect.stream()
        self._watcher = Watcher(self._stream.is_output)
        if take_usage:
            self.filter = dialect.usage_filter()
        return True

    @property
    def kept(self) -> int:
        """Bytes of a plain answer that are kept to read its usage."""
        return 0 if self._answer is None else self._answer.kept

    @property
    def reads_stream(self) -> bool:
        return self._watcher is not None

    def feed(self, piece: bytes) -> None:
        """Listen to the next bytes of the answer."""
        try:
            if self._watcher is not None:
                self._watcher.feed(piece)
                if not self.first_seen:
                    self.first_seen = self._watcher.begun
            elif self._answer is not None:
                self._answer.feed(piece)
        except Exception:  # noqa: BLE001 - the law of this file
            self._give_up()

    def pass_on(self, piece: bytes, last: bool) -> bytes:
        """The bytes that go to the client: all, or all but the usage that it did not ask for."""
        events = self.filter
        if events is None:
            return piece
        try:
            passed = events.feed(piece)
            return passed + events.finish() if last else passed
        except Exception:  # noqa: BLE001 - the law of this file
            self.filter = None
            self._give_up()
            return events.finish() + piece

    def finish(self) -> Outcome:
        """The answer with status 200 is whole: what it says of itself."""
        if self._watcher is None or self._stream is None:
            return Outcome.OK
        try:
            end = self._end = self._stream.end(self._watcher)
        except Exception:  # noqa: BLE001 - the law of this file
            self._give_up()
            return Outcome.OK
        if end.failed:
            return Outcome.SERVER_ERROR
        return Outcome.OK if end.complete else Outcome.BROKEN

    def left(self) -> Outcome:
        """The client went away in the middle of the answer; but an end or an error that it may
        have gone because of counts as if it had stayed."""
        outcome = Outcome.CANCELLED if self._watcher is None else self.finish()
        return Outcome.CANCELLED if outcome is Outcome.BROKEN else outcome

    def close(
        self,
        outcome: Outcome,
        duration_s: float,
        ttft_s: float | None,
        traceparent: bytes,
        at: float,
    ) -> None:
        """Close the books at ``at``, in Unix seconds."""
        meter = self._meter
        usage = None
        cost = 0.0
        try:
            usage = self._usage(outcome)
            if usage is not None:
                cost = self._cost(usage)
        except Exception:  # noqa: BLE001 - the law of this file; the request is counted all the same
            meter.failures(FAILURE)
        operation = self._dialect.operation
        try:
            if self._series is None:
                meter.passed(operation, duration_s, traceparent, at)
                return
            meter.ended(
                self._series,
                operation,
                outcome,
                duration_s,
                ttft_s=ttft_s,
                usage=usage,
                cost=cost,
                traceparent=traceparent,
                at=at,
            )
        except Exception:  # noqa: BLE001 - the law of this file
            meter.failures(FAILURE)

    def _give_up(self) -> None:
        self._watcher = None
        self._answer = None
        self._meter.failures(FAILURE)

    def _usage(self, outcome: Outcome) -> Usage | None:
        """None if the answer had none to count: an error, or nothing of it came."""
        if self._watcher is not None and self._stream is not None:
            return self._stream_usage(self._stream, self._watcher)
        if self._answer is None:
            return None
        usage = self._dialect.usage(self._answer)
        if usage is None and outcome is Outcome.OK:
            usage = self._estimated(self._dialect.estimate(self._answer))
        return usage

    def _stream_usage(self, stream: Stream, watcher: Watcher) -> Usage | None:
        end = self._end or stream.end(watcher)
        usage = end.usage
        if usage is None:
            return self._estimated(stream.estimate(watcher)) if watcher.begun else None
        if end.usage_partial:
            usage.outgoing = max(stream.estimate(watcher), usage.outgoing)
            usage.estimated_out = True
        return usage

    def _estimated(self, outgoing: int) -> Usage:
        return Usage(self._request_tokens, outgoing, estimated=True)

    def _cost(self, usage: Usage) -> float:
        route = self._route
        if route is None:
            return 0.0
        return (usage.incoming * route.price_in + usage.outgoing * route.price_out) / _MTOK
