"""The demo's clients: a process of its own that sends the trace and checks every answer.

Law: it sees what a client sees. It is told which pods are ready, as a Service would be, picks the
one with the fewest calls in flight, and counts a request as failed when its caller saw an error
other than a deliberate 429 of the gate. Plan in a file, pods as lines on stdin, figures as lines
on stdout; times are of the injected clock.

``python -m tidegate_operator.demo.traffic PLAN.json``
"""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tidegate_operator.demo.arrivals import Arrival, Callers, arrivals
from tidegate_wire.clock import Clock
from tidegate_wire.names import Refusal

TELL_EVERY_S = 0.25
"""Real time between two lines of figures."""
LAST_PATIENCE_S = 15.0
"""Real time for the last answers to come in."""
CALL_TIMEOUT_S = 30.0
"""Real, per call: 30 minutes at speed 60; only a hang gets there."""
GATE_CODES = (Refusal.BLOCKED_BUDGET, Refusal.BLOCKED_ERRORS)
_FILLER = "Tell me how the harbour keeps calm when the tide comes in. "


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that this process needs, as JSON."""

    start: float
    """Clock time of the first minute."""
    counts: tuple[int | None, ...]
    callers: Callers
    model: str
    tenant_header: str
    ttft_target_s: float
    seed: int = 0

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, raw: str) -> "Plan":
        body = json.loads(raw)
        callers = body.pop("callers")
        callers["prompt_bytes"] = tuple(callers["prompt_bytes"])
        counts = tuple(body.pop("counts"))
        return cls(**body, counts=counts, callers=Callers(**callers))


@dataclass(slots=True)
class Tally:
    """What callers saw; every number only grows."""

    sent: int = 0
    ok: int = 0
    failed: int = 0
    blocked: int = 0
    """Turned away by the gate on purpose."""
    timed: int = 0
    """Streamed answers, whose time to first token the caller knows."""
    in_time: int = 0
    """Of those, within the target."""
    ttft_s: float = 0.0
    """Sum over ``timed``."""
    retried: int = 0
    """Calls repeated on another pod since the first had closed before a byte came."""
    models: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    blocked_tenants: Counter[str] = field(default_factory=Counter)

    def to_value(self) -> dict[str, Any]:
        # not asdict(), which makes a Counter of a Counter's items
        return {
            name: dict(value) if isinstance(value := getattr(self, name), Counter) else value
            for name in self.__dataclass_fields__
        }


class GoneError(Exception):
    """The pod closed the connection before the first byte of an answer."""


class FailedError(Exception):
    """The caller saw an error; the text is its short name."""


class BlockedError(Exception):
    """The gate said no, on purpose."""


@dataclass(slots=True)
class Pods:
    """Base URLs of the ready pods, and calls in flight at each."""

    in_flight: Counter[str] = field(default_factory=Counter)
    ready: tuple[str, ...] = ()
    _turn: int = 0

    def pick(self, but: str = "") -> str:
        """The least busy, in turn among equals; raises ``FailedError`` where there is none."""
        choice = [url for url in self.ready if url != but] or list(self.ready)
        if not choice:
            raise FailedError("no_ready_pod")
        self._turn += 1
        start = self._turn % len(choice)
        return min(choice[start:] + choice[:start], key=lambda url: self.in_flight[url])


class Client:
    """Sends arrivals and keeps the tally, in all and by minute."""

    def __init__(self, plan: Plan, clock: Clock, http: aiohttp.ClientSession) -> None:
        self.plan = plan
        self.pods = Pods()
        self.total = Tally()
        self.minutes: dict[int, Tally] = {}
        self.latest_s = 0.0
        """How late, at worst, a request was sent; on the clock."""
        self._clock = clock
        self._http = http
        self._calls: set[asyncio.Task[None]] = set()

    @property
    def in_flight(self) -> int:
        return len(self._calls)

    async def play(self) -> None:
        """Send everything at its time, then wait for the last answers."""
        for arrival in arrivals(self.plan.counts, self.plan.callers, self.plan.seed):
            rest_s = self.plan.start + arrival.at_s - self._clock.now()
            if rest_s > 0:
                await self._clock.sleep(rest_s)
            else:
                self.latest_s = max(self.latest_s, -rest_s)
            call = asyncio.create_task(self._call(arrival))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
        if self._calls:
            await asyncio.wait(self._calls, timeout=LAST_PATIENCE_S)

    async def _call(self, arrival: Arrival) -> None:
        minute = self.minutes.setdefault(int(arrival.at_s // 60), Tally())
        tallies = (self.total, minute)
        for tally in tallies:
            tally.sent += 1
        try:
            ttft_s, model = await self._try_twice(arrival, tallies)
        except BlockedError:
            for tally in tallies:
                tally.blocked += 1
                tally.blocked_tenants[arrival.tenant] += 1
        except FailedError as error:
            for tally in tallies:
                tally.failed += 1
                tally.errors[str(error)] += 1
        else:
            for tally in tallies:
                self._record(tally, ttft_s, model)

    def _record(self, tally: Tally, ttft_s: float | None, model: str) -> None:
        tally.ok += 1
        tally.models[model] += 1
        if ttft_s is not None:
            tally.timed += 1
            tally.in_time += ttft_s <= self.plan.ttft_target_s
            tally.ttft_s += ttft_s

    async def _try_twice(
        self, arrival: Arrival, tallies: Sequence[Tally]
    ) -> tuple[float | None, str]:
        url = self.pods.pick()
        try:
            return await self._ask(url, arrival)
        except GoneError:
            for tally in tallies:
                tally.retried += 1
        try:
            return await self._ask(self.pods.pick(but=url), arrival)
        except GoneError:
            raise FailedError("connection") from None

    async def _ask(self, url: str, arrival: Arrival) -> tuple[float | None, str]:
        started = self._clock.monotonic()
        text = (_FILLER * (arrival.prompt_bytes // len(_FILLER) + 1))[: arrival.prompt_bytes]
        body: dict[str, Any] = {
            "model": self.plan.model,
            "messages": [{"role": "user", "content": text}],
        }
        if arrival.streaming:
            body["stream"] = True
        headers = {self.plan.tenant_header: arrival.tenant}
        self.pods.in_flight[url] += 1
        answered = False
        try:
            async with self._http.post(
                f"{url}/v1/chat/completions", json=body, headers=headers
            ) as answer:
                answered = True
                if answer.status != 200:
                    await _raise_refusal(answer)
                if arrival.streaming:
                    first_at, model = await self._read_stream(answer)
                    return first_at - started, model
                return None, _check_whole(await answer.read())
        except TimeoutError:
            raise FailedError("timeout") from None
        except aiohttp.ClientError as error:
            if answered:
                raise FailedError("broken_answer") from error
            raise GoneError from error
        finally:
            self.pods.in_flight[url] -= 1

    async def _read_stream(self, answer: aiohttp.ClientResponse) -> tuple[float, str]:
        first_at, model, tail = 0.0, "", b""
        async for chunk in answer.content.iter_any():
            if not first_at:
                first_at = self._clock.monotonic()
                model = _model_in(chunk)
            tail = (tail + chunk)[-4096:]
        if not tail.rstrip().endswith(b"data: [DONE]") or b'"finish_reason":"' not in tail:
            raise FailedError("unfinished_stream")
        return first_at, model


async def _raise_refusal(answer: aiohttp.ClientResponse) -> None:
    raw = await answer.read()
    try:
        code = json.loads(raw)["error"]["code"]
    except (ValueError, KeyError, TypeError):
        code = None
    if answer.status == 429 and code in GATE_CODES:
        raise BlockedError
    raise FailedError(f"status_{answer.status}")


def _check_whole(raw: bytes) -> str:
    """The model of a whole answer; raises ``FailedError`` where it is none."""
    try:
        body = json.loads(raw)
        if body["choices"][0]["message"]["content"] and body["usage"]["completion_tokens"] > 0:
            return str(body["model"])
    except (ValueError, KeyError, TypeError, IndexError):
        pass
    raise FailedError("garbage_answer")


def _model_in(chunk: bytes) -> str:
    """The model's name in the first event, without parsing all of it."""
    _, found, rest = chunk.partition(b'"model":"')
    return rest.partition(b'"')[0].decode(errors="replace") if found else ""


