"""The machine doors, and the way out that they show."""

import asyncio
from collections.abc import AsyncIterator
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
            render=lambda: b"# TYPE x counter\nx 1\n",
            stats=lambda: self.now,
            told=self.told,
            leaving=self.leaving,
        )

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

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def __call__(self, method: str, path: str) -> tuple[int, bytes, str]:
        async with self._session.request(method, path) as answer:
            return answer.status, await answer.read(), answer.headers.get("Content-Type", "")


@pytest.fixture
def sidecar() -> Sidecar:
    return Sidecar()


@pytest.fixture
async def ask(sidecar: Sidecar) -> AsyncIterator[Caller]:
    runner, address = await open_doors(sidecar.doors, Address("127.0.0.1", 0))
    async with aiohttp.ClientSession(f"http://{address}") as session:
        yield Caller(session)
    await runner.cleanup()


async def test_metrics_are_the_text_that_prometheus_reads(ask: Caller) -> None:
    assert await ask("GET", "/metrics") == (
        200,
        b"# TYPE x counter\nx 1\n",
        "text/plain; version=0.0.4; charset=utf-8",
    )


async def test_stats_are_the_wire_contract(ask: Caller, sidecar: Sidecar) -> None:
    sidecar.count()
    status, body, kind = await ask("GET", "/stats")
    assert (status, kind) == (200, "application/json")
    assert SidecarStats.from_json(body) == sidecar.now


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
            look = Caller(session)
            await look("GET", "/stats")
            patient.count()
            wait = asyncio.create_task(patient.leaving.counted())
            await asyncio.sleep(0.1)
            assert not wait.done()
            await look("GET", "/stats")
            await asyncio.wait_for(wait, 5)
        await runner.cleanup()

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
