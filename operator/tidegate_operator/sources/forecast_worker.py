"""SHELL: the forecast worker as a child process that can be asked, can die and can be started
again.

Law: every question ends: with an answer, with ``WorkerDiedError`` or with ``TimeoutError``.
"""

import asyncio
import itertools
import json
import sys
from collections.abc import Mapping
from typing import Any

from tidegate_operator.forecast.wire import MAX_LINE_BYTES

COMMAND = (sys.executable, "-m", "tidegate_operator.forecast.worker")


class WorkerDiedError(RuntimeError):
    """The worker could not be started or ended with questions open."""


class WorkerProcess:
    """Starts at the first question."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._reading: tuple[asyncio.Task[None], ...] = ()
        self._open: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._ids = itertools.count(1)
        self._starting = asyncio.Lock()
        self._last_words = ""
        self._leaving = False
        """Told to end, not yet gone."""

    @property
    def pid(self) -> int | None:
        process = self._process
        if process is None or process.returncode is not None or self._leaving:
            return None
        return process.pid

    async def ask(self, question: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """The worker's answer.

        Args:
            timeout_s: real seconds.

        Raises:
            WorkerDiedError, TimeoutError
        """
        async with self._starting:
            process = await self._running()
            if self._reading[0].done():  # it died just now; nobody would resolve the answer
                raise WorkerDiedError(self._obituary())
            questions = self._open
        number = next(self._ids)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        questions[number] = answer
        try:
            async with asyncio.timeout(timeout_s):
                assert process.stdin is not None
                process.stdin.write(json.dumps({"id": number, **question}).encode() + b"\n")
                await process.stdin.drain()
                return await answer
        except ConnectionError as error:
            raise WorkerDiedError(self._obituary()) from error
        finally:
            questions.pop(number, None)

    async def end(self) -> None:
        """End the process, if there is one; open questions get ``WorkerDiedError``.

        SIGKILL, since it has nothing to save and may be hanging. It may be cancelled and
        called again.
        """
        async with self._starting:
            await self._end()

    async def _end(self) -> None:
        process = self._process
        if process is None:
            return
        self._leaving = True
        if process.returncode is None:
            try:
                process.kill()
            except ProcessLookupError:
                pass  # it went between the two lines
        await process.wait()
        await asyncio.gather(*self._reading, return_exceptions=True)
        self._process, self._leaving = None, False

    async def _running(self) -> asyncio.subprocess.Process:
        alive = self._process is not None and self._process.returncode is None
        if self._process is not None and alive and not self._leaving:
            return self._process
        await self._end()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *COMMAND,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=MAX_LINE_BYTES,
            )
        except OSError as error:
            raise WorkerDiedError(f"forecast worker could not be started: {error}") from error
        self._open = {}  # each process has its own, so that the last breath of one fails no other
        self._reading = (
            asyncio.create_task(self._read_answers(self._process, self._open)),
            asyncio.create_task(self._read_complaints(self._process)),
        )
        return self._process

    async def _read_answers(
        self,
        process: asyncio.subprocess.Process,
        questions: dict[int, asyncio.Future[dict[str, Any]]],
    ) -> None:
        assert process.stdout is not None
        try:
            async for line in process.stdout:
                answer = json.loads(line)
                waiting = questions.get(answer["id"])
                if waiting is not None and not waiting.done():
                    waiting.set_result(answer)
        except ValueError:
            process.kill()  # neither JSON nor of a sane length: as good as dead
        finally:
            for waiting in questions.values():
                if not waiting.done():
                    waiting.set_exception(WorkerDiedError(self._obituary()))

    async def _read_complaints(self, process: asyncio.subprocess.Process) -> None:
        """Keep the last line of stderr: the end of a traceback says most."""
        assert process.stderr is not None
        async for line in process.stderr:
            self._last_words = line.decode(errors="replace").strip()[:200]

    def _obituary(self) -> str:
        words = f": {self._last_words}" if self._last_words else ""
        return f"forecast worker died{words}"
