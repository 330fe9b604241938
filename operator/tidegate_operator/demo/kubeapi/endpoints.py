"""The HTTP face: paths and queries in, JSON and ``Status`` out.

Law: no rule about objects stands here; this reads requests, asks the store or the verbs, and
writes answers.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from tidegate_operator.demo.kubeapi import discovery, reading, views
from tidegate_operator.demo.kubeapi.auth import ANONYMOUS, API_AUDIENCE, Authenticator, User
from tidegate_operator.demo.kubeapi.errors import (
    ApiError,
    NoSuchPathError,
    Object,
    bad_request,
    forbidden,
    internal,
    method_not_allowed,
    no_such_path,
    not_found,
    unsupported_media_type,
)
from tidegate_operator.demo.kubeapi.reading import Query
from tidegate_operator.demo.kubeapi.store import DeleteOptions, Store, timestamp
from tidegate_operator.demo.kubeapi.verbs import Done, Target, Terms, Verbs
from tidegate_operator.demo.kubeapi.watches import Watch
from tidegate_wire.clock import Clock

MAX_BODY = 3 * 1024 * 1024
"""Upstream's bound on a request."""
WATCH_S = 1_800.0
"""Length of a watch that asks for none: upstream's least default. Watches and bookmarks run in
real seconds, on a fast clock too, as they only keep connections in order."""
BOOKMARK_S = 60.0
_OPEN_PATHS = frozenset({"/version", "/healthz", "/livez", "/readyz"})
_KEPT_ON_DELETE = frozenset({"Pod", "Service", "ServiceAccount"})
"""Kinds whose DELETE answers with the object also when it is gone."""
_log = logging.getLogger(__name__)


