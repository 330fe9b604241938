"""What a person may say about the sidecar in annotations, and what it asks of its node.

Law: a function of values. A wrong word in an option of ours is a ``Reject`` that names field, rule
and value; a name of ours that doesn't exist is a warning, since it may be a newer release's.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any

from tidegate_operator.inject.quantity import parse_quantity
from tidegate_wire import base_url
from tidegate_wire.names import (
    ANTHROPIC_UPSTREAM,
    COPIED,
    CPU_LIMIT,
    CPU_REQUEST,
    DRAIN_SECONDS,
    GROUP,
    INJECT,
    INJECTED,
    MEMORY_LIMIT,
    MEMORY_REQUEST,
    MODE,
    OPENAI_UPSTREAM,
    OPTIONS,
    STATUS,
)

Manifest = Mapping[str, Any]

GRACE_S = 30
"""Kubernetes' default ``terminationGracePeriodSeconds``."""
END_MARGIN_S = 5
"""Of the grace period, for a sidecar that is done to end by itself."""
LEAST_MEMORY = "64Mi"
"""A sidecar that has nothing to do was seen to hold 40 MiB."""
FIXED_CPU = "500m"
"""Limit of a sidecar whose pod states one for every container; without, it has none: a throttled
proxy would add its own wait to every token."""
FIXED_STORAGE = "64Mi"
"""Likewise of ephemeral storage: logs, and the state directory's 16 MiB."""


