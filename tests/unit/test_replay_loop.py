"""The closed loop: HPA plays by Kubernetes' rules, ours by decide(), on the same arrivals."""

import pytest

from tidegate_operator.decide.rungs import ModelRule
from tidegate_operator.decide.words import Forecast, Mode, Reason, Rules, ScalingRules
from tidegate_operator.replay.control import Controller, Seen, Static
from tidegate_operator.replay.hpa import Hpa, HpaRules, by_average_value, by_utilization
from tidegate_operator.replay.loop import replay
from tidegate_operator.replay.oracle import Oracle
from tidegate_operator.replay.ours import Tidegate
from tidegate_operator.replay.plant import STEP_S, PlantRules
from tidegate_operator.replay.trace import Trace

PLANT = PlantRules()


def steady(rps: float, minutes: int) -> list[float | None]:
    return [rps * 60] * minutes


def trace(requests: list[float | None], start: float = 0.0) -> Trace:
    return Trace(name="t", start=start, step_s=60, requests=tuple(requests))


STEPPED = trace([*steady(6, 30), *steady(18, 30), *steady(4, 40)])


def seen(
    now: float, current: int, rps: float, *, ready: int | None = None, burst: float = 0.0
) -> Seen:
    """Five minutes at ``rps``, and half a minute at ``burst`` more."""
    made = Seen(now, current, current if ready is None else ready)
    for step in range(66):
        rate = rps + burst * (step >= 60)
        busy = min(1.0, rate / (made.ready * PLANT.pod_rps)) if made.ready else 0.0
        made.note(rate * STEP_S, busy, busy * made.ready * PLANT.slots_per_pod)
    return made


@pytest.mark.parametrize(
    ("total", "target", "current", "wanted"),
    [
        pytest.param(8.0, 2.0, 2, 4, id="twice the target a pod doubles the pods"),
        pytest.param(2.0, 2.0, 2, 1, id="half the target a pod halves them"),
        pytest.param(4.4, 2.0, 2, 2, id="10 % above is within tolerance"),
        pytest.param(4.41, 2.0, 2, 3, id="beyond it: rounded up"),
        pytest.param(3.6, 2.0, 2, 2, id="10 % below is within tolerance"),
        pytest.param(0.0, 2.0, 2, 0, id="nothing asks for nothing; minReplicas holds later"),
        pytest.param(5.0, 2.0, 0, 3, id="from zero there is no tolerance"),
    ],
)
def test_replicas_by_average_value(total: float, target: float, current: int, wanted: int) -> None:
    """ceil(current x metric / target), as the documentation writes it."""
    assert by_average_value(total, target, current, 0.1) == wanted


@pytest.mark.parametrize(
    ("share", "target", "ready", "starting", "wanted"),
    [
        pytest.param(1.0, 0.5, 2, 0, 4, id="200m where 100m is wanted: doubled"),
        pytest.param(0.25, 0.5, 4, 0, 2, id="50m where 100m is wanted: halved"),
        pytest.param(0.54, 0.5, 10, 0, 10, id="a ratio of 1.08 is within tolerance"),
        pytest.param(0.9, 0.5, 4, 4, 8, id="starting pods count as idle: .45, no more needed"),
        pytest.param(1.0, 0.5, 6, 2, 12, id="starting pods damp: .75 of 8 pods"),
        pytest.param(0.1, 0.5, 4, 4, 5, id="scaling down, starting pods count as at target"),
        pytest.param(0.6, 0.5, 0, 3, 3, id="no Ready pod, no metric: left alone"),
    ],
)
def test_replicas_by_utilization(
    share: float, target: float, ready: int, starting: int, wanted: int
) -> None:
    assert by_utilization(share, target, ready, starting, 0.1) == wanted


def test_hpa_scales_up_by_at_most_four_pods_or_double_in_15_seconds() -> None:
    hpa = Hpa(HpaRules(target_rps=1.0))
    assert hpa.wanted(seen(0, 1, 100)) == 5
    assert hpa.wanted(seen(15, 5, 100)) == 10
    assert hpa.wanted(seen(30, 10, 100)) == 20


def test_hpa_holds_the_highest_recommendation_of_five_minutes() -> None:
    hpa = Hpa(HpaRules(target_rps=1.0))
    assert hpa.wanted(seen(0, 10, 10)) == 10
    wanted = [hpa.wanted(seen(15.0 * tick, 10, 4)) for tick in range(1, 22)]
    assert wanted == [10] * 19 + [4, 4]


def test_hpa_stays_between_its_bounds() -> None:
    rules = HpaRules(target_rps=1.0, min_replicas=2, max_replicas=6)
    assert Hpa(rules).wanted(seen(0, 4, 0)) == 2
    assert Hpa(rules).wanted(seen(0, 4, 100)) == 6


def test_hpa_metrics_are_half_a_minute_old() -> None:
    late = seen(0, 5, 5, burst=200)
    assert Hpa(HpaRules(target_rps=1.0)).wanted(late) == 5


@pytest.mark.parametrize("targets", [(None, None), (1.0, 0.5)])
def test_an_hpa_has_one_target(targets: tuple[float | None, float | None]) -> None:
    with pytest.raises(ValueError, match="target_rps or target_utilization"):
        HpaRules(target_rps=targets[0], target_utilization=targets[1])


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
