"""The reconciler's HTTP door: ``/healthz`` and ``/metrics``.

Law: healthy means that the loop goes round; a process whose loop stands still is to be restarted.
A follower that waits for the Lease is healthy. Real time, since it is judged from outside.
"""

import time
from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from tidegate_operator.handlers.metrics import Metrics

MIN_SILENCE_S = 60.0
"""Real seconds without a round that are not yet a fault."""


class Door:
    """Opened by the process's main, closed by it."""

    def __init__(
        self, metrics: Metrics, ticked_at: Callable[[], float | None], tick_real_s: float
    ) -> None:
        self._metrics = metrics
        self._ticked_at = ticked_at
        self._silence_s = max(MIN_SILENCE_S, 5 * tick_real_s)
        self._runner: web.AppRunner | None = None

    async def open(self, host: str, port: int) -> int:
        """Listen; the port, where ``port`` is 0. ``OSError`` where it is taken."""
        app = web.Application()
        app.router.add_get("/healthz", self._health)
        app.router.add_get("/metrics", self._show)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, shutdown_timeout=0.5)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _health(self, _: web.Request) -> web.Response:
        ticked_at = self._ticked_at()
        if ticked_at is None:
            return web.Response(text="ok: waiting to lead\n")
        silent_s = time.monotonic() - ticked_at
        if silent_s > self._silence_s:
            return web.Response(status=503, text=f"the loop stands still for {silent_s:.0f} s\n")
        return web.Response(text="ok\n")

    async def _show(self, _: web.Request) -> web.Response:
        return web.Response(
            body=self._metrics.render(), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )
