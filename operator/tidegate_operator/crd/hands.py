"""What is said of somebody else who sets the target's replicas: who, what stands, what to do.

Law: words for a person on call. Each message names who decides now, what Tidegate would have
done, and the one command that ends it.
"""

from datetime import UTC, datetime

from tidegate_operator.crd.spec import TargetRef
from tidegate_operator.decide.hands import Hold
from tidegate_operator.decide.holding import Autoscaler, HandHold
from tidegate_operator.decide.words import Actuator
from tidegate_wire.names import METRIC_DESIRED

_MANIFEST_TOOLS = ("argocd", "kustomize-controller", "helm", "apply", "flux", "terraform")
"""Parts of field managers' names that write whole manifests."""
_DAY_S = 86400.0


def say_hold(hold: Hold, *, namespace: str, target: TargetRef, current: int, wanted: int) -> str:
    """The message of ``NoConflict=False``; ``wanted`` is what would be asked for now."""
    if hold.autoscaler is not None:
        return _say_autoscaler(hold.autoscaler, namespace, target, current, wanted)
    assert hold.hand is not None
    if hold.hand.contested:
        return _say_contested(hold.hand, namespace, target, wanted)
    return _say_by_hand(hold.hand, namespace, target, wanted)


def say_inactive(hold: Hold, *, current: int, wanted: int) -> str:
    """The message of ``ScalingActive=False``; the whole story stands in ``NoConflict``."""
    if hold.autoscaler is not None:
        return (
            f"{_name(hold.autoscaler)} decides: {_stand(current)}, Tidegate would ask for {wanted}"
        )
    assert hold.hand is not None
    until = clock_time(hold.hand.until, hold.hand.since)
    return (
        f"replicas stay at {current}, set by {hold.hand.by or 'somebody'}, until {until};"
        f" Tidegate would ask for {wanted}"
    )


def say_autoscaler_beside(autoscaler: Autoscaler, target: TargetRef) -> str:
    """For a policy that writes nothing."""
    return (
        f"{_name(autoscaler)} sets the replicas of {target}; this policy writes none, so both can"
        " stay. Before mode: Enforce, delete one of the two"
    )


def say_asked_by(autoscaler: Autoscaler, target: TargetRef, actuator: Actuator) -> str:
    """For a policy whose count an autoscaler comes and asks for."""
    return (
        f"{_name(autoscaler)} is the one hand that sets the replicas of {target}, as"
        f" spec.scaling.actuator: {actuator} wants it; Tidegate writes none"
    )


def say_nobody_asks(target: TargetRef, actuator: Actuator, wanted: int) -> str:
    """The message of ``ScalingActive=False`` where the expected autoscaler is not there."""
    made = "a ScaledObject" if actuator is Actuator.KEDA else "an HPA"
    return (
        f"spec.scaling.actuator is {actuator}, but no HPA points at {target}, so nobody acts on"
        f" the {wanted} that Tidegate asks for: make {made} (docs/scaling.md), or set"
        " spec.scaling.actuator: Scale"
    )


def say_does_not_ask(
    autoscaler: Autoscaler, target: TargetRef, actuator: Actuator, wanted: int
) -> str:
    """For a policy that is to be asked, and whose target has an autoscaler that asks others."""
    return (
        f"{_name(autoscaler)} sets the replicas of {target} without asking Tidegate, which would"
        f" ask for {wanted}: give it the metric {METRIC_DESIRED} (docs/scaling.md), as"
        f" spec.scaling.actuator: {actuator} wants it"
    )


def say_asks(autoscaler: Autoscaler, wanted: int) -> str:
    """The message of ``ScalingActive=True`` where an autoscaler acts."""
    return f"{_name(autoscaler)} asks Tidegate for the count, now {wanted}, and sets it"


def say_alone(target: TargetRef, problem: str) -> str:
    """The message of ``NoConflict=True``; ``problem``: why autoscalers can't be listed."""
    if problem:
        return (
            f"no other policy and nobody's hand sets the replicas of {target}; whether an HPA"
            f" does is not known, since they can't be listed: {problem[:300]}"
        )
    return f"no HPA, no other policy and nobody's hand sets the replicas of {target}"


def _say_autoscaler(
    autoscaler: Autoscaler, namespace: str, target: TargetRef, current: int, wanted: int
) -> str:
    kind, _, name = autoscaler.owner.partition("/")
    doomed = f"{kind.lower()} {name}" if autoscaler.owner else f"hpa {autoscaler.name}"
    return (
        f"{_name(autoscaler)} sets the replicas of {target}, so Tidegate does not:"
        f" {_stand(current)}, Tidegate would ask for {wanted}."
        f" To let Tidegate decide: kubectl delete {doomed} -n {namespace}."
        f" To keep the HPA: set spec.mode: Shadow"
    )


def _say_by_hand(hand: HandHold, namespace: str, target: TargetRef, wanted: int) -> str:
    before = f"Tidegate had asked for {hand.before}" if hand.asked else f"there were {hand.before}"
    text = (
        f"{hand.by or 'somebody'} set replicas to {hand.count} where {before} (seen at"
        f" {clock_time(hand.since, hand.since)}). Tidegate stands back until"
        f" {clock_time(hand.until, hand.since)}, then decides again; now it would ask for"
        f" {wanted}."
        f" To hand back sooner: {_hand_back(hand, namespace, target)}"
    )
    if any(tool in hand.by for tool in _MANIFEST_TOOLS):
        text += ". To have it not happen again: take spec.replicas out of the manifest"
    return text


def _say_contested(hand: HandHold, namespace: str, target: TargetRef, wanted: int) -> str:
    return (
        f"{hand.by or 'somebody'} keeps setting the replicas of {target} back after Tidegate"
        f" scales it, now to {hand.count}. Tidegate takes no part in a fight: {hand.count} stand"
        f" until {clock_time(hand.until, hand.since)}, though it would ask for {wanted}."
        " Let one of the two decide: take spec.replicas out of the manifest (Argo CD:"
        " ignoreDifferences for /spec/replicas), or set spec.mode: Shadow."
        f" Then hand back: {_hand_back(hand, namespace, target)}"
    )


def _hand_back(hand: HandHold, namespace: str, target: TargetRef) -> str:
    return (
        f"kubectl scale {target.kind.lower()} {target.name} --replicas={hand.before}"
        f" -n {namespace}"
    )


def _name(autoscaler: Autoscaler) -> str:
    of = f" (of {autoscaler.owner})" if autoscaler.owner else ""
    return f"HPA {autoscaler.name}{of}"


def _stand(count: int) -> str:
    return f"{count} stands" if count == 1 else f"{count} stand"


def clock_time(at: float, since: float) -> str:
    """A time of day in UTC, with its date where that is another day than ``since``'s."""
    moment = datetime.fromtimestamp(at, UTC)
    if int(at // _DAY_S) != int(since // _DAY_S):
        return moment.strftime("%Y-%m-%d %H:%M UTC")
    return moment.strftime("%H:%M UTC")
