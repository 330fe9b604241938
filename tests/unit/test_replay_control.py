"""What a controller is shown: means over windows that ended some time ago, and nothing later."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate_operator.decide.words import Rules
from tidegate_operator.replay.autoscaler import HpaRules
from tidegate_operator.replay.control import Controller, GivesReasons, Seen, Static
from tidegate_operator.replay.hpa import Hpa
from tidegate_operator.replay.keda import Keda, KedaRules
from tidegate_operator.replay.kpa import Kpa, KpaRules
from tidegate_operator.replay.ours import Tidegate
from tidegate_operator.replay.plant import STEP_S, Plant, PlantRules


def seen(*steps: float) -> Seen:
    """One step each: so many requests, the same share (in percent) and number in flight."""
    made = Seen(0.0, 4, 3)
    for value in steps:
        made.note(value, value / 100, value * 2, int(value))
    return made


@pytest.mark.parametrize(
    ("window_s", "lag_s", "mean"),
    [
        pytest.param(5.0, 0.0, 6.0, id="the last step"),
        pytest.param(10.0, 0.0, 5.5, id="two steps"),
        pytest.param(10.0, 10.0, 3.5, id="two steps that ended two steps ago"),
        pytest.param(600.0, 0.0, 3.5, id="all there is, where the window is longer"),
        pytest.param(5.0, 600.0, 1.0, id="the first step, where the lag is longer"),
        pytest.param(1.0, 0.0, 6.0, id="no window is shorter than a step"),
    ],
)
def test_means_over_a_window(window_s: float, lag_s: float, mean: float) -> None:
    look = seen(1, 2, 3, 4, 5, 6)
    assert look.rps(window_s, lag_s) == pytest.approx(mean / STEP_S)
    assert look.utilization(window_s, lag_s) == pytest.approx(mean / 100)
    assert look.concurrency(window_s, lag_s) == pytest.approx(mean * 2)


@given(
    values=st.lists(st.integers(0, 1000), min_size=1, max_size=100),
    window_steps=st.integers(1, 40),
    lag_steps=st.integers(0, 40),
)
def test_a_window_is_the_mean_of_its_steps(
    values: list[int], window_steps: int, lag_steps: int
) -> None:
    look = seen(*values)
    end = max(1, len(values) - lag_steps)
    part = values[max(0, end - window_steps) : end]
    rps = look.rps(window_steps * STEP_S, lag_steps * STEP_S)
    assert rps == pytest.approx(sum(part) / len(part) / STEP_S)
    assert look.arrived == sum(values)


def test_before_the_first_step_there_is_nothing() -> None:
    look = Seen(0.0, 4, 3)
    assert (look.rps(60.0), look.utilization(60.0), look.concurrency(60.0)) == (0.0, 0.0, 0.0)
    assert (look.starting, look.ready_throughout(60.0)) == (1, 3)


def test_pods_that_were_ready_throughout_a_window() -> None:
    look = seen(5, 2, 4, 4, 6)
    assert [look.ready_throughout(5.0 * n) for n in (1, 3, 4, 9)] == [6, 4, 2, 2]


def test_a_look_takes_in_the_plant_as_it_stands() -> None:
    plant = Plant(PlantRules(), 1000.0)
    plant.start_with(2)
    plant.scale(3)
    plant.step(60, 240.0, 600.0)
    look = Seen(0.0, 0, 0)
    look.look(plant)
    assert (look.now, look.current, look.ready, look.starting) == (1005.0, 3, 2, 1)
    assert look.in_flight == 40 + 16, "40 wait, and all 16 slots are busy"
    assert (look.begun, look.ended, look.tokens) == (20, 20, 200.0)
    assert look.duration_s > 80.0, "20 services of 4 s and what they waited"
    assert look.late == 0.0, "those that were begun waited 3.3 s at most"


@pytest.mark.parametrize(
    ("controller", "period_s", "reasons"),
    [
        pytest.param(Static(3), 15.0, False, id="static"),
        pytest.param(Hpa(HpaRules(target_rps=1.0)), 15.0, False, id="HPA"),
        pytest.param(Keda(KedaRules(threshold_rps=1.0)), 15.0, False, id="KEDA"),
        pytest.param(Kpa(KpaRules(slots_per_pod=8)), 5.0, False, id="KPA"),
        pytest.param(Tidegate(Rules()), 15.0, True, id="Tidegate"),
    ],
)
def test_how_often_each_decides_and_who_gives_reasons(
    controller: Controller, period_s: float, reasons: bool
) -> None:
    assert controller.period_s == period_s
    assert isinstance(controller, GivesReasons) == reasons
    assert controller.name
