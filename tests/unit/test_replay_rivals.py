"""How the rivals do in closed loop, on loads whose answer is known: each follows, none is weaker
than its publisher made it, and what makes one lose is what is said of it."""

from collections.abc import Callable

import pytest

from tidegate_operator.replay.autoscaler import HpaRules
from tidegate_operator.replay.control import Controller, Static
from tidegate_operator.replay.hpa import Hpa
from tidegate_operator.replay.keda import Keda, KedaRules
from tidegate_operator.replay.kpa import Kpa, KpaRules
from tidegate_operator.replay.loop import replay
from tidegate_operator.replay.oracle import Oracle
from tidegate_operator.replay.plant import PlantRules
from tidegate_operator.replay.result import Result
from tidegate_operator.replay.seasonal import SeasonalNaive
from tidegate_operator.replay.trace import Trace

PLANT = PlantRules()
DAY = 1440


def trace(rps: list[float]) -> Trace:
    return Trace(name="t", start=0.0, step_s=60, requests=tuple(60 * r for r in rps))


STEADY = trace([14.0] * 120)
STEP = trace([6.0] * 30 + [18.0] * 90)
DAYS = trace([4.0 + 10.0 * (480 <= minute % DAY < 1080) for minute in range(2 * DAY)])
"""Twice the same office day."""

FOLLOWERS: dict[str, Callable[[], Controller]] = {
    "HPA on request rate": lambda: Hpa(HpaRules(target_rps=1.4)),
    "HPA on utilization": lambda: Hpa(HpaRules(target_utilization=0.7)),
    "KEDA": lambda: Keda(KedaRules(threshold_rps=1.4)),
    "KPA, with a delay": lambda: Kpa(KpaRules(slots_per_pod=8, scale_down_delay_s=300.0)),
}


@pytest.mark.parametrize("name", FOLLOWERS)
def test_on_a_steady_load_it_keeps_seventy_percent_and_hardly_moves(name: str) -> None:
    result = replay(STEADY, PLANT, FOLLOWERS[name]())
    pods = result.pod_minutes / len(STEADY)
    assert 9 <= pods <= 12, "14 a second at 1.4 a pod, a pod more where chance asks for one"
    assert result.violations < 0.001
    assert result.scale_ups <= 12


@pytest.mark.parametrize("name", FOLLOWERS)
def test_after_a_step_it_is_late_by_a_cold_start_and_then_enough(name: str) -> None:
    result = replay(STEP, PLANT, FOLLOWERS[name]())
    hurt = [share(result, minute) for minute in range(len(STEP))]
    assert max(hurt[:30]) < 0.01
    assert min(hurt[31:33]) > 0.5, "nobody can be there before"
    assert max(hurt[45:]) < 0.02
    assert result.minutes.ready[-1] >= 11
    assert result.scale_ups_ahead_of_load == 0


def share(result: Result, minute: int) -> float:
    load = result.minutes.load[minute]
    return result.minutes.violations[minute] / load if load else 0.0


def test_the_oracle_is_there_before_the_step_for_a_few_pod_minutes_more() -> None:
    oracle = replay(STEP, PLANT, Oracle(trace=STEP, plant=PLANT, utilization=0.9))
    reactive = replay(STEP, PLANT, FOLLOWERS["HPA on request rate"]())
    assert oracle.violations < 0.001 < reactive.violations
    assert oracle.pod_minutes < reactive.pod_minutes


def test_seasonal_naive_is_late_on_the_first_day_and_early_on_the_second() -> None:
    result = replay(DAYS, PLANT, SeasonalNaive(trace=DAYS, plant=PLANT, utilization=0.7))
    first, second = (
        sum(result.minutes.violations[day * DAY + 470 : day * DAY + 520]) for day in (0, 1)
    )
    assert first > 500 and second < 10


def test_without_a_delay_kpa_gives_away_what_it_needs_again() -> None:
    """Its default suits functions that start in a second: each ripple costs a cold start here."""
    restless = replay(STEADY, PLANT, Kpa(KpaRules(slots_per_pod=8)))
    patient = replay(STEADY, PLANT, FOLLOWERS["KPA, with a delay"]())
    assert restless.scale_ups > 3 * patient.scale_ups
    quick = PlantRules(cold_start_s=5.0)
    assert replay(STEADY, quick, Kpa(KpaRules(slots_per_pod=8))).violations < 0.01


def test_static_pods_for_the_peak_cost_what_the_peak_costs_all_day() -> None:
    result = replay(DAYS, PLANT, Static(10), start_pods=10)
    assert result.pod_hours == pytest.approx(10 * 48)
    assert result.violations == 0


def test_failing_starts_cost_time_to_all_of_them() -> None:
    broken = PlantRules(start_failure_share=0.6)
    for name, make in FOLLOWERS.items():
        well, ill = replay(STEP, PLANT, make()), replay(STEP, broken, make())
        assert well.starts_failed == 0 < ill.starts_failed, name
        assert ill.violations > well.violations, name


def test_longer_cold_starts_cost_more() -> None:
    late = [
        replay(STEP, PlantRules(cold_start_s=cold_start_s), FOLLOWERS["KEDA"]()).violations
        for cold_start_s in (30.0, 180.0, 600.0)
    ]
    assert late == sorted(late) and late[0] < late[-1] / 3
