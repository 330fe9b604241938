"""Minutes of demand: nothing lost that a counter still knows, nothing made up that nobody saw."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar_looks import MAX_AGE_S, START, CountingSidecar, again, begun, pods
from tidegate_operator.decide.words import DataState
from tidegate_operator.ledger.demand import DemandHistory
from tidegate_operator.ledger.usage import InvalidStateError
from tidegate_wire.stats import Series, SidecarStats


def counts(history: DemandHistory) -> tuple[int | None, ...]:
    """Minutes that are over, and the one that is not."""
    state = history.to_state()
    return tuple(state["counts"] + state["open"])


# --- minutes ----------------------------------------------------------------------------------


def test_arrivals_of_all_pods_are_summed_by_the_minute() -> None:
    one, two = pods(2)
    history = begun(one, two)
    for i in range(1, 9):
        history.record(START + 15 * i, {"pod-0": one.serve(3), "pod-1": two.serve(1)})
    assert counts(history) == (16, 16, None)
    assert history.minutes() == (29_000_000, (16, 16))


def test_a_delta_over_a_minutes_end_is_shared_by_time() -> None:
    (pod,) = pods(1)
    history = begun(pod)
    history.record(START + 50, {"pod-0": pod.serve(10)})
    history.record(START + 70, {"pod-0": pod.serve(10)})
    assert counts(history) == (15, 5)


def test_the_minute_that_is_not_over_is_not_told() -> None:
    (pod,) = pods(1)
    history = begun(pod)
    history.record(START + 45, {"pod-0": pod.serve(10)})
    assert history.minutes() == (29_000_000, ())


def test_what_ran_before_anybody_looked_is_not_demand_of_now() -> None:
    (pod,) = pods(1)
    pod.serve(100_000)
    history = begun(pod)
    assert history.demand(START, MAX_AGE_S).state is DataState.ABSENT
    history.record(START + 15, {"pod-0": pod.serve(15)})
    assert history.demand(START + 15, MAX_AGE_S).rps == 1.0


def test_a_pod_that_could_not_be_read_at_first_is_not_a_surge_when_it_can() -> None:
    one, two = pods(2)
    two.serve(100_000)
    history = DemandHistory()
    history.record(START, {"pod-0": one.look(), "pod-1": None})
    history.record(START + 15, {"pod-0": one.serve(15), "pod-1": two.look()})
    assert history.demand(START + 15, MAX_AGE_S).rps == 1.0


def test_a_pod_that_is_started_counts_from_its_first_request() -> None:
    one, two = pods(2)
    history = begun(one)
    history.record(START + 15, {"pod-0": one.serve(15), "pod-1": two.serve(30)})
    assert counts(history) == (45,)


def test_a_pod_that_fails_while_it_starts_loses_nothing() -> None:
    one, two = pods(2)
    history = begun(one)
    history.record(START + 15, {"pod-0": one.look(), "pod-1": None})
    history.record(START + 30, {"pod-0": one.look(), "pod-1": two.serve(30)})
    assert counts(history) == (30,)


def test_a_process_that_starts_anew_counts_from_zero() -> None:
    history = begun(*pods(1))
    first = CountingSidecar(pod_uid="pod-0", boot="boot-1")
    history.record(START + 15, {"pod-0": first.serve(15)})
    second = CountingSidecar(pod_uid="pod-0", boot="boot-2")
    history.record(START + 30, {"pod-0": second.serve(4)})
    history.record(START + 45, {"pod-0": first.look()})
    assert counts(history) == (19,), "the old life's last look, late, is nothing new"


def test_a_look_that_comes_late_takes_nothing_back() -> None:
    (pod,) = pods(1)
    history = begun(pod)
    early = pod.serve(15)
    history.record(START + 15, {"pod-0": pod.serve(15)})
    history.record(START + 30, {"pod-0": early})
    assert counts(history) == (30,)
    assert history.demand(START + 30, MAX_AGE_S).rps == pytest.approx(1.0)


def test_a_new_life_counts_from_when_the_old_one_was_last_seen() -> None:
    history = begun(*pods(1))
    history.record(START + 60, {"pod-0": CountingSidecar(pod_uid="pod-0").serve(60)})
    history.record(START + 120, {"pod-0": None})
    reborn = CountingSidecar(pod_uid="pod-0", boot="boot-2")
    history.record(START + 180, {"pod-0": reborn.serve(120)})
    assert history.minutes()[1] == (60, 60, 60)


def test_a_minute_that_nobody_saw_is_missing_and_not_zero() -> None:
    history = DemandHistory()
    for i in range(8):
        history.record(START + 60 * i, {})
    assert counts(history) == (None,) * 8


def test_a_quiet_minute_is_zero_and_not_missing() -> None:
    (pod,) = pods(1)
    history = begun(pod)
    for i in range(1, 13):
        history.record(START + 15 * i, {"pod-0": pod.look()})
    assert history.minutes()[1] == (0, 0, 0)


def test_minutes_without_an_answer_are_filled_when_it_comes() -> None:
    (pod,) = pods(1)
    history = begun(pod)
    history.record(START + 60, {"pod-0": pod.serve(60)})
    for i in range(2, 5):
        history.record(START + 60 * i, {"pod-0": None})
    assert counts(history) == (60, None, None, None, None)
    pod.serve(240)
    history.record(START + 300, {"pod-0": pod.look()})
    assert counts(history) == (60, 60, 60, 60, 60, None)


def test_a_restart_of_the_operator_loses_nothing() -> None:
    (pod,) = pods(1)
    history = begun(pod)
    for i in range(1, 9):
        history.record(START + 15 * i, {"pod-0": pod.serve(15)})
    history = again(history)
    history.record(START + 135, {"pod-0": pod.serve(15)})
    history = again(history)
    pod.serve(20 * 60 - 15)
    history.record(START + 22 * 60, {"pod-0": pod.look()})
    assert history.minutes()[1] == (60,) * 22, "twenty minutes away, and none of them missing"


def test_a_restart_in_the_middle_of_a_minute_keeps_its_part() -> None:
    (pod,) = pods(1)
    history = begun(pod)
    history.record(START + 30, {"pod-0": pod.serve(30)})
    history = again(history)
    history.record(START + 60, {"pod-0": pod.serve(30)})
    assert history.minutes()[1] == (60,)


def test_a_pod_that_died_while_nobody_looked_leaves_its_minutes_missing() -> None:
    (pod,) = pods(1)
    history = begun(pod)
    history.record(START + 60, {"pod-0": pod.serve(60)})
    history = again(history)
    history.record(START + 300, {})
    assert counts(history) == (60, None, None, None, None, None)


def test_a_history_from_elsewhere_is_gone_on_with() -> None:
    (pod,) = pods(1)
    history = DemandHistory({"start_minute": 29_000_000 - 3, "counts": [7, None, 9]})
    history.record(START, {"pod-0": pod.look()})
    history.record(START + 60, {"pod-0": pod.serve(5)})
    assert history.minutes() == (29_000_000 - 3, (7, None, 9, 5))


def test_the_history_is_bounded() -> None:
    (pod,) = pods(1)
    history = DemandHistory(history_minutes=10)
    for i in range(31):
        history.record(START + 60 * i, {"pod-0": pod.serve(i)})
    start, minutes = history.minutes()
    assert start == 29_000_000 + 20
    assert minutes == tuple(range(21, 31))


def test_a_gap_longer_than_the_history_begins_it_anew() -> None:
    (pod,) = pods(1)
    history = DemandHistory(history_minutes=10)
    history.record(START, {"pod-0": pod.look()})
    history.record(START + 86_400, {"pod-0": pod.serve(5)})
    assert len(history.minutes()[1]) <= 10


# --- the four states --------------------------------------------------------------------------


def test_nobody_to_ask_is_absent() -> None:
    history = DemandHistory()
    assert history.demand(START, MAX_AGE_S).state is DataState.ABSENT
    history.record(START, {})
    demand = history.demand(START, MAX_AGE_S)
    assert (demand.state, demand.rps) == (DataState.ABSENT, None)


def test_no_requests_are_zero_and_present() -> None:
    """0 requests over 0 pods were not a number, and never scaled down (dynamo#3131, #6985)."""
    (pod,) = pods(1)
    history = begun(pod)
    history.record(START + 15, {"pod-0": pod.look()})
    demand = history.demand(START + 15, MAX_AGE_S)
    assert (demand.state, demand.rps, demand.in_flight) == (DataState.PRESENT, 0.0, 0)


def test_pods_that_do_not_answer_are_an_error_and_no_zero() -> None:
    """An outage of the metrics read as no load scaled to nothing (keda#8036)."""
    one, two = pods(2)
    history = begun(one, two)
    history.record(START + 15, {"pod-0": one.serve(15), "pod-1": two.serve(15)})
    history.record(START + 30, {"pod-0": None, "pod-1": None})
    demand = history.demand(START + 30, MAX_AGE_S)
    assert (demand.state, demand.rps, demand.age_s) == (DataState.ERROR, None, 15.0)


def test_a_look_of_long_ago_is_stale() -> None:
    (pod,) = pods(1)
    history = begun(pod)
    history.record(START + 15, {"pod-0": pod.serve(15)})
    assert history.demand(START + 75, MAX_AGE_S).state is DataState.PRESENT
    demand = history.demand(START + 76, MAX_AGE_S)
    assert (demand.state, demand.rps) == (DataState.STALE, 1.0)


def test_counters_that_can_not_be_counters_are_no_answer() -> None:
    (pod,) = pods(1)
    history = begun(pod)
    wrong = SidecarStats(pod_uid="pod-0", boot="boot-1", arrived=-5)
    history.record(START + 15, {"pod-0": wrong})
    assert history.demand(START + 15, MAX_AGE_S).state is DataState.ERROR
    series = Series(model="m", tenant="", duration_s=float("nan"))
    wrong = SidecarStats(pod_uid="pod-0", boot="boot-1", arrived=5, series=(series,))
    history.record(START + 30, {"pod-0": wrong})
    assert history.demand(START + 30, MAX_AGE_S).state is DataState.ERROR


# --- figures ----------------------------------------------------------------------------------


def steady(history: DemandHistory, *sidecars: CountingSidecar, ticks: int = 8) -> float:
    """Each pod takes one request a second; when that ended."""
    now = START
    for i in range(1, ticks + 1):
        now = START + 15 * i
        history.record(now, {pod.pod_uid: pod.serve(15) for pod in sidecars})
    return now


def test_the_rate_is_the_total_over_the_last_minute() -> None:
    """Not the mean of the pods: that, divided by capacity as if it were a total, starves
    (aibrix)."""
    sidecars = pods(4)
    history = begun(*sidecars)
    now = steady(history, *sidecars)
    assert history.demand(now, MAX_AGE_S).rps == pytest.approx(4.0)


def test_the_rate_follows_within_a_minute_and_the_peak_stays_for_five() -> None:
    (pod,) = pods(1)
    history = begun(pod)
    now = steady(history, pod)
    for i in range(1, 20):
        history.record(now + 15 * i, {"pod-0": pod.look()})
        demand = history.demand(now + 15 * i, MAX_AGE_S)
        assert demand.rps == pytest.approx(max(0.0, 1.0 - i / 4))
        assert demand.peak_rps == pytest.approx(1.0)
    history.record(now + 360, {"pod-0": pod.look()})
    assert history.demand(now + 360, MAX_AGE_S).peak_rps == pytest.approx(0.0)


def test_a_pod_that_is_silent_is_taken_to_go_on() -> None:
    one, two = pods(2)
    history = begun(one, two)
    now = steady(history, one, two)
    for i in range(1, 30):
        history.record(now + 15 * i, {"pod-0": one.serve(15), "pod-1": None})
        assert history.demand(now + 15 * i, MAX_AGE_S).rps == pytest.approx(2.0)
    two.serve(30 * 15)
    history.record(now + 450, {"pod-0": one.serve(15), "pod-1": two.look()})
    assert history.demand(now + 450, MAX_AGE_S).rps == pytest.approx(2.0)
    whole = [n for n in history.minutes()[1] if n != 120]
    assert whole == [], "and what it did meanwhile stands in its minutes"


def test_the_share_that_is_made_up_is_said() -> None:
    one, two = pods(2)
    history = begun(one, two)
    now = steady(history, one, two)
    assert history.demand(now, MAX_AGE_S).estimated == 0.0
    shares = []
    for i in range(1, 50):
        history.record(now + 15 * i, {"pod-0": one.serve(15), "pod-1": None})
        shares.append(history.demand(now + 15 * i, MAX_AGE_S).estimated)
    assert shares[:4] == pytest.approx([1 / 8, 2 / 8, 3 / 8, 4 / 8]), "of the last minute"
    assert shares[4:40] == pytest.approx([1 / 2] * 36)
    assert shares[-1] == 0.0, "after ten minutes nothing is made up any more"


def test_a_pod_that_is_silent_for_long_is_no_longer_made_up() -> None:
    sidecars = pods(3)
    history = begun(*sidecars)
    now = steady(history, *sidecars)
    for i in range(1, 50):
        looks = {pod.pod_uid: pod.serve(15) for pod in sidecars[:2]} | {"pod-2": None}
        history.record(now + 15 * i, looks)
    assert history.demand(now + 735, MAX_AGE_S).rps == pytest.approx(2.0)


def test_where_most_are_silent_the_figure_is_stale() -> None:
    sidecars = pods(3)
    history = begun(*sidecars)
    now = steady(history, *sidecars) + 15
    history.record(now, {"pod-0": sidecars[0].serve(15), "pod-1": None, "pod-2": None})
    assert history.demand(now, MAX_AGE_S).state is DataState.STALE


def test_pods_that_start_do_not_make_the_figure_stale() -> None:
    (pod,) = pods(1)
    history = begun(pod)
    now = steady(history, pod) + 15
    history.record(now, {"pod-0": pod.serve(15), "new-1": None, "new-2": None, "new-3": None})
    assert history.demand(now, MAX_AGE_S).state is DataState.PRESENT


def test_a_pod_that_left_is_not_made_up() -> None:
    one, two = pods(2)
    history = begun(one, two)
    now = steady(history, one, two)
    for i in range(1, 6):
        history.record(now + 15 * i, {"pod-0": one.serve(30)})
    assert history.demand(now + 75, MAX_AGE_S).rps == pytest.approx(2.0)


def test_the_rate_after_a_restart_is_of_what_was_seen() -> None:
    (pod,) = pods(1)
    history = begun(pod)
    now = steady(history, pod)
    history = again(history)
    assert history.demand(now, MAX_AGE_S).state is DataState.ABSENT, "not looked yet"
    history.record(now + 20, {"pod-0": pod.serve(20)})
    demand = history.demand(now + 20, MAX_AGE_S)
    assert demand.state is DataState.PRESENT
    assert demand.rps == pytest.approx(1.0)


def test_the_first_minute_after_a_silence_is_not_thinned_by_it() -> None:
    (pod,) = pods(1)
    history = begun(pod)
    history.record(START + 15, {"pod-0": pod.serve(15)})
    history.record(START + 30, {})
    history.record(START + 300, {})
    history.record(START + 315, {"new": CountingSidecar(pod_uid="new").serve(30)})
    assert history.demand(START + 315, MAX_AGE_S).rps == pytest.approx(2.0)


def test_the_service_time_is_that_of_late_requests() -> None:
    (pod,) = pods(1)
    history = begun(pod)
    assert history.demand(START, MAX_AGE_S).service_s is None
    history.record(START + 15, {"pod-0": pod.serve(10, duration_s=2.0)})
    history.record(START + 30, {"pod-0": pod.serve(30, duration_s=6.0)})
    assert history.demand(START + 30, MAX_AGE_S).service_s == pytest.approx(5.0)
    history.record(START + 320, {"pod-0": pod.serve(10, duration_s=1.0)})
    assert history.demand(START + 320, MAX_AGE_S).service_s == pytest.approx(4.75)
    history.record(START + 700, {"pod-0": pod.look()})
    assert history.demand(START + 700, MAX_AGE_S).service_s is not None, "the last one known"
    assert again(history).to_state()["service_s"] is not None


def test_requests_in_flight_are_those_of_all_pods() -> None:
    one, two = pods(2)
    one.in_flight, two.in_flight = 3, 4
    history = begun(one, two)
    history.record(START + 15, {"pod-0": one.serve(), "pod-1": two.serve()})
    assert history.demand(START + 15, MAX_AGE_S).in_flight == 7


@pytest.mark.parametrize(
    "state",
    [
        {"v": 7, "counts": []},
        {"v": 1},
        {"start_minute": 1, "counts": ["many"]},
        {"start_minute": 1, "counts": [1], "looks": [["a"]]},
    ],
)
def test_a_state_that_can_not_be_read_is_refused(state: dict[str, object]) -> None:
    with pytest.raises(InvalidStateError, match="demand"):
        DemandHistory(state)


# --- whatever comes ---------------------------------------------------------------------------

ROUNDS = st.lists(
    st.tuples(
        st.floats(0.0, 200.0),
        st.lists(st.tuples(st.integers(0, 40), st.booleans()), min_size=3, max_size=3),
        st.booleans(),
    ),
    min_size=1,
    max_size=30,
)


@given(ROUNDS)
def test_all_minutes_together_are_what_arrived(
    rounds: list[tuple[float, list[tuple[int, bool]], bool]],
) -> None:
    """Whoever fails to answer, whenever we restart: the counters' sum is the minutes' sum."""
    sidecars = pods(3)
    history = begun(*sidecars)
    now, total = START, 0
    for seconds, served, restart in rounds:
        now += seconds
        looks: dict[str, SidecarStats | None] = {}
        for pod, (requests, answers) in zip(sidecars, served, strict=True):
            total += requests
            stats = pod.serve(requests)
            looks[pod.pod_uid] = stats if answers else None
        if restart:
            history = again(history)
        history.record(now, looks)
        demand = history.demand(now, MAX_AGE_S)
        assert demand.rps is None or demand.rps >= 0
    history.record(now + 1, {pod.pod_uid: pod.look() for pod in sidecars})
    assert sum(n or 0 for n in counts(history)) == total
    assert None not in history.minutes()[1]


@given(ROUNDS)
def test_repeated_and_older_looks_add_nothing(
    rounds: list[tuple[float, list[tuple[int, bool]], bool]],
) -> None:
    (pod,) = pods(1)
    plain, mixed = begun(pod), begun(pod)
    now, last = START, pod.look()
    for seconds, served, _ in rounds:
        now += seconds
        stats = pod.serve(served[0][0])
        plain.record(now, {"pod-0": stats})
        mixed.record(now, {"pod-0": stats})
        mixed.record(now, {"pod-0": last})
        mixed.record(now, {"pod-0": stats})
        last = stats
    assert counts(plain) == counts(mixed)
