"""Debian's VictoriaMetrics: a second server that speaks Prometheus' query API."""

import asyncio
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from prometheus_process import STARTS_WITHIN_S, debian_tool


class VictoriaProcess:
    """Begins empty; what it knows is imported."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "victoria.log"

    async def __aenter__(self) -> Self:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = "{}:{}".format(*free.getsockname())
        with self._log.open("w") as log:
            self._process = await asyncio.create_subprocess_exec(
                debian_tool("victoria-metrics"),
                f"-storageDataPath={self._folder / 'victoria'}",
                f"-httpListenAddr={address}",
                "-memory.allowedBytes=64MB",
                stdout=log,
                stderr=log,
            )
        self.url = f"http://{address}"
        self._http = aiohttp.ClientSession(self.url)
        await self._ready()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.close()
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def take(self, lines: str) -> None:
        """Lines of the text format, with times in milliseconds; visible once this returns."""
        async with self._http.post("/api/v1/import/prometheus", data=lines.encode()) as answer:
            assert answer.status == 204, await answer.text()
        async with self._http.get("/internal/force_flush") as answer:
            assert answer.status == 200, await answer.text()

    async def _ready(self) -> None:
        async with asyncio.timeout(STARTS_WITHIN_S):
            while self._process.returncode is None:
                try:
                    async with self._http.get("/health") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientConnectionError:
                    pass  # it does not listen yet
                await asyncio.sleep(0.05)
        raise AssertionError(f"VictoriaMetrics did not start: {self._log.read_text()[-2000:]}")