def to_figures(client: Client) -> dict[str, Any]:
    return {**client.total.to_value(), "in_flight": client.in_flight, "latest_s": client.latest_s}


async def _tell(client: Client) -> None:
    while True:
        _say({"event": "figures", **to_figures(client)})
        await asyncio.sleep(TELL_EVERY_S)


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line, separators=(",", ":")) + "\n")
    sys.stdout.flush()


async def _listen(client: Client, told: asyncio.Event) -> None:
    """Follow the list of ready pods on stdin; its end means that the demo is gone."""
    reader = asyncio.StreamReader(limit=2**20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        client.pods.ready = tuple(json.loads(line)["ready"])
        told.set()
    os._exit(1)


async def run(plan: Plan, clock: Clock) -> int:
    """Play the whole plan; the last line tells all of it, minute by minute."""
    timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=10.0)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
        client = Client(plan, clock, http)
        told = asyncio.Event()
        side = [asyncio.create_task(_listen(client, told)), asyncio.create_task(_tell(client))]
        await told.wait()
        await client.play()
        for task in side:
            task.cancel()
        minutes = {str(minute): tally.to_value() for minute, tally in client.minutes.items()}
        _say({"event": "end", **to_figures(client), "minutes": minutes})
    return 0


def main() -> int:
    import uvloop

    plan = Plan.from_json(Path(sys.argv[1]).read_text())
    return uvloop.run(run(plan, Clock.from_env(os.environ)))


if __name__ == "__main__":
    sys.exit(main())
