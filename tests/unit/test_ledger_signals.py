"""What ties the signals together: tokens of a request, requests at once, who answers."""

import json

from sidecar_looks import MAX_AGE_S, START, again, begun, pods
from tidegate_operator.decide.words import DataState
from tidegate_operator.ledger.demand import DemandHistory


def test_tokens_per_request_are_of_the_requests_that_ended_lately() -> None:
    one, two = pods(2)
    history = begun(one, two)
    assert history.demand(START, MAX_AGE_S).tokens_per_request is None
    history.record(
        START + 15,
        {
            "pod-0": one.serve(3, tokens_in=100, tokens_out=300),
            "pod-1": two.serve(1, tokens_in=0, tokens_out=0),
        },
    )
    assert history.demand(START + 15, MAX_AGE_S).tokens_per_request == 300.0
    history.record(START + 400, {"pod-0": one.serve(1, tokens_in=10, tokens_out=10)})
    assert history.demand(START + 400, MAX_AGE_S).tokens_per_request == 20.0
    history.record(START + 800, {"pod-0": one.look()})
    later = again(history)
    later.record(START + 815, {"pod-0": one.look()})
    assert later.demand(START + 815, MAX_AGE_S).tokens_per_request == 20.0, "the last known"


def test_a_checkpoint_that_knew_no_tokens_takes_none_for_new() -> None:
    (pod,) = pods(1)
    history = begun(pod)
    history.record(START + 15, {"pod-0": pod.serve(100)})
    state = history.to_state()
    state["looks"] = [look[:-1] for look in state["looks"]]
    del state["tokens_per_request"]
    restored = DemandHistory(json.loads(json.dumps(state)))
    restored.record(START + 30, {"pod-0": pod.serve(1)})
    assert restored.demand(START + 30, MAX_AGE_S).tokens_per_request is None
    restored.record(START + 400, {"pod-0": pod.serve(2)})
    assert restored.demand(START + 400, MAX_AGE_S).tokens_per_request == 30.0


def test_requests_in_flight_are_a_total_and_a_mean_over_the_last_minute() -> None:
    one, two = pods(2)
    history = begun(one, two)
    for i in range(1, 9):
        one.in_flight, two.in_flight = i, 1
        history.record(START + 15 * i, {"pod-0": one.serve(1), "pod-1": two.serve(1)})
    demand = history.demand(START + 120, MAX_AGE_S)
    assert (demand.in_flight, demand.reporting) == (9, 2)
    assert demand.mean_in_flight == (6 + 7 + 8 + 9) / 4


def test_who_answers_before_there_is_a_rate_is_told() -> None:
    one, two = pods(2)
    one.in_flight = 3
    history = begun(one, two)
    demand = history.demand(START, MAX_AGE_S)
    assert (demand.state, demand.reporting, demand.in_flight) == (DataState.ABSENT, 2, 3)
