"""Which workloads have a HorizontalPodAutoscaler, from a mirror of all of them.

Law: level-triggered, as the other tables. A cluster in which autoscalers can't be listed is
scaled all the same, and the policies say that this is not known.
"""

from collections.abc import Callable
from typing import Any

from tidegate_operator.cluster import paths
from tidegate_operator.cluster.client import ApiError, Object
from tidegate_operator.cluster.lists import Kube
from tidegate_operator.cluster.mirror import Key, Mirror
from tidegate_operator.decide.holding import Autoscaler
from tidegate_wire.clock import Clock
from tidegate_wire.names import METRIC_DESIRED

_Target = tuple[str, str, str]
"""Namespace, kind and name."""


class Autoscalers:
    """By the workload that they point at."""

    def __init__(self) -> None:
        self._by_target: dict[_Target, dict[str, Autoscaler]] = {}
        self._targets: dict[Key, _Target] = {}
        self.problem: Callable[[], ApiError | None] = lambda: None
        """Why the table may be behind, while it may be."""

    def see(self, key: Key, manifest: Object | None) -> None:
        """One came, changed, or went (``None``)."""
        before = self._targets.pop(key, None)
        if before is not None:
            del self._by_target[before][key[1]]
            if not self._by_target[before]:
                del self._by_target[before]
        target = None if manifest is None else _target(key[0], manifest)
        if manifest is not None and target is not None:
            found = Autoscaler(name=key[1], owner=_owner(manifest), asks=_asks(manifest))
            self._by_target.setdefault(target, {})[key[1]] = found
            self._targets[key] = target

    def of(self, namespace: str, kind: str, name: str) -> Autoscaler | None:
        """The first by name where there are several."""
        found = self._by_target.get((namespace, kind, name))
        return None if not found else found[min(found)]


def mirror_autoscalers(api: Kube, table: Autoscalers, clock: Clock) -> Mirror:
    """What keeps the table: an own watch, since kopf can end a process over a 403."""
    mirror = Mirror(api, paths.autoscalers(), clock, on_change=table.see, trim=_trim)
    table.problem = lambda: mirror.problem
    return mirror


def _target(namespace: str, manifest: Object) -> _Target | None:
    target = (manifest.get("spec") or {}).get("scaleTargetRef") or {}
    group = str(target.get("apiVersion") or "apps/v1").partition("/")[0]
    if group != "apps":
        return None
    return namespace, str(target.get("kind", "")), str(target.get("name", ""))


def _owner(manifest: Object) -> str:
    owners: list[dict[str, Any]] = manifest["metadata"].get("ownerReferences") or []
    owner = next((o for o in owners if o.get("controller")), owners[0] if owners else None)
    return "" if owner is None else f"{owner.get('kind')}/{owner.get('name')}"


def _asks(manifest: Object) -> bool:
    """KEDA puts ``s0-`` or so before a metric's name."""
    metrics = (manifest.get("spec") or {}).get("metrics") or ()
    names = [str(_below(metric, "external", "metric").get("name", "")) for metric in metrics]
    return any(name.endswith(METRIC_DESIRED) for name in names)


def _below(value: Object, *path: str) -> Object:
    for name in path:
        value = value.get(name) or {}
    return value


def _trim(manifest: Object) -> Object:
    meta = manifest.get("metadata") or {}
    kept = ("namespace", "name", "resourceVersion", "ownerReferences")
    return {
        "metadata": {field: meta[field] for field in kept if field in meta},
        "spec": {
            name: _below(manifest, "spec").get(name) for name in ("scaleTargetRef", "metrics")
        },
    }
