"""The hub as a sidecar sees it, on loopback, with a memory of what it was asked and told."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tidegate_wire.clock import Clock
from tidegate_wire.config import SidecarConfig
from tidegate_wire.names import PATH_CONFIG, PATH_REPORT


@dataclass(frozen=True)
class Poll:
    """One GET of the config."""

    workload: str
    token: str
    if_none_match: str
    prefer: str
    at: float


class FakeHub:
    """Serves one config; ``give`` changes it, also under a held poll."""

    def __init__(self, clock: Clock, *, token: str = "secret-1") -> None:
        self.clock = clock
        self.token = token
        """The one that is let in."""
        self.polls: list[Poll] = []
        self.reports: list[dict[str, Any]] = []
        self.faults: list[int] = []
        """Statuses to answer the next polls with, in order."""
        self.report_faults: list[int] = []
        self.url = ""
        self._raw, self._etag = b"", ""
        self._changed = asyncio.Event()
        self._runner: web.AppRunner | None = None

    def give(self, config: SidecarConfig | bytes, etag: str = "") -> str:
        """Offer a config from now on, or bytes that claim to be one; returns the ETag."""
        if isinstance(config, SidecarConfig):
            self._raw, self._etag = config.to_json(), etag or config.hash
        else:
            self._raw, self._etag = config, etag
        self._changed.set()
        self._changed = asyncio.Event()
        return self._etag

    async def start(self, *, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        app = web.Application()
        app.add_routes([web.get(PATH_CONFIG, self._config), web.post(PATH_REPORT, self._report)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port, ssl_context=tls).start()
        scheme = "https" if tls else "http"
        self.url = f"{scheme}://127.0.0.1:{self._runner.addresses[0][1]}"

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        if self._runner is None:
            await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def _config(self, request: web.Request) -> web.Response:
        self.polls.append(
            Poll(
                workload=request.query.get("workload", ""),
                token=request.headers.get("Authorization", "").removeprefix("Bearer "),
                if_none_match=request.headers.get("If-None-Match", "").strip('"'),
                prefer=request.headers.get("Prefer", ""),
                at=self.clock.monotonic(),
            )
        )
        if self.faults:
            return web.Response(status=self.faults.pop(0))
        if self.polls[-1].token != self.token:
            return web.Response(status=401)
        if self.polls[-1].if_none_match == self._etag != "":
            await self._hold(self.polls[-1].prefer or "wait=55")
        if self.polls[-1].if_none_match == self._etag != "":
            return web.Response(status=304)
        return web.Response(body=self._raw, headers={"ETag": f'"{self._etag}"'})

    async def _hold(self, prefer: str) -> None:
        wait_s = float(prefer.removeprefix("wait="))
        try:
            await asyncio.wait_for(self._changed.wait(), self.clock.real_s(wait_s))
        except TimeoutError:
            pass

    async def _report(self, request: web.Request) -> web.Response:
        if self.report_faults:
            return web.Response(status=self.report_faults.pop(0))
        self.reports.append(await request.json())
        return web.Response(status=204)


async def eventually(claim: Callable[[], object], *, within_s: float = 10.0) -> None:
    """Return once the claim holds; fail if it does not in time."""
    loop = asyncio.get_running_loop()
    until = loop.time() + within_s
    while not claim():
        if loop.time() > until:
            raise AssertionError(f"did not come true within {within_s} s: {claim}")
        await asyncio.sleep(0.005)
