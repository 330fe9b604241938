"""How a simulated model server spends its time: slots, a queue, tokens at a pace, and the faults
it was asked for.

Law: no sockets here. All durations are seconds of the injected clock, all chance comes from one
seeded generator. The knobs bear the names that users know from llm-d-inference-sim.
"""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tidegate_wire.clock import Clock

BYTES_PER_TOKEN = 4
"""Of English prose, roughly; what a prompt's tokens are counted by."""
CACHE_SEQS_PER_SLOT = 1.3
"""The KV cache has room for more sequences than run at once, as where nobody wants preemption."""

_TEXT = (
    "the tide gate opens when water rises and closes as it falls so that the harbour behind it "
    "stays calm while boats come and go with each turn of the sea"
)
_WORDS = tuple(_TEXT.split(" "))


class Fault(StrEnum):
    """What an injected failure looks like to the client."""

    RATE_LIMIT = "rate_limit"
    SERVER_ERROR = "server_error"
    CONTEXT_LENGTH = "context_length"
    MODEL_NOT_FOUND = "model_not_found"
    INVALID_REQUEST = "invalid_request"
    INVALID_API_KEY = "invalid_api_key"
    GARBAGE = "garbage"
    """Status 200 and a body that is no JSON."""
    CUT = "cut"
    """The connection drops in the middle of the answer."""
    HANG = "hang"
    """Nothing is ever answered."""


@dataclass(slots=True, kw_only=True)
class Knobs:
    """How the server behaves; durations in seconds of the clock."""

    max_num_seqs: int = 5
    """Requests that run at once."""
    max_waiting_queue_length: int = 1000
    """Requests that may wait for a slot; one more is refused with 429."""
    max_model_len: int = 8192
    """Prompt and answer together, in tokens."""
    time_to_first_token: float = 0.5
    time_to_first_token_std: float = 0.0
    inter_token_latency: float = 0.02
    inter_token_latency_std: float = 0.0
    prefill_time_per_token: float = 0.0
    time_factor_under_load: float = 1.0
    """How much slower every duration is with all slots taken; grows with the slots that are."""
    output_tokens: int = 100
    """Mean length of an answer; ``max_tokens`` of a request cuts it."""
    output_tokens_std: float = 0.0
    tokens_per_chunk: int = 16
    """Tokens in one event of a stream."""
    failure_injection_rate: float = 0.0
    """Share of requests in [0, 1] that fail as ``failure_types`` say."""
    failure_types: tuple[Fault, ...] = (Fault.SERVER_ERROR,)
    seed: int = 0


@dataclass(slots=True)
class Histogram:
    """Cumulative counts under upper bounds, as Prometheus has them."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0
    count: int = 0

    def observe(self, value: float) -> None:
        if not self.counts:
            self.counts = [0] * len(self.bounds)
        for i, bound in enumerate(self.bounds):
            if value <= bound:
                self.counts[i] += 1
        self.total += value
        self.count += 1


_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 40.0, 60.0)


@dataclass(slots=True)
class Totals:
    """What the server did since it started."""

    requests: int = 0
    """Answered in full."""
    refused: int = 0
    """Turned away with an error, asked for or not."""
    cancelled: int = 0
    """Left by their client, or cut on purpose."""
    prompt_tokens: int = 0
    generation_tokens: int = 0
    ttft: Histogram = field(default_factory=lambda: Histogram(_SECONDS))
    e2e: Histogram = field(default_factory=lambda: Histogram(_SECONDS))
    finished: dict[str, int] = field(default_factory=dict)
    """Answers by finish reason."""

    def to_value(self) -> dict[str, int]:
        return {
            "requests": self.requests,
            "refused": self.refused,
            "cancelled": self.cancelled,
            "prompt_tokens": self.prompt_tokens,
            "generation_tokens": self.generation_tokens,
        }


class QueueFullError(Exception):
    """``max_waiting_queue_length`` requests are waiting already."""


class Slots:
    """``limit`` places, first come first served."""

    def __init__(self, limit: int, max_waiting: int) -> None:
        self.running = 0
        self._limit = limit
        self._max_waiting = max_waiting
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        return len(self._queue)

    async def take(self) -> None:
        """Wait for a place; raises ``QueueFullError`` where the queue is full."""
        if self.running < self._limit and not self._queue:
            self.running += 1
            return
        if len(self._queue) >= self._max_waiting:
            raise QueueFullError
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back()
            elif turn in self._queue:  # not yet passed over by give_back
                self._queue.remove(turn)
            raise

    def give_back(self) -> None:
        """Free a place, or hand it to the first that waits."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.running -= 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One request as the engine sees it."""

    prompt_tokens: int
    output_tokens: int
    finish_reason: str


