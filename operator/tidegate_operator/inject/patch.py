"""From a pod to the JSON patch (RFC 6902) that gives it a sidecar.

Law: a function of values; patching a patched pod changes nothing. Only additions, but for the
port name of an app that the sidecar stands in front of: it moves to the sidecar, so that a Service
whose ``targetPort`` is that name follows pod by pod, and the app's own probes by that name get the
number instead, since the kubelet looks names up within one container.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tidegate_operator.inject.belongs import workload_of
from tidegate_operator.inject.choice import AppPort, has_sidecar
from tidegate_operator.inject.options import (
    END_MARGIN_S,
    NO_OPTIONS,
    Manifest,
    Mode,
    Options,
    Resources,
    container_resources,
    grace_s,
)
from tidegate_operator.inject.outbound import LOOPBACK, missing_variables, proxy_variables
from tidegate_wire.names import (
    CONTAINER,
    INJECTED,
    OFF,
    PORT_ADMIN,
    PORT_INBOUND,
    PORT_OUTBOUND,
    STATUS,
    TOKEN_AUDIENCE,
)

Operation = dict[str, Any]

TOKEN_VOLUME = "tidegate-token"
STATE_VOLUME = "tidegate-state"
TOKEN_DIR = "/var/run/secrets/tidegate"
STATE_DIR = "/var/lib/tidegate"
TOKEN_SECONDS = 3600
USER = 65532
"""``nonroot`` of the distroless images."""
LINGER_S = 120
"""Most time that a leaving sidecar waits for its last figures to be read, where the grace period
leaves so much: eight of the reconciler's looks. It waits only while nobody reads."""
START_S = 60
"""After which the kubelet starts a sidecar anew that an app waits for and that does not listen."""
STATE_BYTES = "16Mi"
_HANDLERS = ("livenessProbe", "readinessProbe", "startupProbe")
_HOOKS = ("postStart", "preStop")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """What is the same for every pod."""

    image: str
    version: str
    hub_url: str
    hub_ca: str
    """PEM, all authorities that a hub's certificate may come from."""
    resources: Resources = field(default_factory=Resources)
    env: Mapping[str, str] = field(default_factory=dict)
    """Besides what injection itself sets."""


def patch_pod(
    pod: Manifest, port: AppPort | None, sidecar: Sidecar, options: Options = NO_OPTIONS
) -> list[Operation]:
    """Operations in the order to apply them in; none where the pod has its sidecar.

    ``port`` is ``None`` exactly where the mode is outbound.
    """
    if has_sidecar(pod):
        return []
    spec = pod.get("spec") or {}
    return [
        *_take_name(pod, port),
        *_append(spec, "/spec", "initContainers", [_container(pod, port, sidecar, options)]),
        *_append(spec, "/spec", "volumes", _volumes()),
        *_drain_first(spec["containers"], port),
        *_lead_out(spec["containers"], options.mode),
        *_mark(pod, sidecar.version, options.mode),
    ]


def _take_name(pod: Manifest, port: AppPort | None) -> list[Operation]:
    if port is None or not port.name:
        return []
    base = f"/spec/containers/{port.container}"
    container = pod["spec"]["containers"][port.container]
    operations: list[Operation] = [{"op": "remove", "path": f"{base}/ports/{port.index}/name"}]
    handlers = [(f"{base}/{name}", container.get(name) or {}) for name in _HANDLERS]
    lifecycle = container.get("lifecycle") or {}
    handlers += [(f"{base}/lifecycle/{name}", lifecycle.get(name) or {}) for name in _HOOKS]
    for path, handler in handlers:
        for action in ("httpGet", "tcpSocket"):
            if (handler.get(action) or {}).get("port") == port.name:
                operations.append(
                    {"op": "replace", "path": f"{path}/{action}/port", "value": port.number}
                )
    return operations


def _append(parent: Manifest, base: str, key: str, items: list[Any]) -> list[Operation]:
    if parent.get(key):
        return [{"op": "add", "path": f"{base}/{key}/-", "value": item} for item in items]
    return [{"op": "add", "path": f"{base}/{key}", "value": items}]


def _lead_out(containers: Sequence[Manifest], mode: Mode) -> list[Operation]:
    operations: list[Operation] = []
    for where, container in enumerate(containers):
        entries = missing_variables(container) if mode.calls_out else []
        if entries:
            operations += _append(container, f"/spec/containers/{where}", "env", entries)
    return operations


def _container(
    pod: Manifest, port: AppPort | None, sidecar: Sidecar, options: Options
) -> dict[str, Any]:
    # Last of the init containers: those before it may take minutes (a model's download) that need
    # no sidecar, and the app's containers start after the last one in any case.
    return {
        "name": CONTAINER,
        "image": sidecar.image,
        "restartPolicy": "Always",
        "env": _environment(pod, port, sidecar, options),
        "ports": _ports(port),
        **_probes(options.mode),
        "resources": container_resources(pod, options, sidecar.resources),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "runAsUser": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [
            {"name": TOKEN_VOLUME, "mountPath": TOKEN_DIR, "readOnly": True},
            {"name": STATE_VOLUME, "mountPath": STATE_DIR},
        ],
    }


def _ports(port: AppPort | None) -> list[dict[str, Any]]:
    """Not the way out: it is open to this pod alone."""
    ports = [{"name": "tidegate-admin", "containerPort": PORT_ADMIN, "protocol": "TCP"}]
    if port is not None:
        name = port.name or "tidegate-in"
        ports.insert(0, {"name": name, "containerPort": PORT_INBOUND, "protocol": "TCP"})
    return ports


