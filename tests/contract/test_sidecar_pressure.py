"""Under pressure the sidecar refuses and waits; it does not fall, and loses nobody who waits.

Real processes, since what runs out here is the system's: memory, descriptors, connections.
"""

import asyncio
import json
import resource
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from benchmarks.cputime import tree_pss_mb
from benchmarks.sidecars import PURE
from benchmarks.stalled_readers import OTHERS_BUFFER_BYTES, measure

from hub import eventually
from sidecar_process import ModelServer, SidecarProcess
from tidegate_wire.names import ERROR_OUTCOMES, Outcome, Refusal
from tidegate_wire.stats import SidecarStats


def post(body: bytes) -> bytes:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


ASK = post(b'{"model":"big","messages":[]}')
STREAM = post(b'{"model":"big","messages":[],"stream":true}')


@pytest.fixture
async def server() -> AsyncIterator[ModelServer]:
    async with ModelServer() as server:
        yield server


class Caller:
    """A connection on which bytes are sent and read as they are."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20)
        self.socket.setblocking(False)

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.socket, data)

    async def read(self, *, within_s: float = 20.0) -> bytes:
        """What comes next; empty: the other side has closed."""
        loop = asyncio.get_running_loop()
        return await asyncio.wait_for(loop.sock_recv(self.socket, 65536), within_s)

    async def ask(self) -> int:
        await self.send(ASK)
        return await self.status()

    async def status(self) -> int:
        """Of the answer that comes next."""
        return int((await self.read()).split(b" ")[1])

    async def waits(self, *, for_s: float = 0.3) -> bool:
        """Whether nothing comes, not even the end."""
        readable = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self.socket, readable.set)
        try:
            await asyncio.wait_for(readable.wait(), for_s)
        except TimeoutError:
            return True
        finally:
            loop.remove_reader(self.socket)
        return False

    def close(self) -> None:
        self.socket.close()


async def look(sidecar: SidecarProcess) -> SidecarStats:
    async with aiohttp.ClientSession() as http, http.get(sidecar.admin + "/stats") as answer:
        return SidecarStats.from_json(await answer.read())


def next_descriptor(sidecar: SidecarProcess) -> int:
    """The number of what the process opens next; a limit is one on numbers."""
    taken = {int(file.name) for file in Path(f"/proc/{sidecar.process.pid}/fd").iterdir()}
    return min(set(range(len(taken) + 1)) - taken)


def cpu_s(sidecar: SidecarProcess) -> float:
    fields = Path(f"/proc/{sidecar.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def allow_descriptors(sidecar: SidecarProcess, count: int) -> None:
    """The limit of a running process: lower than it had reckoned with."""
    _, hard = resource.prlimit(sidecar.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(sidecar.process.pid, resource.RLIMIT_NOFILE, (count, hard))


async def test_a_client_past_the_bound_waits_at_the_door_until_another_leaves(
    server: ModelServer,
) -> None:
    env = {"TIDEGATE_MAX_CONNECTIONS": "8"}
    async with SidecarProcess("--upstream", server.url, env=env) as sidecar:
        busy = [Caller(sidecar.url) for _ in range(8)]
        for caller in busy:
            await caller.send(STREAM)
        await eventually(lambda: len(server.requests) == 8)
        late = [Caller(sidecar.url) for _ in range(20)]
        for caller in late:
            await caller.send(ASK)
        assert await late[-1].waits()
        busy[0].close()
        for caller in late:
            assert (await caller.read()).startswith(b"HTTP/1.1 200 ")
            caller.close()
        assert [line for line in sidecar.events() if line == "ran_out"] == ["ran_out"]


async def test_at_the_bound_an_idle_connection_makes_way_and_the_one_used_last_stays(
    server: ModelServer,
) -> None:
    env = {"TIDEGATE_MAX_CONNECTIONS": "3"}
    async with SidecarProcess("--upstream", server.url, env=env) as sidecar:
        old, busy = Caller(sidecar.url), Caller(sidecar.url)
        assert [await old.ask(), await busy.ask()] == [200, 200]
        server.hold.clear()
        new = [Caller(sidecar.url) for _ in range(4)]
        for caller in new:
            assert await caller.ask() == 200
        assert await old.read() == b""


async def test_without_descriptors_clients_wait_and_are_served_once_there_are_some(
    server: ModelServer,
) -> None:
    async with SidecarProcess("--upstream", server.url) as sidecar:
        first = Caller(sidecar.url)
        assert await first.ask() == 200
        await look(sidecar)
        allow_descriptors(sidecar, next_descriptor(sidecar) + 10)
        callers = [Caller(sidecar.url) for _ in range(60)]
        for caller in callers:
            await caller.send(b"POST ")  # begun, and so not idle
        await eventually(lambda: "ran_out" in sidecar.events())
        spent = cpu_s(sidecar)
        assert await callers[-1].waits(for_s=1.0)
        assert cpu_s(sidecar) - spent < 0.3, "it waits, and does not spin"
        assert await first.read() == b"", "an idle connection was closed to make room"
        for caller in callers[:55]:
            caller.close()
        for caller in callers[55:]:
            await caller.send(ASK.removeprefix(b"POST "))
            answer = await caller.read()
            while answer.startswith(b"HTTP/1.1 503 "):  # as long as the others are going
                await asyncio.sleep(0.05)
                await caller.send(ASK)
                answer = await caller.read()
            assert answer.startswith(b"HTTP/1.1 200 ")
        assert sidecar.events() == ["started", "ran_out"], "said once, however often it was tried"


async def test_a_call_for_which_there_is_no_descriptor_is_refused_and_no_fault_of_the_server(
    server: ModelServer,
) -> None:
    async with SidecarProcess("--upstream", server.url) as sidecar:
        caller = Caller(sidecar.url)
        await caller.send(b"POST ")
        await look(sidecar)
        await asyncio.sleep(0.2)
        allow_descriptors(sidecar, next_descriptor(sidecar))
        await caller.send(ASK.removeprefix(b"POST "))
        head, _, body = (await caller.read()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 1\r\n" in head
        error = json.loads(body)["error"]
        assert (error["type"], error["code"]) == ("server_error", Refusal.OVERLOADED)
        allow_descriptors(sidecar, 1024)
        assert await caller.ask() == 200
        stats = await look(sidecar)
        (series,) = stats.series
        assert series.outcomes == {Outcome.BLOCKED: 1, Outcome.OK: 1}
        assert not set(series.outcomes) & set(ERROR_OUTCOMES)
        assert (stats.arrived, stats.in_flight) == (2, 0)


async def test_bodies_that_come_all_at_once_fill_no_more_than_the_bound(
    server: ModelServer,
) -> None:
    """Sixty of 2 MB each, none of them whole: 120 MB where 16 are allowed."""
    env = {"TIDEGATE_MAX_BUFFERED_BYTES": str(16 << 20)}
    async with SidecarProcess("--upstream", server.url, env=env) as sidecar:
        before = tree_pss_mb(sidecar.process.pid)
        callers = [Caller(sidecar.url) for _ in range(60)]
        begun = post(b"x" * 2_000_000)[:-1]

        async def refused(caller: Caller) -> bool:
            sending = asyncio.create_task(caller.send(begun))
            waits = await caller.waits(for_s=5.0)
            assert waits or await caller.status() == 503
            sending.cancel()
            return not waits

        after = await asyncio.gather(*map(refused, callers))
        assert 50 <= sum(after) < 60
        assert tree_pss_mb(sidecar.process.pid) - before < 48
        stats = await look(sidecar)
        assert stats.arrived == sum(after)
        for caller in callers:
            caller.close()
        fresh = Caller(sidecar.url)
        assert await fresh.ask() == 200, "what was let go makes room"


@pytest.mark.parametrize(
    ("plain", "most_kb"), [(False, 256), (True, 700)], ids=["of a stream", "of a plain answer"]
)
def test_readers_that_stand_still_cost_less_than_a_megabyte_each(
    plain: bool, most_kb: float
) -> None:
    """Before a server that sends as fast as it can; with what the kernel holds."""
    result = measure(50, PURE, plain=plain)
    assert result.pss_kb < most_kb
    # What the server got rid of, and is not in its own end nor the reader's: more than the kernel
    # holds for us, since some of it lies in the process.
    with_the_kernel_kb = result.pss_kb + result.taken_kb - 2 * 2 * OTHERS_BUFFER_BYTES / 1024
    assert 100 < with_the_kernel_kb < 1000
