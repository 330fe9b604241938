"""The demo's own client of the embedded API: what the node and the demo's hands need, no more.

Law: plain HTTP and plain JSON objects, so that the node is a client of the API as a kubelet is. A
call returns what the server said or raises ``ApiCallError``. Time-outs are real seconds: they
guard against a dead connection on loopback.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import yaml

Object = dict[str, Any]

CALL_TIMEOUT_S = 10.0
RELIST_PAUSE_S = 0.2
MERGE_PATCH = "application/merge-patch+json"


class ApiCallError(Exception):
    """The API refused; ``status`` is its HTTP status, 0 where it could not be reached."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ApiClient:
    """A session, by a kubeconfig with a server and a token."""

    def __init__(self, server: str, token: str) -> None:
        self._server = server
        self._http = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {token}"},
            timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT_S),
            connector=aiohttp.TCPConnector(limit=0),
        )

    @classmethod
    def from_kubeconfig(cls, path: Path) -> Self:
        config = yaml.safe_load(path.read_text())
        user = config["users"][0]["user"]
        return cls(config["clusters"][0]["cluster"]["server"], user.get("token", ""))

    async def close(self) -> None:
        await self._http.close()

    async def get(self, path: str) -> Object:
        return await self._call("GET", path)

    async def create(self, path: str, body: Object) -> Object:
        return await self._call("POST", path, body)

    async def merge(self, path: str, body: Object) -> Object:
        """JSON merge patch."""
        return await self._call("PATCH", path, body, MERGE_PATCH)

    async def delete(self, path: str, body: Object | None = None) -> Object:
        return await self._call("DELETE", path, body)

    async def _call(
        self, method: str, path: str, body: Object | None = None, kind: str = "application/json"
    ) -> Object:
        data = None if body is None else json.dumps(body)
        try:
            async with self._http.request(
                method, self._server + path, data=data, headers={"Content-Type": kind}
            ) as answer:
                found: Object = json.loads(await answer.read())
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ApiCallError(0, f"{method} {path}: {error or type(error).__name__}") from error
        if answer.status >= 400:
            raise ApiCallError(answer.status, str(found.get("message") or answer.reason))
        return found

    async def watch(self, path: str, fields: str = "") -> AsyncIterator[tuple[str, Object]]:
        """``ADDED`` for all that there is, then every change, until cancelled."""
        chosen = f"&fieldSelector={quote(fields)}" if fields else ""
        while True:
            try:
                listed = await self.get(f"{path}?{chosen}" if chosen else path)
                for item in listed["items"]:
                    yield "ADDED", item
                version = listed["metadata"]["resourceVersion"]
                async for event in self._events(
                    f"{path}?watch=1&resourceVersion={version}{chosen}"
                ):
                    yield event
            except (aiohttp.ClientError, ApiCallError, TimeoutError):
                pass  # listed anew: level-triggered readers lose nothing by it
            await asyncio.sleep(RELIST_PAUSE_S)

    async def _events(self, path: str) -> AsyncIterator[tuple[str, Object]]:
        endless = aiohttp.ClientTimeout(total=None, sock_connect=CALL_TIMEOUT_S)
        async with self._http.get(self._server + path, timeout=endless) as answer:
            # not answer.content's own lines: those end at 64 KiB
            rest = b""
            async for data in answer.content.iter_any():
                *lines, rest = (rest + data).split(b"\n")
                for line in filter(None, lines):
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        return
                    if event["type"] != "BOOKMARK":
                        yield event["type"], event["object"]