class Endpoints:
    """The application; ``app()`` makes what aiohttp runs."""

    def __init__(
        self, store: Store, verbs: Verbs, authenticator: Authenticator, clock: Clock
    ) -> None:
        self._store = store
        self._verbs = verbs
        self._authenticator = authenticator
        self._clock = clock
        self._watches: set[Watch] = set()

    def app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_route("*", "/{path:.*}", self.handle)
        return app

    def drop_watches(self) -> int:
        """Ends all watches, as a restarting server does; how many there were."""
        watches = list(self._watches)
        for watch in watches:
            watch.end()
        return len(watches)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        try:
            user = self._user(request)
            if request.path in ("/healthz", "/livez", "/readyz"):
                return web.Response(text="ok")
            found = self._discover(request.path) if request.method == "GET" else None
            return _json(found) if found is not None else await self._dispatch(request, user)
        except NoSuchPathError as error:
            if self._is_builtin(request.path):
                return _json(error.status(), error.code)
            # As upstream, where no kind of the group was ever built in.
            return web.Response(status=404, text="404 page not found\n")
        except ApiError as error:
            return _json(error.status(), error.code)
        except web.HTTPRequestEntityTooLarge:
            too_large = ApiError(413, "RequestEntityTooLarge", f"limit is {MAX_BODY}")
            return _json(too_large.status(), too_large.code)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001 - the process's edge: a client gets a Status
            _log.exception("request failed: %s %s", request.method, request.path)
            return _json(internal(repr(error)).status(), 500)

    def _is_builtin(self, path: str) -> bool:
        return any(
            kind.builtin and path.startswith(f"{discovery.root_of(kind.api_version)}/")
            for kind in self._store.kinds
        )

    def _user(self, request: web.Request) -> User:
        user = self._authenticator.user_of(request.headers.get("Authorization"), self._clock.now())
        if user is ANONYMOUS and request.path not in _OPEN_PATHS:
            verb = request.method.lower()
            raise forbidden(f'User "system:anonymous" cannot {verb} path "{request.path}"')
        return user

    def _discover(self, path: str) -> Object | None:
        kinds = self._store.kinds
        return discovery.answer(kinds, path) or discovery.openapi(kinds, path)

    async def _dispatch(self, request: web.Request, user: User) -> web.StreamResponse:
        body = await _body(request)
        if request.method == "POST" and (reviewed := self._review(request.path, user, body)):
            return _json(reviewed, 201)
        target = self._target(request.path)
        query = Query(request.query, target.kind, request.headers.get("Accept", ""))
        terms = Terms(
            user=user,
            dry_run=query.text("dryRun") == "All",
            field_validation=query.text("fieldValidation") or "Warn",
        )
        match request.method, bool(target.name):
            case "GET", _ if query.flag("watch"):
                return await self._watch(request, target, query)
            case "GET", False:
                return _json(reading.list_of(self._store, target, query, self._clock.now()))
            case "GET", True:
                return _json(self._get(target, query))
            case "POST", _:
                return await self._post(target, body, terms)
            case "PUT", True:
                return self._shown(target, query, await self._verbs.update(target, body, terms))
            case "PATCH", True:
                content_type = request.content_type
                done = await self._verbs.patch(target, content_type, body, terms)
                return self._shown(target, query, done)
            case "DELETE", True:
                return await self._delete(target, query, body, terms)
            case "DELETE", False:
                return await self._delete_collection(target, query, body, terms)
        raise method_not_allowed()

    def _target(self, path: str) -> Target:
        match path.strip("/").split("/"):
            case ["api", version, *rest] if rest:
                group = ""
            case ["apis", group, version, *rest] if rest:
                pass
            case _:
                raise no_such_path()
        namespace: str | None = None
        if rest[0] == "namespaces" and len(rest) >= 3 and rest[2] not in ("status", "finalize"):
            namespace, rest = rest[1], rest[2:]
        kind = self._store.kinds.at(group, version, rest[0])
        name, subresource = (*rest[1:], "", "")[:2]
        if len(rest) > 3 or (subresource and subresource not in kind.subresources):
            raise no_such_path()
        if (namespace is not None) is not kind.namespaced and (name or not kind.namespaced):
            raise no_such_path()
        return Target(kind=kind, namespace=namespace, name=name, subresource=subresource or None)

    def _get(self, target: Target, query: Query) -> Object:
        obj = self._store.get(target.kind, target.namespace, target.name)
        if target.subresource == "scale":
            return views.scale_of(target.kind, obj)
        return query.shown(obj, self._clock.now())

    def _shown(
        self, target: Target, query: Query, done: Done, code: int = 200
    ) -> web.StreamResponse:
        if target.subresource == "scale":
            return _json(views.scale_of(target.kind, done.object), code, done)
        return _json(views.as_version(target.kind, done.object), code, done)

    async def _post(self, target: Target, body: Any, terms: Terms) -> web.StreamResponse:
        match target.subresource:
            case "token":
                return _json(self._issue(target, body), 201)
            case "binding":
                await self._verbs.bind(target, body, terms)
                return _json(_success(201), 201)
        if target.name:
            raise method_not_allowed()
        done = await self._verbs.create(target, body, terms)
        return _json(views.as_version(target.kind, done.object), 201, done)

    async def _delete(
        self, target: Target, query: Query, body: Any, terms: Terms
    ) -> web.StreamResponse:
        if target.subresource:
            raise method_not_allowed()
        done = await self._verbs.delete(target, _delete_options(query, body), terms)
        if done.removed and target.kind.kind not in _KEPT_ON_DELETE:
            details: Object = {"name": target.name, "kind": target.kind.plural}
            if target.kind.group:
                details["group"] = target.kind.group
            details["uid"] = done.object["metadata"]["uid"]
            return _json(_success(200) | {"details": details}, 200, done)
        return _json(views.as_version(target.kind, done.object), 200, done)

    async def _delete_collection(
        self, target: Target, query: Query, body: Any, terms: Terms
    ) -> web.StreamResponse:
        listed = reading.list_of(self._store, target, query, self._clock.now())
        options = _delete_options(query, body)
        for obj in reading.matching(self._store, target, query):
            metadata = obj["metadata"]
            each = Target(
                kind=target.kind, namespace=metadata.get("namespace"), name=metadata["name"]
            )
            if self._store.find(each.kind, each.namespace, each.name) is not None:
                await self._verbs.delete(each, options, terms)
        return _json(listed)

    # Reviews and tokens

    def _review(self, path: str, user: User, body: Any) -> Object | None:
        """The answer to what is asked but never kept."""
        asked: Object = body if isinstance(body, dict) else {}
        if path == "/apis/authentication.k8s.io/v1/tokenreviews":
            return self._authenticator.review(asked, self._clock.now())
        if path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews":
            # No RBAC here: whoever is known may do all.
            return asked | {"status": {"allowed": True, "reason": f"{user.username} may do all"}}
        return None

    def _issue(self, target: Target, body: Any) -> Object:
        spec = (body or {}).get("spec") or {}
        bound = spec.get("boundObjectRef") or {}
        pod = (bound["name"], bound.get("uid") or "") if bound.get("kind") == "Pod" else None
        expiry_s = spec.get("expirationSeconds") or 3600
        if expiry_s < 600:
            raise bad_request("may not specify a duration less than 10 minutes")
        now = self._clock.now()
        if pod is not None:
            pods = self._store.kinds.at("", "v1", "pods")
            found = self._store.get(pods, target.namespace, pod[0])
            if pod[1] not in ("", found["metadata"]["uid"]):
                raise not_found("", "pods", pod[0])
            pod = (pod[0], found["metadata"]["uid"])
        token = self._authenticator.issue(
            target.namespace or "",
            target.name,
            spec.get("audiences") or [API_AUDIENCE],
            now,
            pod=pod,
            expiry_s=expiry_s,
        )
        status = {"token": token, "expirationTimestamp": timestamp(now + expiry_s)}
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"name": target.name, "namespace": target.namespace},
            "spec": spec | {"expirationSeconds": expiry_s},
            "status": status,
        }

    # Watching

    async def _watch(
        self, request: web.Request, target: Target, query: Query
    ) -> web.StreamResponse:
        since = query.watch_since()
        matches = query.matcher(target)
        lasts_s = query.number("timeoutSeconds") or WATCH_S
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        try:
            with Watch(self._store, target.kind, matches, since) as watch:
                self._watches.add(watch)
                try:
                    await response.prepare(request)
                    await self._stream(response, watch, query, lasts_s)
                finally:
                    self._watches.discard(watch)
        except ApiError as error:
            if error.code != 410:
                raise
            # As upstream: a watch that cannot be resumed is told so inside the stream.
            await response.prepare(request)
            await response.write(_event("ERROR", error.status()))
        except ConnectionError:
            # The client has gone; nobody is left to tell.
            pass
        return response

    async def _stream(
        self, response: web.StreamResponse, watch: Watch, query: Query, lasts_s: float
    ) -> None:
        clock = asyncio.get_running_loop().time
        deadline = clock() + lasts_s
        bookmark_at = clock() + BOOKMARK_S if query.flag("allowWatchBookmarks") else None

        def encoded(changes: list[tuple[str, Object]]) -> bytes:
            now = self._clock.now()
            return b"".join(_event(kind, query.shown(obj, now)) for kind, obj in changes)

        if watch.initial():
            await response.write(encoded(watch.initial()))
        if query.flag("sendInitialEvents"):
            await response.write(_event("BOOKMARK", watch.bookmark(initial_end=True)))
        while clock() < deadline and (not watch.ended.is_set() or watch.is_behind):
            wake_at = min(deadline, bookmark_at or deadline)
            if changes := await watch.changes(max(0.0, wake_at - clock())):
                await response.write(encoded(changes))
            due = bookmark_at is not None and clock() >= wake_at
            if due and not watch.is_behind and not watch.ended.is_set():
                await response.write(_event("BOOKMARK", watch.bookmark()))
                bookmark_at = clock() + BOOKMARK_S


