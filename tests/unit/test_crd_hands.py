"""The words about somebody else's hand, read as a person on call reads them."""

import pytest

from tidegate_operator.crd.hands import (
    clock_time,
    say_alone,
    say_asked_by,
    say_asks,
    say_autoscaler_beside,
    say_does_not_ask,
    say_hold,
    say_inactive,
    say_nobody_asks,
)
from tidegate_operator.crd.spec import TargetRef
from tidegate_operator.decide.hands import Hold
from tidegate_operator.decide.holding import Autoscaler, HandHold
from tidegate_operator.decide.words import Actuator, Reason

NOON = 1_767_268_800.0
"""2026-01-01T12:00:00Z."""
LLAMA = TargetRef(kind="Deployment", name="llama")


def by_hand(**more: object) -> Hold:
    values = {"count": 7, "before": 4, "asked": True, "by": "kubectl", "since": NOON + 180}
    values |= {"until": NOON + 1080} | more
    hand = HandHold(**values)  # type: ignore[arg-type]
    reason = Reason.FIELD_CONTESTED if hand.contested else Reason.SCALED_BY_HAND
    return Hold(reason=reason, hand=hand)


def by_hpa(owner: str = "") -> Hold:
    hpa = Autoscaler(name="llama-hpa", owner=owner)
    return Hold(reason=Reason.HPA_ON_TARGET, autoscaler=hpa)


@pytest.mark.parametrize(
    ("hold", "sentence"),
    [
        pytest.param(
            by_hand(),
            "kubectl set replicas to 7 where Tidegate had asked for 4 (seen at 12:03 UTC)."
            " Tidegate stands back until 12:18 UTC, then decides again; now it would ask for 5."
            " To hand back sooner: kubectl scale deployment llama --replicas=4 -n shop",
            id="a person",
        ),
        pytest.param(
            by_hand(by="", asked=False),
            "somebody set replicas to 7 where there were 4 (seen at 12:03 UTC)",
            id="nobody knows who, and we had not written",
        ),
        pytest.param(
            by_hand(by="argocd-controller"),
            "To have it not happen again: take spec.replicas out of the manifest",
            id="a tool that applies manifests",
        ),
        pytest.param(
            by_hand(by="argocd-controller", contested=True, until=NOON + 86400),
            "argocd-controller keeps setting the replicas of Deployment/llama back after Tidegate"
            " scales it, now to 7. Tidegate takes no part in a fight: 7 stand until"
            " 2026-01-02 12:00 UTC",
            id="a tool that never gives in",
        ),
        pytest.param(
            by_hpa(),
            "HPA llama-hpa sets the replicas of Deployment/llama, so Tidegate does not: 7 stand,"
            " Tidegate would ask for 5. To let Tidegate decide: kubectl delete hpa llama-hpa"
            " -n shop. To keep the HPA: set spec.mode: Shadow",
            id="an HPA",
        ),
        pytest.param(
            by_hpa("ScaledObject/chat"),
            "To let Tidegate decide: kubectl delete scaledobject chat -n shop",
            id="an HPA that KEDA would make anew",
        ),
    ],
)
def test_say_hold(hold: Hold, sentence: str) -> None:
    assert sentence in say_hold(hold, namespace="shop", target=LLAMA, current=7, wanted=5)


def test_the_short_form() -> None:
    assert say_inactive(by_hand(), current=7, wanted=5) == (
        "replicas stay at 7, set by kubectl, until 12:18 UTC; Tidegate would ask for 5"
    )
    assert say_inactive(by_hpa(), current=1, wanted=5) == (
        "HPA llama-hpa decides: 1 stands, Tidegate would ask for 5"
    )


def test_an_autoscaler_that_is_to_ask() -> None:
    chat = Autoscaler(name="keda-hpa-chat", owner="ScaledObject/chat")
    assert say_asked_by(chat, LLAMA, Actuator.KEDA) == (
        "HPA keda-hpa-chat (of ScaledObject/chat) is the one hand that sets the replicas of"
        " Deployment/llama, as spec.scaling.actuator: KEDA wants it; Tidegate writes none"
    )
    other = say_does_not_ask(Autoscaler(name="cpu"), LLAMA, Actuator.KEDA, 5)
    assert other.startswith("HPA cpu sets the replicas of Deployment/llama without asking")
    assert "give it the metric tidegate-desired-replicas (docs/scaling.md)" in other
    assert say_asks(chat, 5).endswith("asks Tidegate for the count, now 5, and sets it")
    missed = say_nobody_asks(LLAMA, Actuator.EXTERNAL_METRIC, 5)
    assert "nobody acts on the 5 that Tidegate asks for: make an HPA" in missed


def test_without_a_conflict() -> None:
    assert "this policy writes none" in say_autoscaler_beside(Autoscaler(name="a"), LLAMA)
    assert say_alone(LLAMA, "").startswith("no HPA, no other policy")
    assert "can't be listed: forbidden" in say_alone(LLAMA, "forbidden")


def test_a_time_of_another_day_has_its_date() -> None:
    assert clock_time(NOON, NOON) == "12:00 UTC"
    assert clock_time(NOON + 43200, NOON) == "2026-01-02 00:00 UTC"
