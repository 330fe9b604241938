"""Debian's VictoriaMetrics: a second server that speaks Prometheus' query API."""

from debian_server import DebianServer


class VictoriaProcess(DebianServer):
    """Begins empty; what it knows is imported."""

    program, ready_path = "victoria-metrics", "/health"

    def flags(self, address: str) -> list[str]:
        return [
            f"-storageDataPath={self._folder / 'victoria'}",
            f"-httpListenAddr={address}",
            "-memory.allowedBytes=64MB",
        ]

    async def take(self, lines: str) -> None:
        """Lines of the text format, with times in milliseconds; visible once this returns."""
        async with self._http.post("/api/v1/import/prometheus", data=lines.encode()) as answer:
            assert answer.status == 204, await answer.text()
        async with self._http.get("/internal/force_flush") as answer:
            assert answer.status == 200, await answer.text()
