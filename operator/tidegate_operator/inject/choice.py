"""Whether a pod gets a sidecar, and which of its ports the sidecar stands in front of, if any.

Law: a function of values. Nothing but a person's own mistake in an option of ours is a
``Reject``; whatever else keeps a sidecar out is a ``Skip`` whose sentence says so, and the pod
starts without one. ``"false"`` anywhere wins.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tidegate_operator.inject import outbound
from tidegate_operator.inject.options import (
    NO_OPTIONS,
    Manifest,
    Mode,
    Options,
    Reject,
    annotation,
    read_options,
)
from tidegate_wire.names import (
    CONTAINER,
    INJECT,
    MODE,
    PORT,
    PORT_ADMIN,
    PORT_INBOUND,
    PORT_OUTBOUND,
)

SYSTEM_PREFIX = "kube-"
MIRROR = "kubernetes.io/config.mirror"
"""Annotation that the kubelet puts on the API's picture of a static pod, which nothing can change.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppPort:
    """Where the app listens."""

    container: int
    """Index in ``spec.containers``."""
    number: int
    index: int | None = None
    """Index in the container's ``ports``; ``None`` where a number was given and no port is
    declared.
    """
    name: str = ""


@dataclass(frozen=True, slots=True)
class Inject:
    port: AppPort | None
    """What the sidecar stands in front of; ``None`` for one that only leads calls out."""
    warnings: tuple[str, ...] = ()
    options: Options = NO_OPTIONS


@dataclass(frozen=True, slots=True)
class Skip:
    reason: str
    """A sentence for the person who asked for a sidecar; empty where nobody asked."""


@dataclass(frozen=True, slots=True)
class Done:
    """The pod has its sidecar, from an earlier admission or by hand."""


Choice = Inject | Skip | Done | Reject


def choose(
    pod: Manifest, *, namespace: str, own_namespace: str, namespace_asks: bool = False
) -> Choice:
    """What to do with a pod that is about to be created.

    ``namespace_asks`` says that the namespace carries the label ``tidegate.io/inject: "true"``.
    """
    wish = _wish(pod, namespace_asks)
    if isinstance(wish, Skip):
        return wish
    if obstacle := _obstacle(pod, namespace, own_namespace):
        return Skip(obstacle)
    if has_sidecar(pod):
        # Its port has lost its name by now, and could not be found by it.
        return Done()
    options = read_options(pod)
    if isinstance(options, Reject):
        return options
    found = find_port(pod) if options.mode.takes_in else Inject(None)
    if not isinstance(found, Inject):
        return found
    if clash := _port_clash(pod, options.mode):
        return Skip(clash)
    said = (*found.warnings, *outbound.warnings(pod, options))
    return Inject(found.port, said, options)


def _wish(pod: Manifest, namespace_asks: bool) -> Skip | None:
    metadata = pod.get("metadata") or {}
    asked = namespace_asks
    for kind in ("labels", "annotations"):
        value = (metadata.get(kind) or {}).get(INJECT)
        if value == "false":
            return Skip("")
        if value == "true":
            asked = True
        elif value is not None:
            where = f"metadata.{kind}[{INJECT}]"
            return Skip(f'no sidecar: {where} must be "true" or "false", was: {value!r}')
    return None if asked else Skip("")


def _obstacle(pod: Manifest, namespace: str, own_namespace: str) -> str:
    spec = pod.get("spec") or {}
    if namespace == own_namespace:
        return f"no sidecar: {namespace} is Tidegate's own namespace"
    if namespace.startswith(SYSTEM_PREFIX):
        return f"no sidecar: {namespace} is a namespace of Kubernetes itself"
    if MIRROR in ((pod.get("metadata") or {}).get("annotations") or {}):
        return "no sidecar: a static pod's mirror cannot be changed"
    if spec.get("hostNetwork"):
        return "no sidecar: a pod with hostNetwork shares its ports with the node"
    if any(c.get("name") == CONTAINER for c in spec.get("containers") or ()):
        return f"no sidecar: the pod has a container named {CONTAINER} of its own"
    return ""


def has_sidecar(pod: Manifest) -> bool:
    """Whether the pod carries our init container, from an earlier admission or by hand."""
    containers = (pod.get("spec") or {}).get("initContainers") or ()
    return any(container.get("name") == CONTAINER for container in containers)


def _port_clash(pod: Manifest, mode: Mode) -> str:
    ours = {PORT_ADMIN}
    if mode.takes_in:
        ours.add(PORT_INBOUND)
    if mode.calls_out:
        ours.add(PORT_OUTBOUND)
    for where, _, port in _tcp_ports(pod):
        if port.get("containerPort") in ours:
            name = (pod["spec"]["containers"])[where].get("name", "")
            number = port["containerPort"]
            return f"no sidecar: container {name} uses port {number}, which the sidecar needs"
    return ""


def find_port(pod: Manifest) -> Choice:
    """The app's port: as ``tidegate.io/port`` says, else the one port, else the one named
    ``http``, else the first.
    """
    declared = [_as_app_port(*found) for found in _tcp_ports(pod)]
    asked = ((pod.get("metadata") or {}).get("annotations") or {}).get(PORT)
    if asked is not None:
        return _asked_port(str(asked).strip(), declared)
    if not declared:
        return Skip(
            f"no sidecar: no container declares a TCP port; declare it, or name its number in "
            f"{annotation(PORT)}; an app that only calls models says {Mode.OUTBOUND} in "
            f"{annotation(MODE)}"
        )
    if len(declared) == 1:
        return Inject(declared[0])
    taken = next(
        (p for p in declared if p.name == "http" or p.name.startswith("http-")), declared[0]
    )
    said = (
        f"the pod declares several ports ({_spell(declared)}); the sidecar stands in front of "
        f"{taken.name or taken.number}; {annotation(PORT)} chooses another"
    )
    return Inject(taken, (said,))


def _asked_port(asked: str, declared: list[AppPort]) -> Inject | Reject:
    for port in declared:
        if asked in (port.name, str(port.number)):
            return Inject(port)
    where = annotation(PORT)
    if declared:
        rule = f"must name or number a TCP port that a container declares ({_spell(declared)})"
        return Reject(f"{where} {rule}, was: {asked!r}")
    if asked.isascii() and asked.isdigit() and 0 < int(asked) <= 65535:
        return Inject(AppPort(container=0, number=int(asked)))
    return Reject(
        f"{where} must be a number from 1 to 65535 where no container declares a port, "
        f"was: {asked!r}"
    )


def _tcp_ports(pod: Manifest) -> Iterator[tuple[int, int, Manifest]]:
    for where, container in enumerate((pod.get("spec") or {}).get("containers") or ()):
        for index, port in enumerate(container.get("ports") or ()):
            if port.get("protocol", "TCP") == "TCP":
                yield where, index, port


def _as_app_port(where: int, index: int, port: Manifest) -> AppPort:
    return AppPort(
        container=where,
        index=index,
        number=int(port["containerPort"]),
        name=port.get("name") or "",
    )


def _spell(ports: list[AppPort]) -> str:
    return ", ".join(f"{port.name} {port.number}".strip() for port in ports)
