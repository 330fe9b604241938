"""The store at hand, for what runs beside the server: the node, the controllers, the demo's own
set-up.

Law: the same rules as over HTTP, without a socket. Objects are copies, so that nobody changes
what is kept; only ``admit`` goes through the webhooks.
"""

from collections.abc import AsyncIterator
from typing import Any

from tidegate_operator.demo.kubeapi.errors import Object
from tidegate_operator.demo.kubeapi.matching import Matcher, field_matcher, label_matcher
from tidegate_operator.demo.kubeapi.patches import MERGE, apply_patch
from tidegate_operator.demo.kubeapi.store import DeleteOptions, Store
from tidegate_operator.demo.kubeapi.strategies import clone
from tidegate_operator.demo.kubeapi.verbs import Target, Terms, Verbs
from tidegate_operator.demo.kubeapi.watches import Watch
from tidegate_wire.clock import Clock

_WAKE_S = 3_600.0
"""How long a watch sleeps between two looks at nothing."""


class DirectAccess:
    """Kinds are named by plural, or ``plural.group``. Errors are ``ApiError``."""

    def __init__(self, store: Store, verbs: Verbs, clock: Clock) -> None:
        self._store = store
        self._verbs = verbs
        self._clock = clock

    def get(self, plural: str, namespace: str | None, name: str) -> Object:
        found: Object = clone(self._store.get(self._store.kinds.named(plural), namespace, name))
        return found

    def find(self, plural: str, namespace: str | None, name: str) -> Object | None:
        """None if it is not there."""
        found: Object | None = clone(
            self._store.find(self._store.kinds.named(plural), namespace, name)
        )
        return found

    def list(
        self,
        plural: str,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> list[Object]:
        """Objects of a namespace, or of all."""
        kind = self._store.kinds.named(plural)
        matches = _matcher(namespace, label_selector, field_selector)
        return [clone(obj) for obj in self._store.snapshot(kind, namespace) if matches(obj)]

    def create(self, plural: str, namespace: str | None, body: Object) -> Object:
        kind = self._store.kinds.named(plural)
        created: Object = clone(self._store.create(kind, namespace, body, self._clock.now()))
        return created

    async def admit(self, plural: str, namespace: str | None, body: Object) -> Object:
        """Creates as a client would: the webhooks see it first."""
        kind = self._store.kinds.named(plural)
        done = await self._verbs.create(Target(kind=kind, namespace=namespace), body, Terms())
        created: Object = clone(done.object)
        return created

    def update(
        self,
        plural: str,
        namespace: str | None,
        name: str,
        body: Object,
        *,
        subresource: str | None = None,
    ) -> Object:
        """Replaces; 409 if ``body`` names a version that is not the last."""
        kind = self._store.kinds.named(plural)
        updated: Object = clone(
            self._store.update(
                kind, namespace, name, body, self._clock.now(), subresource=subresource
            )
        )
        return updated

    def patch(
        self,
        plural: str,
        namespace: str | None,
        name: str,
        patch: Any,
        *,
        content_type: str = MERGE,
        subresource: str | None = None,
    ) -> Object:
        kind = self._store.kinds.named(plural)
        old = self._store.get(kind, namespace, name)
        body = apply_patch(content_type, old, patch, builtin=kind.builtin)
        return self.update(plural, namespace, name, body, subresource=subresource)

    def delete(
        self, plural: str, namespace: str | None, name: str, *, grace_s: int | None = None
    ) -> None:
        """``grace_s=0`` takes a pod away at once: what the node does when its processes have
        ended."""
        kind = self._store.kinds.named(plural)
        options = DeleteOptions(grace_s=grace_s)
        self._store.delete(kind, namespace, name, self._clock.now(), options)

    async def watch(
        self,
        plural: str,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> AsyncIterator[tuple[str, Object]]:
        """ADDED for all that there is, then every change; ends only if the reader lags too far
        behind."""
        kind = self._store.kinds.named(plural)
        matches = _matcher(namespace, label_selector, field_selector)
        with Watch(self._store, kind, matches, None) as watch:
            for event, obj in watch.initial():
                yield event, clone(obj)
            while not watch.ended.is_set() or watch.is_behind:
                for event, obj in await watch.changes(_WAKE_S):
                    yield event, clone(obj)


def _matcher(
    namespace: str | None, label_selector: str | None, field_selector: str | None
) -> Matcher:
    labels, fields = label_matcher(label_selector), field_matcher(field_selector)
    return lambda obj: (
        namespace in (None, obj["metadata"].get("namespace")) and labels(obj) and fields(obj)
    )