async def _body(request: web.Request) -> Any:
    raw = await request.read()
    if not raw:
        return None
    if request.content_type not in ("application/json", "application/octet-stream") and not (
        request.method == "PATCH" or request.content_type == "text/plain"
    ):
        raise unsupported_media_type(["application/json"])
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError as error:
        if request.method == "PATCH" and "apply-patch" in request.content_type:
            return None  # refused by its type, and YAML need not be JSON
        raise bad_request(f"error decoding the body: {error}") from error


def _delete_options(query: Query, body: Any) -> DeleteOptions:
    options: Mapping[str, Any] = body if isinstance(body, dict) else {}
    preconditions = options.get("preconditions") or {}
    grace = options.get("gracePeriodSeconds", query.number("gracePeriodSeconds"))
    propagation = options.get("propagationPolicy") or query.text("propagationPolicy")
    if options.get("orphanDependents"):
        propagation = "Orphan"
    if propagation not in (None, "", "Background", "Foreground", "Orphan"):
        raise bad_request(f'invalid propagationPolicy: "{propagation}"')
    return DeleteOptions(
        grace_s=None if grace is None else int(grace),
        propagation=propagation or "Background",  # type: ignore[arg-type]
        uid=preconditions.get("uid"),
        resource_version=preconditions.get("resourceVersion"),
    )


def _success(code: int) -> Object:
    status: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    return status | ({"code": code} if code != 200 else {})


def _event(kind: str, obj: Object) -> bytes:
    return msgspec.json.encode({"type": kind, "object": obj}) + b"\n"


def _json(body: Object, code: int = 200, done: Done | None = None) -> web.Response:
    response = web.Response(
        body=msgspec.json.encode(body), status=code, content_type="application/json"
    )
    for warning in done.warnings if done else ():
        text = warning.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
        response.headers.add("Warning", f'299 - "{text}"')
    return response
