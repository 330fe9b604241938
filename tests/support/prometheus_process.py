"""Debian's Prometheus, and what it has understood of a page."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from debian_server import DebianServer

SCRAPE_INTERVAL = "250ms"

Labels = tuple[tuple[str, str], ...]


class PrometheusProcess(DebianServer):
    """Scrapes each target, by job, several times a second, and keeps exemplars."""

    program, ready_path = "prometheus", "/-/ready"

    def __init__(self, folder: Path, targets: Mapping[str, str]) -> None:
        """``targets``: ``host:port`` by the job's name. What ``folder / "data"`` holds already
        is kept."""
        super().__init__(folder)
        self._targets = targets

    def flags(self, address: str) -> list[str]:
        config = self._folder / "prometheus.yml"
        jobs = [
            {"job_name": job, "static_configs": [{"targets": [target]}]}
            for job, target in self._targets.items()
        ]
        interval = {"scrape_interval": SCRAPE_INTERVAL, "scrape_timeout": SCRAPE_INTERVAL}
        # JSON is YAML.
        config.write_text(json.dumps({"global": interval, "scrape_configs": jobs}))
        return [
            f"--config.file={config}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address={address}",
            "--enable-feature=exemplar-storage",
        ]

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


_ADDED = ("job", "instance")
