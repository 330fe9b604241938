"""A reconciler's loop on a small cluster: set by hand, moved tick by tick."""

from typing import Any, cast

from fake_cluster import (
    EVENTS,
    MAPS,
    POLICY,
    SCALE,
    FakeApi,
    FakeClock,
    FakeForecasts,
    FakePrometheus,
    FakeSidecars,
    pod,
    policy,
    scale,
    stats,
)
from tidegate_operator.cluster.history import Checkpoint, decode_history
from tidegate_operator.cluster.observe import World
from tidegate_operator.handlers.loop import Loop
from tidegate_operator.handlers.metrics import Metrics
from tidegate_operator.handlers.policy import Surroundings
from tidegate_operator.settings import Settings
from tidegate_wire.clock import Clock
from tidegate_wire.config import SidecarConfig
from tidegate_wire.stats import EngineLoad

TRIGGER = {
    "name": "errors",
    "enter": "5%",
    "exit": "2%",
    "for": "60s",
    "minRequests": 20,
    "do": "Switch",
}
DEGRADE = {"triggers": [TRIGGER], "minDwell": "60s"}
TENANTS = {
    "budgets": [
        {
            "name": "team-day",
            "scope": "Tenant",
            "limit": {"tokens": 1000},
            "window": {"unit": "Day"},
            "actions": [{"at": "80%", "do": "Warn"}, {"at": "100%", "do": "Block"}],
        }
    ],
    "gateway": {"identify": {"header": "x-tenant-id"}},
}
TICK_S = 15.0


class Stage:
    """One namespace with Deployment/llama, its pods and their sidecars."""

    def __init__(self, *manifests: dict[str, Any], replicas: int = 2) -> None:
        self.api = FakeApi()
        self.clock = FakeClock()
        self.world = World()
        self.sidecars = FakeSidecars()
        self.forecasts = FakeForecasts()
        self.prometheus = FakePrometheus()
        self.settings = Settings()
        """Of the next process."""
        self.in_flight: dict[str, int] = {}
        self.engine: EngineLoad | None = None
        """What each pod's model server says of itself."""
        self.arrived: dict[str, int] = {}
        self.errors: dict[str, int] = {}
        self.leaving: set[str] = set()
        """Pods whose sidecars are on their way out."""
        self.mute: set[str] = set()
        """Pods whose sidecars can't be read."""
        self.tokens = 0
        self.tenant = ""
        for manifest in manifests or (policy(),):
            self.see(manifest)
        if replicas >= 0:
            self.api.put(SCALE, scale(replicas))
        for n in range(replicas):
            self.add_pod(f"p{n}")
        self.restart()

    def restart(self) -> None:
        """A new process: it knows nothing but what stands in the cluster."""
        self.metrics = Metrics()
        self.loop = Loop(
            Surroundings(
                api=self.api,
                clock=cast(Clock, self.clock),
                settings=self.settings,
                world=self.world,
                source=self.sidecars,
                prometheus=self.prometheus,
                forecasts=self.forecasts,
                metrics=self.metrics,
            )
        )
        for uid, manifest in list(self.world.policies.items()):
            stored = self.api.objects[f"{POLICY}/{manifest['metadata']['name']}"]
            self.world.policies[uid] = stored

    def see(self, manifest: dict[str, Any]) -> None:
        """Somebody writes a policy."""
        path = f"{POLICY}/{manifest['metadata']['name']}"
        old = self.api.objects.get(path)
        if old is not None:
            manifest["metadata"]["generation"] = old["metadata"]["generation"] + 1
            manifest["status"] = old.get("status") or {}
        self.world.see_policy(self.api.put(path, manifest))

    def add_pod(self, uid: str, **changes: Any) -> None:
        self.world.see_pod(pod(uid, **changes))
        self.arrived.setdefault(uid, 0)

    async def tick(self, times: int = 1, *, rps: float = 0.0, error_share: float = 0.0) -> None:
        """Let ``rps`` arrive, spread over the pods that answer, for so many ticks."""
        for _ in range(times):
            self.clock.at += TICK_S
            heard = [uid for uid in self.arrived if uid not in self.mute]
            for uid in heard:
                came = round(rps * TICK_S / len(heard))
                self.arrived[uid] += came
                self.errors[uid] = self.errors.get(uid, 0) + round(came * error_share)
            self.sidecars.stats = {uid: self._stats(uid) for uid in heard}
            await self.loop.round()

    def _stats(self, uid: str) -> Any:
        config = self.config()
        return stats(
            uid,
            self.arrived[uid],
            errors=self.errors.get(uid, 0),
            tokens=self.tokens,
            tenant=self.tenant,
            in_flight=self.in_flight.get(uid, 0),
            leaving=uid in self.leaving,
            engine=self.engine,
            config_hash="" if config is None else config.hash,
        )

    # --- what stands in the cluster -----------------------------------------------------------

    @property
    def replicas(self) -> int:
        return int(self.api.objects[SCALE]["spec"]["replicas"])

    def status(self, name: str = "chat") -> dict[str, Any]:
        return dict(self.api.objects[f"{POLICY}/{name}"].get("status") or {})

    def condition(self, kind: str, name: str = "chat") -> tuple[str, str]:
        """Status and reason."""
        found = {c["type"]: c for c in self.status(name).get("conditions", ())}
        return (found[kind]["status"], found[kind]["reason"]) if kind in found else ("", "")

    def config(self, name: str = "chat") -> SidecarConfig | None:
        found = self.api.objects.get(f"{MAPS}/tidegate-config-{name}")
        return None if found is None else SidecarConfig.from_json(found["data"]["config.json"])

    def history(self, name: str = "chat") -> Checkpoint | None:
        found = self.api.objects.get(f"{MAPS}/tidegate-history-{name}")
        return None if found is None else decode_history(found)[0]

    def events(self) -> list[tuple[str, str, int]]:
        """(action, reason, count) of each Event."""
        return [
            (event["action"], event["reason"], event["count"])
            for path, event in self.api.objects.items()
            if path.startswith(EVENTS)
        ]

    def metric(self, name: str, **labels: str) -> float | None:
        wanted = {"namespace": "shop", "policy": "chat"} | labels
        return self.metrics.registry.get_sample_value(name, wanted)
