"""decide_scaling: what holds whatever comes."""

import math
import random
from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from policy_story import Story, forecast, present
from tidegate_operator.decide.scaling import decide_scaling
from tidegate_operator.decide.words import (
    DataState,
    Demand,
    Forecast,
    Inputs,
    Memory,
    Mode,
    Rules,
    ScalingDecision,
    ScalingRules,
)

RULES = ScalingRules(
    min_replicas=1, max_replicas=20, capacity_rps=2.5, reactive_alone_utilization=0.8
)
NOW = 1_000_000.0
ABSENT = Demand(state=DataState.ABSENT)
ERROR = Demand(state=DataState.ERROR, age_s=5.0)
STALE = Demand(state=DataState.STALE, rps=4.0, age_s=90.0)


def scale(
    demand: Demand | float,
    *,
    current: int,
    rules: ScalingRules = RULES,
    ahead: Forecast | None = None,
    starting: int = 0,
    memory: Memory | None = None,
) -> ScalingDecision:
    inputs = Inputs(
        now=NOW,
        current=current,
        ready=current - starting,
        starting=starting,
        demand=demand if isinstance(demand, Demand) else present(demand),
        forecast=ahead,
    )
    return decide_scaling(rules, Mode.ENFORCE, inputs, Memory() if memory is None else memory)[0]


def ahead(rps: float, **more: object) -> Forecast:
    return forecast(rps, **({"made_at": NOW - 60.0} | more))  # type: ignore[arg-type]


RATES = st.floats(0, 100)
FORECASTS = st.none() | st.builds(
    lambda rps, reliable, age: ahead(rps, reliable=reliable, made_at=NOW - age),
    RATES,
    st.booleans(),
    st.floats(0, 400),
)
MEMORIES = st.builds(
    lambda recommendations, ups, last: Memory(
        recommendations=tuple((NOW - age, n) for age, n in sorted(recommendations, reverse=True)),
        scale_ups=tuple((NOW - age, n) for age, n in sorted(ups, reverse=True)),
        last_current=last,
    ),
    st.lists(st.tuples(st.floats(0, 400), st.integers(1, 20)), max_size=5),
    st.lists(st.tuples(st.floats(0, 90), st.integers(1, 10)), max_size=3),
    st.none() | st.integers(1, 25),
)
LIMITS = st.builds(
    lambda low, more, service: (
        replace(RULES, min_replicas=low, max_replicas=low + more),
        service,
    ),
    st.integers(1, 6),
    st.integers(0, 20),
    st.none() | st.floats(0.2, 20),
)


@settings(deadline=None)
@given(RATES, st.integers(1, 30), FORECASTS, MEMORIES, LIMITS, st.integers(0, 3))
def test_never_outside_the_limits(
    rps: float,
    current: int,
    seen: Forecast | None,
    memory: Memory,
    limits: tuple[ScalingRules, float | None],
    starting: int,
) -> None:
    rules, service_s = limits
    for demand in (present(rps, service_s=service_s), ABSENT, STALE, ERROR):
        decision = scale(
            demand, current=current, rules=rules, ahead=seen, memory=memory, starting=starting
        )
        assert rules.min_replicas <= decision.replicas <= rules.max_replicas
        if decision.clamps and decision.replicas != current:
            assert decision.clamps[-1].after == decision.replicas or decision.forecast is not None


@settings(deadline=None)
@given(st.integers(1, 20), FORECASTS, MEMORIES, st.sampled_from([ABSENT, STALE, ERROR]))
def test_never_down_on_bad_data(
    current: int, seen: Forecast | None, memory: Memory, demand: Demand
) -> None:
    assert scale(demand, current=current, ahead=seen, memory=memory).replicas == current


@settings(deadline=None)
@given(RATES, RATES, st.integers(1, 20), FORECASTS, MEMORIES)
def test_more_demand_never_gives_fewer_pods(
    one: float, other: float, current: int, seen: Forecast | None, memory: Memory
) -> None:
    low, high = sorted((one, other))
    fewer = scale(low, current=current, ahead=seen, memory=memory)
    more = scale(high, current=current, ahead=seen, memory=memory)
    assert fewer.replicas <= more.replicas


@settings(deadline=None)
@given(RATES, st.integers(1, 20), RATES, MEMORIES)
def test_a_forecast_never_gives_fewer_pods_than_none(
    rps: float, current: int, seen: float, memory: Memory
) -> None:
    without = scale(rps, current=current, memory=memory)
    assert (
        scale(rps, current=current, ahead=ahead(seen), memory=memory).replicas >= without.replicas
    )


@settings(deadline=None)
@given(RATES, st.integers(1, 20), FORECASTS, MEMORIES)
def test_the_last_clamp_is_what_was_decided(
    rps: float, current: int, seen: Forecast | None, memory: Memory
) -> None:
    """Each clamp takes over where the one before it ended, so that ``explain`` can tell the
    story."""
    clamps = scale(rps, current=current, ahead=seen, memory=memory).clamps
    for one, following in pairwise(clamps):
        assert one.after == following.before
        assert one.before != one.after


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**16), st.floats(3.0, 30.0))
def test_noise_about_a_steady_mean_does_not_flap(seed: int, mean: float) -> None:
    """Poisson arrivals averaged over a minute, six hours of ticks: no more than two events an
    hour."""
    noise = random.Random(seed)
    tale = Story(Rules(mode=Mode.ENFORCE, scaling=RULES), current=max(1, round(mean / 2)))
    spread = math.sqrt(mean / 60.0)
    events = 0
    recent = [mean] * 4
    for _ in range(6 * 240):
        recent = [*recent[1:], max(0.0, noise.gauss(mean, 2 * spread))]
        before = tale.current
        tale.tick(sum(recent) / 4)
        events += tale.current != before
    assert events <= 12