class Engine:
    """Runs jobs on the clock and counts what they cost."""

    def __init__(self, knobs: Knobs, clock: Clock) -> None:
        self.knobs = knobs
        self.totals = Totals()
        self._clock = clock
        self._random = random.Random(knobs.seed)
        self.slots = Slots(knobs.max_num_seqs, knobs.max_waiting_queue_length)

    def draw_fault(self) -> Fault | None:
        knobs = self.knobs
        if not knobs.failure_types or self._random.random() >= knobs.failure_injection_rate:
            return None
        return self._random.choice(knobs.failure_types)

    def plan(self, prompt_tokens: int, max_tokens: int | None) -> Job:
        """Draw the answer's length; ``max_tokens`` and ``max_model_len`` cut it."""
        knobs = self.knobs
        wanted = max(1, round(self._spread(knobs.output_tokens, knobs.output_tokens_std)))
        room = knobs.max_model_len - prompt_tokens
        limit = room if max_tokens is None else min(room, max_tokens)
        tokens = max(1, min(wanted, limit))
        return Job(
            prompt_tokens=prompt_tokens,
            output_tokens=tokens,
            finish_reason="stop" if tokens == wanted else "length",
        )

    async def run(self, job: Job) -> AsyncIterator[tuple[int, str]]:
        """Token count and text of each piece, as it comes; raises ``QueueFullError``.

        Pieces come at absolute times, so that a late wake-up does not add to the next one.
        """
        arrived = self._clock.monotonic()
        await self.slots.take()
        done = False
        try:
            knobs = self.knobs
            due = self._clock.monotonic() + self._first_token_s(job)
            await self._until(due)
            self.totals.prompt_tokens += job.prompt_tokens
            self.totals.ttft.observe(self._clock.monotonic() - arrived)
            sent = 0
            while sent < job.output_tokens:
                tokens = min(knobs.tokens_per_chunk, job.output_tokens - sent)
                due += self._pace_s(tokens)
                await self._until(due)
                self.totals.generation_tokens += tokens
                yield tokens, self._text(sent, tokens)
                sent += tokens
            done = True
        finally:
            self.slots.give_back()
            if done:
                self._finish(job, arrived)
            else:
                self.totals.cancelled += 1

    def _finish(self, job: Job, arrived: float) -> None:
        totals = self.totals
        totals.requests += 1
        totals.e2e.observe(self._clock.monotonic() - arrived)
        totals.finished[job.finish_reason] = totals.finished.get(job.finish_reason, 0) + 1

    def _first_token_s(self, job: Job) -> float:
        knobs = self.knobs
        first_s = self._spread(knobs.time_to_first_token, knobs.time_to_first_token_std)
        return (first_s + knobs.prefill_time_per_token * job.prompt_tokens) * self._load()

    def _pace_s(self, tokens: int) -> float:
        knobs = self.knobs
        each_s = self._spread(knobs.inter_token_latency, knobs.inter_token_latency_std)
        return each_s * tokens * self._load()

    def _load(self) -> float:
        """From 1 with one request running to ``time_factor_under_load`` with a full batch."""
        knobs = self.knobs
        others = max(0, self.slots.running - 1)
        return 1 + (knobs.time_factor_under_load - 1) * others / max(1, knobs.max_num_seqs - 1)

    def _spread(self, mean: float, std: float) -> float:
        """A normal draw, kept within 70 % of its mean, as llm-d-inference-sim does."""
        if std <= 0:
            return mean
        return min(max(self._random.gauss(mean, std), 0.3 * mean), 1.7 * mean)

    async def _until(self, due: float) -> None:
        rest_s = due - self._clock.monotonic()
        if rest_s > 0:
            await self._clock.sleep(rest_s)

    @staticmethod
    def _text(start: int, tokens: int) -> str:
        return "".join(f" {_WORDS[i % len(_WORDS)]}" for i in range(start, start + tokens))


def count_prompt_tokens(body: Mapping[str, Any]) -> int:
    """Of a chat, completion or embedding request: its text's bytes over ``BYTES_PER_TOKEN``, at
    least 1."""
    size = 0
    for key in ("messages", "prompt", "input"):
        size += _text_bytes(body.get(key))
    return max(1, -(-size // BYTES_PER_TOKEN))


def _text_bytes(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, list):
        return sum(_text_bytes(item) for item in value)
    if isinstance(value, dict):
        return _text_bytes(value.get("content")) + _text_bytes(value.get("text"))
    return BYTES_PER_TOKEN if isinstance(value, int) else 0


def render_metrics(engine: Engine, model: str) -> bytes:
    """Prometheus text with vLLM's names, colon and all, whatever the scraper asks for."""
    totals, label = engine.totals, f'model_name="{model}"'
    running, waiting = engine.slots.running, engine.slots.waiting
    cache_seqs = engine.knobs.max_num_seqs * CACHE_SEQS_PER_SLOT
    lines = [
        *_metric("num_requests_running", "gauge", {label: running}),
        *_metric("num_requests_waiting", "gauge", {label: waiting}),
        *_metric("kv_cache_usage_perc", "gauge", {label: running / cache_seqs}),
        *_metric("prompt_tokens_total", "counter", {label: totals.prompt_tokens}),
        *_metric("generation_tokens_total", "counter", {label: totals.generation_tokens}),
        *_metric(
            "request_success_total",
            "counter",
            {f'{label},finished_reason="{k}"': n for k, n in totals.finished.items()},
        ),
        *_histogram("time_to_first_token_seconds", label, totals.ttft),
        *_histogram("e2e_request_latency_seconds", label, totals.e2e),
    ]
    return ("\n".join(lines) + "\n").encode()


def _metric(name: str, kind: str, values: Mapping[str, float]) -> list[str]:
    return [
        f"# TYPE vllm:{name} {kind}",
        *(f"vllm:{name}{{{labels}}} {value}" for labels, value in values.items()),
    ]


def _histogram(name: str, label: str, values: Histogram) -> list[str]:
    counts = values.counts or [0] * len(values.bounds)
    return [
        f"# TYPE vllm:{name} histogram",
        *(
            f'vllm:{name}_bucket{{{label},le="{bound}"}} {n}'
            for bound, n in zip(values.bounds, counts, strict=True)
        ),
        f'vllm:{name}_bucket{{{label},le="+Inf"}} {values.count}',
        f"vllm:{name}_sum{{{label}}} {values.total}",
        f"vllm:{name}_count{{{label}}} {values.count}",
    ]
