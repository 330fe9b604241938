"""Policies as the hub's mirror holds them, for tests of those who ask for a count."""

import asyncio
import re
from datetime import UTC, datetime
from typing import Any

from tidegate_operator.hub.measure import Measures
from tidegate_operator.hub.wanted import Wanted
from tidegate_wire.clock import Clock

MAX_AGE_S = 120.0


class Policies:
    """A mirror's memory, and what reads from it."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.synced = asyncio.Event()
        self.synced.set()
        self.measures = Measures()
        self.wanted = Wanted(self.objects, self.synced, self.clock, MAX_AGE_S)

    def put(
        self,
        desired: int | None = 3,
        *,
        age_s: float = 0.0,
        actuator: str | None = "KEDA",
        name: str = "chat",
        **spec: Any,
    ) -> None:
        """A policy in namespace shop that decided so ``age_s`` ago; ``None``: it has not."""
        scaling = {"minReplicas": 1, "maxReplicas": 20, "capacityPerReplica": "2"}
        if actuator is not None:
            scaling |= {"actuator": actuator}
        manifest: dict[str, Any] = {
            "metadata": {"namespace": "shop", "name": name},
            "spec": {"mode": "Enforce", "scaling": scaling} | spec,
        }
        if desired is not None:
            at = datetime.fromtimestamp(self.clock.now() - age_s, UTC)
            stamp = at.strftime("%Y-%m-%dT%H:%M:%SZ")
            manifest["status"] = {"replicas": {"desired": desired, "decidedAt": stamp}}
        self.objects["shop", name] = manifest

    def asked(self) -> dict[tuple[str, str], float]:
        """Questions by actuator and result, as the hub tells them."""
        pattern = r'^tidegate_counts_asked_total\{actuator="(\w+)",result="(\w+)"\} (\S+)$'
        page = self.measures.render().decode()
        return {(a, r): float(n) for a, r, n in re.findall(pattern, page, re.MULTILINE)}

    def say(self, replicas: dict[str, Any]) -> None:
        """Whatever the status says of replicas."""
        self.objects["shop", "chat"]["status"] = {"replicas": replicas}
