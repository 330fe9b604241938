"""The machine doors, and the way out that they show."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from hub import eventually
from tidegate_sidecar.admin import Doors, open_doors
from tidegate_sidecar.leave import SETTLE_REAL_S, Leaving, Told
from tidegate_sidecar.settings import Address
from tidegate_wire.clock import Clock
from tidegate_wire.stats import Series, SidecarStats

SPEED = 50.0


class Sidecar:
    """A data path with a handle to turn, behind real doors."""

    def __init__(self, *, accept_s: float = 0.0, linger_s: float = 30.0) -> None:
        self.clock = Clock(SPEED)
        self.in_flight = 0
        self.clients: set[str] = set()
        self.draining = False
        self.listening = True
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self.now = SidecarStats(pod_uid="uid", boot="b1")
        self.page: Callable[[bool], Iterator[str]] = self._short_page
        self.told = Told(lambda: self.now)
        self.leaving = Leaving(
            proxy=self,
            stop_listening=self._stop_listening,
            told=self.told,
            clock=self.clock,
            log=lambda event, /, **fields: self.lines.append((event, fields)),
            accept_s=accept_s,
            linger_s=linger_s,
        )
        self.doors = Doors(
            metrics=lambda openmetrics: self.page(openmetrics),
            told=self.told,
            leaving=self.leaving,
        )

    def _short_page(self, openmetrics: bool) -> Iterator[str]:
        yield "# TYPE x counter\n"
        yield "x_total 1\n# EOF\n" if openmetrics else "x 1\n"

    def run(self, requests: int) -> None:
        """So many requests are running now, each on its connection."""
        self.in_flight = requests
        self.clients = {f"client {n}" for n in range(requests)}

    def drain(self) -> None:
        self.draining = True

    def close_quiet(self) -> None:
        """None of these connections is ever quiet."""

    def _stop_listening(self) -> None:
        self.listening = False

    def count(self) -> None:
        """One more request has come and gone."""
        arrived = self.now.arrived + 1
        series = (Series(model="m", tenant="", outcomes={"ok": arrived}),)
        self.now = replace(self.now, arrived=arrived, series=series)


class Caller:
    """Asks the doors over a real connection."""

    def __init__(self, session: aiohttp.ClientSession, address: Address) -> None:
        self._session = session
        self.host, self.port = address

    async def __call__(
        self, method: str, path: str, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes, str]:
        async with self._session.request(method, path, headers=headers) as answer:
            return answer.status, await answer.read(), answer.headers.get("Content-Type", "")


@pytest.fixture
def sidecar() -> Sidecar:
    return Sidecar()


@pytest.fixture
async def ask(sidecar: Sidecar) -> AsyncIterator[Caller]:
    runner, address = await open_doors(sidecar.doors, Address("127.0.0.1", 0))
    async with aiohttp.ClientSession(f"http://{address}") as session:
        yield Caller(session, address)
    await runner.cleanup()


TEXT = (b"# TYPE x counter\nx 1\n", "text/plain; version=0.0.4; charset=utf-8")
OPENMETRICS = (
    b"# TYPE x counter\nx_total 1\n# EOF\n",
    "application/openmetrics-text; version=1.0.0; charset=utf-8",
)


@pytest.mark.parametrize(
    ("accept", "answer"),
    [
        pytest.param("", TEXT, id="nobody says what they want"),
        pytest.param("*/*", TEXT, id="curl"),
        pytest.param("text/html,application/xhtml+xml,*/*;q=0.8", TEXT, id="a browser"),
        pytest.param("text/plain;version=0.0.4;q=1,*/*;q=0.1", TEXT, id="Prometheus of old"),
        pytest.param(
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;"
            "version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            OPENMETRICS,
            id="Prometheus 2",
        ),
        pytest.param(
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
            "application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;"
            "escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            OPENMETRICS,
            id="Prometheus 3",
        ),
        pytest.param("application/openmetrics-text", OPENMETRICS, id="any version of it"),
        pytest.param(
            "Application/OpenMetrics-Text ; Version=1.0.0 ; Q=0.9 , text/plain ; q=0.8",
            OPENMETRICS,
            id="capitals and spaces",
        ),
        pytest.param("application/openmetrics-text;version=0.0.1", TEXT, id="a draft alone"),
        pytest.param("application/openmetrics-text;version=2.0.0", TEXT, id="a later version"),
        pytest.param("application/openmetrics-text;q=0", TEXT, id="anything but that"),
        pytest.param(
            "application/openmetrics-text;q=0.2,text/plain;q=0.3", TEXT, id="rather the text"
        ),
        pytest.param(
            "application/openmetrics-text;q=much,text/plain;q=0.3", TEXT, id="q is no number"
        ),
        pytest.param(";;,=;q=,,application", TEXT, id="nonsense"),
    ],
)
async def test_metrics_come_in_the_format_that_is_asked_for(
    ask: Caller, accept: str, answer: tuple[bytes, str]
) -> None:
    assert await ask("GET", "/metrics", {"Accept": accept}) == (200, *answer)
    assert await ask("HEAD", "/metrics", {"Accept": accept}) == (200, b"", answer[1])


async def test_a_long_page_stops_nobody_else(sidecar: Sidecar, ask: Caller) -> None:
    """While pieces of a page are made, health is asked and answered."""
    between = asyncio.Event()

    def pieces(openmetrics: bool) -> Iterator[str]:
        assert not openmetrics
        while not between.is_set():
            yield "x 1\n"

    sidecar.page = pieces
    page = asyncio.create_task(ask("GET", "/metrics"))
    async with asyncio.timeout(10):
        assert (await ask("GET", "/healthz"))[1] == b"ok\n"
        assert not page.done()
        between.set()
        assert (await page)[0] == 200


async def test_a_scraper_of_old_hears_where_the_page_ends(ask: Caller) -> None:
    reader, writer = await asyncio.open_connection(ask.host, ask.port)
    writer.write(b"GET /metrics HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    async with asyncio.timeout(10):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert b"200 OK" in head
    assert body == TEXT[0]
    writer.close()


@pytest.mark.parametrize("path", ["/metrics", "/stats"])
async def test_a_reader_that_goes_away_is_nothing_to_tell_of(
    sidecar: Sidecar, ask: Caller, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    sidecar.page = lambda openmetrics: (f"x {n}\n" * 1000 for n in range(100_000))
    for wait_s in (0, 0.001, 0.01):
        _, writer = await asyncio.open_connection(ask.host, ask.port)
        for _ in range(20):
            writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        await asyncio.sleep(wait_s)
        writer.transport.abort()
    async with asyncio.timeout(10):
        assert (await ask("GET", "/healthz"))[0] == 200
    assert not caplog.records


async def test_stats_are_the_wire_contract(ask: Caller, sidecar: Sidecar) -> None:
    sidecar.count()
    status, body, kind = await ask("GET", "/stats")
    assert (status, kind) == (200, "application/json")
    assert SidecarStats.from_json(body) == replace(sidecar.now, look="b1.1")


async def test_alive_while_the_loop_lives_and_ready_only_between_start_and_leave(
    ask: Caller, sidecar: Sidecar
) -> None:
    async def health() -> tuple[int, int, bytes]:
        ready = await ask("GET", "/readyz")
        return (await ask("GET", "/healthz"))[0], ready[0], ready[1]

    assert await health() == (200, 503, b"starting\n")
    sidecar.doors.started = True
    assert await health() == (200, 200, b"ok\n")
    sidecar.run(1)
    leaving = asyncio.create_task(sidecar.leaving.drained())
    await eventually(lambda: sidecar.draining)
    assert await health() == (200, 503, b"draining\n")
    sidecar.run(0)
    await leaving
    assert await health() == (200, 503, b"draining\n")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("HEAD", "/drain", 405, id="a look drains nothing"),
        pytest.param("GET", "/", 404, id="there is no index"),
        pytest.param("POST", "/stats", 405, id="stats are read only"),
    ],
)
async def test_other_calls_do_nothing(
    ask: Caller, sidecar: Sidecar, method: str, path: str, status: int
) -> None:
    assert (await ask(method, path))[0] == status
    assert not sidecar.leaving.begun


async def test_drain_answers_people_and_kubelets_when_the_last_request_has_ended(
    ask: Caller, sidecar: Sidecar
) -> None:
    sidecar.run(2)
    first = asyncio.create_task(ask("GET", "/drain"))
    second = asyncio.create_task(ask("POST", "/drain"))
    await eventually(lambda: not sidecar.listening)
    sidecar.run(1)
    await asyncio.sleep(0.1)
    assert not first.done()
    sidecar.run(0)
    assert [(await each)[:2] for each in (first, second)] == [(200, b"drained\n")] * 2
    assert sidecar.lines == [("draining", {"in_flight": 2})], "leaving begins once"


async def test_a_caller_of_drain_who_hangs_up_does_not_stop_the_leaving(
    ask: Caller, sidecar: Sidecar
) -> None:
    sidecar.run(1)
    call = asyncio.create_task(ask("POST", "/drain"))
    await eventually(lambda: not sidecar.listening)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    sidecar.run(0)
    await asyncio.wait_for(sidecar.leaving.drained(), 5)


async def test_an_answer_that_is_still_being_sent_is_waited_for(sidecar: Sidecar) -> None:
    sidecar.clients = {"slow reader"}
    leaving = asyncio.create_task(sidecar.leaving.drained())
    await asyncio.sleep(0.2)
    assert not leaving.done()
    sidecar.clients = set()
    await asyncio.wait_for(leaving, 1)


async def test_a_client_who_only_keeps_a_connection_open_does_not_hold_it_up(
    sidecar: Sidecar,
) -> None:
    sidecar.clients = {"silent"}
    await asyncio.wait_for(sidecar.leaving.drained(), 2 * SETTLE_REAL_S)


async def test_a_request_that_arrives_at_the_last_moment_is_served(sidecar: Sidecar) -> None:
    sidecar.clients = {"slow sender"}
    leaving = asyncio.create_task(sidecar.leaving.drained())
    await asyncio.sleep(SETTLE_REAL_S / 2)
    sidecar.run(1)
    await asyncio.sleep(SETTLE_REAL_S)
    assert not leaving.done()
    sidecar.run(0)
    await asyncio.wait_for(leaving, 1)


async def test_drained_but_never_ended_it_ends_itself_to_be_started_anew(
    ask: Caller, sidecar: Sidecar
) -> None:
    """An app restarted by its liveness probe runs its preStop hook, too, and its pod stays."""
    unclaimed = asyncio.create_task(sidecar.leaving.unclaimed())
    await asyncio.sleep(0.1)
    assert not unclaimed.done()
    began = sidecar.clock.monotonic()
    await ask("GET", "/drain")
    await asyncio.wait_for(unclaimed, 10)
    assert sidecar.clock.monotonic() - began >= 30.0


async def test_a_leaving_sidecar_accepts_for_a_while_by_its_clock() -> None:
    sidecar = Sidecar(accept_s=10.0)
    began = sidecar.clock.monotonic()
    leaving = asyncio.create_task(sidecar.leaving.drained())
    await eventually(lambda: sidecar.draining)
    assert sidecar.listening
    await leaving
    assert not sidecar.listening
    assert sidecar.clock.monotonic() - began >= 10.0


class TestLinger:
    """Counters that nobody has read yet are worth a wait, and no others."""

    async def test_nobody_ever_read_so_nobody_is_waited_for(self, sidecar: Sidecar) -> None:
        sidecar.count()
        await asyncio.wait_for(sidecar.leaving.counted(), 0.2)

    async def test_all_was_read_so_there_is_nothing_to_wait_for(
        self, sidecar: Sidecar, ask: Caller
    ) -> None:
        sidecar.count()
        await ask("GET", "/stats")
        await asyncio.wait_for(sidecar.leaving.counted(), 0.2)

    async def test_a_request_since_the_last_look_waits_for_one_more_look(
        self, ask: Caller
    ) -> None:
        patient = Sidecar(linger_s=1e6)
        runner, address = await open_doors(patient.doors, Address("127.0.0.1", 0))
        async with aiohttp.ClientSession(f"http://{address}") as session:
            look = Caller(session, address)
            await look("GET", "/stats")
            patient.count()
            wait = asyncio.create_task(patient.leaving.counted())
            await asyncio.sleep(0.1)
            assert not wait.done()
            await look("GET", "/stats")
            await asyncio.wait_for(wait, 5)
        await runner.cleanup()

    async def test_one_who_saves_is_waited_for_until_that_look_is_saved(self) -> None:
        patient = Sidecar(linger_s=1e6)
        runner, address = await open_doors(patient.doors, Address("127.0.0.1", 0))
        async with aiohttp.ClientSession(f"http://{address}") as session:
            look = Caller(session, address)

            async def looked(saved: str) -> SidecarStats:
                return SidecarStats.from_json((await look("GET", f"/stats?saved={saved}"))[1])

            first = await looked("")
            patient.count()
            assert not first.leaving
            await asyncio.wait_for(patient.leaving.drained(), 5)
            wait = asyncio.create_task(patient.leaving.counted())
            last = await looked(first.look)
            assert last.leaving
            assert last.look != first.look
            await look("GET", "/stats")  # somebody else, who keeps nothing
            assert (await looked("")).look == last.look  # whoever had the last look, lost it
            await asyncio.sleep(0.1)
            assert not wait.done()
            await looked(last.look)
            await asyncio.wait_for(wait, 5)
        await runner.cleanup()

    async def test_what_was_saved_in_time_is_not_waited_for(
        self, ask: Caller, sidecar: Sidecar
    ) -> None:
        sidecar.count()
        look = SidecarStats.from_json((await ask("GET", "/stats?saved="))[1]).look
        await ask("GET", f"/stats?saved={look}")
        await asyncio.wait_for(sidecar.leaving.counted(), 0.2)

    async def test_a_policy_that_goes_ends_the_wait(self) -> None:
        patient = Sidecar(linger_s=1e6)
        patient.told.offer("")
        wait = asyncio.create_task(patient.leaving.counted())
        await asyncio.sleep(0.1)
        assert not wait.done()
        patient.told.policy_gone()
        await asyncio.wait_for(wait, 5)

    async def test_the_wait_ends_by_the_clock(self, ask: Caller, sidecar: Sidecar) -> None:
        await ask("GET", "/stats")
        sidecar.count()
        began = sidecar.clock.monotonic()
        await asyncio.wait_for(sidecar.leaving.counted(), 10)
        assert sidecar.clock.monotonic() - began >= 30.0


async def test_a_taken_port_is_an_error_and_leaves_nothing_open(sidecar: Sidecar) -> None:
    runner, address = await open_doors(sidecar.doors, Address("127.0.0.1", 0))
    with pytest.raises(OSError, match="in use"):
        await open_doors(sidecar.doors, address)
    await runner.cleanup()
