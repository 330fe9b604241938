"""Sidecars are restarted one after the other under load: no request fails, and each is counted
once.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import pytest

from sidecar_process import SidecarProcess
from tidegate_wire.names import Outcome
from tidegate_wire.stats import SidecarStats
from upstream import Call, chat_reply, chat_stream, serving

PATH = "/v1/chat/completions"
ENV = {"TIDEGATE_DRAIN_ACCEPT_S": "1", "TIDEGATE_LINGER_S": "30"}
PROBE_S = 0.2
"""Between two looks of the Service at who is ready: a fifth of the time that a leaving sidecar
still takes requests."""
SIDECARS = 3
STREAMERS = 12
ASKERS = 6
STREAM = chat_stream(10, usage=True)

pytestmark = pytest.mark.timeout(180)


async def model_server(call: Call) -> None:
    """A stream takes a second, an answer 20 ms."""
    if b'"stream"' not in call.body:
        await asyncio.sleep(0.02)
        await call.answer(chat_reply())
        return
    await call.begin_stream()
    for event in STREAM.split(b"\n\n")[:-1]:
        await asyncio.sleep(0.07)
        await call.chunk(event + b"\n\n")
    await call.send(b"0\r\n\r\n")


class Service:
    """Spreads requests over those sidecars that said they are ready when last asked."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self._turn = itertools.count()
        self._ready: list[str] = []
        self.books: dict[str, SidecarStats] = {}
        """What each sidecar, gone or not, was last heard to have counted; by its admin door."""

    def pick(self) -> str:
        return self._ready[next(self._turn) % len(self._ready)]

    async def follow(self, sidecar: SidecarProcess) -> None:
        """Probe it, and read its books, until it is gone."""
        while sidecar.process.returncode is None:
            ready = await self._probe(sidecar)
            if ready and sidecar.url not in self._ready:
                self._ready.append(sidecar.url)
            elif not ready and sidecar.url in self._ready:
                self._ready.remove(sidecar.url)
            await asyncio.sleep(PROBE_S)

    async def _probe(self, sidecar: SidecarProcess) -> bool:
        try:
            async with self._http.get(sidecar.admin + "/stats") as answer:
                self.books[sidecar.admin] = SidecarStats.from_json(await answer.read())
            async with self._http.get(sidecar.admin + "/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False  # it ends

    async def until_ready(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self._ready) < count:
                await asyncio.sleep(0.02)


class Callers:
    """Clients that try each request once."""

    def __init__(self, service: Service, http: aiohttp.ClientSession) -> None:
        self._service = service
        self._http = http
        self._stop = False
        self.sent = 0
        self.failures: list[str] = []

    async def _one(self, body: dict[str, object], whole: bytes) -> None:
        self.sent += 1
        try:
            async with self._http.post(self._service.pick() + PATH, json=body) as answer:
                got = await answer.read()
            if answer.status != 200 or got != whole:
                self.failures.append(f"{answer.status}: {got[-100:]!r}")
        except aiohttp.ClientError as error:
            self.failures.append(repr(error))

    async def _again_and_again(self, body: dict[str, object], whole: bytes) -> None:
        while not self._stop:
            await self._one(body, whole)

    @asynccontextmanager
    async def calling(self) -> AsyncIterator[None]:
        plain: dict[str, object] = {"model": "m", "messages": []}
        stream: dict[str, object] = {
            **plain,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        async with asyncio.TaskGroup() as group:
            for _ in range(STREAMERS):
                group.create_task(self._again_and_again(stream, STREAM))
            for _ in range(ASKERS):
                group.create_task(self._again_and_again(plain, chat_reply()))
            try:
                yield
            finally:
                self._stop = True


async def test_a_rolling_restart_of_three_sidecars_loses_no_request_and_no_count() -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(model_server))
        connector = aiohttp.TCPConnector(limit=0)
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        service = Service(http)
        callers = Callers(service, http)
        followers = await stack.enter_async_context(asyncio.TaskGroup())

        async def start() -> SidecarProcess:
            made = SidecarProcess("--upstream", server.url, env=ENV)
            sidecar = await stack.enter_async_context(made)
            followers.create_task(service.follow(sidecar))
            return sidecar

        old = [await start() for _ in range(SIDECARS)]
        await service.until_ready(SIDECARS)
        async with callers.calling():
            await asyncio.sleep(1.0)
            for sidecar in old:
                sidecar.terminate()
                assert await sidecar.exit_code(within_s=30) == 0
                await start()
                await service.until_ready(SIDECARS)
            await asyncio.sleep(1.0)
        new = [sidecar for sidecar in service.books if sidecar not in {each.admin for each in old}]
        assert not callers.failures, (
            f"{len(callers.failures)} of {callers.sent}: {callers.failures[:5]}"
        )
        assert callers.sent > 100
        while sum(service.books[admin].in_flight for admin in new):
            await asyncio.sleep(0.05)
        await asyncio.sleep(2 * PROBE_S)
        books = service.books.values()
        assert len(books) == 2 * SIDECARS
        assert all(each.arrived for each in books), "each had its part"
        assert sum(each.arrived for each in books) == callers.sent == len(server.calls)
        outcomes = [series.outcomes for each in books for series in each.series]
        assert sum(one.get(Outcome.OK, 0) for one in outcomes) == callers.sent
        assert {outcome for one in outcomes for outcome in one} == {Outcome.OK}
