"""A replay's plant under the production loop: pods, readiness and sidecars' counters as the live
loop would find them, and its writes carried out.

Law: what the loop did is recorded and nothing of it is decided here.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fake_cluster import SCALE, FakeForecasts, pod, policy, scale
from stage import TICK_S, Stage
from tidegate_operator.decide.words import Forecast
from tidegate_operator.forecast.known import Known
from tidegate_operator.replay.load import load_of
from tidegate_operator.replay.loop import usual_pods
from tidegate_operator.replay.plant import STEP_S, Plant, PlantRules, Pod
from tidegate_operator.replay.trace import Trace
from tidegate_operator.sources.forecaster import ForecastRules
from tidegate_wire.names import Outcome
from tidegate_wire.stats import Series, SidecarStats

STEPS = round(TICK_S / STEP_S)


class PlayedForecasts(FakeForecasts):
    """Answers as the forecaster would, from a source of forecasts."""

    def __init__(self, source: Callable[[float], Forecast | None]) -> None:
        super().__init__()
        self._source = source

    async def forecast(
        self,
        key: str,
        *,
        start_minute: int,
        counts: Sequence[int | None],
        now: float,
        rules: ForecastRules,
        state: Mapping[str, Any] | None,
        known: Known,
    ) -> tuple[Forecast, Mapping[str, Any]]:
        self.answer = self._source(now)
        return await super().forecast(
            key,
            start_minute=start_minute,
            counts=counts,
            now=now,
            rules=rules,
            state=state,
            known=known,
        )


@dataclass(frozen=True)
class Step:
    """A change that the loop made."""

    at: float
    before: int
    after: int
    reason: str


class Sidecar:
    """Counters of one pod, which gets its share of what the whole plant counted."""

    def __init__(self, uid: str) -> None:
        self.uid = uid
        self.arrived = self.ended = 0
        self.duration_s = 0.0

    def count(self, arrived: int, ended: int, duration_s: float, in_flight: int) -> SidecarStats:
        self.arrived += arrived
        self.ended += ended
        self.duration_s += duration_s
        series = Series(
            model="llama-70b",
            tenant="acme",
            outcomes={Outcome.OK: self.ended},
            duration_s=self.duration_s,
        )
        return SidecarStats(
            pod_uid=self.uid,
            boot="life-1",
            arrived=self.arrived,
            in_flight=in_flight,
            series=(series,),
        )


class PlayedLive:
    """The trace's requests in the plant, the plant's pods on the stage, tick by tick."""

    def __init__(
        self,
        trace: Trace,
        rules: PlantRules,
        spec: Mapping[str, Any],
        source: Callable[[float], Forecast | None],
    ) -> None:
        self.load = load_of(trace, rules, 0)
        self.plant = Plant(rules, self.load.start)
        self.plant.start_with(usual_pods(self.load, rules))
        self.stage = Stage(policy(**spec), replicas=0)
        self.stage.api.put(SCALE, scale(self.plant.current))
        self.stage.forecasts = PlayedForecasts(source)
        self.stage.restart()
        self.steps: list[Step] = []
        self._sidecars: dict[int, Sidecar] = {}
        self._pods: list[Pod] = []
        """Kept, so that no identity is used twice."""
        self._counted = (0, 0, 0.0)

    async def run(self) -> None:
        loads = zip(self.load.requests, self.load.work_s, strict=True)
        for step, (requests, work_s) in enumerate(loads):
            if step and step % STEPS == 0:
                await self._tick()
            self.plant.step(requests, work_s)

    async def _tick(self) -> None:
        before = self.plant.current
        self.stage.clock.at = self.plant.now
        self._show_pods()
        await self.stage.loop.round()
        after = self.stage.replicas
        if after != before:
            newest = self.stage.status()["decisions"][0]
            self.steps.append(Step(self.plant.now, before, after, newest["reason"]))
            self.plant.scale(after)

    def _show_pods(self) -> None:
        now = self.plant.now
        standing = [p for p in self.plant.pods() if p.ends == float("inf")]
        gone = set(self._sidecars) - {id(p) for p in standing}
        for key in gone:
            self.stage.world.drop_pod(self._sidecars.pop(key).uid)
        for one in standing:
            if id(one) not in self._sidecars:
                self._pods.append(one)
                self._sidecars[id(one)] = Sidecar(f"pod-{len(self._pods)}")
            self.stage.world.see_pod(
                pod(
                    self._sidecars[id(one)].uid,
                    ready=one.ready <= now,
                    created=_stamp(one.created),
                    ready_at=_stamp(min(one.ready, now)),
                )
            )
        self.stage.api.put(SCALE, self._scale())
        self._count([self._sidecars[id(p)] for p in standing if p.ready <= now])

    def _scale(self) -> dict[str, Any]:
        version = self.stage.api.objects[SCALE]["metadata"]["resourceVersion"]
        found = scale(self.plant.current)
        found["metadata"]["resourceVersion"] = version
        return found

    def _count(self, ready: list[Sidecar]) -> None:
        """What was counted since the last tick, shared among the pods that answer."""
        plant = self.plant
        in_flight = plant.waiting + round(plant.busy_slots)
        counted = (plant.arrived, plant.ended, plant.duration_s)
        arrived, ended, duration_s = (a - b for a, b in zip(counted, self._counted, strict=True))
        self.stage.sidecars.stats = {}
        if ready:
            self._counted = counted
        for place, sidecar in enumerate(ready):
            self.stage.sidecars.stats[sidecar.uid] = sidecar.count(
                _share(arrived, place, len(ready)),
                _share(ended, place, len(ready)),
                duration_s / len(ready),
                _share(in_flight, place, len(ready)),
            )


def _share(total: float, place: int, of: int) -> int:
    return int(total) // of + (place < int(total) % of)


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
