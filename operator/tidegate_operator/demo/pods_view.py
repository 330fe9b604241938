"""What the demo sees of the pods: who is ready, behind which address, and for how long each lived.

Law: pure; fed with watch events, asked by the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

Pod = Mapping[str, Any]

APP_LABEL = "app"
SERVICE_PORT = "http"
"""The port name that a Service would target: injection moves it to the sidecar."""
FAULT_PORT = "faults"


def seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()


def is_ready(pod: Pod) -> bool:
    """As an endpoint: Ready and not on its way out."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ready and pod["metadata"].get("deletionTimestamp") is None


def url_of(pod: Pod, port_name: str) -> str | None:
    """Base URL of the named port; a Service looks at all containers, native sidecars included."""
    ip = (pod.get("status") or {}).get("podIP")
    spec = pod["spec"]
    for container in [*(spec.get("initContainers") or []), *spec["containers"]]:
        for port in container.get("ports") or []:
            if port.get("name") == port_name and ip:
                return f"http://{ip}:{port['containerPort']}"
    return None


@dataclass(slots=True)
class Life:
    """Of one pod, in clock time."""

    app: str
    created: float
    ended: float | None = None


@dataclass(slots=True)
class PodsView:
    """All pods of the namespace, and those that were."""

    pods: dict[str, Pod] = field(default_factory=dict)
    lives: dict[str, Life] = field(default_factory=dict)

    def take(self, kind: str, pod: Pod, now: float) -> None:
        metadata = pod["metadata"]
        uid = metadata["uid"]
        app = (metadata.get("labels") or {}).get(APP_LABEL, "")
        created = seconds(metadata["creationTimestamp"])
        life = self.lives.setdefault(uid, Life(app, created))
        if kind == "DELETED":
            life.ended = now
            self.pods.pop(uid, None)
        else:
            self.pods[uid] = pod

    def of(self, app: str) -> list[Pod]:
        return [
            pod
            for pod in self.pods.values()
            if (pod["metadata"].get("labels") or {}).get(APP_LABEL) == app
        ]

    def ready_urls(self, app: str, port_name: str = SERVICE_PORT) -> list[str]:
        urls = [url_of(pod, port_name) for pod in self.of(app) if is_ready(pod)]
        return sorted(url for url in urls if url is not None)

    def all_urls(self, app: str, port_name: str) -> list[str]:
        """Of ready and other pods alike."""
        return [url for pod in self.of(app) if (url := url_of(pod, port_name)) is not None]

    def pod_minutes(self, app: str, start: float, end: float) -> float:
        """Paid from creation to the end of each, within [start, end]."""
        return (
            sum(
                max(0.0, min(end, life.ended or end) - max(start, life.created))
                for life in self.lives.values()
                if life.app == app
            )
            / 60
        )
