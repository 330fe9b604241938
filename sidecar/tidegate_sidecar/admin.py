"""The doors for machines: metrics, stats, health, readiness, drain.

Law: nothing here touches a request of the data path, and nothing here waits for the hub or the
upstream. Alive means that the loop turns; ready means that traffic is welcome.
"""

from collections.abc import Callable

from aiohttp import web

from tidegate_sidecar.leave import Leaving, Told
from tidegate_sidecar.settings import Address
from tidegate_wire.names import PATH_STATS
from tidegate_wire.stats import SidecarStats

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Doors:
    """The admin server's answers."""

    def __init__(
        self,
        *,
        render: Callable[[], bytes],
        stats: Callable[[], SidecarStats],
        told: Told,
        leaving: Leaving,
    ) -> None:
        self._render = render
        self._stats = stats
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

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._render(), headers={"Content-Type": METRICS_TYPE})

    async def _tell(self, request: web.Request) -> web.Response:
        stats = self._stats()
        answer = web.Response(body=stats.to_json(), content_type="application/json")
        await answer.prepare(request)
        await answer.write_eof()
        # Only now: a leaving sidecar exits as soon as somebody was told, and must not do so with
        # the answer unsent.
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
