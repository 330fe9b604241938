"""The oracle's pods are there when they are needed; as yesterday is what a calendar knows."""

import math

import pytest

from tidegate_operator.replay.control import Hold, Seen
from tidegate_operator.replay.loop import replay
from tidegate_operator.replay.oracle import Oracle, best_oracle
from tidegate_operator.replay.plant import PlantRules
from tidegate_operator.replay.seasonal import SeasonalNaive
from tidegate_operator.replay.trace import Trace

PLANT = PlantRules()
STEPPED = Trace(
    name="t",
    start=0.0,
    step_s=60,
    requests=(*([360.0] * 30), *([1080.0] * 30), *([240.0] * 40)),
)


def test_it_asks_for_pods_one_cold_start_before_the_load() -> None:
    oracle = Oracle(trace=STEPPED, plant=PLANT, utilization=0.9)
    before, then = math.ceil(6 / 1.8), math.ceil(18 / 1.8)
    assert oracle.wanted(Seen(1500.0, 4, 4)) == before
    assert oracle.wanted(Seen(1800.0 - 180.0 - 60.0, 4, 4)) == then
    assert oracle.wanted(Seen(3599.0, 10, 10)) == then
    assert oracle.wanted(Seen(3600.0, 10, 10)) == math.ceil(4 / 1.8), "down once it is over"
    assert oracle.wanted(Seen(6001.0, 3, 3)) == 3, "past the end it keeps what there is"


def test_the_best_one_keeps_to_the_share_with_fewer_pods_than_a_careful_one() -> None:
    careful = replay(STEPPED, PLANT, Oracle(trace=STEPPED, plant=PLANT, utilization=0.7))
    none, some = (best_oracle(STEPPED, PLANT, share) for share in (0.0, 0.05))
    assert none is not None and some is not None
    assert none.violations == 0 and some.violations <= 0.05
    assert some.pod_hours <= none.pod_hours <= careful.pod_hours
    assert best_oracle(STEPPED, PLANT, -1.0) is None, "nobody keeps to less than nothing"


def test_seasonal_naive_has_yesterdays_highest_minute_of_the_coming_cold_start() -> None:
    day = [60.0] * 1440
    day[600:605] = [960.0] * 5
    controller = SeasonalNaive(
        trace=Trace(name="t", start=0.0, step_s=60, requests=tuple(day * 2)),
        plant=PLANT,
        utilization=0.8,
    )
    at = 86400.0 + 600 * 60.0
    assert controller.wanted(Seen(at - 600.0, 1, 1)) == 1
    assert controller.wanted(Seen(at - 240.0, 1, 1)) == 10, "16 a second at 1.6 a pod"
    assert controller.wanted(Seen(at + 290.0, 10, 10)) == 10
    assert controller.wanted(Seen(at + 570.0, 10, 10)) == 10, "held for five minutes"
    assert controller.wanted(Seen(at + 600.0, 10, 10)) == 1


def test_without_a_yesterday_it_goes_by_the_last_minute() -> None:
    controller = SeasonalNaive(trace=STEPPED, plant=PLANT)
    look = Seen(600.0, 1, 1)
    for _ in range(12):
        look.note(40, 1.0, 8.0, 1)
    assert controller.wanted(look) == 5, "8 a second at 1.6 a pod"


@pytest.mark.parametrize(
    ("counts", "highest"),
    [
        pytest.param([(0, 5), (10, 3), (20, 4)], [5, 5, 5], id="down late"),
        pytest.param([(0, 5), (10, 7)], [5, 7], id="up at once"),
        pytest.param([(0, 5), (10, 4), (20, 3), (100, 1)], [5, 5, 5, 4], id="step by step"),
    ],
)
def test_a_hold(counts: list[tuple[float, int]], highest: list[int]) -> None:
    hold = Hold(100.0)
    assert [hold.highest(now, count) for now, count in counts] == highest
