"""The closed loop: HPA plays by Kubernetes' rules, ours by decide(), on the same arrivals."""

import pytest

from tidegate_operator.decide.rungs import ModelRule
from tidegate_operator.decide.words import Forecast, Mode, Reason, Rules, ScalingRules
from tidegate_operator.replay.autoscaler import HpaRules
from tidegate_operator.replay.control import Controller, Static
from tidegate_operator.replay.hpa import Hpa
from tidegate_operator.replay.loop import replay
from tidegate_operator.replay.oracle import Oracle
from tidegate_operator.replay.ours import Tidegate
from tidegate_operator.replay.plant import PlantRules
from tidegate_operator.replay.trace import Trace

PLANT = PlantRules()


def steady(rps: float, minutes: int) -> list[float | None]:
    return [rps * 60] * minutes


def trace(requests: list[float | None], start: float = 0.0) -> Trace:
    return Trace(name="t", start=start, step_s=60, requests=tuple(requests))


STEPPED = trace([*steady(6, 30), *steady(18, 30), *steady(4, 40)])


def ours(quantile_rps: float | None = None) -> Tidegate:
    rules = Rules(
        mode=Mode.ENFORCE,
        models=(ModelRule(name="m"),),
        scaling=ScalingRules(capacity_rps=PLANT.pod_rps, max_replicas=50, wait_target_s=4.0),
    )

    def source(now: float) -> Forecast | None:
        if quantile_rps is None:
            return None
        return Forecast(
            made_at=now,
            horizon_s=300.0,
            quantiles={0.95: quantile_rps if 1200 <= now < 3600 else 0.0},
            reliable=True,
            reason=Reason.FORECAST_GOOD,
        )

    return Tidegate(rules, source)


def test_a_forecast_starts_pods_before_the_load_and_spares_users_the_wait() -> None:
    reactive = replay(STEPPED, PLANT, ours())
    foreseen = replay(STEPPED, PLANT, ours(20.0))
    assert reactive.violations > 0.02
    assert foreseen.violations < 0.002
    assert foreseen.scale_ups_ahead_of_load >= 1 and reactive.scale_ups_ahead_of_load == 0
    assert foreseen.requests == reactive.requests, "the same arrivals for everybody"


@pytest.mark.parametrize(
    "controller",
    [
        pytest.param(Static(4), id="static"),
        pytest.param(Hpa(HpaRules(target_utilization=0.7)), id="HPA"),
        pytest.param(Oracle(trace=STEPPED, plant=PLANT), id="oracle"),
        pytest.param(ours(), id="ours"),
    ],
)
def test_a_result_adds_up(controller: Controller) -> None:
    result = replay(STEPPED, PLANT, controller)
    assert result.requests == pytest.approx(sum(n or 0 for n in STEPPED.requests), rel=0.001)
    total = result.served + result.dropped + result.waiting
    assert result.requests == pytest.approx(total, abs=1e-6)
    assert result.violations + result.slo_attained == 1.0
    assert result.wait_p50_s <= result.wait_p95_s <= result.wait_p99_s
    assert result.scale_ups + result.scale_downs == len(result.events)
    assert result.pod_minutes > 0


def test_a_static_count_pays_for_every_minute() -> None:
    result = replay(STEPPED, PLANT, Static(12), start_pods=12)
    assert result.pod_minutes == pytest.approx(12 * len(STEPPED))
    assert result.events == ()
    assert result.violations < 0.001


def test_the_oracle_needs_fewer_pods_than_a_static_peak_and_no_one_waits() -> None:
    result = replay(STEPPED, PLANT, Oracle(trace=STEPPED, plant=PLANT, utilization=0.8))
    assert result.violations < 0.002
    assert result.pod_minutes < 12 * len(STEPPED)


def test_the_same_seed_gives_the_same_result() -> None:
    one, two, other = (
        replay(STEPPED, PLANT, Hpa(HpaRules(target_rps=1.4)), seed=s) for s in (1, 1, 2)
    )
    assert one == two
    assert one != other


def test_missing_minutes_play_the_load_before_and_are_counted() -> None:
    result = replay(trace([600.0, None, None, 600.0]), PLANT, Static(8))
    assert (result.missing_minutes, result.requests) == (2, 2400.0)
