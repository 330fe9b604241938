"""A Kubernetes API as a contract test sees it: plain HTTP, whichever server answers.

With ``TIDEGATE_KUBE_CONTRACT_KUBECONFIG`` the suite runs against the real server of that
kubeconfig.
"""

import asyncio
import base64
import json
import os
import ssl
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tidegate_operator.demo.kubeapi.server import KubeApi
from tidegate_wire.clock import Clock

KUBECONFIG_VARIABLE = "TIDEGATE_KUBE_CONTRACT_KUBECONFIG"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
HISTORY = 200
"""Short in the emulator, so that forgetting is quick to reach."""
GROUP = "contract.tidegate.io"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
PATIENCE_S = 30.0
Object = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any
    warnings: list[str]

    @property
    def reason(self) -> str:
        return str(self.body.get("reason"))

    @property
    def message(self) -> str:
        return str(self.body.get("message"))

    @property
    def version(self) -> str:
        return str(self.body["metadata"]["resourceVersion"])

    def ok(self) -> Object:
        assert self.status in (200, 201, 202), self.body
        body: Object = self.body
        return body


class Kube:
    """A client that hides nothing."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        stranger: aiohttp.ClientSession,
        url: str,
        emulator: KubeApi | None,
    ) -> None:
        self.session = session
        self.stranger = stranger
        """Without credentials of its own: a client certificate would outweigh any token."""
        self.url = url
        self.emulator = emulator
        """None when a real server answers."""

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        headers: dict[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        token: str | None = None,
    ) -> Answer:
        """``token``: who asks, instead of the administrator."""
        data = None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": content_type, **(headers or {})}
        session = self.session
        if token is not None:
            session, sent["Authorization"] = self.stranger, f"Bearer {token}"
        async with session.request(
            method, self.url + path, data=data, headers=sent, params=query
        ) as answer:
            raw = await answer.read()
            warnings = [_unquote(each) for each in answer.headers.getall("Warning", [])]
            is_json = answer.content_type == "application/json"
            found = json.loads(raw) if raw and is_json else raw.decode() or None
            return Answer(answer.status, found, warnings)

    async def get(self, path: str, **query: str) -> Answer:
        return await self.call("GET", path, query=query)

    async def post(self, path: str, body: Any, **query: str) -> Answer:
        return await self.call("POST", path, body, query=query)

    async def put(self, path: str, body: Any) -> Answer:
        return await self.call("PUT", path, body)

    async def patch(self, path: str, body: Any, content_type: str = MERGE, **query: str) -> Answer:
        return await self.call("PATCH", path, body, content_type=content_type, query=query)

    async def delete(self, path: str, body: Any = None, **query: str) -> Answer:
        return await self.call("DELETE", path, body, query=query)

    @asynccontextmanager
    async def watch(self, path: str, **query: str) -> AsyncIterator["Events"]:
        """Asked again for as long as the answer is 429, which a real server gives while the watch
        cache of a kind that is new is being filled."""
        params = {"watch": "true", **query}
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while True:
            async with self.session.get(self.url + path, params=params) as answer:
                if answer.status == 200:
                    yield Events(answer.content)
                    return
                too_late = asyncio.get_running_loop().time() > deadline
                assert answer.status == 429 and not too_late, await answer.text()
                await asyncio.sleep(float(answer.headers["Retry-After"]))

    async def eventually(self, look: Callable[[], Awaitable[Any]]) -> Any:
        """The first true value that ``look`` gives: real controllers take their time."""
        async with asyncio.timeout(PATIENCE_S):
            while not (found := await look()):
                await asyncio.sleep(0.05)
            return found

    async def gone(self, path: str) -> bool:
        async def look() -> bool:
            return (await self.get(path)).status == 404

        return bool(await self.eventually(look))


def _unquote(warning: str) -> str:
    """The text of ``299 - "text"``, which is quoted as JSON is."""
    text: str = json.loads(warning[warning.index('"') :])
    return text


class Events:
    """The lines of a watch."""

    def __init__(self, content: aiohttp.StreamReader) -> None:
        self._content = content

    async def next(self) -> Object | None:
        """None at the end of the stream."""
        async with asyncio.timeout(PATIENCE_S):
            line = await self._content.readline()
        event: Object | None = json.loads(line) if line else None
        return event

    async def take(self, count: int) -> list[tuple[str, str]]:
        """(type, name) of the next ones, bookmarks aside."""
        seen: list[tuple[str, str]] = []
        while len(seen) < count:
            event = await self.next()
            assert event is not None, f"the watch ended after {seen}"
            assert event["type"] != "ERROR", event["object"]
            if event["type"] != "BOOKMARK":
                seen.append((event["type"], event["object"]["metadata"]["name"]))
        return seen

    async def rest(self) -> list[Object]:
        """All until the stream ends."""
        events: list[Object] = []
        while (event := await self.next()) is not None:
            events.append(event)
        return events


@asynccontextmanager
async def connect() -> AsyncIterator[Kube]:
    """The server under test: the one of the kubeconfig, or an emulator of its own."""
    path = os.environ.get(KUBECONFIG_VARIABLE)
    if path:
        url, headers, tls, plain_tls = _read_kubeconfig(Path(path))
        async with (
            aiohttp.ClientSession(
                headers=headers, connector=aiohttp.TCPConnector(ssl=tls)
            ) as session,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=plain_tls)) as stranger,
        ):
            yield Kube(session, stranger, url, None)
        return
    api = KubeApi(Clock(), seed=1, history=HISTORY)
    url = await api.start()
    headers = {"Authorization": f"Bearer {api.admin_token}"}
    try:
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            aiohttp.ClientSession() as stranger,
        ):
            yield Kube(session, stranger, url, api)
    finally:
        await api.stop()


_Tls = ssl.SSLContext | bool


def _read_kubeconfig(path: Path) -> tuple[str, dict[str, str], _Tls, _Tls]:
    """(URL, headers, TLS with the client's certificate if it has one, TLS without)."""
    config = yaml.safe_load(path.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
    if not cluster["server"].startswith("https"):
        return cluster["server"], headers, False, False
    ca = cluster.get("certificate-authority-data")
    plain, tls = (
        ssl.create_default_context(
            cadata=base64.b64decode(ca).decode() if ca else None,
            cafile=cluster.get("certificate-authority"),
        )
        for _ in range(2)
    )
    if "client-certificate" in user:
        tls.load_cert_chain(user["client-certificate"], user["client-key"])
    elif "client-certificate-data" in user:
        pem = b"".join(
            base64.b64decode(user[key]) for key in ("client-certificate-data", "client-key-data")
        )
        handle = os.memfd_create("client")
        os.write(handle, pem)
        tls.load_cert_chain(f"/proc/self/fd/{handle}")
        os.close(handle)
    return cluster["server"], headers, tls, plain


async def define(kube: Kube, definition: Object) -> None:
    """A kind, served when this returns; what stands already is made equal to the definition."""
    name, spec = definition["metadata"]["name"], definition["spec"]
    made = await kube.post(DEFINITIONS, definition)
    if made.status == 409:
        made = await kube.patch(f"{DEFINITIONS}/{name}", {"spec": spec})
    made.ok()
    version = spec["versions"][0]["name"]

    async def served() -> bool:
        found = (await kube.get(f"{DEFINITIONS}/{name}")).ok()
        conditions = found.get("status", {}).get("conditions") or []
        path = f"/apis/{spec['group']}/{version}/{spec['names']['plural']}"
        return (
            any(c["type"] == "Established" and c["status"] == "True" for c in conditions)
            and (await kube.get(path)).status == 200
        )

    await kube.eventually(served)


async def ensure_widgets(kube: Kube) -> None:
    """The custom kind that the suite tries everything on."""
    await define(kube, WIDGETS)


def widget(name: str, /, **spec: Any) -> Object:
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "Widget",
        "metadata": {"name": name},
        "spec": {"size": 1, **spec},
    }


def lone_definition() -> Object:
    """The widgets' definition under a name that nobody else uses."""
    plural = f"w{uuid.uuid4().hex[:8]}s"
    definition: Object = json.loads(json.dumps(WIDGETS))
    definition["metadata"]["name"] = f"{plural}.{GROUP}"
    definition["spec"]["names"] = {"plural": plural, "kind": plural.capitalize()}
    return definition


def config_map(name: str, **labels: str) -> Object:
    return {"metadata": {"name": name, "labels": labels}, "data": {"a": "1"}}


def deployment(name: str, replicas: int = 0) -> Object:
    labels = {"app": name}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "app", "image": "app:1"}]},
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"metadata": {"name": name}, "spec": spec}


