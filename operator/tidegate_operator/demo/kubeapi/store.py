"""The objects, and every rule about writing them.

Law: pure: no clock, no I/O, no waiting. Time comes as ``now`` (Unix seconds), chance as a seeded
``Random``. Objects in the store are never changed in place, so that readers, watchers and the
log may share them; whoever wants to change one takes a copy.
"""

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from tidegate_operator.demo.kubeapi import strategies
from tidegate_operator.demo.kubeapi.errors import (
    ApiError,
    Cause,
    Object,
    already_exists,
    bad_request,
    conflict,
    forbidden,
    invalid,
    not_found,
    too_large_version,
)
from tidegate_operator.demo.kubeapi.eventlog import Event, EventLog, EventType, ObjectName
from tidegate_operator.demo.kubeapi.kinds import Key, Kind, Kinds

HISTORY = 4_000
"""Writes remembered per kind: some minutes of a busy demo, at most 20 MB of pods."""
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
"""Upstream's alphabet for generated names: no vowels, so no words."""
_SERVER_OWNED = (
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generateName",
)
Propagation = Literal["Background", "Foreground", "Orphan"]
FOREGROUND = "foregroundDeletion"
IMMORTAL = frozenset({"default", "kube-public", "kube-system"})
"""Namespaces that may not be deleted."""
Reaction = Callable[[Kind, Event, float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteOptions:
    """What a DELETE may ask for; None is the kind's own default."""

    grace_s: int | None = None
    propagation: Propagation = "Background"
    uid: str | None = None
    resource_version: str | None = None


def timestamp(now: float) -> str:
    """``2026-05-04T03:02:01Z``."""
    return datetime.fromtimestamp(int(now), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def name_of(obj: Object) -> ObjectName:
    metadata = obj["metadata"]
    return metadata.get("namespace"), metadata["name"]


class Store:
    """All objects by kind and name, one counter of versions, one bounded log per kind."""

    def __init__(self, kinds: Kinds, randomness: random.Random, *, history: int = HISTORY) -> None:
        self.kinds = kinds
        self.version = 1
        self.reactions: list[Reaction] = []
        """Called after the watchers with every write: garbage collection and the like."""
        self._randomness = randomness
        self._history = history
        self._objects: dict[Key, dict[ObjectName, Object]] = {}
        self._logs: dict[Key, EventLog] = {}

    # Reading

    def log(self, kind: Kind) -> EventLog:
        return self._logs.setdefault(kind.key, EventLog(self._history))

    def begin_log(self, kind: Kind) -> None:
        """Before a kind is defined there is nothing that a watch of it could resume from."""
        self._logs.setdefault(kind.key, EventLog(self._history, forgotten=self.version))

    def all_of(self, kind: Kind) -> dict[ObjectName, Object]:
        return self._objects.setdefault(kind.key, {})

    def find(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        return self.all_of(kind).get((namespace, name))

    def get(self, kind: Kind, namespace: str | None, name: str) -> Object:
        """404 if it is not there."""
        obj = self.find(kind, namespace, name)
        if obj is None:
            raise not_found(kind.group, kind.plural, name)
        return obj

    def snapshot(
        self, kind: Kind, namespace: str | None = None, version: int | None = None
    ) -> list[Object]:
        """Objects of one namespace, or of all, in the order of their names.

        ``version``: as they were then; 410 if that is no longer known, 504 if it is yet to come.
        """
        objects = self.all_of(kind)
        if version is not None:
            self.expect_not_after(version)
            objects = self.log(kind).rewind(objects, version)
        names = [name for name in objects if namespace in (None, name[0])]
        names.sort(key=lambda name: (name[0] or "", name[1]))
        return [objects[name] for name in names]

    def expect_not_after(self, version: int) -> None:
        if version > self.version:
            raise too_large_version(version, self.version)

    # Writing

    def create(
        self, kind: Kind, namespace: str | None, body: Any, now: float, *, dry_run: bool = False
    ) -> Object:
        """Keeps a new object; with ``dry_run`` only tells what would be kept."""
        obj, _ = strategies.complete(kind, namespace, body)
        metadata = obj["metadata"]
        self._expect_namespace(kind, namespace, metadata.get("name"))
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = self._generate(metadata["generateName"])
        if not metadata.get("name"):
            message = "Required value: name or generateName is required"
            cause = Cause("metadata.name", message, "FieldValueRequired")
            raise invalid(kind.group, kind.kind, "", [cause])
        if metadata.get("resourceVersion"):
            raise bad_request("resourceVersion should not be set on objects to be created")
        name = (namespace, metadata["name"])
        if name in self.all_of(kind):
            raise already_exists(kind.group, kind.plural, metadata["name"])
        if kind.kind == "Namespace":
            # A generated name is known only now, and a namespace's label repeats it.
            obj, _ = strategies.complete(kind, namespace, obj)
            metadata = obj["metadata"]
        for field in ("deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink"):
            metadata.pop(field, None)
        metadata["uid"] = str(uuid.UUID(int=self._randomness.getrandbits(128), version=4))
        metadata["creationTimestamp"] = timestamp(now)
        if kind.counts_generation:
            metadata["generation"] = 1
        strategies.start_status(kind, obj, timestamp(now))
        strategies.check(kind, obj, None)
        return obj if dry_run else self._save(kind, "ADDED", obj, None, now)

    def update(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        body: Any,
        now: float,
        *,
        subresource: str | None = None,
        dry_run: bool = False,
    ) -> Object:
        """Replaces the object, or with ``status`` its status alone.

        A write that changes nothing makes no event.
        """
        old = self.get(kind, namespace, name)
        new, _ = strategies.complete(kind, namespace, body)
        self._expect_same(kind, old, new)
        new = _with_status(old, new) if subresource == "status" else _with_spec(kind, old, new)
        new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        if new == old:
            return old
        _expect_no_new_finalizers(kind, old, new)
        if subresource is None and kind.counts_generation and _is_new_generation(kind, old, new):
            new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        strategies.check(kind, new, old)
        if dry_run:
            return new
        saved = self._save(kind, "MODIFIED", new, old, now)
        if is_finished(saved):
            self.remove(kind, saved, now)
        return saved

    def delete(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        now: float,
        options: DeleteOptions | None = None,
    ) -> tuple[Object, bool]:
        """The object as it is now or was last, and whether it is gone already."""
        options = options or DeleteOptions()
        old = self.get(kind, namespace, name)
        expect_preconditions(kind, old, options)
        if kind.kind == "Namespace" and name in IMMORTAL:
            message = f'namespaces "{name}" is forbidden: this namespace may not be deleted'
            raise forbidden(message, {"name": name, "kind": "namespaces"})
        grace_s = _grace_s(kind, old, options)
        new = strategies.clone(old)
        metadata = new["metadata"]
        if options.propagation == "Foreground":
            metadata["finalizers"] = [*(metadata.get("finalizers") or ()), FOREGROUND]
        stays = grace_s > 0 or metadata.get("finalizers") or is_container(kind)
        if not stays and kind.kind != "Pod":
            return self.remove(kind, old, now), True
        if "deletionTimestamp" in metadata and grace_s >= metadata["deletionGracePeriodSeconds"]:
            return (old, False) if stays else (self.remove(kind, old, now), True)
        _mark_dying(kind, new, grace_s, now)
        marked = self._save(kind, "MODIFIED", new, old, now)
        # Watchers see a pod's end coming, however short its grace.
        return (marked, False) if stays else (self.remove(kind, marked, now), True)

    def remove(self, kind: Kind, obj: Object, now: float) -> Object:
        """Takes the object away, whatever still holds it."""
        old = self.all_of(kind).pop(name_of(obj), None)
        if old is None:
            return obj
        gone = strategies.clone(old)
        return self._record(kind, "DELETED", gone, old, now)

    def replace(self, kind: Kind, old: Object, new: Object, now: float) -> Object:
        """A write of the server's own (owner references, finalizers), past the rules for
        clients."""
        saved = self._save(kind, "MODIFIED", new, old, now)
        if is_finished(saved):
            self.remove(kind, saved, now)
        return saved

    def _save(
        self, kind: Kind, event: EventType, obj: Object, old: Object | None, now: float
    ) -> Object:
        self.all_of(kind)[name_of(obj)] = obj
        return self._record(kind, event, obj, old, now)

    def _record(
        self, kind: Kind, event_type: EventType, obj: Object, old: Object | None, now: float
    ) -> Object:
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        event = Event(self.version, event_type, obj, old)
        self.log(kind).append(event)
        for react in tuple(self.reactions):
            react(kind, event, now)
        return obj

    # Rules

    def _generate(self, prefix: str) -> str:
        return prefix + "".join(self._randomness.choices(_SUFFIX, k=5))

    def _expect_namespace(self, kind: Kind, namespace: str | None, name: str | None) -> None:
        if not kind.namespaced:
            return
        if namespace is None:
            raise bad_request("an empty namespace may not be set during creation")
        spaces = self.all_of(self.kinds.at("", "v1", "namespaces"))
        space = spaces.get((None, namespace))
        if space is None:
            raise not_found("", "namespaces", namespace)
        if "deletionTimestamp" in space["metadata"]:
            shown = f'{kind.qualified} "{name or ""}" is forbidden: '
            why = (
                f"unable to create new content in namespace {namespace} "
                "because it is being terminated"
            )
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {namespace} is being terminated",
                "field": "metadata.namespace",
            }
            raise forbidden(shown + why, {"name": name, "kind": kind.plural, "causes": [cause]})

    def _expect_same(self, kind: Kind, old: Object, new: Object) -> None:
        """The request is about this object, and about this version of it if it names one."""
        was, is_ = old["metadata"], new["metadata"]
        name = was["name"]
        if is_.setdefault("name", name) != name:
            raise bad_request(
                f"the name of the object ({is_['name']}) does not match the name on the URL "
                f"({name})"
            )
        version = is_.get("resourceVersion")
        if not version and not kind.unconditional_update:
            message = "Invalid value: 0: must be specified for an update"
            cause = Cause("metadata.resourceVersion", message)
            raise invalid(kind.group, kind.kind, name, [cause])
        if version and version != was["resourceVersion"]:
            raise conflict(kind.group, kind.plural, name)
        if is_.get("uid") and is_["uid"] != was["uid"]:
            raise _uid_conflict(kind, name, is_["uid"], was["uid"])


def is_container(kind: Kind) -> bool:
    """Whether objects of this kind go only after what is in them."""
    return kind.kind in ("Namespace", "CustomResourceDefinition")


def is_finished(obj: Object) -> bool:
    """Whether a dying object has nothing left to wait for. Namespaces and definitions are
    emptied first."""
    metadata = obj["metadata"]
    return (
        "deletionTimestamp" in metadata
        and not metadata.get("finalizers")
        and not metadata.get("deletionGracePeriodSeconds")
        and obj["kind"] not in ("Namespace", "CustomResourceDefinition")
    )


def _mark_dying(kind: Kind, obj: Object, grace_s: int, now: float) -> None:
    metadata = obj["metadata"]
    if kind.counts_generation and "deletionTimestamp" not in metadata:
        metadata["generation"] = metadata.get("generation", 0) + 1
    metadata["deletionTimestamp"] = timestamp(now + grace_s)
    metadata["deletionGracePeriodSeconds"] = grace_s
    if kind.kind == "Namespace":
        obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}


def _with_status(old: Object, new: Object) -> Object:
    merged = {**old, "metadata": dict(old["metadata"])}
    merged.pop("status", None)
    if "status" in new:
        merged["status"] = new["status"]
    return merged


def _with_spec(kind: Kind, old: Object, new: Object) -> Object:
    for field in _SERVER_OWNED:
        new["metadata"].pop(field, None)
        if field in old["metadata"]:
            new["metadata"][field] = old["metadata"][field]
    if "status" in kind.subresources:
        new.pop("status", None)
        if "status" in old:
            new["status"] = old["status"]
    return new


def _is_new_generation(kind: Kind, old: Object, new: Object) -> bool:
    ignored = {"apiVersion", "kind", "metadata"}
    if kind.builtin or "status" in kind.subresources:
        ignored.add("status")
    if any(old.get(field) != new.get(field) for field in (old.keys() | new.keys()) - ignored):
        return True
    # Upstream counts a Deployment's annotations as part of what is wanted.
    return kind.kind == "Deployment" and (
        old["metadata"].get("annotations") != new["metadata"].get("annotations")
    )


def _expect_no_new_finalizers(kind: Kind, old: Object, new: Object) -> None:
    if "deletionTimestamp" not in old["metadata"]:
        return
    before = set(old["metadata"].get("finalizers") or ())
    added = [each for each in new["metadata"].get("finalizers") or () if each not in before]
    if added:
        listed = ", ".join(f'"{each}"' for each in added)
        message = (
            "Forbidden: no new finalizers can be added if the object is being deleted, "
            f"found new finalizers []string{{{listed}}}"
        )
        cause = Cause("metadata.finalizers", message, "FieldValueForbidden")
        raise invalid(kind.group, kind.kind, old["metadata"]["name"], [cause])


def _uid_conflict(kind: Kind, name: str, asked: str, found: str) -> ApiError:
    why = f"Precondition failed: UID in precondition: {asked}, UID in object meta: {found}"
    return conflict(kind.group, kind.plural, name, why)


def expect_preconditions(kind: Kind, obj: Object, options: DeleteOptions) -> None:
    """409 if the object is not the one, or not in the version, that the client means."""
    metadata = obj["metadata"]
    if options.uid is not None and options.uid != metadata["uid"]:
        raise _uid_conflict(kind, metadata["name"], options.uid, metadata["uid"])
    asked = options.resource_version
    if asked is not None and asked != metadata["resourceVersion"]:
        why = (
            f"Precondition failed: ResourceVersion in precondition: {asked}, "
            f"ResourceVersion in object meta: {metadata['resourceVersion']}"
        )
        raise conflict(kind.group, kind.plural, metadata["name"], why)


def _grace_s(kind: Kind, obj: Object, options: DeleteOptions) -> int:
    """Only pods that a node has taken up go gracefully; a dying one may be hurried, never
    slowed."""
    if kind.kind != "Pod":
        return 0
    status, spec = obj.get("status") or {}, obj["spec"]
    started = spec.get("nodeName") or status.keys() - {"phase"}
    if not started or status.get("phase") in ("Succeeded", "Failed"):
        return 0
    asked = options.grace_s
    return int(spec.get("terminationGracePeriodSeconds", 30) if asked is None else asked)
