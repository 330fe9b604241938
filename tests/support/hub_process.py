"""A hub as a process, beside the embedded Kubernetes API in the test's own process."""

import asyncio
import base64
import json
import os
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from tidegate_operator.demo.kubeapi.server import KubeApi
from tidegate_wire.clock import Clock
from tidegate_wire.config import SidecarConfig
from tidegate_wire.names import CONFIG_KEY, PART, PART_CONFIG, POLICY, TARGET_KEY

NAMESPACE = "tidegate-system"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class HubProcess:
    """``tidegate-operator hub`` on free ports."""

    def __init__(self, kubeconfig: Path, **env: str) -> None:
        self.port, self.page_port, self.keda_port = free_port(), free_port(), free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.page = f"http://127.0.0.1:{self.page_port}"
        self._env = {
            **os.environ,
            "KUBECONFIG": str(kubeconfig),
            "TIDEGATE_HOST": "127.0.0.1",
            "TIDEGATE_HUB_PORT": str(self.port),
            "TIDEGATE_PAGE_PORT": str(self.page_port),
            "TIDEGATE_KEDA_PORT": str(self.keda_port),
            "TIDEGATE_HUB_URL": self.url,
            "TIDEGATE_WEBHOOK_URL": self.url,
            **env,
        }
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self.lines: list[dict[str, Any]] = []

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tidegate_operator",
            "hub",
            env=self._env,
            stdout=asyncio.subprocess.PIPE,
        )
        self._reader = asyncio.create_task(self._read())
        return self

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.lines.append(json.loads(line))

    async def ready(self, within_s: float = 30.0) -> None:
        async with asyncio.timeout(within_s), aiohttp.ClientSession() as session:
            while True:
                assert self._process is not None
                assert self._process.returncode is None, self.lines
                try:
                    async with session.get(f"{self.page}/readyz") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.05)

    async def stop(self) -> int:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        return await self.ended()

    async def ended(self) -> int:
        """Its exit code, once it has ended by itself."""
        assert self._process is not None
        async with asyncio.timeout(30.0):
            code = await self._process.wait()
        if self._reader is not None:
            await self._reader
        return code

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        if self._reader is not None:
            await self._reader


@asynccontextmanager
async def cluster(tmp_path: Path, *namespaces: str) -> AsyncIterator[tuple[KubeApi, Path]]:
    """An embedded API with namespaces, and a kubeconfig for it."""
    api = KubeApi(Clock())
    await api.start("127.0.0.1")
    for name in (NAMESPACE, *namespaces):
        api.store.create("namespaces", None, {"metadata": {"name": name}})
    try:
        yield api, api.kubeconfig(tmp_path / "kubeconfig")
    finally:
        await api.stop()


def config_map(policy: str, namespace: str, config: SidecarConfig, target: str) -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"tidegate-config-{policy}",
            "namespace": namespace,
            "labels": {PART: PART_CONFIG, POLICY: policy},
        },
        "data": {CONFIG_KEY: config.to_json().decode(), TARGET_KEY: target},
    }


def trusting(api: KubeApi) -> ssl.SSLContext:
    """What an injected sidecar trusts: the bundle in the hub's Secret."""
    secret = api.store.get("secrets", NAMESPACE, "tidegate-hub-tls")
    return ssl.create_default_context(cadata=base64.b64decode(secret["data"]["ca.crt"]).decode())