def pod(**metadata: Any) -> Object:
    """On a node that is not there, so that nothing runs it."""
    container = {"name": "app", "image": "app:1", "env": [{"name": "A", "value": "1"}]}
    return {"metadata": metadata, "spec": {"nodeName": "nowhere", "containers": [container]}}


_SPEC: Object = {
    "type": "object",
    "required": ["size"],
    "properties": {
        "size": {"type": "integer", "minimum": 1, "maximum": 10},
        "replicas": {"type": "integer"},
        "mode": {"type": "string", "enum": ["Slow", "Fast"], "default": "Slow"},
        "share": {
            "type": "string",
            "maxLength": 10,
            "pattern": "^[0-9]+%$",
            "x-kubernetes-validations": [
                {"rule": "self != '0%'", "message": "must be above 0%"},
            ],
        },
        "name": {"type": "string", "maxLength": 5},
        "for": {"type": "string", "maxLength": 20},
        "parts": {
            "type": "array",
            "maxItems": 2,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "maxLength": 20},
                    "weight": {"type": "integer", "default": 1},
                },
            },
        },
        "range": {
            "type": "object",
            "properties": {"low": {"type": "integer"}, "high": {"type": "integer"}},
            "x-kubernetes-validations": [
                {
                    "rule": "!has(self.low) || !has(self.high) || self.low <= self.high",
                    # string(int) is of unknown length, and so beyond what a rule may cost.
                    "messageExpression": "'must be at most ' + '0123456789'.substring("
                    "self.high % 10, self.high % 10 + 1)",
                    "message": "must be at most high",
                    "fieldPath": ".low",
                },
            ],
        },
    },
    "x-kubernetes-validations": [
        {"rule": "self.size >= oldSelf.size", "message": "size may not shrink"},
        {
            "rule": "!has(self.__for__) || double(self.__for__.replace('s', '')) > 0.0",
            "message": "for must be above 0",
        },
    ],
}
WIDGETS: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"widgets.{GROUP}"},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {
                    "status": {},
                    "scale": {
                        "specReplicasPath": ".spec.replicas",
                        "statusReplicasPath": ".status.replicas",
                    },
                },
                "additionalPrinterColumns": [
                    {"name": "Mode", "type": "string", "jsonPath": ".spec.mode"},
                    {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
                ],
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": _SPEC,
                            "status": {
                                "type": "object",
                                "properties": {
                                    "replicas": {"type": "integer"},
                                    "phase": {"type": "string"},
                                },
                            },
                        },
                    }
                },
            }
        ],
    },
}
