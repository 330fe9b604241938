"""The reconciler's door to the API server: paths and plain JSON objects over ``kubernetes.aio``.

Law: a call returns what the server said or raises ``ApiError`` with its status; it retries
nothing, since every tick looks again anyway. Time-outs here are real seconds: they guard against a
dead connection, not against the passing of the product's time.
"""

import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, Protocol, Self

import aiohttp
import yaml
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from tidegate_operator.decide.hands import MANAGER

Object = dict[str, Any]

CALL_TIMEOUT_S = 10.0
USER_AGENT = f"{MANAGER}/{version('tidegate')}"
"""The API server makes its part before the slash the field manager of what is written, and audit
logs show the whole."""
_PAGE = 500


class ApiError(Exception):
    """The API server refused (``status``), or could not be reached (0)."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


def describe(error: BaseException) -> str:
    """An error for a log or a status; its ``repr`` may hold a request's headers, token and all."""
    return f"{type(error).__name__}: {error}"[:300]


class Api(Protocol):
    """What the cluster room asks of an API server; tests put one with memory in its place."""

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Object: ...

    async def create(self, path: str, body: Object) -> Object: ...

    async def replace(self, path: str, body: Object) -> Object: ...

    async def merge(self, path: str, body: Object) -> Object:
        """JSON merge patch."""
        ...

    async def patch(self, path: str, operations: list[Object]) -> Object:
        """JSON patch."""
        ...

    async def delete(self, path: str, body: Object | None = None) -> Object: ...

    async def items(self, path: str, selector: str = "") -> list[Object]:
        """All objects of a list, page by page."""
        ...


class KubernetesApi:
    """A session with one API server."""

    def __init__(self, configuration: Configuration) -> None:
        self.client = ApiClient(configuration)
        self.client.user_agent = USER_AGENT

    @classmethod
    async def connect(cls) -> Self:
        """As the pod's ServiceAccount, else by kubeconfig; ``ApiError`` where neither is there."""
        configuration = Configuration()
        try:
            try:
                config.load_incluster_config(client_configuration=configuration)
            except config.ConfigException:
                await config.load_kube_config(
                    client_configuration=configuration, persist_config=False
                )
        except (config.ConfigException, yaml.YAMLError, TypeError, OSError) as error:
            # A kubeconfig that is empty, or no mapping, trips the library itself: a TypeError.
            reason = " ".join(describe(error).split())
            raise ApiError(
                0, "NoConfiguration", f"no way to an API server: {reason}; set KUBECONFIG"
            ) from error
        return cls(configuration)

    async def close(self) -> None:
        await self.client.close()

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Object:
        return await self._call("GET", path, query=query)

    async def create(self, path: str, body: Object) -> Object:
        return await self._call("POST", path, body)

    async def replace(self, path: str, body: Object) -> Object:
        return await self._call("PUT", path, body)

    async def merge(self, path: str, body: Object) -> Object:
        return await self._call("PATCH", path, body, "application/merge-patch+json")

    async def patch(self, path: str, operations: list[Object]) -> Object:
        return await self._call("PATCH", path, operations, "application/json-patch+json")

    async def delete(self, path: str, body: Object | None = None) -> Object:
        return await self._call("DELETE", path, body)

    async def items(self, path: str, selector: str = "") -> list[Object]:
        found: list[Object] = []
        query = {"limit": str(_PAGE)}
        if selector:
            query["labelSelector"] = selector
        while True:
            page = await self.get(path, query)
            found += page.get("items") or []
            after = (page.get("metadata") or {}).get("continue")
            if not after:
                return found
            query["continue"] = after

    async def _call(
        self,
        method: str,
        path: str,
        body: Object | list[Object] | None = None,
        content_type: str = "application/json",
        *,
        query: Mapping[str, str] | None = None,
    ) -> Object:
        try:
            _, url, headers, sent, _ = await self.client.param_serialize(
                method,
                path,
                query_params=list((query or {}).items()),
                header_params={"Accept": "application/json", "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
            )
            answer = await self.client.call_api(
                method,
                url,
                header_params=headers,
                body=sent,
                _request_timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT_S),
            )
            raw = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiError(0, "Unreachable", f"{method} {path}: {describe(error)}") from error
        return read_answer(int(answer.status), raw)


NAMESPACE_ENDS = "NamespaceTerminating"
"""The reason of a refusal that is no fault: the object's namespace is on its way out with it."""


def _reason(said: Mapping[str, Any]) -> str:
    causes = (said.get("details") or {}).get("causes") or ()
    if any(cause.get("reason") == NAMESPACE_ENDS for cause in causes):
        return NAMESPACE_ENDS
    return str(said.get("reason") or "")


def read_answer(status: int, raw: bytes) -> Object:
    """The object that the API server answered with; ``ApiError`` where it is a refusal or none."""
    try:
        body = json.loads(raw)
    except ValueError:
        body = None
    if status >= 400:
        said = body if isinstance(body, dict) else {}
        message = str(said.get("message") or f"HTTP {status}")
        raise ApiError(status, _reason(said), message)
    if not isinstance(body, dict):
        raise ApiError(0, "NotJSON", f"the API server answered no JSON object: {raw[:80]!r}")
    return body
