"""Objects of the API as values, and the tables that watches fill.

Law: level-triggered. A table holds what was last seen of each object, keyed by UID; an event that
comes twice or late changes nothing, and a sweep over a fresh list takes out what has gone unseen.
"""

import json
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from tidegate_operator.cluster import paths
from tidegate_operator.cluster.autoscalers import Autoscalers
from tidegate_operator.cluster.client import Api
from tidegate_operator.crd.spec import TargetRef
from tidegate_wire.names import INJECTED, PORT_ADMIN, STATUS

TAKEN_ON_S = 5.0
"""Within which a kubelet writes a new pod's first conditions; times are whole seconds."""
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
"""Annotation of Kubernetes': who has less of it is removed first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """An injected pod, as far as the loop cares."""

    uid: str
    namespace: str
    name: str
    labels: Mapping[str, str]
    created_at: float
    """Unix seconds on the cluster's clock."""
    ip: str = ""
    admin_port: int = PORT_ADMIN
    ready: bool = False
    ready_at: float | None = None
    """When it last became Ready."""
    terminating: bool = False
    ended: bool = False
    """Succeeded or Failed: it will not come back."""
    deletion_cost: int | None = None
    """``None``: nobody wrote one."""
    restarts: int = 0
    """Of all its containers."""
    fell: bool = False
    """It is not Ready now and was before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The scale subresource of a target."""

    replicas: int
    """``spec.replicas``: how many are asked for."""
    pods: int
    """``status.replicas``: how many the workload counts."""
    selector: str
    uid: str = ""
    """Of the workload."""
    manifest: Mapping[str, Any]
    """As it was read, with its resourceVersion."""


def read_pod(manifest: Mapping[str, Any]) -> Pod:
    """A pod as a value; what is missing or garbled reads as not there."""
    meta = manifest.get("metadata") or {}
    status = manifest.get("status") or {}
    conditions: list[Mapping[str, Any]] = status.get("conditions") or []
    ready = next((c for c in conditions if c.get("type") == "Ready"), {})
    is_ready = ready.get("status") == "True"
    turned_at = parse_timestamp(ready.get("lastTransitionTime"))
    annotations = meta.get("annotations") or {}
    return Pod(
        uid=str(meta.get("uid", "")),
        namespace=str(meta.get("namespace", "")),
        name=str(meta.get("name", "")),
        labels=dict(meta.get("labels") or {}),
        created_at=parse_timestamp(meta.get("creationTimestamp")) or 0.0,
        ip=str(status.get("podIP") or ""),
        admin_port=_admin_port(annotations.get(STATUS)),
        ready=is_ready,
        ready_at=turned_at if is_ready else None,
        terminating=meta.get("deletionTimestamp") is not None,
        ended=status.get("phase") in ("Succeeded", "Failed"),
        deletion_cost=_cost(annotations.get(DELETION_COST)),
        restarts=_restarts(status),
        fell=not is_ready and _fell(turned_at, parse_timestamp(status.get("startTime"))),
    )


def _restarts(status: Mapping[str, Any]) -> int:
    kinds = ("containerStatuses", "initContainerStatuses")
    return sum(int(one.get("restartCount", 0)) for kind in kinds for one in status.get(kind) or ())


def _fell(turned_at: float | None, started_at: float | None) -> bool:
    """The kubelet says "not Ready" as it takes a pod on; said later, the pod was Ready before."""
    if turned_at is None or started_at is None:
        return False
    return turned_at - started_at > TAKEN_ON_S


def _cost(annotation: str | None) -> int | None:
    """What can't be read stands for somebody's wish all the same: the default, 0."""
    try:
        return None if annotation is None else int(annotation)
    except (TypeError, ValueError):
        return 0


def _admin_port(annotation: str | None) -> int:
    try:
        port = json.loads(annotation or "{}")["ports"]["admin"]
    except (ValueError, KeyError, TypeError):
        return PORT_ADMIN
    return port if isinstance(port, int) and 0 < port < 65536 else PORT_ADMIN


