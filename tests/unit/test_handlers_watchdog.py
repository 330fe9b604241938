"""The watchdog in a policy's loop: what it tells, how often it looks, what it never writes."""

from typing import Any

import pytest

from fake_cluster import NAMESPACE, SCALE, scale
from stage import TICK_S, Stage
from tidegate_wire.names import CONTAINER, INJECT

WORKLOAD = SCALE.removesuffix("/scale")
SPACE = f"/api/v1/namespaces/{NAMESPACE}"
GAUGE = "tidegate_policy_pods_without_sidecar"


def workload(**annotations: str) -> dict[str, Any]:
    port = {"name": "http", "containerPort": 8000}
    named = {f"tidegate.io/{name}": value for name, value in annotations.items()}
    return {
        # As the API server answers a GET: with its kind.
        "kind": "Deployment",
        "metadata": {"name": "llama", "namespace": NAMESPACE, "annotations": named},
        "spec": {
            "replicas": 2,
            "template": {
                "metadata": {"labels": {"app": "llama"}},
                "spec": {"containers": [{"name": "app", "ports": [port]}]},
            },
        },
        "status": {"updatedReplicas": 2},
    }


class Shop(Stage):
    """A stage whose API server also answers what the watchdog asks."""

    def __init__(self, *, counted: int = 2, **annotations: str) -> None:
        super().__init__(replicas=2)
        self.api.put(SCALE, scale(2, pods=counted))
        self.api.put(WORKLOAD, workload(**annotations))
        self.api.put(SPACE, {"metadata": {"name": NAMESPACE}})
        for n in range(2):
            self.put_pod(f"llama-p{n}")

    def put_pod(self, name: str, *, sidecar: bool = True) -> None:
        init = [{"name": CONTAINER}] if sidecar else []
        self.api.put(
            f"{SPACE}/pods/{name}",
            {
                "metadata": {"name": name, "labels": {"app": "llama"}},
                "spec": {"initContainers": init, "containers": []},
                "status": {"phase": "Running"},
            },
        )

    def said(self) -> str:
        found = {c["type"]: c for c in self.status()["conditions"]}
        return str(found["InjectionHealthy"]["message"])

    async def looks(self, ticks: int) -> int:
        """How many of so many ticks looked at the Services, which nobody else reads."""
        asked = 0
        for _ in range(ticks):
            before = self.services
            await self.tick(rps=1.0)
            asked += self.services > before
        return asked

    @property
    def services(self) -> int:
        return self.api.listed.get(f"{SPACE}/services", 0)


async def test_pods_that_came_while_the_webhook_was_away_are_told_with_the_command() -> None:
    """kuma#3293: pods started unseen without a sidecar."""
    shop = Shop(inject="true")
    await shop.tick(2, rps=1.0)
    assert shop.condition("InjectionHealthy") == ("True", "AllInjected")
    shop.put_pod("llama-new", sidecar=False)
    shop.api.put(SCALE, scale(3))
    await shop.tick(2, rps=1.0)
    assert shop.condition("InjectionHealthy") == ("False", "PodsWithoutSidecar")
    assert "kubectl rollout restart deployment/llama -n shop" in shop.said()
    assert shop.metric(GAUGE) == 1.0
    assert ("InjectionHealthy", "PodsWithoutSidecar", 1) in shop.events()
    shop.put_pod("llama-new")
    shop.add_pod("new")
    await shop.tick(2, rps=1.0)
    assert shop.condition("InjectionHealthy") == ("True", "AllInjected")
    assert ("InjectionHealthy", "AllInjected", 1) in shop.events()
    assert shop.metric(GAUGE) == 0.0


async def test_a_target_that_nobody_annotated_is_told_how_to() -> None:
    shop = Shop()
    shop.put_pod("llama-p0", sidecar=False)
    await shop.tick()
    assert shop.condition("InjectionHealthy") == ("False", "NotAsked")
    assert f"kubectl annotate deployment/llama -n shop {INJECT}=true" in shop.said()
    ready = next(c for c in shop.status()["conditions"] if c["type"] == "Ready")
    assert ready["message"] == "in force; its pods are not all served, see InjectionHealthy"
    await shop.tick(8)
    assert ("InjectionHealthy", "NotAsked", 1) in shop.events()


async def test_each_fault_is_told_for_itself() -> None:
    shop = Shop()
    shop.put_pod("llama-p0", sidecar=False)
    await shop.tick()
    shop.api.put(WORKLOAD, workload(inject="true"))
    await shop.tick(2)
    told = [reason for action, reason, _ in shop.events() if action == "InjectionHealthy"]
    assert told == ["NotAsked", "PodsWithoutSidecar"]


async def test_a_rollout_that_brings_the_sidecars_is_no_event() -> None:
    shop = Shop()
    shop.put_pod("llama-p0", sidecar=False)
    await shop.tick()
    rolling = workload(inject="true")
    rolling["status"]["updatedReplicas"] = 1
    shop.api.put(WORKLOAD, rolling)
    await shop.tick(2)
    assert shop.condition("InjectionHealthy") == ("False", "SidecarsRollingOut")
    shop.api.put(WORKLOAD, workload(inject="true"))
    shop.put_pod("llama-p0")
    await shop.tick()
    told = [reason for action, reason, _ in shop.events() if action == "InjectionHealthy"]
    assert told == ["NotAsked", "AllInjected"]


async def test_it_looks_seldom_while_all_is_well_and_often_while_not() -> None:
    shop = Shop(inject="true")
    assert await shop.looks(1) == 1
    assert await shop.looks(int(290 / TICK_S)) == 0
    shop.put_pod("llama-new", sidecar=False)
    shop.api.put(SCALE, scale(3))
    assert await shop.looks(4) == 2


async def test_nobodys_pods_are_written() -> None:
    shop = Shop(counted=3, inject="true")
    shop.put_pod("llama-new", sidecar=False)
    await shop.tick(4, rps=1.0)
    for method in ("PATCH", "PUT", "POST", "DELETE"):
        assert not shop.api.written(method, f"{SPACE}/pods")
        assert WORKLOAD not in shop.api.written(method, WORKLOAD)


@pytest.mark.parametrize("status", [0, 403, 500])
async def test_what_it_may_not_see_stops_nothing_else(status: int) -> None:
    shop = Shop(inject="true")
    shop.api.refuse["GET", f"{SPACE}/services"] = status
    await shop.tick(2, rps=1.0)
    assert shop.condition("InjectionHealthy") == ("Unknown", "InjectionUnknown")
    assert shop.condition("Ready")[0] == "True"
    del shop.api.refuse["GET", f"{SPACE}/services"]
    await shop.tick(2, rps=1.0)
    assert shop.condition("InjectionHealthy") == ("True", "AllInjected")
    shop.api.refuse["GET", f"{SPACE}/services"] = status
    await shop.tick(25, rps=1.0)
    assert shop.condition("InjectionHealthy") == ("True", "AllInjected")


async def test_after_a_restart_policies_do_not_all_look_at_once() -> None:
    shop = Shop(inject="true")
    await shop.tick(2, rps=1.0)
    shop.restart()
    assert await shop.looks(3) == 1
