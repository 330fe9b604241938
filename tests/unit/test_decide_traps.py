"""Bugs of other autoscalers, each by its number in its project's tracker: none of them is here."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from policy_story import Story, forecast, present
from sidecar_looks import CountingSidecar
from tidegate_operator.decide.rungs import ModelRule
from tidegate_operator.decide.scaling import decide_scaling
from tidegate_operator.decide.schedules import Schedule
from tidegate_operator.decide.words import (
    DataState,
    Demand,
    Forecast,
    Inputs,
    Memory,
    Mode,
    OnLost,
    Reason,
    Rules,
    ScalingDecision,
    ScalingRules,
)
from tidegate_operator.ledger.demand import DemandHistory

RULES = ScalingRules(min_replicas=1, max_replicas=20, capacity_rps=2.5)
NOW = 1_000_000.0
ERROR = Demand(state=DataState.ERROR, age_s=30.0)
STALE = Demand(state=DataState.STALE, rps=0.5, age_s=120.0)
ABSENT = Demand(state=DataState.ABSENT)


def story(*, current: int, **rules: object) -> Story:
    scaling = replace(RULES, **rules)  # type: ignore[arg-type]
    return Story(
        Rules(mode=Mode.ENFORCE, models=(ModelRule(name="m"),), scaling=scaling), current=current
    )


def once(
    demand: Demand, *, current: int, ahead: Forecast | None = None, **rules: object
) -> ScalingDecision:
    inputs = Inputs(
        now=NOW, current=current, ready=current, starting=0, demand=demand, forecast=ahead
    )
    scaling = replace(RULES, **rules)  # type: ignore[arg-type]
    return decide_scaling(scaling, Mode.ENFORCE, inputs, Memory())[0]


def after(tale: Story, demand: Demand | float, minutes: float, **more: object) -> int:
    for _ in range(round(minutes * 4)):
        tale.tick(demand, **more)  # type: ignore[arg-type]
    return tale.current


TRAPS: dict[str, Callable[[], None]] = {}


def trap(bug: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """A check against ``bug``, as its tracker knows it."""

    def register(check: Callable[[], None]) -> Callable[[], None]:
        TRAPS[bug] = check
        return check

    return register


# --- no data, and zero ---------------------------------------------------------------------------


@trap("dynamo#3131: zero traffic is 0/0, NaN, and nothing is scaled down")
def zero_over_zero_is_no_demand_and_scales_down() -> None:
    history, pod = DemandHistory(), CountingSidecar(pod_uid="p")
    tale = story(current=6)
    for _ in range(60):
        history.record(tale.now, {"p": pod.look()})
        tale.tick(history.demand(tale.now, 60.0))
    assert tale.current == 1, "no request has ever ended: no service time, no tokens, and no NaN"


@trap("dynamo#6985: traffic that stops keeps its pods for ever")
def traffic_that_stops_releases_its_pods() -> None:
    tale = story(current=6)
    after(tale, 12.0, 5)
    assert after(tale, present(0.0, service_s=2.0, in_flight=0), 20) == 1


@trap("dynamo#7067: a rate that is no number is scaled on")
def a_rate_that_is_no_number_is_never_scaled_on() -> None:
    for rps in (math.nan, math.inf, -math.inf):
        assert after(story(current=6), present(rps), 20) == 6


@trap("keda#8036: a scaler's error is read as zero and scales to zero in an outage")
def an_error_read_as_zero_does_not_scale_to_zero_in_an_outage() -> None:
    sleeper = {"min_replicas": 0, "idle_before_zero_s": 60.0}
    for lost in (ERROR, STALE, ABSENT):
        assert after(story(current=6, **sleeper), lost, 60) == 6


@trap("keda#7657: a scaler's error scales to the maximum")
def an_error_does_not_scale_to_the_maximum() -> None:
    for on_lost in OnLost:
        tale = story(current=6, on_lost=on_lost, fallback_replicas=8)
        assert after(tale, ERROR, 60) <= 8


@trap("keda#965, keda#3064: a metrics server that is away loses the last state")
def a_metrics_server_that_is_away_holds_the_last_state() -> None:
    tale = story(current=2)
    up = after(tale, 20.0, 5)
    assert up > 6
    assert after(tale, ERROR, 120) == up


@trap("keda#4249: a fallback below the running count removes pods")
def a_fallback_below_the_running_count_removes_nothing() -> None:
    tale = story(current=9, on_lost=OnLost.FALLBACK, fallback_replicas=2)
    assert after(tale, ERROR, 60) == 9


@trap("llm-d-autoscaling#385: stale metrics decide")
def stale_metrics_decide_nothing() -> None:
    decision = once(STALE, current=8, ahead=forecast(40.0, made_at=NOW))
    assert (decision.replicas, decision.reason) == (8, Reason.DATA_STALE)


@trap("aibrix KPA: a stable value of zero is a panic")
def panic_at_a_stable_value_of_zero_is_no_panic() -> None:
    tale = story(current=3)
    counts = {tale.tick(present(0.0, in_flight=0)).scaling.replicas for _ in range(80)}
    assert counts == {1, 2, 3}
    assert tale.actions().count("ScaleUp") == 0


# --- what demand is ------------------------------------------------------------------------------


@trap("aibrix KPA: metrics averaged over pods are divided as a total")
def kpa_a_total_is_not_averaged_over_pods_before_it_is_divided() -> None:
    pods = [CountingSidecar(pod_uid=f"p{n}") for n in range(8)]
    history = DemandHistory()
    history.record(NOW, {pod.pod_uid: pod.look() for pod in pods})
    for tick in range(1, 9):
        history.record(NOW + 15 * tick, {pod.pod_uid: pod.serve(30) for pod in pods})
    demand = history.demand(NOW + 120, 60.0)
    assert demand.rps == 16.0, "8 pods with 2 a second each"
    assert (once(demand, current=8).reactive or 0) >= 8


@trap("keda#5781: more pods change what the same demand needs")
def more_pods_do_not_change_what_the_same_demand_needs() -> None:
    assert {once(present(12.0), current=n).reactive for n in (1, 3, 7, 20)} == {7}


@trap("aibrix#617: one pod that never gets ready stops all growth")
def a_pod_that_never_gets_ready_does_not_stop_the_others_from_growing() -> None:
    tale = story(current=4)
    assert after(tale, 30.0, 5, starting=1) >= 16


# --- the forecast --------------------------------------------------------------------------------


@trap("kthena#1364: a prediction is put into the target and not into the load")
def a_prediction_moves_the_load_and_not_the_target_it_is_divided_by() -> None:
    counts = [
        once(present(6.0), current=4, ahead=forecast(rps, made_at=NOW)).forecast or 0
        for rps in (10.0, 20.0, 40.0)
    ]
    assert counts == sorted(counts)
    assert counts == [5, 9, 17], "twice the load, twice the pods"


@trap("PHPA: a poorly tuned forecast is worse than none")
def a_poor_forecast_is_not_worse_than_none() -> None:
    bad = forecast(90.0, made_at=NOW, reliable=False, reason=Reason.NO_SKILL)
    assert once(present(6.0), current=4, ahead=bad) == replace(
        once(present(6.0), current=4),
        message=once(present(6.0), current=4, ahead=bad).message,
    )


@trap("crane#787: the last cycle is repeated blindly")
def a_last_cycle_that_was_quiet_removes_nothing_that_demand_needs() -> None:
    quiet = forecast(0.1, made_at=NOW)
    assert once(present(12.0), current=2, ahead=quiet).reactive == 6
    assert once(present(12.0), current=2, ahead=quiet).replicas == 6


@trap("llm-d-autoscaling#1453: down although not all agree")
def up_by_the_highest_and_down_only_when_all_agree() -> None:
    day = Schedule(name="day", min_replicas=5)
    tale = story(current=8, schedules=(day,), stabilization_s=60.0)
    for _ in range(60):
        tale.tick(2.0, ahead=forecast(14.0, made_at=tale.now))
    assert tale.current == 6, "the forecast holds six"
    assert after(tale, 2.0, 15) == 5, "the schedule holds five"
    tale.rules = replace(tale.rules, scaling=replace(tale.rules.scaling, schedules=()))
    assert after(tale, 2.0, 15) == 2


# --- how it moves --------------------------------------------------------------------------------


@trap("dynamo#4420: a person's edit of replicas desyncs it")
def a_count_that_a_person_changed_is_where_the_next_decision_starts() -> None:
    tale = story(current=3)
    after(tale, 4.0, 2)
    tale.current = 12
    assert tale.tick(4.0).scaling.replicas == 12, "nothing is undone within the window"
    tale.current = 1
    assert tale.tick(4.0).scaling.replicas == 3, "and what is missing is added at once"


@trap("dynamo#13559: a scale-down kills streams in flight")
def pods_with_requests_in_flight_are_not_counted_as_free() -> None:
    streams = present(0.0, peak_rps=0.0, service_s=4.0, in_flight=55)
    tale = story(current=8)
    assert after(tale, streams, 30) == 6, "55 streams fill the ten slots of six pods"
    assert tale.decision is not None
    assert tale.decision.scaling.clamps[-1].reason is Reason.WOULD_MISS_SLO


@trap("llm-d WVA: pods that start are ordered again and again")
def wva_pods_that_start_are_not_ordered_a_second_time() -> None:
    tale = story(current=2)
    counts = [tale.tick(12.0, starting=5).scaling.replicas for _ in range(40)]
    assert max(counts) == 7


@trap("aibrix#2671: pods are removed while others start")
def pods_that_start_keep_the_others_from_being_removed() -> None:
    tale = story(current=7)
    assert after(tale, 1.0, 30, starting=3) == 7
    assert after(tale, 1.0, 30) == 1


@trap("knative/serving#13284: a slow starter panics")
def a_slow_start_is_waited_for_and_not_taken_for_too_few() -> None:
    tale = story(current=2)
    first = tale.tick(5.0, starting=0).scaling.replicas
    for _ in range(4 * 15):
        tale.tick(5.0, starting=first - 2)
    assert tale.current == first


@trap("knative/serving#3153: the end of a panic drops pods at once")
def a_surge_that_is_over_does_not_drop_pods_at_once() -> None:
    tale = story(current=2)
    up = after(tale, 30.0, 3)
    assert after(tale, 2.0, 4.5) == up, "a whole window"
    counts = [tale.tick(2.0).scaling.replicas for _ in range(8)]
    assert all(next_ >= count // 2 for count, next_ in pairwise(counts))


@trap("knative/serving#12765: a rate about a pod's edge flaps")
def a_demand_about_a_pods_edge_does_not_flap() -> None:
    tale = story(current=4)
    for n in range(4 * 60):
        tale.tick(7.0 + 0.3 * (-1) ** n)
    assert len(tale.told) <= 1


@trap("knative/serving#8682: an idle pod stays for ever")
def an_idle_pod_does_not_stay_for_ever_where_nobody_wants_it() -> None:
    tale = story(current=1, min_replicas=0, idle_before_zero_s=900.0)
    assert after(tale, present(0.0, in_flight=0, peak_rps=0.0), 14) == 1
    assert after(tale, present(0.0, in_flight=0, peak_rps=0.0), 2) == 0


@trap("llm-d WVA: fewer pods that would not carry the recent peak")
def scale_down_is_tried_on_paper_first() -> None:
    bursty = present(2.0, peak_rps=9.0, service_s=4.0)
    tale = story(current=4)
    assert after(tale, bursty, 30) == 4
    assert tale.decision is not None
    assert tale.decision.scaling.clamps[-1].reason is Reason.WOULD_MISS_SLO


@pytest.mark.parametrize("check", TRAPS.values(), ids=TRAPS.keys())
def test_the_bug_is_not_here(check: Callable[[], None]) -> None:
    check()
