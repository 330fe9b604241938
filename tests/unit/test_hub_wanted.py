"""A count is handed on while it is fresh and meant; all else is refused, with words, and is never
a number."""

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_cluster import FakeClock
from tidegate_operator.decide.words import Actuator
from tidegate_operator.hub.wanted import NoCountError, Why
from tidegate_operator.settings import Settings
from tidegate_wire.clock import Clock
from wanted_counts import MAX_AGE_S, Policies


@pytest.fixture
def policies() -> Policies:
    return Policies(cast(Clock, FakeClock()))


def refusal(policies: Policies, actuator: Actuator = Actuator.KEDA) -> tuple[Why, str]:
    with pytest.raises(NoCountError) as caught:
        policies.wanted.count("shop", "chat", actuator)
    return caught.value.why, str(caught.value)


@pytest.mark.parametrize("replicas", [0, 1, 10_000])
@pytest.mark.parametrize("actuator", [Actuator.KEDA, Actuator.EXTERNAL_METRIC])
def test_a_fresh_count_is_handed_on(policies: Policies, replicas: int, actuator: Actuator) -> None:
    policies.put(replicas, actuator=actuator, age_s=MAX_AGE_S - 2)
    assert policies.wanted.count("shop", "chat", actuator).replicas == replicas


def test_a_newer_decision_is_seen_at_once(policies: Policies) -> None:
    policies.put(3)
    policies.put(5)
    assert policies.wanted.count("shop", "chat", Actuator.KEDA).replicas == 5


@pytest.mark.parametrize(
    ("changes", "why", "said"),
    [
        pytest.param(
            {"age_s": MAX_AGE_S + 60},
            Why.UNAVAILABLE,
            "last decision of LLMQualityPolicy shop/chat must be at most 120 s old, was: 180 s",
            id="it is too old",
        ),
        pytest.param(
            {"age_s": -MAX_AGE_S - 60},
            Why.UNAVAILABLE,
            "at most 120 s old",
            id="it is of the future",
        ),
        pytest.param(
            {"desired": None}, Why.UNAVAILABLE, "nothing has been decided", id="there is none yet"
        ),
        pytest.param(
            {"mode": "Shadow"},
            Why.NOT_MEANT,
            "must be Enforce to be acted on, was: Shadow",
            id="the policy only says what it would do",
        ),
        pytest.param({"mode": "Paused"}, Why.NOT_MEANT, "was: Paused", id="the policy is paused"),
        pytest.param(
            {"actuator": "Scale"},
            Why.NOT_MEANT,
            "spec.scaling.actuator of LLMQualityPolicy shop/chat must be KEDA, was: Scale",
            id="Tidegate scales itself",
        ),
        pytest.param(
            {"actuator": None},
            Why.NOT_MEANT,
            "must be KEDA, was: Scale",
            id="it names no actuator",
        ),
        pytest.param(
            {"actuator": "ExternalMetric"},
            Why.NOT_MEANT,
            "was: ExternalMetric",
            id="an HPA is to ask, and KEDA does",
        ),
        pytest.param(
            {"scaling": None}, Why.NOT_MEANT, "is required, was: absent", id="it does not scale"
        ),
    ],
)
def test_what_is_refused(policies: Policies, changes: dict[str, Any], why: Why, said: str) -> None:
    policies.put(**changes)
    found = refusal(policies)
    assert found[0] is why
    assert said in found[1]


@pytest.mark.parametrize(
    "replicas",
    [
        pytest.param({"desired": "many", "decidedAt": "2026-01-01T00:00:00Z"}, id="no number"),
        pytest.param({"desired": 3, "decidedAt": "yesterday"}, id="no time"),
        pytest.param({"desired": 3}, id="no time at all, as of a reconciler of an older version"),
        pytest.param({"decidedAt": "2026-01-01T00:00:00Z"}, id="a time and no number"),
    ],
)
def test_a_status_that_says_less_is_no_count(policies: Policies, replicas: dict[str, Any]) -> None:
    policies.put()
    policies.say(replicas)
    assert refusal(policies)[0] is Why.UNAVAILABLE


def test_a_policy_that_is_not_there_and_one_that_is_not_seen_yet_differ(
    policies: Policies,
) -> None:
    assert refusal(policies) == (Why.NOT_FOUND, "there is no LLMQualityPolicy shop/chat")
    policies.synced.clear()
    assert refusal(policies)[0] is Why.UNAVAILABLE


@given(
    age_s=st.floats(-1e6, 1e6),
    desired=st.one_of(st.none(), st.integers(0, 10_000)),
    mode=st.sampled_from(["Enforce", "Shadow", "Paused"]),
    actuator=st.sampled_from(["KEDA", "Scale", "ExternalMetric"]),
)
def test_a_count_is_either_the_one_that_was_decided_or_none(
    age_s: float, desired: int | None, mode: str, actuator: str
) -> None:
    policies = Policies()
    policies.put(desired, age_s=age_s, mode=mode, actuator=actuator)
    meant = mode == "Enforce" and actuator == "KEDA" and desired is not None
    try:
        found = policies.wanted.count("shop", "chat", Actuator.KEDA)
    except NoCountError:
        assert not (meant and abs(age_s) < MAX_AGE_S - 2)
    else:
        assert meant
        assert found.replicas == desired
        assert abs(age_s) < MAX_AGE_S + 2


def test_a_status_that_is_written_when_due_never_goes_stale() -> None:
    settings = Settings()
    assert settings.count_max_age_s == 120.0
    # A status write may fail once, and the tick after it come late.
    assert settings.count_max_age_s > settings.status_s + 2 * settings.tick_s
