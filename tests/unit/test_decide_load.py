"""Requests, tokens and requests at once are one demand in three units, tied by Little's law."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_story import present
from tidegate_operator.decide.load import find_load
from tidegate_operator.decide.scaling import decide_scaling
from tidegate_operator.decide.signals import Signal
from tidegate_operator.decide.words import Demand, Inputs, Memory, Mode, Reason, ScalingRules

SLOTS, SERVICE_S, TOKENS = 8.0, 4.0, 500.0
"""A replica has 8 slots, a request takes 4 s and 500 tokens: 2 requests/s, 1000 tokens/s."""
BY_REQUESTS = ScalingRules(max_replicas=50, capacity_rps=SLOTS / SERVICE_S)
BY_TOKENS = ScalingRules(
    max_replicas=50, capacity_rps=None, capacity_tokens_per_s=TOKENS * SLOTS / SERVICE_S
)
BY_CONCURRENCY = ScalingRules(max_replicas=50, capacity_rps=None, capacity_in_flight=SLOTS)
EACH = pytest.mark.parametrize(
    "rules", [BY_REQUESTS, BY_TOKENS, BY_CONCURRENCY], ids=["requests", "tokens", "concurrency"]
)


def steady(rps: float, *, tokens: float = TOKENS, service_s: float = SERVICE_S) -> Demand:
    """As Little's law has it: rps x service time are in flight."""
    return present(
        rps,
        service_s=service_s,
        tokens_per_request=tokens,
        mean_in_flight=rps * service_s,
        in_flight=round(rps * service_s),
    )


def reactive(rules: ScalingRules, demand: Demand) -> int | None:
    inputs = Inputs(now=1e6, current=5, ready=5, starting=0, demand=demand)
    return decide_scaling(rules, Mode.ENFORCE, inputs, Memory())[0].reactive


@given(rps=st.floats(0.1, 60))
def test_a_steady_demand_needs_the_same_pods_in_any_unit(rps: float) -> None:
    counts = [reactive(rules, steady(rps)) for rules in (BY_REQUESTS, BY_TOKENS, BY_CONCURRENCY)]
    # Rounding may tip a count that stands right at a pod's edge.
    assert max(c or 0 for c in counts) - min(c or 0 for c in counts) <= 1


@EACH
def test_more_demand_never_needs_fewer_pods(rules: ScalingRules) -> None:
    counts = [reactive(rules, steady(rps / 4)) or 0 for rps in range(1, 200)]
    assert counts == sorted(counts)


def test_longer_requests_need_more_pods_by_tokens_and_not_by_requests() -> None:
    long = steady(6.0, tokens=2 * TOKENS)
    assert reactive(BY_REQUESTS, long) == reactive(BY_REQUESTS, steady(6.0))
    assert (reactive(BY_TOKENS, long) or 0) > (reactive(BY_TOKENS, steady(6.0)) or 0)


def test_a_queue_in_the_model_server_needs_pods_by_concurrency_alone() -> None:
    queued = present(6.0, service_s=SERVICE_S, mean_in_flight=60.0, in_flight=60)
    assert (reactive(BY_CONCURRENCY, queued) or 0) > (reactive(BY_CONCURRENCY, steady(6.0)) or 0)
    assert reactive(BY_REQUESTS, queued) == reactive(BY_REQUESTS, steady(6.0))


@pytest.mark.parametrize(
    ("rules", "demand", "why"),
    [
        pytest.param(
            BY_TOKENS,
            present(6.0, service_s=4.0),
            "no request has told its tokens yet",
            id="tokens that nobody told",
        ),
        pytest.param(
            BY_CONCURRENCY,
            present(6.0, mean_in_flight=3.0),
            "no request has ended yet",
            id="a service time that nobody measured",
        ),
    ],
)
def test_a_capacity_that_cannot_be_told_yet_holds_and_says_why(
    rules: ScalingRules, demand: Demand, why: str
) -> None:
    assert find_load(rules, demand)[0] is None
    inputs = Inputs(now=1e6, current=5, ready=5, starting=0, demand=demand)
    decision, _ = decide_scaling(rules, Mode.ENFORCE, inputs, Memory())
    assert (decision.replicas, decision.reason) == (5, Reason.CAPACITY_UNKNOWN)
    assert why in decision.message


@pytest.mark.parametrize(
    ("rules", "signal", "words"),
    [
        pytest.param(BY_REQUESTS, Signal.REQUESTS, "demand 6.0 rps needs", id="requests"),
        pytest.param(BY_TOKENS, Signal.TOKENS, "3000 tokens/s (6.0 rps) needs", id="tokens"),
        pytest.param(
            BY_CONCURRENCY,
            Signal.CONCURRENCY,
            "demand of 24.0 requests at once needs",
            id="at once",
        ),
    ],
)
def test_a_decision_speaks_in_its_own_unit(
    rules: ScalingRules, signal: Signal, words: str
) -> None:
    inputs = Inputs(now=1e6, current=5, ready=5, starting=0, demand=steady(6.0))
    decision, _ = decide_scaling(rules, Mode.ENFORCE, inputs, Memory())
    assert decision.capacity is not None
    assert decision.capacity.signal is signal
    assert words in decision.message


@EACH
def test_demand_is_the_total_whatever_the_number_of_pods(rules: ScalingRules) -> None:
    """aibrix KPA: a mean over pods, then divided as if it were a total."""
    counts = set()
    for current in (1, 5, 20):
        inputs = Inputs(now=1e6, current=current, ready=current, starting=0, demand=steady(12.0))
        counts.add(decide_scaling(rules, Mode.ENFORCE, inputs, Memory())[0].reactive)
    assert len(counts) == 1
