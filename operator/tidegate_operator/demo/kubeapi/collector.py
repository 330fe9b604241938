"""What goes with what: owners and their dependants, namespaces and definitions and what is in
them.

Law: pure; it reacts to writes of the store, after the watchers have heard of them, and writes by
the store's own rules. Upstream does the same in controllers, some seconds later.
"""

from collections import defaultdict
from collections.abc import Iterator

from tidegate_operator.demo.kubeapi.errors import Object
from tidegate_operator.demo.kubeapi.eventlog import Event
from tidegate_operator.demo.kubeapi.kinds import Key, Kind, kinds_of
from tidegate_operator.demo.kubeapi.store import FOREGROUND, Store, is_container, name_of
from tidegate_operator.demo.kubeapi.strategies import clone

Place = tuple[Key, str | None, str]


class Collector:
    """Attach with ``store.reactions.append(collector.react)``."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._alive: set[str] = set()
        self._dependants: dict[str, set[Place]] = defaultdict(set)
        self._closing: dict[Place, None] = {}
        """Dying objects that wait for others to go first, oldest first."""

    def react(self, kind: Kind, event: Event, now: float) -> None:
        obj, before = event.object, event.before
        place = (kind.key, *name_of(obj))
        self._index(place, before, obj if event.type != "DELETED" else None)
        if event.type == "ADDED":
            self._begin(kind, obj, now)
        if kind.kind == "CustomResourceDefinition":
            self._register(obj, gone=event.type == "DELETED")
        if event.type == "DELETED":
            self._closing.pop(place, None)
            self._drop_dependants(obj, now)
            self._settle(now)
        elif _waits(kind, obj) and place not in self._closing:
            self._closing[place] = None
            self._empty(kind, obj, now)
            self._settle(now)

    def orphan(self, obj: Object, now: float) -> None:
        """Lets the dependants go on without their owner."""
        for kind, dependant in list(self._dependants_of(obj)):
            self._disown(kind, dependant, {obj["metadata"]["uid"]}, now)

    def _index(self, place: Place, before: Object | None, after: Object | None) -> None:
        for owner in _owners(before):
            self._dependants[owner].discard(place)
        for owner in _owners(after):
            self._dependants[owner].add(place)
        if after is not None:
            self._alive.add(after["metadata"]["uid"])
        elif before is not None:
            self._alive.discard(before["metadata"]["uid"])

    def _begin(self, kind: Kind, obj: Object, now: float) -> None:
        if kind.kind == "Namespace":
            accounts = self._store.kinds.at("", "v1", "serviceaccounts")
            body = {"metadata": {"name": "default"}}
            self._store.create(accounts, obj["metadata"]["name"], body, now)
        owners = list(_owners(obj))
        if owners and not any(owner in self._alive for owner in owners):
            # Its owner went between the client's read and this write (or never was).
            self._store.delete(kind, *name_of(obj), now)

    def _register(self, definition: Object, *, gone: bool) -> None:
        spec = definition["spec"]
        rows = [] if gone else kinds_of(definition)
        self._store.kinds.replace_custom(spec["group"], spec["names"]["plural"], rows)
        for row in rows:
            self._store.begin_log(row)

    def _dependants_of(self, obj: Object) -> Iterator[tuple[Kind, Object]]:
        for key, namespace, name in sorted(
            self._dependants.get(obj["metadata"]["uid"], ()), key=lambda place: str(place)
        ):
            kind = self._store.kinds.stored(key)
            dependant = self._store.find(kind, namespace, name)
            if dependant is not None:
                yield kind, dependant

    def _drop_dependants(self, owner: Object, now: float) -> None:
        for kind, dependant in list(self._dependants_of(owner)):
            dead = {uid for uid in _owners(dependant) if uid not in self._alive}
            if dead == set(_owners(dependant)):
                if "deletionTimestamp" not in dependant["metadata"]:
                    self._store.delete(kind, *name_of(dependant), now)
            else:
                self._disown(kind, dependant, dead, now)
        self._dependants.pop(owner["metadata"]["uid"], None)

    def _disown(self, kind: Kind, dependant: Object, owners: set[str], now: float) -> None:
        new = clone(dependant)
        kept = [ref for ref in new["metadata"]["ownerReferences"] if ref["uid"] not in owners]
        new["metadata"].pop("ownerReferences")
        if kept:
            new["metadata"]["ownerReferences"] = kept
        self._store.replace(kind, dependant, new, now)

    def _contents(self, kind: Kind, obj: Object) -> Iterator[tuple[Kind, Object]]:
        """What must be gone before ``obj`` may go."""
        if FOREGROUND in (obj["metadata"].get("finalizers") or ()):
            yield from self._dependants_of(obj)
        if kind.kind == "CustomResourceDefinition":
            for row in kinds_of(obj)[:1]:
                for each in self._store.snapshot(row):
                    yield row, each
        elif kind.kind == "Namespace":
            for row in self._store.kinds:
                if row.namespaced and row.stored_as is None:
                    for each in self._store.snapshot(row, obj["metadata"]["name"]):
                        yield row, each

    def _empty(self, kind: Kind, obj: Object, now: float) -> None:
        for row, each in list(self._contents(kind, obj)):
            if self._store.find(row, *name_of(each)) is not None:
                self._store.delete(row, *name_of(each), now)

    def _settle(self, now: float) -> None:
        """Lets go of every waiting object whose contents are gone."""
        for key, namespace, name in tuple(self._closing):
            kind = self._store.kinds.stored(key)
            obj = self._store.find(kind, namespace, name)
            if obj is None or any(self._contents(kind, obj)):
                continue
            self._closing.pop((key, namespace, name), None)
            new = clone(obj)
            kept = [each for each in obj["metadata"].get("finalizers") or () if each != FOREGROUND]
            new["metadata"]["finalizers"] = kept
            if is_container(kind) and not kept:
                self._store.remove(kind, obj, now)
            elif new != obj:
                self._store.replace(kind, obj, new, now)


def _owners(obj: Object | None) -> Iterator[str]:
    references = (obj or {"metadata": {}})["metadata"].get("ownerReferences") or ()
    return (reference["uid"] for reference in references)


def _waits(kind: Kind, obj: Object) -> bool:
    metadata = obj["metadata"]
    return "deletionTimestamp" in metadata and (
        is_container(kind) or FOREGROUND in (metadata.get("finalizers") or ())
    )
