"""A server of Debian's as a child process: started on a free port, waited for, ended."""

import asyncio
import shutil
import socket
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

STARTS_WITHIN_S = 60.0


def debian_tool(name: str) -> str:
    """Where the program is; ``scripts/debian-tools`` brings those that are missing."""
    unpacked = Path(sys.prefix) / "debian/usr/bin" / name
    found = shutil.which(name) or (str(unpacked) if unpacked.exists() else None)
    assert found, (
        f"{name} is needed and not here: scripts/debian-tools {sys.prefix}, "
        f"or on Debian: apt-get install {name}"
    )
    return found


class DebianServer(ABC):
    """Says in ``program``, ``ready_path`` and ``flags`` what it is."""

    program: str
    ready_path: str
    """Answers 200 once it serves."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / f"{self.program}.log"

    @abstractmethod
    def flags(self, address: str) -> list[str]:
        """What to start it with, to listen at ``host:port``."""

    async def __aenter__(self) -> Self:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = "{}:{}".format(*free.getsockname())
        with self._log.open("w") as log:
            self._process = await asyncio.create_subprocess_exec(
                debian_tool(self.program), *self.flags(address), stdout=log, stderr=log
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

    async def _ready(self) -> None:
        async with asyncio.timeout(STARTS_WITHIN_S):
            while self._process.returncode is None:
                try:
                    async with self._http.get(self.ready_path) as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientConnectionError:
                    pass  # it does not listen yet
                await asyncio.sleep(0.05)
        raise AssertionError(f"{self.program} did not start: {self._log.read_text()[-2000:]}")
