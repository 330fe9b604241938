"""Whether the pods that should have a sidecar have one, and whether it is asked first.

Law: a function of what the API server said; nobody's pods are changed here or after. Each fault
comes with the one command that mends it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidegate_operator.decide.words import Reason
from tidegate_operator.inject.choice import Choice, Skip, choose, has_sidecar
from tidegate_operator.inject.options import Manifest, Reject
from tidegate_operator.inject.workload import pod_of
from tidegate_wire.names import CONTAINER, INJECT, PORT_INBOUND

UPSTREAM = "TIDEGATE_UPSTREAM"
_ENDED = ("Succeeded", "Failed")
_SHOWN = 3
"""Services named in one message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """A policy's target and what stands around it, as manifests."""

    workload: Manifest
    namespace: Manifest
    pods: Sequence[Manifest]
    """All that the target's selector takes, with a sidecar or without."""
    services: Sequence[Manifest]
    """All of the namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The answer, for a condition."""

    healthy: bool | None
    """``None``: it could not be looked at."""
    reason: Reason
    message: str
    without: int = 0
    """Pods without a sidecar that should have one."""


def judge(around: Surroundings, *, own_namespace: str) -> Health:
    """How injection stands for one target."""
    wish = _wish(around, own_namespace)
    if isinstance(wish, Reject):
        return _fault(Reason.INJECTION_REJECTED, f"its pods are refused: {wish.message}")
    running = [pod for pod in around.pods if _runs(pod)]
    bare = [pod for pod in running if not has_sidecar(pod)]
    if isinstance(wish, Skip) and wish.reason:
        return _fault(Reason.INJECTION_SKIPPED, wish.reason, len(bare))
    if isinstance(wish, Skip) and (bare or not running):
        return _fault(Reason.NOT_ASKED, _how_to_ask(around))
    if bare:
        return _without(around.workload, bare, len(running))
    if bypasses := list(_bypasses(around, running)):
        return _fault(Reason.NUMERIC_TARGET_PORT, _past_the_sidecar(bypasses))
    # No count: it stands for minutes, in which pods come and go.
    message = "every pod has a sidecar" if running else "no pod runs; the next gets a sidecar"
    return Health(healthy=True, reason=Reason.ALL_INJECTED, message=message)


def _fault(reason: Reason, message: str, without: int = 0) -> Health:
    return Health(healthy=False, reason=reason, message=message, without=without)


def _wish(around: Surroundings, own_namespace: str) -> Choice:
    """What the webhook would say to the target's next pod."""
    space = around.namespace.get("metadata") or {}
    label = (space.get("labels") or {}).get(INJECT)
    if label == "false":
        return Skip("")
    return choose(
        pod_of(around.workload),
        namespace=str(space.get("name", "")),
        own_namespace=own_namespace,
        namespace_asks=label == "true",
    )


def _runs(pod: Manifest) -> bool:
    gone = (pod.get("metadata") or {}).get("deletionTimestamp") is not None
    return not gone and (pod.get("status") or {}).get("phase") not in _ENDED


# --- what to say ---------------------------------------------------------------------------------


def _how_to_ask(around: Surroundings) -> str:
    if (labels := _metadata(around.namespace, "labels")).get(INJECT) == "false":
        return f"namespace {_name(around.namespace)} says {INJECT}={labels[INJECT]}: no sidecars"
    template = (around.workload.get("spec") or {}).get("template") or {}
    for kind in ("labels", "annotations"):
        if _metadata(template, kind).get(INJECT) == "false":
            return f"spec.template.metadata.{kind}[{INJECT}] is false: no sidecar"
    own = _metadata(around.workload, "annotations").get(INJECT)
    overwrite = "" if own is None else " --overwrite"
    said = "nobody asked for a sidecar" if own is None else f"{INJECT} is {own}"
    return f"{said}: kubectl annotate {_address(around.workload)} {INJECT}=true{overwrite}"


