"""Config for sidecars: one long poll each, and what became of it.

Law: a caller sees the namespace that the API server says its token is of, and no other. Before the
first whole look at the cluster nothing is answered, since "no policy" would then be a guess that
takes a running config away. The bytes of a config are handed on as they were written: whether they
are a good config is the sidecar's to judge, so that hub and sidecar may differ by a version.
"""

import asyncio
import hashlib
import re
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from tidegate_operator import logs
from tidegate_operator.cluster.client import ApiError, Object
from tidegate_operator.cluster.lists import Kube
from tidegate_operator.cluster.mirror import Key
from tidegate_operator.hub.measure import Measures
from tidegate_wire.clock import Clock
from tidegate_wire.config import SidecarConfig
from tidegate_wire.names import (
    CONFIG_KEY,
    PATH_CONFIG,
    PATH_REPORT,
    TARGET_KEY,
    TOKEN_AUDIENCE,
    ConfigState,
)

HOLD_S = 55.0
"""Below the minute at which load balancers tend to cut an idle connection."""
REVIEW_S = 60.0
"""How long a token that was found good counts as good."""
REFUSAL_S = 10.0
"""How long a token that was found bad is refused without asking again."""
MAX_REVIEWS = 20_000
"""Tokens remembered; twice the sidecars that one hub is built for."""
MAX_TOKEN_BYTES = 16 * 1024
MAX_REPORT_BYTES = 16 * 1024
BODY_TIMEOUT_S = 10.0
"""For a report to arrive; in real seconds."""

_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
_POD = "authentication.kubernetes.io/pod-name"
_ACCOUNT = re.compile(r"system:serviceaccount:([a-z0-9-]+):([a-z0-9.-]+)")
_WORKLOAD = re.compile(r"[A-Z][A-Za-z]{0,62}/[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,6})(?:$|[,;\s])")


@dataclass(frozen=True, slots=True)
class Served:
    """A config as it goes out."""

    body: bytes
    etag: str


def _serve(body: bytes) -> Served:
    # Equal to SidecarConfig.hash where the body is canonical, and good for any other body too.
    return Served(body, hashlib.sha256(body).hexdigest()[:16])


_EMPTY = _serve(SidecarConfig().to_json())


