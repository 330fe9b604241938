"""Replay identical to the live loop: a run of the production loop on a workload, and a replay of
the same trace with the same forecasts, make the same steps at the same times for the same
reasons."""

import math

import pytest

from fake_cluster import START, policy
from played_live import PlayedLive, Step
from tidegate_operator.crd.spec import read_spec
from tidegate_operator.decide.words import Forecast, Reason
from tidegate_operator.replay.hpa import Hpa
from tidegate_operator.replay.loop import replay, usual_pods
from tidegate_operator.replay.on_paper import usual_hpa
from tidegate_operator.replay.ours import Tidegate
from tidegate_operator.replay.plant import PlantRules
from tidegate_operator.replay.result import Result
from tidegate_operator.replay.trace import Trace

PLANT = PlantRules(service_cv=0.3, cold_start_sigma=0.2)
HOURS = 3
SPEC = {
    "slo": {"ttft": {"target": "4s", "percentile": "95"}},
    "scaling": {
        "minReplicas": 1,
        "maxReplicas": 30,
        "capacityPerReplica": "2",
        "forecast": {"horizon": "5m"},
    },
}


def waves() -> Trace:
    """Slow swings with a rush on top every 50 minutes."""
    minutes = range(HOURS * 60)
    rps = [6 + 4 * math.sin(m / 30) + (12 if 30 <= m % 50 < 38 else 0) for m in minutes]
    return Trace(name="t", start=START, step_s=60, requests=tuple(60 * r for r in rps))


TRACE = waves()


def foreseen(now: float) -> Forecast:
    """The highest of the next five minutes and a bit, now and then not to be trusted."""
    minute = int(now // 60) - int(START // 60)
    ahead = TRACE.requests[minute : minute + 6]
    rps = max((count for count in ahead if count is not None), default=0.0) / 60
    reliable = minute % 40 < 33
    return Forecast(
        made_at=60.0 * (now // 60),
        horizon_s=300.0,
        quantiles={0.5: 0.9 * rps, 0.9: rps, 0.95: 1.05 * rps, 0.98: 1.1 * rps, 0.99: 1.2 * rps},
        reliable=reliable,
        reason=Reason.FORECAST_GOOD if reliable else Reason.NO_SKILL,
        coverage=0.95,
    )


def steps_of(result: Result) -> list[Step]:
    """Each step, with the reason of the decision that made it."""
    reasons = {decided.at: decided.scaling.reason for decided in result.decisions}
    return [
        Step(event.at, event.before, event.after, str(reasons[event.at]))
        for event in result.events
    ]


@pytest.mark.parametrize("strictness", ["Balanced", "Strict"])
async def test_a_recorded_live_run_replays_to_the_same_decisions(strictness: str) -> None:
    spec = SPEC | {"scaling": {**SPEC["scaling"], "strictness": strictness}}
    live = PlayedLive(TRACE, PLANT, spec, foreseen)
    await live.run()
    rules = read_spec(policy(**spec)).rules
    again = replay(TRACE, PLANT, Tidegate(rules, foreseen, lead_s=300.0))
    assert steps_of(again) == live.steps
    assert len(live.steps) > 20
    assert {step.reason for step in live.steps} >= {
        "ForecastAboveCapacity",
        "CapacityAboveDemand",
    }
    assert again.pod_minutes == live.plant.paid_s / 60


async def test_the_hpa_beside_a_live_run_is_that_of_a_replay() -> None:
    """Told the rate that the loop measured, whatever pods there were, it wants minute by minute
    what an HPA with a plant of its own wants."""
    live = PlayedLive(TRACE, PLANT, SPEC, foreseen)
    await live.run()
    saved = live.stage.history()
    assert saved is not None
    told = {item["t"]: item["hpa"] for item in saved.recent if item["rps"] is not None}
    rules = usual_hpa(read_spec(policy(**SPEC)).rules.scaling, PLANT.pod_rps)
    played = replay(TRACE, PLANT, Hpa(rules))
    changes = [(START, usual_pods(live.load, PLANT)), *((e.at, e.after) for e in played.events)]
    assert told == {t: next(n for at, n in reversed(changes) if at <= t) for t in told}
    assert len(told) > HOURS * 60 - 10
    assert len(set(told.values())) > 5