def parse_timestamp(text: Any) -> float | None:
    """Unix seconds of an RFC 3339 time; ``None`` where it is none."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError):
        return None


_TERM = re.compile(r"\s*(!?)([\w./-]+)\s*(?:(==|=|!=)\s*([\w.-]*)|(in|notin)\s*\(([^)]*)\))?\s*")
_Test = Callable[[Mapping[str, str]], bool]


def selects(selector: str, labels: Mapping[str, str]) -> bool:
    """Whether a label selector, as a scale subresource spells it, takes these labels.

    An empty or unreadable selector takes nothing: no pods is safer than everybody's.
    """
    tests = _tests(selector)
    return bool(tests) and all(test(labels) for test in tests)


@lru_cache(maxsize=4096)
def _tests(selector: str) -> tuple[_Test, ...]:
    return tuple(_test(term) for term in re.findall(r"[^,(]+(?:\([^)]*\))?", selector))


def _test(term: str) -> _Test:
    match = _TERM.fullmatch(term)
    if match is None:
        return lambda _: False
    absent, key, operator, value, word, values = match.groups()
    if word:
        among = frozenset(item.strip() for item in values.split(","))
        inside = word == "in"
        return lambda labels: (labels.get(key) in among) is inside
    if operator:
        equal = operator != "!="
        return lambda labels: (labels.get(key) == value) is equal
    present = not absent
    return lambda labels: (key in labels) is present


class World:
    """What the watches last saw: policies as manifests, injected pods as values, by UID."""

    def __init__(self) -> None:
        self.policies: dict[str, Mapping[str, Any]] = {}
        self.pods: dict[str, Pod] = {}
        self.autoscalers = Autoscalers()
        self._spaces: dict[str, dict[str, Pod]] = {}
        """Pods by namespace: a thousand policies must not each go through ten thousand pods."""
        self._found: dict[str, dict[str, list[Pod]]] = {}
        """Answers by namespace and selector, until a pod of that namespace changes."""
        self._gone: deque[str] = deque(maxlen=2000)
        """UIDs last seen to go; a list that was begun before must not bring them back."""

    def see_policy(self, manifest: Mapping[str, Any], *, gone: bool = False) -> None:
        meta = manifest.get("metadata") or {}
        uid = str(meta.get("uid", ""))
        if gone or meta.get("deletionTimestamp") is not None:
            self._gone.append(uid)
            self.policies.pop(uid, None)
        elif uid and not _is_older(manifest, self.policies.get(uid)):
            self.policies[uid] = manifest

    def see_pod(self, manifest: Mapping[str, Any], *, gone: bool = False) -> None:
        pod = read_pod(manifest)
        if gone or INJECTED not in pod.labels:
            self._gone.append(pod.uid)
            self.drop_pod(pod.uid)
        elif pod.uid:
            self.pods[pod.uid] = pod
            self._spaces.setdefault(pod.namespace, {})[pod.uid] = pod
            self._found.pop(pod.namespace, None)

    def drop_pod(self, uid: str) -> None:
        pod = self.pods.pop(uid, None)
        if pod is not None:
            space = self._spaces[pod.namespace]
            del space[uid]
            if not space:
                del self._spaces[pod.namespace]
            self._found.pop(pod.namespace, None)

    def pods_of(self, namespace: str, selector: str) -> Sequence[Pod]:
        """Those of a target that can still answer, oldest first."""
        found = self._found.setdefault(namespace, {})
        if selector not in found:
            pods = [
                pod
                for pod in self._spaces.get(namespace, {}).values()
                if not pod.ended and selects(selector, pod.labels)
            ]
            found[selector] = sorted(pods, key=lambda pod: (pod.created_at, pod.uid))
        return found[selector]

    def has_gone(self, uid: str) -> bool:
        return uid in self._gone


def _is_older(manifest: Mapping[str, Any], known: Mapping[str, Any] | None) -> bool:
    """Whether a manifest is from before the known one: an event and a list may cross."""
    if known is None:
        return False
    new, old = manifest["metadata"], known["metadata"]
    return int(new.get("generation", 0)) < int(old.get("generation", 0))


async def sweep_policies(api: Api, world: World) -> None:
    """Compare with a fresh list: what a broken watch lost is mended here."""
    known = set(world.policies)
    listed = {str(m["metadata"]["uid"]): m for m in await api.items(paths.policies())}
    for uid in known - set(listed):
        world.policies.pop(uid, None)
    for uid, manifest in listed.items():
        if not world.has_gone(uid):
            world.see_policy(manifest)


async def sweep_pods(api: Api, world: World) -> None:
    """The same for pods; those that are known stay as the watch last saw them."""
    known = set(world.pods)
    items = await api.items(paths.pods(), f"{INJECTED}=true")
    listed = {str(m["metadata"]["uid"]): m for m in items}
    for uid in known - set(listed):
        world.drop_pod(uid)
    for uid, manifest in listed.items():
        if uid not in world.pods and not world.has_gone(uid):
            world.see_pod(manifest)


async def read_ready(api: Api, namespace: str, target: TargetRef) -> int:
    """How many Ready pods the workload itself counts, with a sidecar or without."""
    manifest = await api.get(paths.workload(namespace, target.plural, target.name))
    return int((manifest.get("status") or {}).get("readyReplicas", 0))


async def read_scale(api: Api, namespace: str, target: TargetRef) -> Scale:
    """The target's scale; ``ApiError`` with status 404 where it does not exist."""
    manifest = await api.get(paths.scale(namespace, target.plural, target.name))
    spec, status = manifest.get("spec") or {}, manifest.get("status") or {}
    return Scale(
        replicas=int(spec.get("replicas", 0)),
        pods=int(status.get("replicas", 0)),
        selector=str(status.get("selector", "")),
        uid=str((manifest.get("metadata") or {}).get("uid", "")),
        manifest=manifest,
    )
