"""What is asked of the API server beyond single calls: whole lists, and watches.

Law: the client's: it returns what the server said or raises ``ApiError``, and never retries by
itself.
"""

import json
from collections.abc import AsyncIterator

import aiohttp

from tidegate_operator.cluster.client import (
    ApiError,
    KubernetesApi,
    Object,
    describe,
    read_answer,
)

WATCH_S = 45
"""How long the server holds one watch. A connection that has silently died is given up some
seconds later, which keeps the way back from any fault below a minute.
"""
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=WATCH_S + 8.0)
"""In real seconds, since it guards against a dead connection."""
_PAGE = 500


class Kube(KubernetesApi):
    """A session with one API server."""

    async def list(self, path: str, selector: str = "") -> tuple[list[Object], str]:
        """All objects at ``path``, page by page, and the resource version to watch from."""
        found: list[Object] = []
        query = {"limit": str(_PAGE)}
        if selector:
            query["labelSelector"] = selector
        while True:
            page = await self.get(path, query)
            metadata = page.get("metadata") or {}
            found += page.get("items") or []
            if not metadata.get("continue"):
                return found, str(metadata.get("resourceVersion", ""))
            query["continue"] = metadata["continue"]

    async def watch(
        self, path: str, version: str, selector: str = ""
    ) -> AsyncIterator[tuple[str, Object]]:
        """Events since ``version`` until the server closes the watch; an ERROR event is raised."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_S),
        }
        if selector:
            query["labelSelector"] = selector
        try:
            response = await self._open(path, query)
            try:
                if response.status >= 400:
                    read_answer(response.status, await response.read())
                async for event in _events(response):
                    yield event
            finally:
                response.close()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiError(0, "WatchBroken", f"watch of {path}: {describe(error)}") from error

    async def _open(self, path: str, query: dict[str, str]) -> aiohttp.ClientResponse:
        method, url, headers, _, _ = await self.client.param_serialize(
            "GET",
            path,
            query_params=list(query.items()),
            header_params={"Accept": "application/json"},
            auth_settings=["BearerToken"],
        )
        answer = await self.client.call_api(
            method, url, header_params=headers, _request_timeout=_TIMEOUT
        )
        response: aiohttp.ClientResponse = answer.response
        return response


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Object]]:
    buffer = b""
    async for chunk in response.content.iter_any():
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in filter(None, lines):
            yield _event(line)
    if buffer.strip():
        raise ApiError(0, "WatchBroken", "watch ended in the middle of an event")


def _event(line: bytes) -> tuple[str, Object]:
    try:
        event = json.loads(line)
        kind, body = str(event["type"]), event["object"]
    except (ValueError, KeyError, TypeError) as error:
        raise ApiError(0, "NotJSON", "watch sent what is no event") from error
    if not isinstance(body, dict):
        raise ApiError(0, "NotJSON", "watch sent an event about no object")
    if kind == "ERROR":
        code = int(body.get("code") or 500)
        raise ApiError(code, str(body.get("reason")), str(body.get("message")))
    return kind, body
