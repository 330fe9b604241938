"""Who else sets a target's replicas, looked at once a tick; and writing them oneself.

Law: what is about to be written is saved first, so that after a crash nobody is accused of it.
Where that can't be saved, it is written all the same: pods matter more than a false alarm.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from tidegate_operator import logs
from tidegate_operator.cluster.client import Api, ApiError
from tidegate_operator.cluster.observe import Scale
from tidegate_operator.cluster.scale import read_manager, write_scale
from tidegate_operator.crd.spec import PolicySpec
from tidegate_operator.decide.hands import (
    Hold,
    Sight,
    asks,
    find_hands,
    found_anew,
    is_foreign,
    meet,
    refused,
    wrote,
)
from tidegate_operator.decide.holding import Autoscaler, HandsMemory
from tidegate_operator.decide.words import Actuator, Memory, Mode

Save = Callable[[HandsMemory], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrote:
    """What came of a write."""

    hands: HandsMemory
    done: bool
    """Whether the decision may be remembered."""
    error: str = ""


def moves_replicas(spec: PolicySpec) -> bool:
    """Whether the policy means its count to be acted on, by whatever hand."""
    return spec.rules.mode is Mode.ENFORCE and spec.rules.scales


def writes_replicas(spec: PolicySpec) -> bool:
    return moves_replicas(spec) and spec.rules.actuator is Actuator.SCALE


def nobody_acts(spec: PolicySpec, hold: Hold | None, autoscaler: Autoscaler | None) -> bool:
    """Whether the count that is decided stays a wish."""
    if spec.rules.actuator is Actuator.SCALE:
        return hold is not None
    return autoscaler is None or not autoscaler.asks


async def look_at_hands(
    api: Api,
    namespace: str,
    spec: PolicySpec,
    memory: Memory,
    sight: Sight,
    *,
    autoscaler: Autoscaler | None,
    manual_hold_s: float,
) -> Memory:
    """What is known after this tick's look. ``ApiError`` where the API server can't say."""
    memory = meet(memory, sight.uid)
    if not writes_replicas(spec) or autoscaler is not None:
        hands = found_anew(sight)
    else:
        if is_foreign(memory.hands, sight):
            manager = await read_manager(api, namespace, spec.target)
            sight = replace(sight, manager=manager)
        hands = find_hands(memory.hands, sight, manual_hold_s=manual_hold_s)
    return replace(memory, hands=hands) if hands != memory.hands else memory


async def set_replicas(
    api: Api,
    namespace: str,
    spec: PolicySpec,
    hands: HandsMemory,
    scale: Scale,
    wanted: int,
    save: Save,
) -> Wrote:
    """Write the count."""
    hands = asks(hands, wanted)
    try:
        await save(hands)
    except ApiError as error:
        logs.event("intent_lost", namespace=namespace, target=str(spec.target), error=str(error))
    try:
        await write_scale(api, namespace, spec.target, scale, wanted)
    except ApiError as error:
        # Somebody wrote in between, or the target has just gone: the next tick looks again.
        words = "" if error.status in (404, 409) else str(error)
        answered = 400 <= error.status < 500
        return Wrote(hands=refused(hands) if answered else hands, done=False, error=words)
    return Wrote(hands=wrote(hands, wanted), done=True)