class ConfigIndex:
    """Workload -> config, from the ConfigMaps that the reconciler keeps."""

    def __init__(self) -> None:
        self._targets: dict[Key, Key] = {}
        self._configs: dict[Key, dict[str, Served]] = {}
        self._waiting: dict[Key, set[asyncio.Future[None]]] = {}

    def on_change(self, key: Key, found: Object | None) -> None:
        """Take in a ConfigMap, or its absence."""
        namespace, name = key
        data = (found or {}).get("data") or {}
        after = None
        if TARGET_KEY in data and CONFIG_KEY in data:
            after = (namespace, str(data[TARGET_KEY]))
        targets = [target for target in {self._targets.get(key), after} if target is not None]
        etags = [self.get(*target).etag for target in targets]
        self._drop(key)
        if after is not None:
            self._targets[key] = after
            self._configs.setdefault(after, {})[name] = _serve(str(data[CONFIG_KEY]).encode())
        for target, etag in zip(targets, etags, strict=True):
            if self.get(*target).etag != etag:
                self._wake(target)

    def _drop(self, key: Key) -> None:
        target = self._targets.pop(key, None)
        if target is not None:
            configs = self._configs[target]
            del configs[key[1]]
            if not configs:
                del self._configs[target]

    def _wake(self, target: Key) -> None:
        for future in self._waiting.pop(target, ()):
            if not future.done():
                future.set_result(None)

    def wake_all(self) -> None:
        for target in list(self._waiting):
            self._wake(target)

    @property
    def waiting(self) -> int:
        """Callers that wait for a change."""
        return sum(len(futures) for futures in self._waiting.values())

    def get(self, namespace: str, workload: str) -> Served:
        """The config for a workload's pods; the empty one, under which all passes, where no policy
        covers it. Two policies for one target are told apart by name, the same way each time."""
        configs = self._configs.get((namespace, workload))
        return configs[min(configs)] if configs else _EMPTY

    async def changed(self, namespace: str, workload: str, timeout_s: float) -> None:
        """Wait for a change, at most ``timeout_s`` real seconds."""
        target = (namespace, workload)
        future = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(target, set()).add(future)
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            pass
        finally:
            waiting = self._waiting.get(target)
            if waiting is not None:
                waiting.discard(future)
                if not waiting:
                    del self._waiting[target]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who a token belongs to."""

    namespace: str
    account: str
    pod: str = ""


class Gatekeeper:
    """Asks the API server whose a token is, and remembers for a minute, by the token's hash."""

    def __init__(self, kube: Kube, clock: Clock) -> None:
        self._kube = kube
        self._clock = clock
        self._known: dict[bytes, tuple[float, Caller | None]] = {}

    async def identify(self, request: web.Request) -> Caller:
        """The caller; raises the HTTP answer for one who can't prove who they are."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN_BYTES:
            raise refused(web.HTTPUnauthorized, "Authorization must be: Bearer <token>")
        caller = await self._review(token)
        if caller is None:
            rule = f"the token must be a valid ServiceAccount token for audience {TOKEN_AUDIENCE}"
            raise refused(web.HTTPUnauthorized, rule)
        if not caller.namespace:
            raise refused(web.HTTPForbidden, "the token must be of a pod's ServiceAccount")
        return caller

    async def _review(self, token: str) -> Caller | None:
        digest = hashlib.sha256(token.encode()).digest()
        now = self._clock.monotonic()
        until, caller = self._known.get(digest, (0.0, None))
        if until > now:
            return caller
        spec = {"token": token, "audiences": [TOKEN_AUDIENCE]}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        try:
            status = (await self._kube.create(_REVIEWS, body)).get("status") or {}
        except ApiError as error:
            # Not a 401: the sidecar keeps what it has and asks again.
            sentence = f"the API server could not check the token: {error.reason}"
            raise refused(web.HTTPServiceUnavailable, sentence) from error
        caller = _caller(status)
        while len(self._known) >= MAX_REVIEWS:
            del self._known[next(iter(self._known))]
        self._known.pop(digest, None)
        self._known[digest] = (now + (REVIEW_S if caller else REFUSAL_S), caller)
        return caller


def _caller(status: dict[str, Any]) -> Caller | None:
    # A server that does not know audiences answers without them: its word is then not for us.
    if not status.get("authenticated") or TOKEN_AUDIENCE not in (status.get("audiences") or ()):
        return None
    user = status.get("user") or {}
    account = _ACCOUNT.fullmatch(user.get("username") or "")
    if account is None:
        return Caller(namespace="", account="")
    pods = (user.get("extra") or {}).get(_POD) or [""]
    return Caller(namespace=account[1], account=account[2], pod=str(pods[0]))


def refused(kind: type[web.HTTPError], message: str) -> web.HTTPError:
    """An error whose body says what to do about it."""
    text = msgspec.json.encode({"error": message}).decode()
    return kind(text=text, content_type="application/json")


class Report(msgspec.Struct, frozen=True):
    """What a sidecar says became of a config."""

    hash: str
    state: ConfigState
    error: str = ""


class SidecarDoor:
    """The door that sidecars knock at."""

    def __init__(
        self,
        index: ConfigIndex,
        gatekeeper: Gatekeeper,
        synced: asyncio.Event,
        clock: Clock,
        measures: Measures,
    ) -> None:
        self._index = index
        self._gatekeeper = gatekeeper
        self._synced = synced
        self._clock = clock
        self._measures = measures
        self._leaving = False

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get(PATH_CONFIG, self._config)
        app.router.add_post(PATH_REPORT, self._report)

    def leave(self) -> None:
        """Answer everyone who waits, so that they ask another hub."""
        self._leaving = True
        self._index.wake_all()

    async def _config(self, request: web.Request) -> web.Response:
        caller = await self._gatekeeper.identify(request)
        workload = request.query.get("workload", "")
        if not _WORKLOAD.fullmatch(workload):
            rule = f"workload must be Kind/name, such as Deployment/llama, was: {workload!r:.80}"
            raise refused(web.HTTPBadRequest, rule)
        if not self._synced.is_set():
            raise refused(web.HTTPServiceUnavailable, "the hub has not read the cluster yet")
        known = request.headers.get("If-None-Match", "").strip().removeprefix("W/").strip('"')
        served = self._index.get(caller.namespace, workload)
        if served.etag == known and not self._leaving:
            with self._measures.polls.track_inprogress():
                wait_s = self._clock.real_s(_asked_wait_s(request))
                await self._index.changed(caller.namespace, workload, wait_s)
            served = self._index.get(caller.namespace, workload)
        headers = {"ETag": f'"{served.etag}"', "Cache-Control": "no-store"}
        if served.etag == known:
            return web.Response(status=304, headers=headers)
        return web.Response(body=served.body, content_type="application/json", headers=headers)

    async def _report(self, request: web.Request) -> web.Response:
        caller = await self._gatekeeper.identify(request)
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                raw = await request.read()
            if len(raw) > MAX_REPORT_BYTES:
                raise refused(web.HTTPBadRequest, f"a report has at most {MAX_REPORT_BYTES} bytes")
            report = msgspec.json.decode(raw, type=Report)
        except TimeoutError as error:
            raise refused(web.HTTPRequestTimeout, "the report did not arrive in time") from error
        except msgspec.MsgspecError as error:
            raise refused(web.HTTPBadRequest, f"report: {error}") from error
        if report.state is ConfigState.FAILED:
            logs.event(
                "config_failed",
                namespace=caller.namespace,
                pod=caller.pod,
                hash=report.hash[:16],
                error=report.error[:500],
            )
        return web.Response(status=204)


def _asked_wait_s(request: web.Request) -> float:
    """``Prefer: wait=N`` (RFC 7240) may ask for less than the hub would hold, not for more."""
    asked = _WAIT.search(request.headers.get("Prefer", ""))
    return min(HOLD_S, float(asked[1])) if asked else HOLD_S
