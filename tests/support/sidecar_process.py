"""The real sidecar as a child process, and a model server for it to stand in front of."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from aiohttp import web

STARTS_WITHIN_S = 30.0


class SidecarProcess:
    """``python -m tidegate_sidecar`` on ports that the system chose."""

    def __init__(self, *flags: str, env: Mapping[str, str] | None = None) -> None:
        self._flags = flags
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("TIDEGATE_")}
        # Nobody but a test's clients asks the server behind, unless the test wants that.
        self._env = inherited | {"TIDEGATE_ENGINE_METRICS_S": "0"} | dict(env or {})
        self.lines: list[dict[str, Any]] = []
        self.url = ""
        self.outbound = ""
        """Where an app calls out, as ``url`` is where clients call; empty: nowhere."""
        self.admin = ""

    async def __aenter__(self) -> Self:
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tidegate_sidecar"),
            *("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", *self._flags),
            env=self._env,
            stdout=asyncio.subprocess.PIPE,
        )
        self._reader = asyncio.create_task(self._read())
        started = await self.line("started", within_s=STARTS_WITHIN_S)
        self.url, self.outbound, self.admin = (
            f"http://{started[way]}" if way in started else ""
            for way in ("listen", "outbound", "admin")
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reader

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines]

    async def line(self, event: str, *, within_s: float = 10.0) -> dict[str, Any]:
        """The first line of this event, waited for."""
        return await self._until(
            event, lambda: [x for x in self.lines if x["event"] == event], within_s
        )

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    async def exit_code(self, *, within_s: float = 10.0) -> int:
        code = await asyncio.wait_for(self.process.wait(), within_s)
        await self._reader
        return code

    async def _until(
        self, what: str, found: Callable[[], list[dict[str, Any]]], within_s: float
    ) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s
        while not (lines := found()):
            if loop.time() > until or self._reader.done():
                raise AssertionError(f"no {what!r} among {self.lines}")
            await asyncio.sleep(0.005)
        return lines[0]

    async def _read(self) -> None:
        assert self.process.stdout
        async for raw in self.process.stdout:
            self.lines.append(json.loads(raw))


class ModelServer:
    """Answers chat completions; a stream goes on while ``hold`` is not set."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.hold = asyncio.Event()
        self.padding = ""
        """Makes an answer as long as wanted."""
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.add_routes([web.post("/v1/chat/completions", self._chat)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.hold.set()
        await self._runner.cleanup()

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.requests.append(body)
        usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
        if not body.get("stream"):
            message = {"role": "assistant", "content": "hello"}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            answer = {"id": "c", "model": body["model"], "choices": [choice], "usage": usage}
            return web.json_response(answer | {"padding": self.padding})
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        await stream.write(_event(body["model"], {"content": "hel"}, None))
        await self.hold.wait()
        await stream.write(_event(body["model"], {"content": "lo"}, "stop"))
        if (body.get("stream_options") or {}).get("include_usage"):
            await stream.write(_data({"id": "c", "choices": [], "usage": usage}))
        await stream.write(b"data: [DONE]\n\n")
        return stream


def _event(model: str, delta: dict[str, str], finish_reason: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return _data({"id": "c", "model": model, "choices": [choice]})


def _data(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"