class Mode(StrEnum):
    """Which ways lead through a pod's sidecar."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"
    BOTH = "both"

    @property
    def takes_in(self) -> bool:
        return self is not Mode.OUTBOUND

    @property
    def calls_out(self) -> bool:
        return self is not Mode.INBOUND


@dataclass(frozen=True, slots=True)
class Reject:
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Of a sidecar whose pod says nothing else; quantities, empty for none."""

    cpu_request: str = "50m"
    cpu_limit: str = ""
    memory_request: str = "64Mi"
    memory_limit: str = "256Mi"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What one pod says; empty or ``None`` where it says nothing."""

    mode: Mode = Mode.INBOUND
    openai_upstream: str = ""
    anthropic_upstream: str = ""
    cpu_request: str = ""
    cpu_limit: str = ""
    memory_request: str = ""
    memory_limit: str = ""
    drain_s: int | None = None


NO_OPTIONS = Options()
_ANNOTATIONS = {
    "cpu_request": CPU_REQUEST,
    "cpu_limit": CPU_LIMIT,
    "memory_request": MEMORY_REQUEST,
    "memory_limit": MEMORY_LIMIT,
}
_EXAMPLES = {"cpu": "100m", "memory": "256Mi"}


def annotation(name: str) -> str:
    """Where a person finds it."""
    return f"metadata.annotations[{name}]"


def read_options(pod: Manifest) -> Options | Reject:
    """The options of a pod, or of a template, that wants a sidecar."""
    asked = {k: str(v).strip() for k, v in _map(pod, "annotations").items() if k in OPTIONS}
    given = {field: asked[name] for field, name in _ANNOTATIONS.items() if name in asked}
    named = {field: annotation(_ANNOTATIONS[field]) for field in _ANNOTATIONS}
    if problem := _problem(given, named):
        return Reject(problem)
    if problem := _way_problem(asked):
        return Reject(problem)
    options = Options(
        mode=Mode(asked.get(MODE, Mode.INBOUND)),
        openai_upstream=asked.get(OPENAI_UPSTREAM, ""),
        anthropic_upstream=asked.get(ANTHROPIC_UPSTREAM, ""),
        cpu_request=given.get("cpu_request", ""),
        cpu_limit=given.get("cpu_limit", ""),
        memory_request=given.get("memory_request", ""),
        memory_limit=given.get("memory_limit", ""),
    )
    drain = asked.get(DRAIN_SECONDS)
    if drain is None:
        return options
    most_s = max(0, grace_s(pod) - END_MARGIN_S)
    if not (drain.isascii() and drain.isdigit() and len(drain) < 6 and int(drain) <= most_s):
        return Reject(
            f"{annotation(DRAIN_SECONDS)} must be whole seconds from 0 to {most_s} (the pod's "
            f"terminationGracePeriodSeconds less {END_MARGIN_S}), was: {drain!r}"
        )
    return replace(options, drain_s=int(drain))


def _way_problem(asked: Mapping[str, str]) -> str:
    mode = asked.get(MODE, Mode.INBOUND)
    if mode not in list(Mode):
        return f"{annotation(MODE)} must be one of {', '.join(Mode)}, was: {mode!r}"
    for name in (OPENAI_UPSTREAM, ANTHROPIC_UPSTREAM):
        raw = asked.get(name)
        if raw is not None and (problem := base_url.problem(raw)):
            return f"{annotation(name)} {problem}, was: {raw!r}"
    return ""


def resources_problem(resources: Resources, names: Mapping[str, str]) -> str:
    """What is wrong with the resources of all sidecars, by the names they were given under; else
    empty.
    """
    given = {f.name: getattr(resources, f.name) for f in fields(resources)}
    return _problem({name: value for name, value in given.items() if value}, names)


def _problem(given: Mapping[str, str], names: Mapping[str, str]) -> str:
    for field, raw in given.items():
        size, kind = parse_quantity(raw), field.partition("_")[0]
        if size is None or size <= 0:
            example = _EXAMPLES[kind]
            return f"{names[field]} must be a quantity above 0 such as {example}, was: {raw!r}"
    for kind in _EXAMPLES:
        request, limit = given.get(f"{kind}_request"), given.get(f"{kind}_limit")
        if request and limit and _size(request) > _size(limit):
            where, other = names[f"{kind}_request"], names[f"{kind}_limit"]
            return f"{where} must be at most {other} ({limit}), was: {request!r}"
    limit = given.get("memory_limit")
    if limit and _size(limit) < _size(LEAST_MEMORY):
        return f"{names['memory_limit']} must be at least {LEAST_MEMORY}, was: {limit!r}"
    return ""


def grace_s(pod: Manifest) -> int:
    """How long the kubelet waits for the pod to end."""
    given = (pod.get("spec") or {}).get("terminationGracePeriodSeconds")
    return GRACE_S if given is None else int(given)


# --- what the container states -------------------------------------------------------------------


def container_resources(
    pod: Manifest, options: Options, defaults: Resources
) -> dict[str, dict[str, str]]:
    """``resources`` of the sidecar.

    A pod whose containers all state a limit gets a sidecar that does too: a ResourceQuota may
    demand it of every container, and a pod of the Guaranteed class would fall to Burstable.
    """
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}
    for kind in _EXAMPLES:
        request, limit = _pair(kind, options, defaults)
        if not limit and _all_state(pod, "limits", kind):
            limit = _fixed(pod, kind, request)
        requests[kind] = limit if limit and _is_guaranteed(pod) else request
        limits[kind] = limit
    for where, stated in (("requests", requests), ("limits", limits)):
        if _all_state(pod, where, "ephemeral-storage"):
            stated["ephemeral-storage"] = FIXED_STORAGE
    both = {"requests": requests, "limits": limits}
    given = {where: {k: v for k, v in stated.items() if v} for where, stated in both.items()}
    return {where: stated for where, stated in given.items() if stated}


def _pair(kind: str, options: Options, defaults: Resources) -> tuple[str, str]:
    """Request and limit: what the pod says, and of the defaults what does not contradict it."""
    asked_request: str = getattr(options, f"{kind}_request")
    asked_limit: str = getattr(options, f"{kind}_limit")
    request = asked_request or getattr(defaults, f"{kind}_request")
    limit = asked_limit or getattr(defaults, f"{kind}_limit")
    if limit and _size(request) > _size(limit):
        return (request, request) if asked_request else (limit, limit)
    return request, limit


def _all_state(pod: Manifest, where: str, kind: str) -> bool:
    stated = [(c.get("resources") or {}).get(where) or {} for c in _containers(pod)]
    return bool(stated) and all(kind in each for each in stated)


def _is_guaranteed(pod: Manifest) -> bool:
    """By Kubernetes' rule: each container's requests equal its limits, of cpu and of memory."""
    for container in _containers(pod):
        stated = container.get("resources") or {}
        limits, requests = stated.get("limits") or {}, stated.get("requests") or {}
        for kind in _EXAMPLES:
            limit = limits.get(kind)
            if limit is None or _size(str(requests.get(kind, limit))) != _size(str(limit)):
                return False
    return True


def _containers(pod: Manifest) -> list[Manifest]:
    spec = pod.get("spec") or {}
    return [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]


def _size(quantity: str) -> Decimal:
    size = parse_quantity(quantity)
    return Decimal(-1) if size is None else size


def _fixed(pod: Manifest, kind: str, request: str) -> str:
    """A limit that a LimitRange which let the pod's own containers pass lets pass too."""
    stated = [str(c["resources"]["limits"][kind]) for c in _containers(pod)]
    return max(request, min(FIXED_CPU, max(stated, key=_size), key=_size), key=_size)


# --- names that don't exist ----------------------------------------------------------------------

_KNOWN = {
    "annotations": (INJECT, *OPTIONS),
    "labels": (INJECT,),
}
_OWN = {STATUS, COPIED, INJECTED}


def unknown_names(manifest: Manifest) -> Iterator[str]:
    """A sentence for each name with our prefix that means nothing where it stands."""
    for kind, known in _KNOWN.items():
        for name in _map(manifest, kind):
            if not name.startswith(f"{GROUP}/") or name in known or name in _OWN:
                continue
            yield f"metadata.{kind}[{name}] means nothing here{_hint(kind, name)}"


def _hint(kind: str, name: str) -> str:
    if kind == "labels" and name in OPTIONS:
        return "; it is read from annotations"
    known = [each.removeprefix(f"{GROUP}/") for each in _KNOWN[kind]]
    if near := difflib.get_close_matches(name.removeprefix(f"{GROUP}/"), known, n=1):
        return f"; did you mean {GROUP}/{near[0]}?"
    return f"; known after {GROUP}/: {', '.join(known)}"


def _map(manifest: Manifest, kind: str) -> Mapping[str, str]:
    return (manifest.get("metadata") or {}).get(kind) or {}
