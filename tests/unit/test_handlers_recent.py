"""Each minute has one entry that tells what was known then, a plain HPA's count with it; and a
restart goes on where the checkpoint ended."""

from dataclasses import replace
from typing import Any

import pytest

from policy_story import present
from tidegate_operator.decide.signals import CapacitySource, Signal, UsedCapacity
from tidegate_operator.decide.words import (
    DataState,
    Decision,
    Demand,
    Forecast,
    Inputs,
    LadderDecision,
    Phase,
    Reason,
    Rung,
    ScalingDecision,
    ScalingRules,
)
from tidegate_operator.handlers.recent import FRESH_S, KEPT_S, Recent

START = 1_767_225_600.0
TICK_S = 15.0
RULES = ScalingRules(max_replicas=20)
DECLARED = UsedCapacity(per_replica=2.0, signal=Signal.REQUESTS, source=CapacitySource.DECLARED)
LOST = Demand(state=DataState.ERROR)


def decided(capacity: UsedCapacity | None = DECLARED) -> Decision:
    return Decision(
        scaling=ScalingDecision(
            replicas=5,
            reason=Reason.STEADY,
            message="",
            reactive=5,
            forecast=None,
            capacity=capacity,
        ),
        ladder=LadderDecision(
            phase=Phase.NORMAL,
            active_model="llama-70b",
            rung=Rung.NONE,
            reason=Reason.NORMAL,
            message="",
        ),
    )


def play(
    recent: Recent,
    demands: list[Demand],
    *,
    start: float = START,
    decision: Decision | None = None,
    **seen: Any,
) -> list[int | None]:
    """A look each tick; the HPA's count after each."""
    counts = []
    for tick, demand in enumerate(demands):
        now = start + TICK_S * tick
        given = {"current": 4, "ready": 3, "starting": 1} | seen
        inputs = Inputs(now=now, demand=demand, **given)
        recent.look(now, RULES, inputs, decision or decided())
        counts.append(recent.hpa)
    return counts


def test_a_minute_has_one_entry_of_its_first_look() -> None:
    recent = Recent(())
    play(recent, [present(2.0 + i) for i in range(9)])
    assert [(item["t"], item["rps"]) for item in recent.items] == [
        (START, 2.0),
        (START + 60, 6.0),
        (START + 120, 10.0),
    ]
    assert recent.items[0] == {
        "t": START,
        "rps": 2.0,
        "q50": None,
        "q95": None,
        "wanted": 5,
        "ready": 3,
        "hpa": 4,
        "model": "llama-70b",
    }


@pytest.mark.parametrize(
    ("age_s", "told"),
    [
        pytest.param(FRESH_S - 1, (2.0, 3.0), id="a forecast of this minute"),
        pytest.param(FRESH_S, (None, None), id="an older one is not this minute's"),
    ],
)
def test_the_forecast_of_the_minute(age_s: float, told: tuple[float | None, ...]) -> None:
    forecast = Forecast(
        made_at=START - age_s,
        horizon_s=360.0,
        quantiles={0.5: 2.0, 0.95: 3.0},
        reliable=True,
        reason=Reason.FORECAST_GOOD,
    )
    recent = Recent(())
    play(recent, [present(2.0)], forecast=forecast)
    assert (recent.items[0]["q50"], recent.items[0]["q95"]) == told


def test_a_day_is_kept() -> None:
    recent = Recent([{"t": START - 60.0 * i} for i in range(1500, 0, -1)])
    play(recent, [present(1.0)])
    assert recent.items[0]["t"] == START - KEPT_S
    assert len(recent.items) == 1441


def test_the_hpa_follows_the_demand_tick_by_tick() -> None:
    assert play(Recent(()), [present(14.0)] * 5) == [4, 4, 8, 10, 10]


@pytest.mark.parametrize(
    ("used", "demand", "count"),
    [
        pytest.param(DECLARED, present(14.0), 10, id="14 requests/s, 1.4 of them a replica"),
        pytest.param(
            replace(DECLARED, source=CapacitySource.LEARNED), present(14.0), 10, id="learned"
        ),
        pytest.param(
            replace(DECLARED, per_replica=1000.0, signal=Signal.TOKENS),
            present(14.0, tokens_per_request=500.0),
            10,
            id="1000 tokens/s are two requests of 500",
        ),
        pytest.param(
            replace(DECLARED, per_replica=8.0, signal=Signal.CONCURRENCY),
            present(14.0, service_s=4.0),
            10,
            id="8 requests at once, of 4 s",
        ),
        pytest.param(
            replace(DECLARED, signal=Signal.TOKENS), present(14.0), None, id="tokens never told"
        ),
        pytest.param(
            replace(DECLARED, source=CapacitySource.LEARNING),
            present(14.0),
            None,
            id="a lower bound is nothing to aim at",
        ),
        pytest.param(None, present(14.0), None, id="nothing is known, or nothing is scaled"),
    ],
)
def test_what_the_hpa_aims_at(
    used: UsedCapacity | None, demand: Demand, count: int | None
) -> None:
    recent = Recent(())
    assert play(recent, [demand] * 9, decision=decided(used))[-1] == count
    assert recent.items[-1]["hpa"] == count


def test_while_demand_is_lost_the_hpa_stays() -> None:
    """Neither the metric nor the capacity is known then; it was before."""
    recent = Recent(())
    play(recent, [present(14.0)] * 5)
    later = START + 5 * TICK_S
    counts = play(recent, [LOST] * 9, start=later, decision=decided(None))
    assert counts == [10] * 9


@pytest.mark.parametrize(
    ("items", "count"),
    [
        pytest.param([{"t": START - 60, "hpa": 7}], 7, id="as the last entry has it"),
        pytest.param(
            [{"t": START - 120, "hpa": 7}, {"t": START - 60}], 7, id="the last that does"
        ),
        pytest.param([{"t": START - 60, "hpa": "x"}], 4, id="what is no count is none"),
        pytest.param([{"t": START - 60, "hpa": None}], 4, id="none was known: the pods there are"),
        pytest.param([{"t": "x"}, {}], 4, id="entries that are none"),
    ],
)
def test_after_a_restart_the_hpa_goes_on(items: list[dict[str, Any]], count: int) -> None:
    assert play(Recent(items), [present(6.0)])[0] == count
