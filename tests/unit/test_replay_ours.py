"""Our own controller in a replay measures as the live loop does: demand by its ledger, tokens and
what single pods carried, and a forecast one tick after it was asked for."""

import pytest

from tidegate_operator.decide.rungs import ModelRule
from tidegate_operator.decide.words import (
    DataState,
    Forecast,
    Mode,
    Reason,
    Rules,
    ScalingRules,
    Signal,
)
from tidegate_operator.replay.control import Seen
from tidegate_operator.replay.load import mean_service_s
from tidegate_operator.replay.loop import replay
from tidegate_operator.replay.ours import Tidegate
from tidegate_operator.replay.plant import Plant, PlantRules
from tidegate_operator.replay.shares import PodShares
from tidegate_operator.replay.trace import Trace

PLANT = PlantRules()


def rules(**changes: object) -> Rules:
    values = {"capacity_rps": PLANT.pod_rps, "max_replicas": 60, "wait_target_s": 4.0} | changes
    return Rules(
        mode=Mode.ENFORCE,
        models=(ModelRule(name="m"),),
        scaling=ScalingRules(**values),  # type: ignore[arg-type]
    )


def ticks(plant: Plant, seen: Seen, count: int, requests: int, tokens: float = 0.0) -> None:
    """So many ticks of 15 s, with ``requests`` a step."""
    for _ in range(3 * count):
        plant.step(requests, requests * plant.rules.service_s, tokens * requests)
        seen.note(requests, plant.busy_share, plant.waiting + plant.busy_slots, plant.ready)
    seen.look(plant)


@pytest.fixture
def loaded() -> tuple[Plant, Seen, Tidegate]:
    """Four pods, two minutes of 5 requests a second of 300 tokens each, looked at each 15 s."""
    plant = Plant(PLANT, 0.0)
    plant.start_with(4)
    seen = Seen(0.0, 4, 4)
    ours = Tidegate(rules())
    for _ in range(8):
        ticks(plant, seen, 1, 25, 300.0)
        ours.inputs(seen)
    return plant, seen, ours


def test_demand_is_what_the_ledger_makes_of_the_counters(
    loaded: tuple[Plant, Seen, Tidegate],
) -> None:
    plant, seen, ours = loaded
    ticks(plant, seen, 1, 25, 300.0)
    demand = ours.inputs(seen).demand
    assert demand.state is DataState.PRESENT
    assert demand.rps == pytest.approx(5.0) and demand.peak_rps == pytest.approx(5.0)
    assert demand.in_flight == 20, "5 a second for 4 s"
    assert demand.service_s == pytest.approx(4.0)
    assert demand.tokens_per_request == pytest.approx(300.0, rel=0.01)


def test_time_in_the_queue_counts_as_a_sidecar_would_count_it(
    loaded: tuple[Plant, Seen, Tidegate],
) -> None:
    plant, seen, ours = loaded
    ticks(plant, seen, 4, 60)
    service_s = ours.inputs(seen).demand.service_s
    assert service_s is not None and service_s > 5.0


def test_without_a_ready_pod_there_is_nobody_to_ask() -> None:
    plant = Plant(PLANT, 0.0)
    plant.scale(2)
    seen = Seen(0.0, 2, 0)
    ticks(plant, seen, 1, 5)
    inputs = Tidegate(rules()).inputs(seen)
    assert (inputs.demand.state, inputs.starting) == (DataState.ABSENT, 2)


def test_a_tick_has_the_forecast_that_the_tick_before_asked_for() -> None:
    def source(now: float) -> Forecast:
        return Forecast(
            made_at=now, horizon_s=300.0, quantiles={}, reliable=True, reason=Reason.FORECAST_GOOD
        )

    ours = Tidegate(rules(), source)
    given = [ours.inputs(Seen(15.0 * tick, 1, 1)).forecast for tick in range(1, 4)]
    assert given[0] is None
    assert [f.made_at for f in given[1:] if f is not None] == [15.0, 30.0]


def test_pods_share_what_was_carried_and_a_minute_of_change_is_no_sample() -> None:
    plant = Plant(PLANT, 0.0)
    plant.start_with(4)
    seen, shares = Seen(0.0, 4, 4), PodShares()
    samples = []
    for _ in range(9):
        ticks(plant, seen, 1, 25, 300.0)
        samples.append(shares.look(seen))
    assert [len(some) for some in samples] == [0, 0, 0, 0, 4, 0, 0, 0, 4]
    one = samples[-1][0]
    assert one.rps == pytest.approx(5 / 4) and one.tokens_per_s == pytest.approx(375.0)
    assert one.in_flight == pytest.approx(5.0) and (one.answers, one.late) == (75, 0.0)
    plant.scale(3)
    ticks(plant, seen, 1, 25)
    assert shares.look(seen) == ()


def test_a_capacity_that_nobody_declared_is_learned_from_the_plant() -> None:
    """Within a factor of the truth, 2 requests a second, and enough to keep the SLO by."""
    steps = [90.0 + 30 * (minute % 60) for minute in range(600)]
    trace = Trace(name="t", start=0.0, step_s=60, requests=tuple(steps))
    ours = Tidegate(rules(capacity_rps=None, wait_percentile=0.95))
    result = replay(trace, PLANT, ours, start_pods=4)
    assert {str(d.scaling.reason) for d in result.decisions[2:]} != {"CapacityUnknown"}
    late = sum(result.minutes.violations[300:]) / sum(result.minutes.load[300:])
    assert late < 0.1
    assert 1.0 < ours.memory.books[Signal.REQUESTS].value < 2.6  # type: ignore[operator]


def test_tokens_bring_pods_that_requests_alone_would_not() -> None:
    """The rate stays, answers grow longer: demand in tokens sees it."""
    hours = 2
    output = [100.0 * 300] * (60 * hours) + [300.0 * 300] * (60 * hours)
    trace = Trace(
        name="t",
        start=0.0,
        step_s=60,
        requests=(300.0,) * (120 * hours),
        prompt_tokens=(0.0,) * (120 * hours),
        output_tokens=tuple(output),
    )
    short = 100 * PLANT.output_token_s
    assert mean_service_s(trace, PLANT) == pytest.approx(2 * short)
    by_requests = replay(trace, PLANT, Tidegate(rules(capacity_rps=8 / short)))
    by_tokens = replay(
        trace,
        PLANT,
        Tidegate(
            rules(capacity_rps=None, capacity_tokens_per_s=100 * 8 / short, signal=Signal.TOKENS)
        ),
    )
    assert by_tokens.minutes.ready[-1] > by_tokens.minutes.ready[60] * 2
    assert by_tokens.violations < by_requests.violations
