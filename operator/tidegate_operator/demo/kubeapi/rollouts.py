"""What a Deployment, a ReplicaSet or a StatefulSet wants done.

Law: pure: objects in, numbers, names and bodies out. The order in which pods go is upstream's:
not yet on a node, pending, not ready, cheap to delete, young.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from tidegate_operator.demo.kubeapi.errors import Object
from tidegate_operator.demo.kubeapi.strategies import clone

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_RETIRED = ("Succeeded", "Failed")


def template_hash(template: Mapping[str, Any]) -> str:
    """Ten hex digits that change with anything in the pod template."""
    raw = msgspec.json.encode(template, order="deterministic")
    return hashlib.sha256(raw).hexdigest()[:10]


def owned_by(owner: Object, objects: Sequence[Object]) -> list[Object]:
    """Those whose controller is ``owner``."""
    uid = owner["metadata"]["uid"]
    return [
        obj
        for obj in objects
        if any(
            ref["uid"] == uid and ref.get("controller")
            for ref in obj["metadata"].get("ownerReferences") or ()
        )
    ]


def owner_reference(owner: Object) -> Object:
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def is_active(pod: Object) -> bool:
    """Whether a pod counts: neither leaving nor done."""
    return (
        "deletionTimestamp" not in pod["metadata"]
        and (pod.get("status") or {}).get("phase") not in _RETIRED
    )


def is_ready(pod: Object) -> bool:
    return any(
        each.get("type") == "Ready" and each.get("status") == "True"
        for each in (pod.get("status") or {}).get("conditions") or ()
    )


def replicaset_of(deployment: Object, revision: int) -> Object:
    """The ReplicaSet for a Deployment's template as it is now; it begins with no pods."""
    spec = deployment["spec"]
    digest = template_hash(spec["template"])
    template = clone(spec["template"])
    labels = template.setdefault("metadata", {}).setdefault("labels", {})
    labels[HASH_LABEL] = digest
    selector = clone(spec["selector"])
    selector.setdefault("matchLabels", {})[HASH_LABEL] = digest
    return {
        "metadata": {
            "name": f"{deployment['metadata']['name']}-{digest}",
            "labels": dict(labels),
            "annotations": {REVISION: str(revision)},
            "ownerReferences": [owner_reference(deployment)],
        },
        "spec": {"replicas": 0, "selector": selector, "template": template},
    }


def pod_of(
    owner: Object, name: str | None = None, labels: Mapping[str, str] | None = None
) -> Object:
    """A pod from its owner's template; without ``name`` the server gives one."""
    template = clone(owner["spec"]["template"])
    metadata = template.get("metadata") or {}
    kept = {key: metadata[key] for key in ("labels", "annotations") if metadata.get(key)}
    kept["labels"] = {**kept.get("labels", {}), **(labels or {})}
    named = {"name": name} if name else {"generateName": f"{owner['metadata']['name']}-"}
    return {
        "metadata": {**named, **kept, "ownerReferences": [owner_reference(owner)]},
        "spec": template["spec"],
    }


def resolve_share(value: Any, of: int, *, up: bool) -> int:
    """``25%`` of a count, or a plain count."""
    if not isinstance(value, str):
        return int(value)
    exact = of * float(value.rstrip("%")) / 100
    return math.ceil(exact) if up else math.floor(exact)


@dataclass(frozen=True, slots=True)
class Fleet:
    """A Deployment's ReplicaSet of the current template, the older ones, and what they have."""

    current: Object
    older: tuple[Object, ...]
    available: Mapping[str, int]
    """Ready pods by ReplicaSet name."""
    existing: Mapping[str, int]
    """Pods by ReplicaSet name, leaving ones too."""

    def of(self, replicaset: Object) -> int:
        return self.available.get(replicaset["metadata"]["name"], 0)


def plan_rollout(deployment: Object, fleet: Fleet) -> dict[str, int]:
    """How many replicas each ReplicaSet should ask for now, by name."""
    spec = deployment["spec"]
    desired = int(spec["replicas"])
    wanted = {each["metadata"]["name"]: int(each["spec"]["replicas"]) for each in fleet.older}
    current = fleet.current["metadata"]["name"]
    asked = int(fleet.current["spec"]["replicas"])
    if spec.get("paused") or not any(wanted.values()):
        wanted[current] = asked if spec.get("paused") and any(wanted.values()) else desired
        return wanted
    if spec["strategy"]["type"] == "Recreate":
        left = sum(fleet.existing.get(name, 0) for name in wanted)
        return dict.fromkeys(wanted, 0) | {current: asked if left else desired}
    rolling = spec["strategy"]["rollingUpdate"]
    surge = resolve_share(rolling["maxSurge"], desired, up=True)
    slack = resolve_share(rolling["maxUnavailable"], desired, up=False)
    if not surge and not slack:
        slack = 1
    room = desired + surge - sum(wanted.values()) - asked
    wanted[current] = min(desired, asked + max(0, room))
    _shrink(wanted, fleet, desired - slack, asked)
    return wanted


