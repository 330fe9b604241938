"""Debian's Prometheus, and what it has understood of a page."""

import asyncio
import json
import shutil
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

SCRAPE_INTERVAL = "250ms"
STARTS_WITHIN_S = 60.0

Labels = tuple[tuple[str, str], ...]


def debian_tool(name: str) -> str:
    """Where the program is; ``scripts/debian-tools`` brings those that are missing."""
    unpacked = Path(sys.prefix) / "debian/usr/bin" / name
    found = shutil.which(name) or (str(unpacked) if unpacked.exists() else None)
    assert found, (
        f"{name} is needed and not here: scripts/debian-tools {sys.prefix}, "
        "or on Debian: apt-get install prometheus"
    )
    return found


class PrometheusProcess:
    """Scrapes each target, by job, several times a second, and keeps exemplars."""

    def __init__(self, folder: Path, targets: Mapping[str, str]) -> None:
        """``targets``: ``host:port`` by the job's name. What ``folder / "data"`` holds already
        is kept."""
        self._folder = folder
        self._targets = targets
        self._log = folder / "prometheus.log"

    async def __aenter__(self) -> Self:
        config = self._folder / "prometheus.yml"
        jobs = [
            {"job_name": job, "static_configs": [{"targets": [target]}]}
            for job, target in self._targets.items()
        ]
        interval = {"scrape_interval": SCRAPE_INTERVAL, "scrape_timeout": SCRAPE_INTERVAL}
        # JSON is YAML.
        config.write_text(json.dumps({"global": interval, "scrape_configs": jobs}))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = "{}:{}".format(*free.getsockname())
        with self._log.open("w") as log:
            self._process = await asyncio.create_subprocess_exec(
                debian_tool("prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={self._folder / 'data'}",
                f"--web.listen-address={address}",
                "--enable-feature=exemplar-storage",
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

    async def ask(self, path: str, **params: str | float) -> Any:
        """``data`` of an answer of the HTTP API."""
        async with self._http.get(f"/api/v1/{path}", params=params) as answer:
            body = await answer.json()
        assert body["status"] == "success", body
        return body["data"]

    async def samples(self, query: str) -> dict[Labels, float]:
        """The newest value of each series, without what Prometheus adds: job and instance."""
        found = await self.ask("query", query=query)
        return {
            tuple(sorted((k, v) for k, v in one["metric"].items() if k not in _ADDED)): float(
                one["value"][1]
            )
            for one in found["result"]
        }

    async def _ready(self) -> None:
        async with asyncio.timeout(STARTS_WITHIN_S):
            while self._process.returncode is None:
                try:
                    async with self._http.get("/-/ready") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientConnectionError:
                    pass  # it does not listen yet
                await asyncio.sleep(0.05)
        raise AssertionError(f"Prometheus did not start: {self._log.read_text()[-2000:]}")


_ADDED = ("job", "instance")
