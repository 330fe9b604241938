"""What a node has to do for a pod: a pure translation of its manifest into commands and files.

Law: a function of values; nothing is started, written or looked up here. Pods share the machine's
network, so each has a loopback address of its own, and an address within the pod (``127.0.0.1`` or
``0.0.0.0`` with a port that one of its containers declares) becomes that address. Paths of volumes
become folders under the pod's own. What can't be translated is refused in words.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Manifest = Mapping[str, Any]

TERMINATION_LOG = "/dev/termination-log"
DEFAULT_GRACE_S = 30.0
_LOCAL = re.compile(r"(?<![\w.])(?:127\.0\.0\.1|0\.0\.0\.0|localhost):(\d+)")
_VARIABLE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")


class UnrunnablePodError(ValueError):
    """The pod asks for something that this node can't do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """An ``httpGet`` probe; durations in seconds of the clock."""

    path: str
    port: int
    period_s: float = 10.0
    delay_s: float = 0.0
    failures: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A projected ServiceAccount token to keep fresh in a file."""

    path: Path
    audience: str
    expires_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerPlan:
    name: str
    image: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    native: bool
    """A native sidecar: starts before the app and ends after it."""
    startup: Probe | None = None
    readiness: Probe | None = None
    pre_stop: Probe | None = None
    termination_log: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class PodPlan:
    namespace: str
    name: str
    uid: str
    service_account: str
    ip: str
    grace_s: float
    sidecars: tuple[ContainerPlan, ...]
    apps: tuple[ContainerPlan, ...]
    folders: tuple[Path, ...] = ()
    tokens: tuple[Token, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def containers(self) -> tuple[ContainerPlan, ...]:
        return self.sidecars + self.apps


def plan_pod(pod: Manifest, ip: str, root: Path, images: Mapping[str, Sequence[str]]) -> PodPlan:
    """How to run ``pod`` at ``ip`` with its files under ``root``.

    ``images`` maps an image's name without its tag to the command that stands for it. Raises
    ``UnrunnablePodError``.
    """
    metadata, spec = pod["metadata"], pod["spec"]
    inits, apps = spec.get("initContainers") or [], spec["containers"]
    for init in inits:
        if init.get("restartPolicy") != "Always":
            raise UnrunnablePodError(
                f"init container {init['name']}: restartPolicy must be Always here"
            )
    tokens, folders = _volumes(spec.get("volumes") or [], root)
    ground = _Ground(pod, ip, root, images, _ports([*inits, *apps]))
    return PodPlan(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        service_account=spec.get("serviceAccountName") or "default",
        ip=ip,
        grace_s=float(spec.get("terminationGracePeriodSeconds", DEFAULT_GRACE_S)),
        sidecars=tuple(ground.container(c, native=True) for c in inits),
        apps=tuple(ground.container(c, native=False) for c in apps),
        folders=folders,
        tokens=tokens,
        labels=dict(metadata.get("labels") or {}),
    )


def _ports(containers: Sequence[Manifest]) -> dict[str, int]:
    """Every declared port by its name, or by its number as text."""
    ports: dict[str, int] = {}
    for container in containers:
        for port in container.get("ports") or []:
            number = int(port["containerPort"])
            ports[str(number)] = number
            if port.get("name"):
                ports[port["name"]] = number
    return ports


def _volumes(
    volumes: Sequence[Manifest], root: Path
) -> tuple[tuple[Token, ...], tuple[Path, ...]]:
    tokens: list[Token] = []
    folders: list[Path] = []
    for volume in volumes:
        folder = root / "volumes" / volume["name"]
        folders.append(folder)
        if "emptyDir" in volume:
            continue
        if "projected" not in volume:
            raise UnrunnablePodError(
                f"volume {volume['name']}: only emptyDir and projected tokens are known here"
            )
        for source in volume["projected"].get("sources") or []:
            if "serviceAccountToken" not in source:
                raise UnrunnablePodError(f"volume {volume['name']}: only tokens are projected")
            token = source["serviceAccountToken"]
            expires_s = float(token.get("expirationSeconds", 3600))
            path = folder / token["path"]
            tokens.append(
                Token(path=path, audience=token.get("audience", ""), expires_s=expires_s)
            )
    return tuple(tokens), tuple(folders)


@dataclass(frozen=True, slots=True)
class _Ground:
    """What all containers of one pod stand on."""

    pod: Manifest
    ip: str
    root: Path
    images: Mapping[str, Sequence[str]]
    ports: Mapping[str, int]

    def container(self, spec: Manifest, *, native: bool) -> ContainerPlan:
        name, image = spec["name"], spec["image"]
        entry = self.images.get(_image_name(image))
        if entry is None:
            raise UnrunnablePodError(
                f"container {name}: image must be one of {', '.join(sorted(self.images))}, "
                f"was: {image}"
            )
        if spec.get("command"):
            raise UnrunnablePodError(f"container {name}: command can't be replaced here, use args")
        log = self.root / f"{name}.termination"
        paths = self._paths(spec, log)
        env = self._environment(spec, paths)
        args = tuple(self._place(_expand(str(a), env), paths) for a in spec.get("args") or [])
        stop = (spec.get("lifecycle") or {}).get("preStop")
        return ContainerPlan(
            name=name,
            image=image,
            argv=(*entry, *args),
            env=env,
            native=native,
            startup=self._probe(spec.get("startupProbe"), name),
            readiness=self._probe(spec.get("readinessProbe"), name),
            pre_stop=self._probe(stop, name),
            termination_log=log,
        )

    def _paths(self, spec: Manifest, log: Path) -> dict[str, str]:
        """Paths inside the container -> outside, longest first."""
        paths = {spec.get("terminationMessagePath") or TERMINATION_LOG: str(log)}
        for mount in spec.get("volumeMounts") or []:
            folder = self.root / "volumes" / mount["name"]
            paths[mount["mountPath"].rstrip("/")] = str(folder)
        return dict(sorted(paths.items(), key=lambda item: -len(item[0])))

    def _environment(self, spec: Manifest, paths: Mapping[str, str]) -> dict[str, str]:
        env: dict[str, str] = {}
        for entry in spec.get("env") or []:
            if "valueFrom" in entry:
                env[entry["name"]] = self._field(entry)
            else:
                value = _expand(str(entry.get("value", "")), env)
                env[entry["name"]] = self._place(value, paths)
        return env

    def _field(self, entry: Manifest) -> str:
        path = (entry["valueFrom"].get("fieldRef") or {}).get("fieldPath", "")
        metadata = self.pod["metadata"]
        known = {
            "metadata.name": metadata["name"],
            "metadata.namespace": metadata["namespace"],
            "metadata.uid": metadata["uid"],
            "status.podIP": self.ip,
            "spec.serviceAccountName": self.pod["spec"].get("serviceAccountName") or "default",
        }
        if path not in known:
            raise UnrunnablePodError(
                f"env {entry['name']}: valueFrom must be a fieldRef to one of {', '.join(known)}"
            )
        return str(known[path])

    def _place(self, value: str, paths: Mapping[str, str]) -> str:
        for inside, outside in paths.items():
            # alone, or behind "--option="
            found = re.fullmatch(rf"((?:[^/=]+=)?){re.escape(inside)}((?:/.*)?)", value)
            if found is not None:
                return f"{found[1]}{outside}{found[2]}"

        def moved(match: re.Match[str]) -> str:
            return f"{self.ip}:{match[1]}" if match[1] in self.ports else match[0]

        return _LOCAL.sub(moved, value)

    def _probe(self, probe: Manifest | None, container: str) -> Probe | None:
        if not probe:
            return None
        get = probe.get("httpGet")
        if get is None:
            raise UnrunnablePodError(f"container {container}: probes and hooks must be httpGet")
        port = self.ports.get(str(get["port"]))
        if port is None:
            raise UnrunnablePodError(f"container {container}: no port is called {get['port']}")
        return Probe(
            path=get.get("path") or "/",
            port=port,
            period_s=float(probe.get("periodSeconds", 10)),
            delay_s=float(probe.get("initialDelaySeconds", 0)),
            failures=int(probe.get("failureThreshold", 3)),
        )


def _image_name(image: str) -> str:
    """``registry/path/name:tag@digest`` -> ``name``."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]


def _expand(value: str, env: Mapping[str, str]) -> str:
    """``$(NAME)`` as the kubelet does it: unknown names stay as they are."""
    return _VARIABLE.sub(lambda match: env.get(match[1], match[0]), value)
