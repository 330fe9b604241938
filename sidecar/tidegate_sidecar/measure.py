"""What is learnt from one request and its answer while both pass by.

Law: pure, and never in the way. Whatever goes wrong in here is counted and the request goes on
unmeasured: no answer is lost because we could not read it.
"""

from typing import Final

from tidegate_sidecar.admit import Route
from tidegate_sidecar.dialect import openai
from tidegate_sidecar.dialect.openai import Operation, StreamEnd
from tidegate_sidecar.meter import Meter, Series, Tokens
from tidegate_sidecar.sse import EventFilter, Watcher
from tidegate_wire.names import Outcome

FAILURE: Final = "measure"
_MTOK: Final = 1_000_000


class Measurement:
    """One request's books, from admission to the last byte."""

    __slots__ = (
        "_meter",
        "_operation",
        "_request_bytes",
        "_route",
        "_series",
        "_sink",
        "_watcher",
        "end",
        "filter",
        "first_seen",
    )

    def __init__(self, meter: Meter, operation: Operation, request_bytes: int) -> None:
        self._meter = meter
        self._operation = operation
        self._request_bytes = request_bytes
        self._route: Route | None = None
        self._series: Series | None = None
        self._watcher: Watcher | None = None
        self._sink: openai.UsageSink | None = None
        self.filter: EventFilter | None = None
        self.end: StreamEnd | None = None
        """How the stream ended; None until ``finish``, and for what is no stream of this API."""
        self.first_seen = False
        """The first event with data has come; comments are none."""

    def arrived(self, route: Route, tenant: str) -> None:
        """Open the books of a request that counts as demand."""
        self._route = route
        try:
            self._series = self._meter.arrived(route.model, tenant)
        except Exception:  # noqa: BLE001 - the law of this file
            self._meter.failures(FAILURE)

    def answered(self, status: int, event_stream: bool, encoded: bool, take_usage: bool) -> None:
        """The head of the answer came; ``take_usage``: the client did not ask for usage."""
        if status != 200 or encoded or self._operation not in openai.METERED:
            return
        if not event_stream:
            self._sink = openai.UsageSink()
        elif self._operation in openai.STREAMED:
            self._watcher = Watcher()
            if take_usage:
                self.filter = openai.usage_filter()

    @property
    def reads_stream(self) -> bool:
        return self._watcher is not None

    def feed(self, piece: bytes) -> None:
        """Listen to the next bytes of the answer."""
        try:
            if self._watcher is not None:
                self._watcher.feed(piece)
                self.first_seen = self._watcher.events > 0
            elif self._sink is not None:
                self._sink.feed(piece)
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
        if self._watcher is None:
            return Outcome.OK
        try:
            end = self.end = openai.read_stream_end(self._watcher)
        except Exception:  # noqa: BLE001 - the law of this file
            self._give_up()
            return Outcome.OK
        if end.failed:
            return Outcome.SERVER_ERROR
        return Outcome.OK if end.complete else Outcome.BROKEN

    def close(self, outcome: Outcome, duration_s: float, ttft_s: float | None) -> None:
        """Close the books."""
        try:
            if self._series is None:
                self._meter.passed(self._operation, duration_s)
                return
            self._meter.ended(
                self._series,
                self._operation,
                outcome,
                duration_s,
                ttft_s=ttft_s,
                tokens=self._tokens(outcome),
            )
        except Exception:  # noqa: BLE001 - the law of this file
            self._meter.failures(FAILURE)

    def _give_up(self) -> None:
        self._watcher = None
        self._sink = None
        self._meter.failures(FAILURE)

    def _tokens(self, outcome: Outcome) -> Tokens | None:
        """None if the answer had none to count: an error, or nothing of it came."""
        usage = self._usage()
        if usage is not None:
            incoming = max(usage.prompt_tokens or 0, 0)
            outgoing = max(usage.completion_tokens or 0, 0)
            return Tokens(incoming, outgoing, cost=self._cost(incoming, outgoing))
        incoming = self._request_bytes // openai.BYTES_PER_TOKEN
        if self._watcher is not None and self._watcher.events:
            # One event is one token with all servers that we know.
            outgoing = self._watcher.events - (self.end is not None and self.end.done)
        elif self._sink is not None and outcome is Outcome.OK:
            outgoing = self._sink.estimated_tokens()
        else:
            return None
        cost = self._cost(incoming, outgoing)
        return Tokens(incoming, outgoing, estimated=True, cost=cost)

    def _usage(self) -> openai.Usage | None:
        if self._watcher is not None:
            end = self.end or openai.read_stream_end(self._watcher)
            return end.usage
        return None if self._sink is None else self._sink.usage()

    def _cost(self, incoming: int, outgoing: int) -> float:
        route = self._route
        if route is None:
            return 0.0
        return (incoming * route.price_in + outgoing * route.price_out) / _MTOK
