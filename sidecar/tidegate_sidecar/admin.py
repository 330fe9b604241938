"""The doors for machines: metrics, stats, health, readiness, drain.

Law: nothing here touches a request of the data path, and nothing here waits for the hub or the
upstream. Alive means that the loop turns; ready means that traffic is welcome.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace

from aiohttp import HttpVersion11, web

from tidegate_sidecar.leave import Leaving, Told
from tidegate_sidecar.settings import Address
from tidegate_wire.names import PATH_STATS, QUERY_SAVED

TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def wants_openmetrics(accept: str) -> bool:
    """Whether an ``Accept`` header prefers OpenMetrics 1.0 to the older text format, which is what
    a browser and ``curl`` get."""
    quality = {"application/openmetrics-text": 0.0, "text/plain": 0.0}
    for choice in accept.lower().split(","):
        kind, *words = (word.strip() for word in choice.split(";"))
        options = dict(word.split("=", 1) for word in words if "=" in word)
        other_version = kind != "text/plain" and options.get("version", "1.0.0") != "1.0.0"
        if kind not in quality or other_version:
            continue
        try:
            quality[kind] = max(quality[kind], float(options.get("q", 1)))
        except ValueError:
            continue  # as if it were not there (RFC 9110, 12.4.2, knows numbers only)
    openmetrics, text = quality.values()
    return openmetrics > 0 and openmetrics >= text


class Doors:
    """The admin server's answers."""

    def __init__(
        self,
        *,
        metrics: Callable[[bool], Iterator[str]],
        told: Told,
        leaving: Leaving,
    ) -> None:
        """``metrics`` gives the page for Prometheus in pieces; true asks for OpenMetrics."""
        self._pieces = metrics
        self._told = told
        self._leaving = leaving
        self.started = False
        """Set once everything stands."""

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get("/metrics", self._metrics),
                web.get(PATH_STATS, self._tell),
                web.get("/healthz", self._alive),
                web.get("/readyz", self._ready),
                web.post("/drain", self._drain),
                # The only method that a kubelet's httpGet preStop hook knows.
                web.get("/drain", self._drain, allow_head=False),
            ]
        )
        return app

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        openmetrics = wants_openmetrics(request.headers.get("Accept", ""))
        kind = OPENMETRICS_TYPE if openmetrics else TEXT_TYPE
        answer = web.StreamResponse(headers={"Content-Type": kind, "Vary": "Accept"})
        if request.version < HttpVersion11:
            answer.force_close()  # without chunks, nothing else tells where the page ends
        pieces = () if request.method == "HEAD" else self._pieces(openmetrics)
        try:
            await answer.prepare(request)
            for piece in pieces:
                await asyncio.sleep(0)  # let the streams have their turn
                await answer.write(piece.encode())
            await answer.write_eof()
        except ConnectionError:
            pass  # who asked has gone; aiohttp would tell of it at length
        return answer

    async def _tell(self, request: web.Request) -> web.Response:
        stats = self._told.offer(request.query.get(QUERY_SAVED))
        stats = replace(stats, leaving=self._leaving.begun)
        await asyncio.sleep(0)  # 1,000 rows take 2 ms to copy, and 4 to write
        answer = web.Response(body=stats.to_json(), content_type="application/json")
        try:
            await answer.prepare(request)
            await answer.write_eof()
        except ConnectionError:
            return answer  # who asked has gone, and was told nothing
        # Only now: to a reader who never says what it saved, a leaving sidecar owes no more than
        # this answer, and must not exit with it unsent.
        self._told.was(stats)
        return answer

    async def _alive(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _ready(self, _: web.Request) -> web.Response:
        if self._leaving.begun:
            return web.Response(status=503, text="draining\n")
        if not self.started:
            return web.Response(status=503, text="starting\n")
        return web.Response(text="ok\n")

    async def _drain(self, _: web.Request) -> web.Response:
        await self._leaving.drained()
        return web.Response(text="drained\n")


async def open_doors(doors: Doors, address: Address) -> tuple[web.AppRunner, Address]:
    """Start serving; returns the runner to clean up and where it listens. Raises ``OSError`` on a
    taken port.
    """
    runner = web.AppRunner(doors.app(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, address.host, address.port).start()
    except OSError:
        await runner.cleanup()
        raise
    return runner, Address(*runner.addresses[0][:2])