def _without(workload: Manifest, bare: Sequence[Manifest], running: int) -> Health:
    number = f"{len(bare)} of {running} pods run" if running > 1 else "the one pod runs"
    said = f"{number} without the sidecar that was asked for"
    if running > 1:
        said += f", such as {_name(bare[0])}"
    if _rolls(workload):
        return _fault(Reason.ROLLING_OUT, f"{said}; a rollout is under way", len(bare))
    remedy = f"kubectl rollout restart {_address(workload)}"
    return _fault(Reason.WITHOUT_SIDECAR, f"{said}: {remedy}", len(bare))


def _rolls(workload: Manifest) -> bool:
    status, spec = workload.get("status") or {}, workload.get("spec") or {}
    generation = int((workload.get("metadata") or {}).get("generation", 0))
    behind = int(status.get("observedGeneration", generation)) < generation
    wanted = max(int(spec.get("replicas", 1)), int(status.get("replicas", 0)))
    return behind or int(status.get("updatedReplicas", 0)) < wanted


def _address(workload: Manifest) -> str:
    """As kubectl takes it."""
    namespace = (workload.get("metadata") or {}).get("namespace", "default")
    return f"{str(workload.get('kind', '')).lower()}/{_name(workload)} -n {namespace}"


def _name(manifest: Manifest) -> str:
    return str((manifest.get("metadata") or {}).get("name", ""))


def _metadata(manifest: Manifest, kind: str) -> Mapping[str, str]:
    return (manifest.get("metadata") or {}).get(kind) or {}


# --- Services that go past the sidecar -----------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bypass:
    service: Manifest
    index: int
    port: int
    number: int
    """The app's own port, where requests arrive."""
    name: str
    """The sidecar's port, where they should."""


def _bypasses(around: Surroundings, pods: Sequence[Manifest]) -> Iterator[_Bypass]:
    """Ports of Services that lead to the app itself by number."""
    taken = {_taken(pod): _metadata(pod, "labels") for pod in pods}
    for service in around.services:
        spec = service.get("spec") or {}
        selector = spec.get("selector") or {}
        # Who uses a headless Service asks for pods, and takes whatever port it likes.
        if not selector or spec.get("clusterIP") == "None":
            continue
        for (number, name), labels in taken.items():
            if number is None or not selector.items() <= labels.items():
                continue
            for index, port in enumerate(spec.get("ports") or ()):
                if port.get("targetPort", port["port"]) == number:
                    yield _Bypass(
                        service=service,
                        index=index,
                        port=int(port["port"]),
                        number=number,
                        name=name,
                    )


def _taken(pod: Manifest) -> tuple[int | None, str]:
    """The app's port that the sidecar stands in front of, and the name of the sidecar's own."""
    for container in pod["spec"].get("initContainers") or ():
        if container.get("name") == CONTAINER:
            env: dict[str, Any] = {e["name"]: e.get("value") for e in container.get("env") or ()}
            number = str(env.get(UPSTREAM) or "").rpartition(":")[2]
            names = [
                str(port.get("name", ""))
                for port in container.get("ports") or ()
                if port.get("containerPort") == PORT_INBOUND
            ]
            return int(number) if number.isdigit() else None, next(iter(names), "")
    return None, ""


def _past_the_sidecar(bypasses: Sequence[_Bypass]) -> str:
    first = bypasses[0]
    named = list(dict.fromkeys(_name(each.service) for each in bypasses))
    more = f" (so do {', '.join(named[1 : _SHOWN + 1])})" if len(named) > 1 else ""
    namespace = (first.service.get("metadata") or {}).get("namespace", "default")
    path = f"/spec/ports/{first.index}/targetPort"
    patch = json.dumps(
        [{"op": "add", "path": path, "value": first.name or PORT_INBOUND}], separators=(",", ":")
    )
    return (
        f"Service {named[0]} sends port {first.port} to number {first.number}, past the sidecar; "
        f"the name leads to it{more}: kubectl patch service {named[0]} -n {namespace} "
        f"--type=json -p='{patch}'"
    )
