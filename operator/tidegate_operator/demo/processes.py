"""The demo's child processes: started in their own groups, logged to files, none left behind.

Law: every process that the demo starts is started here. A child dies with the demo whatever ends
the demo: on the way out it is asked, then forced; should the demo be killed outright, the kernel
ends its children (``PR_SET_PDEATHSIG``). Waits are real seconds: processes live in real time.
"""

import asyncio
import atexit
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV")
"""Of the demo's own environment; the rest is none of a container's business."""


def _die_with_parent() -> None:
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Child:
    """A running process and the group it leads."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    async def wait(self) -> int:
        return await self._process.wait()

    def send(self, number: signal.Signals) -> None:
        """Signal the whole group; nothing happens where it is gone."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    async def stop(self, patience_s: float) -> int:
        """SIGTERM, then SIGKILL after ``patience_s`` real seconds."""
        self.send(signal.SIGTERM)
        try:
            return await asyncio.wait_for(self.wait(), max(0.01, patience_s))
        except TimeoutError:
            self.send(signal.SIGKILL)
            return await self.wait()

    @property
    def pipe_in(self) -> asyncio.StreamWriter:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def pipe_out(self) -> asyncio.StreamReader:
        assert self._process.stdout is not None
        return self._process.stdout

    def last_words(self, lines: int = 5) -> str:
        """The end of its log, for an error message."""
        try:
            text = self.log.read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])


class Children:
    """All of them, so that the last one out can switch off the light."""

    def __init__(self) -> None:
        self._children: set[Child] = set()
        atexit.register(self.kill_all)

    async def start(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        log: Path,
        *,
        piped: bool = False,
    ) -> Child:
        """Start ``argv``; its output is appended to ``log``. ``piped`` keeps stdin and stdout."""
        base = {key: os.environ[key] for key in PASSED_ON if key in os.environ}
        pipe = asyncio.subprocess.PIPE if piped else None
        with log.open("ab") as out:
            process = await asyncio.create_subprocess_exec(
                *argv,
                env={**base, **env},
                stdin=pipe or asyncio.subprocess.DEVNULL,
                stdout=pipe or out,
                stderr=out,
                # Own group: Ctrl-C reaches the demo alone, which then ends its children in order.
                process_group=0,
                preexec_fn=_die_with_parent,
                limit=2**20,
            )
        child = Child(name, process, log)
        self._children.add(child)
        return child

    def running(self) -> list[Child]:
        self._children = {child for child in self._children if child.returncode is None}
        return sorted(self._children, key=lambda child: child.pid)

    async def stop_all(self, patience_s: float = 3.0) -> None:
        await asyncio.gather(*(child.stop(patience_s) for child in self.running()))

    def kill_all(self) -> None:
        """At once and without waiting: what is left when nothing else can run any more."""
        for child in self.running():
            child.send(signal.SIGKILL)