def _shrink(wanted: dict[str, int], fleet: Fleet, least: int, asked: int) -> None:
    """Takes from the older sets: pods that serve nobody first, then as many as can be spared."""
    for each in fleet.older:
        name = each["metadata"]["name"]
        wanted[name] = min(wanted[name], fleet.of(each))
    available = min(asked, fleet.of(fleet.current)) + sum(
        wanted[e["metadata"]["name"]] for e in fleet.older
    )
    spare = max(0, available - least)
    for each in fleet.older:
        name = each["metadata"]["name"]
        taken = min(spare, wanted[name])
        wanted[name] -= taken
        spare -= taken


def choose_victims(pods: Sequence[Object], count: int) -> list[Object]:
    """The ``count`` pods that are missed least."""
    ranked = sorted(pods, key=lambda pod: pod["metadata"]["creationTimestamp"], reverse=True)
    return sorted(ranked, key=_worth)[: max(0, count)]


def _worth(pod: Object) -> tuple[bool, bool, bool, int]:
    status = pod.get("status") or {}
    placed = bool(pod["spec"].get("nodeName")) or bool(status.keys() - {"phase"})
    return placed, status.get("phase") != "Pending", is_ready(pod), _deletion_cost(pod)


def _deletion_cost(pod: Object) -> int:
    raw = (pod["metadata"].get("annotations") or {}).get(DELETION_COST, "0")
    try:
        return int(raw)
    except ValueError:
        return 0


def replica_status(owner: Object, pods: Sequence[Object]) -> Object:
    """Status of a ReplicaSet, or the counts of a StatefulSet."""
    active = [pod for pod in pods if is_active(pod)]
    ready = sum(is_ready(pod) for pod in active)
    return {
        "replicas": len(active),
        "fullyLabeledReplicas": len(active),
        "readyReplicas": ready,
        "availableReplicas": ready,
        "observedGeneration": owner["metadata"]["generation"],
    }


def deployment_status(
    deployment: Object, fleet: Fleet, pods: Mapping[str, Sequence[Object]], now_text: str
) -> Object:
    """``pods`` are the active ones, by ReplicaSet name."""
    desired = int(deployment["spec"]["replicas"])
    total = sum(len(each) for each in pods.values())
    ready = sum(is_ready(pod) for each in pods.values() for pod in each)
    updated = len(pods.get(fleet.current["metadata"]["name"], ()))
    slack = _slack(deployment["spec"], desired)
    enough = ready >= desired - slack
    finished = updated == total == ready == desired
    said = (
        (
            "Available",
            enough,
            "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
        ),
        ("Progressing", True, "NewReplicaSetAvailable" if finished else "ReplicaSetUpdated"),
    )
    before = {
        each["type"]: each for each in (deployment.get("status") or {}).get("conditions") or ()
    }
    status: Object = {
        "observedGeneration": deployment["metadata"]["generation"],
        "replicas": total,
        "updatedReplicas": updated,
        "readyReplicas": ready,
        "availableReplicas": ready,
        "unavailableReplicas": max(0, max(total, desired) - ready),
        "conditions": [
            _condition(before.get(name), name, holds, why, now_text) for name, holds, why in said
        ],
    }
    # As upstream, a count of nothing is left out.
    return {field: value for field, value in status.items() if value != 0}


def _slack(spec: Object, desired: int) -> int:
    rolling = spec["strategy"].get("rollingUpdate")
    return resolve_share(rolling["maxUnavailable"], desired, up=False) if rolling else desired


def _condition(
    before: Object | None, name: str, holds: bool, reason: str, now_text: str
) -> Object:
    state = "True" if holds else "False"
    if before is not None and (before["status"], before["reason"]) == (state, reason):
        return before
    kept = before is not None and before["status"] == state
    return {
        "type": name,
        "status": state,
        "reason": reason,
        "message": "",
        "lastUpdateTime": now_text,
        "lastTransitionTime": before["lastTransitionTime"] if before and kept else now_text,
    }


def next_ordinal_step(
    statefulset: Object, pods: Sequence[Object]
) -> tuple[int | None, Object | None]:
    """(ordinal to create, pod to delete) of a StatefulSet: one step at a time, in order; both
    None if all is done."""
    name, desired = statefulset["metadata"]["name"], int(statefulset["spec"]["replicas"])
    by_name = {pod["metadata"]["name"]: pod for pod in pods}
    parallel = statefulset["spec"].get("podManagementPolicy") == "Parallel"
    for ordinal in range(desired):
        pod = by_name.get(f"{name}-{ordinal}")
        if pod is None:
            return ordinal, None
        if not parallel and not (is_active(pod) and is_ready(pod)):
            return None, None
    beyond = [pod for pod in pods if _ordinal(pod) >= desired]
    digest = template_hash(statefulset["spec"]["template"])
    outdated = [
        pod
        for pod in pods
        if pod["metadata"].get("labels", {}).get("controller-revision-hash") != digest
    ]
    for group in (beyond, outdated):
        if group:
            last = max(group, key=_ordinal)
            return None, last if is_active(last) else None
    return None, None


def _ordinal(pod: Object) -> int:
    tail = pod["metadata"]["name"].rpartition("-")[2]
    return int(tail) if tail.isdigit() else -1
