"""What the sidecar says of its traffic is what an independent observer counted and timed: exactly
in numbers, and within 2 ms or 5 % in time."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from hub import eventually
from observer import (
    APIS,
    FATES,
    Api,
    Books,
    Observer,
    PacedServer,
    Timed,
    fateful_server,
    time_stream,
)
from proxied import RawClient, post
from sidecar_process import SidecarProcess
from tidegate_operator.ledger.usage import Ledger
from tidegate_wire.config import SidecarConfig
from tidegate_wire.names import Metric, Outcome
from tidegate_wire.stats import SidecarStats
from upstream import Call, Script, Upstream, serving

MODELS = ("big", "small")
TENANTS = ("acme", "zoo", "")
GONE_WITHIN_S = 0.1
"""A client that leaves ends its call within this."""
TIMING_ROUNDS = 25
"""At most: on a busy machine the observer hears late, and its clock says nothing to a few ms. A
fault of the sidecar's would show in all streams."""
FAST_WAY_OUT = {"TIDEGATE_DRAIN_ACCEPT_S": "0.5", "TIDEGATE_LINGER_S": "20"}

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@dataclass
class Place:
    """A sidecar, the server behind it, and what the sidecar says."""

    sidecar: SidecarProcess
    upstream: Upstream
    http: aiohttp.ClientSession

    @property
    def port(self) -> int:
        return int(self.sidecar.url.rpartition(":")[2])

    async def stats(self) -> SidecarStats:
        async with self.http.get(self.sidecar.admin + "/stats") as answer:
            return SidecarStats.from_json(await answer.read())

    async def samples(self) -> Samples:
        async with self.http.get(self.sidecar.admin + "/metrics") as answer:
            text = await answer.text()
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    async def in_flight(self) -> tuple[int, int]:
        """By ``/stats`` and by ``/metrics``."""
        samples = await self.samples()
        told = sum(v for (name, _), v in samples.items() if name == Metric.IN_FLIGHT)
        return (await self.stats()).in_flight, int(told)

    async def books(self) -> Books:
        """What ``/metrics`` says, in the observer's form."""
        books = Books()
        for (name, labels), value in (await self.samples()).items():
            row = dict(labels)
            if name == Metric.REQUESTS:
                books.ended[row["model"], row["tenant"], row["outcome"]] = int(value)
            elif name == Metric.TOKENS:
                key = (row["model"], row["tenant"], row["type"], row["source"])
                books.tokens[key] = int(value)
        return books

    async def quiet(self) -> SidecarStats:
        """The look once nothing is in flight."""
        async with asyncio.timeout(20):
            while (look := await self.stats()).in_flight:
                await asyncio.sleep(0.01)
        return look


@asynccontextmanager
async def placed(script: Script, *flags: str, **env: str) -> AsyncIterator[Place]:
    async with (
        serving(script) as upstream,
        aiohttp.ClientSession() as http,
        SidecarProcess("--upstream", upstream.url, *flags, env=env) as sidecar,
    ):
        yield Place(sidecar, upstream, http)


# --- counts --------------------------------------------------------------------------------------


async def test_400_requests_of_all_fates_are_counted_as_the_observer_did(tmp_path: Path) -> None:
    """Side by side, in random order, while both doors are read all the time."""
    chance = random.Random(7)
    config = tmp_path / "config.json"
    config.write_bytes(SidecarConfig(tenant_header="x-tenant-id").to_json())
    async with placed(fateful_server, "--config", str(config)) as place:
        observer = Observer(place.port)
        eight = asyncio.Semaphore(8)

        async def one(name: str) -> None:
            async with eight:
                await observer.ask(
                    name,
                    model=chance.choice(MODELS),
                    tenant=chance.choice(TENANTS),
                    tokens=chance.randint(1, 40),
                )

        names = [*FATES] * 4 + chance.choices([*FATES], k=400 - 4 * len(FATES))
        chance.shuffle(names)
        async with Watch(place) as watch, asyncio.timeout(60):
            await asyncio.gather(*(one(name) for name in names))
        look = await place.quiet()
        assert watch.looks > 10
        assert look.arrived == 400
        check_books(observer.books, await place.books(), look)


def check_books(true: Books, told: Books, look: SidecarStats) -> None:
    assert told.ended == true.ended
    assert told.tokens == true.tokens
    by_look = Counter(
        {
            (series.model, series.tenant, outcome): count
            for series in look.series
            for outcome, count in series.outcomes.items()
        }
    )
    assert by_look == true.ended
    for series in look.series:
        of = {k[2:]: n for k, n in true.tokens.items() if k[:2] == (series.model, series.tenant)}
        kinds = {
            kind: sum(n for k, n in of.items() if k[0] == kind) for kind in ("input", "output")
        }
        assert (series.tokens_in, series.tokens_out) == (kinds["input"], kinds["output"])
        assert series.tokens_estimated == sum(n for k, n in of.items() if k[1] == "estimated")


