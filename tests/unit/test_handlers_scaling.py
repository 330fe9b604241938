"""Schedules, learned capacity and scale to zero through the whole loop: pods in, scale written."""

from typing import Any

from fake_cluster import SCALE, policy, stats
from policy_story import forecast
from stage import Stage
from tidegate_wire.stats import TTFT_BOUNDS_S, SidecarStats

IN_TIME, LATE = TTFT_BOUNDS_S.index(0.5), TTFT_BOUNDS_S.index(10.0)
MOST_RPS = 1.5
"""What a pod of these stories carries before its answers begin late."""


class Streaming(Stage):
    """Sidecars that also tell first tokens: in time up to ``MOST_RPS`` a pod, and late past it."""

    def __init__(self, *manifests: dict[str, Any], replicas: int) -> None:
        self.first_tokens: dict[str, list[int]] = {}
        self.last: dict[str, int] = {}
        super().__init__(*manifests, replicas=replicas)

    def _stats(self, uid: str) -> SidecarStats:
        arrived = self.arrived[uid]
        came = arrived - self.last.get(uid, 0)
        self.last[uid] = arrived
        counts = self.first_tokens.setdefault(uid, [0] * (len(TTFT_BOUNDS_S) + 1))
        counts[IN_TIME if came <= MOST_RPS * 15 else LATE] += came
        plain = stats(uid, arrived, config_hash=self.config().hash if self.config() else "")
        return SidecarStats(
            pod_uid=uid,
            boot=plain.boot,
            arrived=arrived,
            config_hash=plain.config_hash,
            config_state=plain.config_state,
            series=plain.series,
            ttft_counts=tuple(counts),
        )

    async def minutes(self, count: float, *, rps: float) -> None:
        """Pods come and go with the scale, at once."""
        for _ in range(round(count * 4)):
            for n in range(self.replicas):
                if f"p{n}" not in self.arrived:
                    self.add_pod(f"p{n}")
            await self.tick(rps=rps)


def auto(**scaling: Any) -> dict[str, Any]:
    limits = {"minReplicas": 1, "maxReplicas": 10, "demand": {"signal": "RequestsPerSecond"}}
    return policy(scaling=limits | scaling)


async def test_capacity_is_learned_told_and_kept_over_a_restart() -> None:
    stage = Streaming(auto(), replicas=2)
    await stage.minutes(1, rps=2.0)
    assert stage.status()["capacity"] == {"source": "Unknown"}
    assert stage.condition("ScalingActive") == ("False", "CapacityUnknown")
    await stage.minutes(6, rps=2.0)
    learning = stage.status()["capacity"]
    assert (learning["source"], learning["perReplica"]) == ("Learning", "1")
    assert stage.replicas == 2
    assert stage.condition("ScalingLimited") == ("True", "CapacityLearning")
    await stage.minutes(6, rps=4.8)
    learned = stage.status()["capacity"]
    assert (learned["source"], learned["signal"]) == ("Learned", "RequestsPerSecond")
    assert 1.0 <= float(learned["perReplica"]) <= MOST_RPS
    assert stage.replicas > 4
    assert stage.metric("tidegate_replica_capacity", signal="RequestsPerSecond", source="Learned")
    await stage.loop.end()
    stage.restart()
    await stage.tick(2, rps=4.8)
    assert stage.status()["capacity"]["source"] == "Learned"


async def test_an_idle_target_is_put_to_sleep_and_a_forecast_wakes_it() -> None:
    stage = Streaming(
        auto(
            minReplicas=0,
            capacityPerReplica="2.5",
            scaleToZero={"enabled": True, "after": "2m"},
            behavior={"scaleDown": {"stabilization": "30s"}},
        ),
        replicas=1,
    )
    await stage.minutes(4, rps=0.0)
    assert stage.replicas == 0
    assert stage.status()["decisions"][0]["reason"] == "Idle"
    assert stage.condition("NoConflict") == ("True", "NobodyElseScales")
    await stage.minutes(2, rps=0.0)
    assert stage.condition("ScalingActive") == ("True", "Asleep")
    stage.restart()
    await stage.minutes(2, rps=0.0)
    assert stage.replicas == 0, "after a crash, too, our own zero is nobody's stop"
    assert stage.condition("ScalingActive") == ("True", "Asleep")
    stage.forecasts.answer = forecast(5.0, made_at=stage.clock.at)
    await stage.minutes(3, rps=0.0)
    assert stage.replicas == 3, "5 rps at 0.95 of 2.5 a pod"


async def test_a_zero_of_somebody_else_is_a_stop_for_a_policy_that_sleeps_as_well() -> None:
    stage = Streaming(
        auto(minReplicas=0, capacityPerReplica="2.5", scaleToZero={"enabled": True}), replicas=2
    )
    await stage.minutes(2, rps=2.0)
    stage.api.objects[SCALE]["spec"]["replicas"] = 0
    stage.forecasts.answer = forecast(5.0, made_at=stage.clock.at)
    await stage.minutes(3, rps=0.0)
    assert stage.replicas == 0
    assert stage.condition("ScalingActive") == ("False", "ScaledToZero")


async def test_a_schedule_is_told_with_its_name() -> None:
    always = {"name": "day", "minReplicas": 4}
    stage = Streaming(auto(capacityPerReplica="2.5", schedules=[always]), replicas=2)
    await stage.minutes(1, rps=1.0)
    assert stage.replicas == 4
    newest = stage.status()["decisions"][0]
    assert newest["reason"] == "Schedule"
    assert "schedule day has minReplicas 4" in newest["message"]
    assert stage.status()["replicas"]["scheduled"] == 4


async def test_littles_law_is_in_status_and_metrics() -> None:
    stage = Streaming(auto(capacityPerReplica="2.5"), replicas=4)
    await stage.minutes(12, rps=4.0)
    law = stage.status()["demand"]["littlesLaw"]
    assert law["expected"] == "2", "4 rps of 0.5 s each"
    assert law["holds"] is False, "these sidecars tell nothing in flight"
    assert stage.metric("tidegate_littles_law_gap_ratio") == -1.0


async def test_without_demand_the_fallback_is_written_and_said() -> None:
    lost = {"onLost": "Fallback", "fallbackReplicas": 5}
    manifest = policy(metrics=lost, scaling={"maxReplicas": 10, "capacityPerReplica": "2.5"})
    stage = Streaming(manifest, replicas=2)
    await stage.minutes(2, rps=2.0)
    stage.mute = {"p0", "p1"}
    for _ in range(12):
        await stage.tick()
    assert stage.replicas == 5
    newest = stage.status()["decisions"]
    assert "FallbackReplicas" in {decision["reason"] for decision in newest}
    assert stage.condition("ScalingActive") == ("False", "MetricsError")
