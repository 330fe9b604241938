"""decide_scaling: what holds whatever comes."""

import math
import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from policy_story import Story, forecast, present
from tidegate_operator.decide.margins import MARGINS, under
from tidegate_operator.decide.scaling import decide_scaling
from tidegate_operator.decide.trial import Margin
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


@given(st.integers(1, 20), FORECASTS, MEMORIES, st.sampled_from([ABSENT, STALE, ERROR]))
def test_never_down_on_bad_data(
    current: int, seen: Forecast | None, memory: Memory, demand: Demand
) -> None:
    assert scale(demand, current=current, ahead=seen, memory=memory).replicas == current


@given(RATES, RATES, st.integers(1, 20), FORECASTS, MEMORIES)
def test_more_demand_never_gives_fewer_pods(
    one: float, other: float, current: int, seen: Forecast | None, memory: Memory
) -> None:
    low, high = sorted((one, other))
    fewer = scale(low, current=current, ahead=seen, memory=memory)
    more = scale(high, current=current, ahead=seen, memory=memory)
    assert fewer.replicas <= more.replicas


@given(RATES, st.integers(1, 20), RATES, MEMORIES)
def test_a_trusted_forecast_never_gives_fewer_pods_than_demand_at_four_fifths(
    rps: float, current: int, seen: float, memory: Memory
) -> None:
    without = scale(rps, current=current, memory=memory)
    beside = replace(RULES, reactive_alone_utilization=0.7)
    with_it = scale(rps, current=current, rules=beside, ahead=ahead(seen), memory=memory)
    assert with_it.replicas >= without.replicas


@given(RATES, st.integers(1, 20), RATES, MEMORIES)
def test_without_a_trusted_forecast_more_room_is_kept(
    rps: float, current: int, seen: float, memory: Memory
) -> None:
    careful = replace(RULES, reactive_alone_utilization=0.7)
    distrusted = ahead(seen, reliable=False)
    alone = scale(rps, current=current, rules=careful, ahead=distrusted, memory=memory)
    assert alone.replicas >= scale(rps, current=current, memory=memory).replicas
    assert alone.replicas == scale(rps, current=current, rules=careful, memory=memory).replicas


SIGNALS = st.sampled_from(
    [
        {"capacity_rps": 2.5},
        {"capacity_rps": None, "capacity_tokens_per_s": 1250.0},
        {"capacity_rps": None, "capacity_in_flight": 10.0},
    ]
)


@given(
    SIGNALS,
    RATES,
    RATES,
    st.integers(1, 20),
    FORECASTS,
    MEMORIES,
    st.floats(0.2, 20),
    st.floats(10, 5000),
)
def test_whatever_demand_is_measured_in_more_of_it_never_gives_fewer_pods(
    signal: dict[str, float | None],
    one: float,
    other: float,
    current: int,
    seen: Forecast | None,
    memory: Memory,
    service_s: float,
    tokens: float,
) -> None:
    rules = replace(RULES, **signal)  # type: ignore[arg-type]
    low, high = (
        present(
            rps,
            service_s=service_s,
            tokens_per_request=tokens,
            mean_in_flight=rps * service_s,
            in_flight=round(rps * service_s),
        )
        for rps in sorted((one, other))
    )
    fewer = scale(low, current=current, rules=rules, ahead=seen, memory=memory)
    more = scale(high, current=current, rules=rules, ahead=seen, memory=memory)
    assert fewer.replicas <= more.replicas
    assert 1 <= fewer.replicas <= more.replicas <= 20


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


@settings(max_examples=10, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(
    st.integers(0, 2**16),
    st.floats(3.0, 30.0),
    st.sampled_from([None, 0.05]),
    st.sampled_from(MARGINS),
)
@example(seed=6, mean=9.8, forecast_noise=0.05, margin=MARGINS[4])
def test_noise_about_a_steady_mean_does_not_flap(
    seed: int, mean: float, forecast_noise: float | None, margin: Margin
) -> None:
    """Poisson arrivals averaged over a minute, six hours of ticks: at most two events an hour,
    whatever room is kept. Beside a forecast that differs by chance from minute to minute, as bad
    as that at the edge of a pod, the stabilisation window bounds them: twelve an hour."""
    noise = random.Random(seed)
    rules = under(replace(RULES, max_replicas=100), margin)
    tale = Story(Rules(mode=Mode.ENFORCE, scaling=rules), current=max(1, round(mean / 2)))
    spread = math.sqrt(mean / 60.0)
    events, made = 0, None
    recent = [mean] * 4
    for tick in range(6 * 240):
        recent = [*recent[1:], max(0.0, noise.gauss(mean, 2 * spread))]
        if forecast_noise is not None and tick % 4 == 0:
            highest = (mean + 2.5 * spread) * math.exp(noise.gauss(0.0, forecast_noise))
            made = forecast(highest, made_at=tale.now)
        before = tale.current
        tale.tick(sum(recent) / 4, ahead=made)
        events += tale.current != before
    assert events <= (12 if forecast_noise is None else 72)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("mean", [3.0, 9.8, 41.0])
def test_choosing_the_room_by_trial_does_not_flap_either(seed: int, mean: float) -> None:
    """Twelve hours, in which the trial begins to count and chooses anew each hour: on the mean at
    most two events an hour, as with any margin that stays."""
    noise = random.Random(seed)
    rules = replace(RULES, max_replicas=100, allowed_late=0.005)
    tale = Story(Rules(mode=Mode.ENFORCE, scaling=rules), current=max(1, round(mean / 2)))
    spread = math.sqrt(mean / 60.0)
    events, recent = 0, [mean] * 4
    for _ in range(12 * 240):
        recent = [*recent[1:], max(0.0, noise.gauss(mean, 2 * spread))]
        before = tale.current
        tale.tick(sum(recent) / 4)
        events += tale.current != before
    assert tale.memory.trial.chosen is not None
    assert events <= 24