class Watch:
    """Reads both doors again and again: no counter ever shrinks."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._before: Samples = {}
        self._last: SidecarStats | None = None
        self.looks = 0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._go_on())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        try:
            await self._task
        except asyncio.CancelledError:
            pass

    async def _go_on(self) -> None:
        while True:
            self._compare(await self._place.samples())
            self._compare_looks(await self._place.stats())
            self.looks += 1
            await asyncio.sleep(0.01)

    def _compare(self, samples: Samples) -> None:
        for key, value in self._before.items():
            grows = key[0] not in (Metric.IN_FLIGHT, Metric.CONFIG_INFO, Metric.ACTIVE_MODEL)
            assert not grows or samples[key] >= value, key
        self._before = samples

    def _compare_looks(self, look: SidecarStats) -> None:
        ended = sum(series.ended for series in look.series)
        assert look.arrived == ended + look.in_flight, "each is either running or over"
        if self._last is not None:
            assert look.boot == self._last.boot
            assert look.arrived >= self._last.arrived
            assert ended >= sum(series.ended for series in self._last.series)
        self._last = look


# --- in flight -----------------------------------------------------------------------------------


class HeldServer:
    """Begins each answer, or not, and ends it when it is told to."""

    def __init__(self) -> None:
        self.held: list[asyncio.Event] = []

    async def __call__(self, call: Call) -> None:
        go_on = asyncio.Event()
        self.held.append(go_on)
        if b'"stream":true' in call.body:
            await call.begin_stream()
            await call.chunk(b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n')
            await go_on.wait()
            await call.chunk(b"data: [DONE]\n\n")
            await call.send(b"0\r\n\r\n")
        else:
            await go_on.wait()
            await call.answer(b'{"usage":{"prompt_tokens":7,"completion_tokens":3}}')


async def test_in_flight_is_exact_at_every_pause() -> None:
    server = HeldServer()
    clients: list[RawClient] = []
    async with placed(server) as place, asyncio.timeout(60):
        for n in range(8):
            client = RawClient(*await asyncio.open_connection("127.0.0.1", place.port))
            clients.append(client)
            await client.send(post(b'{"model":"m","stream":%b}' % (b"true", b"false")[n % 2]))
            await eventually(lambda: len(server.held) > n)  # noqa: B023 - waited for at once
            assert await place.in_flight() == (n + 1, n + 1)
        for n, client in enumerate(clients):
            if n < 5:
                server.held[n].set()
                assert (await client.answer()).whole
            else:
                client.leave()
                await asyncio.sleep(GONE_WITHIN_S)
            assert await place.in_flight() == (7 - n, 7 - n)
        look = await place.quiet()
        (series,) = look.series
        assert series.outcomes == {Outcome.OK: 5, Outcome.CANCELLED: 3}


async def test_a_connection_that_asks_nothing_and_a_request_half_sent_are_not_in_flight() -> None:
    async with placed(fateful_server) as place, asyncio.timeout(30):
        idle = RawClient(*await asyncio.open_connection("127.0.0.1", place.port))
        half = RawClient(*await asyncio.open_connection("127.0.0.1", place.port))
        await half.send(post(b'{"model":"m"}')[:60])
        await asyncio.sleep(0.1)
        assert await place.in_flight() == (0, 0)
        half.leave()
        idle.leave()
        await asyncio.sleep(0.1)
        assert (await place.stats()).arrived == 0


# --- nothing twice, nothing lost -----------------------------------------------------------------


async def test_a_request_that_is_repeated_on_a_fresh_connection_is_counted_once() -> None:
    seen: Counter[int] = Counter()

    async def script(call: Call) -> None:
        """The second request on each connection is met with its end: a stale one."""
        seen[id(call.writer)] += 1
        if seen[id(call.writer)] > 1:
            call.close()
        else:
            await call.answer(b'{"usage":{"prompt_tokens":7,"completion_tokens":3}}')

    async with placed(script) as place, asyncio.timeout(60):
        for _ in range(10):
            client = RawClient(*await asyncio.open_connection("127.0.0.1", place.port))
            await client.send(post(b'{"model":"m"}'))
            assert (await client.answer()).status == 200
            client.leave()
        look = await place.quiet()
        (series,) = look.series
        assert len(place.upstream.calls) > 10, "some were asked twice"
        assert (look.arrived, series.outcomes) == (10, {Outcome.OK: 10})
        assert (series.tokens_in, series.tokens_out) == (70, 30)
        counts = {
            name: value
            for (name, _), value in (await place.samples()).items()
            if name == f"{Metric.REQUEST_DURATION}_count"
        }
        assert counts == {f"{Metric.REQUEST_DURATION}_count": 10}


async def test_told_to_leave_it_counts_to_the_end_and_its_last_look_is_whole() -> None:
    """As the operator reads it: a look every now and then, until nobody answers."""
    server = HeldServer()
    async with placed(server, **FAST_WAY_OUT) as place, asyncio.timeout(90):
        looks = [await place.stats()]
        clients = [await _asked(place.port, stream=n % 2 == 0) for n in range(6)]
        await eventually(lambda: len(server.held) == 6)
        looks.append(await place.stats())
        place.sidecar.terminate()
        await place.sidecar.line("draining")
        clients += [await _asked(place.port, stream=True) for _ in range(3)]
        await eventually(lambda: len(server.held) == 9)
        looks.append(await place.stats())
        clients[0].leave()
        for go_on in server.held:
            go_on.set()
        for client in clients[1:]:
            assert (await client.answer()).whole
        code = asyncio.create_task(place.sidecar.exit_code(within_s=60))
        while not code.done():
            try:
                looks.append(await place.stats())
            except aiohttp.ClientError:
                break
            await asyncio.sleep(0.05)
        assert await code == 0
        assert place.sidecar.lines[-1]["unread"] is False
    assert [look.arrived for look in looks] == sorted(look.arrived for look in looks)
    last = looks[-1]
    assert len({look.boot for look in looks}) == 1
    assert (last.arrived, last.in_flight) == (9, 0)
    (series,) = last.series
    assert series.outcomes == {Outcome.OK: 8, Outcome.CANCELLED: 1}
    # Three plain answers told their usage; of each stream, one token was seen.
    assert series.tokens_out == 3 * 3 + 6
    # The operator adds up what each look added to the one before: the same, and nothing twice.
    ledger = Ledger()
    for look in [*looks, last]:
        ledger.look(look, now=1.8e9)
    assert ledger.totals().ended == 9
    assert ledger.totals().tokens_out == series.tokens_out


async def _asked(port: int, *, stream: bool) -> RawClient:
    client = RawClient(*await asyncio.open_connection("127.0.0.1", port))
    await client.send(post(b'{"model":"m","stream":%b}' % (b"true" if stream else b"false")))
    return client


# --- time ----------------------------------------------------------------------------------------

FIRST_S = 0.08
GAP_S = 0.03
TOKENS = 12
STREAMS = 6
"""In a round, three at a time."""
ENOUGH = 4
"""Streams of each figure that have to agree within 2 ms or 5 %."""


@dataclass
class Figure:
    """One time of one stream, in seconds."""

    least: float
    """By the model server's clock: the sidecar began before it, and heard after it spoke."""
    told: float
    seen: float
    """By the observer's: it asked before the sidecar began, and heard after it."""

    @property
    def agrees(self) -> bool:
        return abs(self.told - self.seen) <= max(0.002, 0.05 * self.seen)