def _probes(mode: Mode) -> dict[str, Any]:
    """They ask neither the hub nor the model server: a pod never waits for us or for them.

    An app that calls out may do so as it starts, and starts once we listen. Any other does not
    wait: nobody reaches it but by a sidecar that is ready, and it would begin a second later.
    """
    ready = {"httpGet": {"path": "/readyz", "port": PORT_ADMIN}, "periodSeconds": 1}
    probes: dict[str, Any] = {"readinessProbe": ready | {"failureThreshold": 3}}
    if mode.calls_out:
        probes["startupProbe"] = ready | {"failureThreshold": START_S}
    return probes


def _environment(
    pod: Manifest, port: AppPort | None, sidecar: Sidecar, options: Options
) -> list[dict[str, Any]]:
    values = {
        **_way_in(port),
        "TIDEGATE_ADMIN": f"0.0.0.0:{PORT_ADMIN}",
        "TIDEGATE_HUB_URL": sidecar.hub_url,
        "TIDEGATE_HUB_CA": sidecar.hub_ca,
        "TIDEGATE_TOKEN_FILE": f"{TOKEN_DIR}/token",
        "TIDEGATE_WORKLOAD": workload_of(pod),
        "TIDEGATE_STATE_DIR": STATE_DIR,
        "TIDEGATE_LINGER_S": str(_linger_s(pod)),
        **sidecar.env,
        **_way_out(options),
    }
    if options.drain_s is not None:
        values["TIDEGATE_DRAIN_ACCEPT_S"] = str(options.drain_s)
    entries: list[dict[str, Any]] = [{"name": n, "value": value} for n, value in values.items()]
    if options.mode.calls_out:
        told = proxy_variables(pod)
        names = {entry["name"] for entry in told}
        entries = [*(entry for entry in entries if entry["name"] not in names), *told]
    uid = {"name": "TIDEGATE_POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}
    return [*entries, uid]


def _way_in(port: AppPort | None) -> dict[str, str]:
    if port is None:
        # No Service has to hear that it leaves, and its app has ended before it.
        return {"TIDEGATE_LISTEN": OFF, "TIDEGATE_DRAIN_ACCEPT_S": "0"}
    return {
        "TIDEGATE_LISTEN": f"0.0.0.0:{PORT_INBOUND}",
        "TIDEGATE_UPSTREAM": f"http://{LOOPBACK}:{port.number}",
    }


def _way_out(options: Options) -> dict[str, str]:
    if not options.mode.calls_out:
        return {}
    values = {
        "TIDEGATE_OUTBOUND_LISTEN": f"{LOOPBACK}:{PORT_OUTBOUND}",
        "TIDEGATE_OPENAI_UPSTREAM": options.openai_upstream,
        "TIDEGATE_ANTHROPIC_UPSTREAM": options.anthropic_upstream,
    }
    return {name: value for name, value in values.items() if value}


def _linger_s(pod: Manifest) -> int:
    """Within the pod's grace period, less a margin for ending by itself."""
    return max(0, min(LINGER_S, grace_s(pod) - END_MARGIN_S))


def _volumes() -> list[dict[str, Any]]:
    token: dict[str, Any] = {
        "audience": TOKEN_AUDIENCE,
        "expirationSeconds": TOKEN_SECONDS,
        "path": "token",
    }
    return [
        {"name": TOKEN_VOLUME, "projected": {"sources": [{"serviceAccountToken": token}]}},
        {"name": STATE_VOLUME, "emptyDir": {"sizeLimit": STATE_BYTES}},
    ]


def _drain_first(containers: Sequence[Manifest], port: AppPort | None) -> list[Operation]:
    """The app is told to stop only once the sidecar has let its streams end: the kubelet waits for
    an httpGet hook.
    """
    if port is None:
        return []
    lifecycle = containers[port.container].get("lifecycle")
    hook = {"httpGet": {"path": "/drain", "port": PORT_ADMIN}}
    base = f"/spec/containers/{port.container}/lifecycle"
    if not lifecycle:
        return [{"op": "add", "path": base, "value": {"preStop": hook}}]
    if lifecycle.get("preStop"):
        return []
    return [{"op": "add", "path": f"{base}/preStop", "value": hook}]


def _mark(pod: Manifest, version: str, mode: Mode) -> list[Operation]:
    inbound = {"inbound": PORT_INBOUND} if mode.takes_in else {}
    outbound = {"outbound": PORT_OUTBOUND} if mode.calls_out else {}
    status = {"version": version, "ports": inbound | outbound | {"admin": PORT_ADMIN}}
    metadata = pod.get("metadata")
    operations: list[Operation] = []
    if metadata is None:
        operations.append({"op": "add", "path": "/metadata", "value": {}})
    operations += set_key(metadata or {}, "/metadata", "labels", INJECTED, "true")
    text = json.dumps(status, separators=(",", ":"))
    return operations + set_key(metadata or {}, "/metadata", "annotations", STATUS, text)


def set_key(parent: Manifest, base: str, field_name: str, key: str, value: str) -> list[Operation]:
    """Put ``key`` into the map ``parent[field_name]``, which may not be there yet."""
    if parent.get(field_name) is None:
        return [{"op": "add", "path": f"{base}/{field_name}", "value": {key: value}}]
    return [{"op": "add", "path": f"{base}/{field_name}/{escape(key)}", "value": value}]


def escape(key: str) -> str:
    """A map key as one token of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")
