"""L = lambda W holds of a queue, and where it does not for long, that is said."""

import heapq
import random

import pytest

from policy_story import Story, present
from tidegate_operator.decide.littles_law import (
    OFF_FOR_S,
    WINDOW_S,
    LittlesLaw,
    check_littles_law,
)
from tidegate_operator.decide.rungs import ModelRule
from tidegate_operator.decide.words import DataState, Demand, Rules, ScalingRules

NOW = 1_000_000.0


def check(
    in_flight: float | None, rps: float | None, service_s: float | None, off_since: float | None
) -> LittlesLaw | None:
    return check_littles_law(
        in_flight=in_flight, rps=rps, service_s=service_s, off_since=off_since, now=NOW
    )


@pytest.mark.parametrize(
    ("in_flight", "rps", "service_s", "holds"),
    [
        pytest.param(40.0, 10.0, 4.0, True, id="exactly"),
        pytest.param(46.0, 10.0, 4.0, True, id="a seventh off"),
        pytest.param(60.0, 10.0, 4.0, False, id="half as many again in flight"),
        pytest.param(20.0, 10.0, 4.0, False, id="half of them unseen"),
        pytest.param(1.0, 0.4, 2.0, True, id="a quarter off where so few are seen is chance"),
    ],
)
def test_a_gap_of_five_minutes(
    in_flight: float, rps: float, service_s: float, holds: bool
) -> None:
    law = check(in_flight, rps, service_s, NOW - OFF_FOR_S)
    assert law is not None
    assert law.holds(NOW) is holds


def test_a_gap_that_is_new_is_no_finding_yet() -> None:
    law = check(60.0, 10.0, 4.0, None)
    assert law is not None
    assert (law.off_since, law.holds(NOW), law.holds(NOW + OFF_FOR_S)) == (NOW, True, False)
    assert law.gap == pytest.approx(0.5)
    healed = check(41.0, 10.0, 4.0, NOW - 900)
    assert healed is not None
    assert healed.off_since is None


@pytest.mark.parametrize(
    ("in_flight", "rps", "service_s"),
    [
        pytest.param(None, 10.0, 4.0, id="requests at once unknown"),
        pytest.param(40.0, None, 4.0, id="rate unknown"),
        pytest.param(40.0, 10.0, None, id="time unknown"),
        pytest.param(0.0, 0.0, 4.0, id="no traffic"),
        pytest.param(1.0, 0.3, 4.0, id="fewer than a hundred requests"),
        pytest.param(1.0, float("nan"), 4.0, id="not a number"),
    ],
)
def test_what_cannot_be_checked_is_not_judged(
    in_flight: float | None, rps: float | None, service_s: float | None
) -> None:
    assert check(in_flight, rps, service_s, NOW - 900) is None


@pytest.mark.parametrize("seed", range(20))
def test_a_simulated_queue_obeys_it(seed: int) -> None:
    """Poisson arrivals, exponential times, looked at every 15 s as the operator does."""
    rng = random.Random(seed)
    rps, mean_s = rng.uniform(1.0, 20.0), rng.uniform(1.0, 10.0)
    at, ends, durations, arrived = 0.0, [], [], 0
    looks: list[int] = []
    next_look = 1000.0
    while at < 1000.0 + WINDOW_S:
        at += rng.expovariate(rps)
        while next_look <= at:
            while ends and ends[0][0] <= next_look:
                end, took = heapq.heappop(ends)
                if end > 1000.0:
                    durations.append(took)
            looks.append(len(ends))
            next_look += WINDOW_S / 20
        took = rng.expovariate(1 / mean_s)
        heapq.heappush(ends, (at + took, took))
        arrived += at >= 1000.0
    law = check(
        sum(looks[:20]) / 20, arrived / WINDOW_S, sum(durations) / len(durations), NOW - OFF_FOR_S
    )
    assert law is not None
    assert law.holds(NOW)


def test_a_policy_remembers_since_when_it_has_been_off() -> None:
    rules = Rules(models=(ModelRule(name="m"),), scaling=ScalingRules(capacity_rps=2.5))
    tale = Story(rules, current=8)
    wrong = present(10.0, steady_rps=10.0, steady_in_flight=80.0, service_s=4.0)
    right = present(10.0, steady_rps=10.0, steady_in_flight=41.0, service_s=4.0)
    laws = [tale.tick(wrong).littles_law for _ in range(25)]
    held = [law.holds(tale.now - 15.0 * (24 - n)) for n, law in enumerate(laws) if law]
    assert held == [True] * 20 + [False] * 5, "five minutes"
    assert tale.tick(Demand(state=DataState.ERROR)).littles_law is None
    healed = tale.tick(right).littles_law
    assert healed is not None
    assert healed.off_since is None