CLOCK_S = 1e-5
"""What sums of floats and two readings of one clock may differ by."""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("api", APIS.values(), ids=APIS)
async def test_times_are_between_the_clocks_of_server_and_observer(api: Api) -> None:
    """Each stream has a model of its own, so that the sidecar's figures of it alone are known."""
    server = PacedServer(api, FIRST_S, GAP_S)
    agreed: Counter[str] = Counter()
    async with placed(server) as place, asyncio.timeout(280):
        for n in range(TIMING_ROUNDS):
            seen: dict[str, Timed] = {}
            for k in range(0, STREAMS, 3):
                three = [f"round-{n}-{m}" for m in range(k, k + 3)]
                timed = (time_stream(place.port, api, model, TOKENS) for model in three)
                seen |= dict(zip(three, await asyncio.gather(*timed), strict=True))
            for name, figure in await _figures(place, server, seen):
                # However busy the machine, no time is left out, and none made up. Of the end alone
                # the client may hear before the sidecar has noted it.
                assert figure.least - CLOCK_S <= figure.told, name
                assert name != "first token" or figure.told <= figure.seen + CLOCK_S
                agreed[name] += figure.agrees
            if len(agreed) == 3 and min(agreed.values()) >= ENOUGH:
                return
    raise AssertionError(f"of {TIMING_ROUNDS * STREAMS} streams no more agreed than {agreed}")


async def _figures(
    place: Place, server: PacedServer, seen: dict[str, Timed]
) -> list[tuple[str, Figure]]:
    look = await place.quiet()
    samples = await place.samples()
    rows = {series.model: series for series in look.series}
    assert sum(look.ttft_counts) == sum(series.ttft_count for series in look.series)
    gaps = TOKENS - 1
    found = []
    for model, by_observer in seen.items():
        row = rows[model]
        assert (row.ttft_count, row.outcomes) == (1, {Outcome.OK: 1})
        assert (row.tokens_in, row.tokens_out, row.tokens_estimated) == (7, TOKENS, 0)
        labels = (("gen_ai_operation_name", "chat"), ("gen_ai_request_model", model))
        first_s, each_s, whole_s = (
            samples[f"{metric}_sum", labels]
            for metric in (
                Metric.TIME_TO_FIRST_TOKEN,
                Metric.TIME_PER_OUTPUT_TOKEN,
                Metric.REQUEST_DURATION,
            )
        )
        assert (first_s, whole_s) == (row.ttft_s, row.duration_s)
        by_server = server.served[model]
        first, last = by_observer.first, by_observer.last
        found += [
            ("first token", Figure(by_server.first, first_s, first)),
            ("each token", Figure((by_server.last - first) / gaps, each_s, (last - first) / gaps)),
            ("whole", Figure(by_server.last, whole_s, last)),
        ]
    return found
