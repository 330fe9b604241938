"""A queue inside the model servers, or a KV cache that is nearly full, asks for one more pod, and
for none while one is starting; what they hold keeps the pods that it needs. They never ask for
fewer, and the limits hold for them too."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_story import forecast, present
from tidegate_operator.decide.pressure import find_pressure
from tidegate_operator.decide.scaling import decide_scaling
from tidegate_operator.decide.signs import EngineSigns
from tidegate_operator.decide.words import (
    DataState,
    Demand,
    Forecast,
    Inputs,
    Memory,
    Mode,
    Reason,
    ScalingDecision,
    ScalingRules,
)

RULES = ScalingRules(
    min_replicas=1, max_replicas=10, capacity_rps=2.5, reactive_alone_utilization=0.8
)
"""2.0 rps a pod."""
NOW = 1_000_000.0
QUEUE = EngineSigns(pods=3, waiting_per_pod=6.0)
CACHE = EngineSigns(pods=3, waiting_per_pod=0.0, kv_cache_usage=0.85)


def signs(waiting: float | None = None, usage: float | None = None) -> EngineSigns:
    return EngineSigns(pods=3, waiting_per_pod=waiting, kv_cache_usage=usage)


def scale(
    engines: EngineSigns | None,
    *,
    rps: float = 6.0,
    current: int = 3,
    starting: int = 0,
    missing: int = 0,
    ahead: Forecast | None = None,
    demand: Demand | None = None,
) -> ScalingDecision:
    """By default three pods are exactly what demand needs."""
    inputs = Inputs(
        now=NOW,
        current=current,
        ready=current - starting - missing,
        starting=starting,
        demand=demand or present(rps),
        forecast=ahead,
        engines=engines,
    )
    memory = Memory(recommendations=((NOW - 15.0, 1),), last_current=current)
    return decide_scaling(RULES, Mode.ENFORCE, inputs, memory)[0]


@pytest.mark.parametrize(
    ("engines", "reason"),
    [
        pytest.param(None, None, id="no engine tells anything"),
        pytest.param(signs(), None, id="engines tell neither"),
        pytest.param(signs(5.0, 0.8), None, id="both are just within"),
        pytest.param(signs(5.1), Reason.QUEUE_LONG, id="a queue is too long"),
        pytest.param(signs(0.0, 0.81), Reason.KV_CACHE_FULL, id="caches are nearly full"),
        pytest.param(signs(None, 0.81), Reason.KV_CACHE_FULL, id="of an engine without a queue"),
        pytest.param(signs(9.0, 0.9), Reason.QUEUE_LONG, id="both: who waits comes first"),
    ],
)
def test_pressure_is(engines: EngineSigns | None, reason: Reason | None) -> None:
    found, words = find_pressure(engines)
    assert found is reason
    assert bool(words) is (reason is not None)


@pytest.mark.parametrize(
    ("engines", "more", "replicas", "reason"),
    [
        pytest.param(QUEUE, {}, 4, Reason.QUEUE_LONG, id="a queue adds a pod"),
        pytest.param(CACHE, {}, 4, Reason.KV_CACHE_FULL, id="a full cache adds a pod"),
        pytest.param(signs(0.0, 0.5), {}, 3, Reason.STEADY, id="calm engines change nothing"),
        pytest.param(QUEUE, {"starting": 1}, 3, Reason.STEADY, id="one is starting: it waits"),
        pytest.param(QUEUE, {"missing": 1}, 3, Reason.STEADY, id="one is to be created: likewise"),
        pytest.param(
            QUEUE, {"rps": 12.0}, 6, Reason.DEMAND_HIGH, id="demand that asks for more decides"
        ),
        pytest.param(
            QUEUE,
            {"ahead": forecast(14.0, made_at=NOW - 60)},
            6,
            Reason.FORECAST_HIGH,
            id="so does a forecast",
        ),
        pytest.param(
            QUEUE, {"current": 10}, 10, Reason.MAX_REPLICAS, id="maxReplicas holds for it too"
        ),
        pytest.param(QUEUE, {"rps": 0.0}, 4, Reason.QUEUE_LONG, id="whatever demand says"),
        pytest.param(
            QUEUE,
            {"rps": 0.0, "starting": 1},
            3,
            Reason.ENGINES_HOLD,
            id="nothing is removed while they are full",
        ),
        pytest.param(
            signs(0.0, 0.6),
            {"rps": 2.0},
            3,
            Reason.ENGINES_HOLD,
            id="caches that two pods could not hold: 3 x 60 % is 90 % of two",
        ),
        pytest.param(
            signs(0.0, 0.53), {"rps": 2.0}, 2, Reason.DEMAND_LOW, id="3 x 53 % is 80 % of two"
        ),
        pytest.param(
            signs(3.4), {"rps": 2.0}, 3, Reason.ENGINES_HOLD, id="a queue of 5.1 on each of two"
        ),
        pytest.param(signs(0.0, 0.0), {"rps": 2.0}, 2, Reason.DEMAND_LOW, id="empty ones let go"),
        pytest.param(
            QUEUE,
            {"demand": Demand(state=DataState.ERROR)},
            3,
            Reason.DATA_ERROR,
            id="without demand nothing is decided",
        ),
    ],
)
def test_under_pressure(
    engines: EngineSigns, more: dict[str, object], replicas: int, reason: Reason
) -> None:
    decision = scale(engines, **more)  # type: ignore[arg-type]
    assert (decision.replicas, decision.reason) == (replicas, reason)


def test_the_figure_stands_in_the_message() -> None:
    assert scale(QUEUE).message == (
        "demand 6.0 rps needs 3 pods; 6.0 requests wait in each model server (more than 5): 3 -> 4"
    )
    assert "KV caches are 85% full (more than 80%): 3 -> 4" in scale(CACHE).message


def test_it_says_who_holds_a_pod() -> None:
    assert scale(signs(0.0, 0.6), rps=2.0).message == (
        "demand 2.0 rps needs 1 pod: 3 stay (the model servers' queues and caches hold 3)"
    )


def test_a_cache_at_the_edge_does_not_come_and_go() -> None:
    """84 % of three pods are 63 % of four: four stay for as long as that much is in them."""
    held, current, counts = 3 * 0.84, 3, []
    memory = Memory()
    for tick in range(240):
        engines = signs(0.0, held / current)
        inputs = Inputs(
            now=NOW + 15.0 * tick,
            current=current,
            ready=current,
            starting=0,
            demand=present(4.5),
            engines=engines,
        )
        decision, memory = decide_scaling(RULES, Mode.ENFORCE, inputs, memory)
        current = decision.replicas
        counts.append(current)
    assert set(counts) == {4}


@given(ready=st.integers(1, 10), waiting=st.floats(0, 5), usage=st.floats(0, 0.8))
def test_what_they_hold_fits_into_what_stays(ready: int, waiting: float, usage: float) -> None:
    stays = scale(signs(waiting, usage), rps=0.0, current=ready).replicas
    assert stays <= ready
    if stays > max(1, ready - ready // 2):  # else it is the step that limits it, or the minimum
        fewer = stays - 1
        assert ready * waiting > 5.0 * fewer or ready * usage > 0.8 * fewer
    assert ready * waiting <= 5.0 * stays + 1e-6
    assert ready * usage <= 0.8 * stays + 1e-6


@given(
    rps=st.floats(0, 40),
    current=st.integers(1, 10),
    waiting=st.none() | st.floats(0, 100),
    usage=st.none() | st.floats(0, 1),
    starting=st.integers(0, 1),
)
def test_engines_never_ask_for_fewer_and_for_one_more_at_most(
    rps: float, current: int, waiting: float | None, usage: float | None, starting: int
) -> None:
    starting = min(starting, current)
    alone = scale(None, rps=rps, current=current, starting=starting).replicas
    pressed = scale(signs(waiting, usage), rps=rps, current=current, starting=starting).replicas
    assert alone <= pressed <= max(alone, min(RULES.max_replicas, current + 1))
