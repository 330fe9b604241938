"""Writes as a client asks for them: patch, admission, store, in this order.

Law: between reading and writing this may wait for a webhook, so every write names the version
that it read; a patch that loses the race is applied anew to what won.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tidegate_operator.demo.kubeapi import strategies, views
from tidegate_operator.demo.kubeapi.admission import Admission, Write
from tidegate_operator.demo.kubeapi.auth import ADMIN, User
from tidegate_operator.demo.kubeapi.collector import Collector
from tidegate_operator.demo.kubeapi.errors import (
    ApiError,
    Cause,
    Object,
    WrongTypeError,
    bad_request,
    invalid,
)
from tidegate_operator.demo.kubeapi.kinds import Kind
from tidegate_operator.demo.kubeapi.patches import apply_patch
from tidegate_operator.demo.kubeapi.store import DeleteOptions, Store, expect_preconditions
from tidegate_wire.clock import Clock

PATCH_TRIES = 5
"""As upstream: how often a patch without a version is tried on an object that keeps changing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a request is about."""

    kind: Kind
    namespace: str | None
    name: str = ""
    subresource: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a write is to be done."""

    user: User = ADMIN
    dry_run: bool = False
    field_validation: str = "Warn"


@dataclass(frozen=True, slots=True)
class Done:
    """The object as it is now, and what to tell the client."""

    object: Object
    warnings: Sequence[str] = ()
    removed: bool = False


class Verbs:
    """The writing half of the API, for HTTP and for controllers alike."""

    def __init__(
        self, store: Store, collector: Collector, admission: Admission, clock: Clock
    ) -> None:
        self._store = store
        self._collector = collector
        self._admission = admission
        self._clock = clock

    async def create(self, target: Target, body: Any, terms: Terms) -> Done:
        kind, namespace = self._kept(target.kind), target.namespace
        body = views.as_stored(target.kind, body)
        obj, unknown = strategies.complete(kind, namespace, body)
        warnings = _unknown_fields(unknown, terms)
        write = _write(target, "CREATE", obj, None, terms)
        verdict = await self._admission.review(write)
        created = self._store.create(
            kind, namespace, verdict.object, self._clock.now(), dry_run=terms.dry_run
        )
        return Done(created, [*warnings, *verdict.warnings])

    async def update(self, target: Target, body: Any, terms: Terms) -> Done:
        old = self._store.get(target.kind, target.namespace, target.name)
        body = views.as_stored(target.kind, body)
        if target.subresource == "scale":
            body = views.with_scale(target.kind, old, body)
        return await self._replace(target, old, body, terms)

    async def patch(self, target: Target, content_type: str, patch: Any, terms: Terms) -> Done:
        kind = target.kind
        for attempt in range(1, PATCH_TRIES + 1):
            old = self._store.get(kind, target.namespace, target.name)
            is_scale = target.subresource == "scale"
            shown = views.scale_of(kind, old) if is_scale else views.as_version(kind, old)
            patched = apply_patch(content_type, shown, patch, builtin=kind.builtin)
            asked = patched.setdefault("metadata", {}).get("resourceVersion")
            body = views.as_stored(kind, patched)
            if is_scale:
                body = views.with_scale(kind, old, patched)
            try:
                return await self._replace(target, old, body, terms)
            except WrongTypeError as error:
                cause = Cause("patch", f"Invalid value: {error.message}")
                raise invalid("", "", "", [cause]) from error
            except ApiError as error:
                lost_race = asked == old["metadata"]["resourceVersion"] and _changed(
                    self._store.find(kind, target.namespace, target.name), asked
                )
                if error.reason != "Conflict" or not lost_race or attempt == PATCH_TRIES:
                    raise
        raise AssertionError("the last try returns or raises")

    async def delete(self, target: Target, options: DeleteOptions, terms: Terms) -> Done:
        kind, namespace, name = target.kind, target.namespace, target.name
        old = self._store.get(kind, namespace, name)
        verdict = await self._admission.review(_write(target, "DELETE", None, old, terms))
        if terms.dry_run:
            return Done(old, verdict.warnings)
        now = self._clock.now()
        old = self._store.get(kind, namespace, name)
        expect_preconditions(kind, old, options)
        if options.propagation == "Orphan":
            self._collector.orphan(old, now)
        obj, removed = self._store.delete(kind, namespace, name, now, options)
        return Done(obj, verdict.warnings, removed)

    async def bind(self, target: Target, body: Any, terms: Terms) -> Done:
        """Gives a pod its node: what a scheduler does."""
        node = ((body or {}).get("target") or {}).get("name")
        if not node:
            raise bad_request("Binding.target.name is required")
        pod = strategies.clone(self._store.get(target.kind, target.namespace, target.name))
        pod["spec"]["nodeName"] = node
        return await self._replace(target, pod, pod, terms)

    def _kept(self, kind: Kind) -> Kind:
        """The kind that objects are kept as, where two kinds show the same ones."""
        return kind if kind.stored_as is None else self._store.kinds.stored(kind.key)

    async def _replace(self, target: Target, old: Object, body: Any, terms: Terms) -> Done:
        kind = self._kept(target.kind)
        new, unknown = strategies.complete(kind, target.namespace, body)
        warnings = _unknown_fields(unknown, terms)
        if target.kind.stored_as is not None:
            strategies.check_event(new, old)
        is_scale = target.subresource == "scale"
        seen = (views.scale_of(kind, new), views.scale_of(kind, old)) if is_scale else (new, old)
        verdict = await self._admission.review(_write(target, "UPDATE", *seen, terms))
        saved = self._store.update(
            kind,
            target.namespace,
            target.name,
            views.with_scale(kind, new, verdict.object) if is_scale else verdict.object,
            self._clock.now(),
            subresource="status" if target.subresource == "status" else None,
            dry_run=terms.dry_run,
        )
        return Done(saved, [*warnings, *verdict.warnings])


def _changed(obj: Object | None, version: str | None) -> bool:
    return obj is not None and obj["metadata"]["resourceVersion"] != version


def _write(
    target: Target, operation: str, obj: Object | None, old: Object | None, terms: Terms
) -> Write:
    name = target.name or ((obj or {}).get("metadata") or {}).get("name") or ""
    return Write(
        kind=target.kind,
        operation=operation,
        namespace=target.namespace,
        name=name,
        object=obj,
        old=old,
        user=terms.user,
        subresource=target.subresource or "",
        dry_run=terms.dry_run,
    )


def _unknown_fields(paths: Sequence[str], terms: Terms) -> list[str]:
    said = [f'unknown field "{path}"' for path in paths]
    if said and terms.field_validation == "Strict":
        raise bad_request(f"strict decoding error: {', '.join(said)}")
    return said if terms.field_validation == "Warn" else []
