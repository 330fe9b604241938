"""An API server that says what a test tells it to: for faults that a good one never shows."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from aiohttp import web
from kubernetes.aio.client import Configuration

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def status(code: int, reason: str, message: str = "") -> dict[str, Any]:
    return {"kind": "Status", "code": code, "reason": reason, "message": message or reason}


class SmallApi:
    """Answers by path; what has no answer is 404."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        """Path -> status and body."""
        self.handlers: dict[str, Handler] = {}
        """Path -> who answers; ``?watch`` is a path of its own."""
        self.asked: list[tuple[str, str]] = []
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
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
        if self._runner:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path + ("?watch" if request.query.get("watch") else "")
        self.asked.append((request.method, path))
        if path in self.handlers:
            return await self.handlers[path](request)
        unknown = (404, status(404, "NotFound", "page not found"))
        code, body = self.answers.get(path, unknown)
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=code, text=text, content_type="application/json")

    def configuration(self) -> Configuration:
        configuration = Configuration()
        configuration.host = self.url
        return configuration

    def kubeconfig(self, path: Path, namespace: str = "shop") -> Path:
        text = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": self.url}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [
                {"name": "x", "context": {"cluster": "c", "user": "u", "namespace": namespace}}
            ],
            "current-context": "x",
        }
        path.write_text(yaml.safe_dump(text), encoding="utf-8")
        return path


class Watched:
    """A collection whose watch a test feeds by hand."""

    def __init__(self, *items: dict[str, Any], version: str = "1") -> None:
        self.items = list(items)
        self.version = version
        self.lists = 0
        self.feed: asyncio.Queue[bytes | None] = asyncio.Queue()
        """Raw bytes of the watch; ``None`` cuts the connection."""
        self.refusals: list[tuple[int, dict[str, Any]]] = []
        """Answers to the next lists, in order."""

    def serve(self, api: SmallApi, path: str) -> None:
        api.handlers[path] = self._list
        api.handlers[f"{path}?watch"] = self._watch

    def event(self, kind: str, item: dict[str, Any]) -> None:
        self.feed.put_nowait(json.dumps({"type": kind, "object": item}).encode() + b"\n")

    async def _list(self, request: web.Request) -> web.StreamResponse:
        self.lists += 1
        if self.refusals:
            code, body = self.refusals.pop(0)
            return web.json_response(body, status=code)
        metadata = {"resourceVersion": self.version}
        return web.json_response({"items": self.items, "metadata": metadata})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while (chunk := await self.feed.get()) is not None:
            await response.write(chunk)
        if request.transport is not None:
            request.transport.abort()
        return response
