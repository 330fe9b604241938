"""Who decides the replica count just now: this policy, or somebody whom it must not fight.

Law: whoever else writes the count has it. A count that was neither found at first sight nor asked
for here was set by somebody, and stands for a while before anything is decided on it; what is set
back again and again is left alone for longer each time. A write of one's own whose answer was
lost, a restart, a new workload under the old name, and a start from zero are nobody's hand.
"""

from dataclasses import dataclass, replace

from tidegate_operator.decide.holding import Autoscaler, HandHold, HandsMemory
from tidegate_operator.decide.words import Memory, Reason

MANAGER = "tidegate"
"""Our field manager, as the API server notes it."""
CONTESTED_AFTER = 3
"""So many times in a row is no person: a GitOps tool or a script that never gives in."""
CONTESTED_S = 3600.0
"""The first long hold; each further one is twice as long, so that one who never gives in sees a
handful of writes a day."""
CONTESTED_MAX_S = 86400.0
CALM_S = 3600.0
"""Left alone for so long after a hold, the next one begins a new row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """The target's count as one tick finds it."""

    now: float
    uid: str
    replicas: int
    generation: int = 0
    """Of the policy's spec."""
    manager: str = ""
    """Field manager that owns the count; empty: not asked, or not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Somebody else decides the count."""

    reason: Reason
    """``HPA_ON_TARGET``, ``SCALED_BY_HAND`` or ``FIELD_CONTESTED``."""
    autoscaler: Autoscaler | None = None
    hand: HandHold | None = None


def is_foreign(memory: HandsMemory, sight: Sight) -> bool:
    """Whether the count is one that nothing here accounts for: worth asking who wrote it.

    To and from zero is no such thing: that is stop and go.
    """
    if memory.uid != sight.uid or memory.standing in (None, 0):
        return False
    return sight.replicas not in (0, memory.standing, memory.asking)


def find_hands(memory: HandsMemory, sight: Sight, *, manual_hold_s: float) -> HandsMemory:
    """What is known after looking; ``hold`` is set while somebody's count is to stand."""
    if memory.uid != sight.uid or memory.standing in (None, 0) or sight.replicas == 0:
        return found_anew(sight)
    memory = _expired(memory, sight)
    if sight.replicas == memory.standing:
        return memory
    if sight.replicas == memory.asking or sight.manager == MANAGER:
        return wrote(memory, sight.replicas)
    if memory.hold is not None:
        return _moved(memory, memory.hold, sight, manual_hold_s)
    return _taken(memory, sight, manual_hold_s)


def found_anew(sight: Sight) -> HandsMemory:
    """Whatever stands is taken as it is: at first sight, and where nothing is written anyway."""
    return HandsMemory(uid=sight.uid, standing=sight.replicas)


def asks(memory: HandsMemory, replicas: int) -> HandsMemory:
    """About to write; to be saved first, so that a crash in between accuses nobody."""
    return replace(memory, asking=replicas)


def wrote(memory: HandsMemory, replicas: int) -> HandsMemory:
    return replace(memory, standing=replicas, ours=True, asking=None, hold=None)


def refused(memory: HandsMemory) -> HandsMemory:
    """The API server said no: nothing was written."""
    return replace(memory, asking=None)


def who_holds(
    autoscaler: Autoscaler | None, memory: HandsMemory, *, writes: bool = True
) -> Hold | None:
    """Who else decides; ``None``: this policy does, or it writes nothing (``writes``) anyway."""
    if not writes:
        return None
    if autoscaler is not None:
        return Hold(reason=Reason.HPA_ON_TARGET, autoscaler=autoscaler)
    if memory.hold is None:
        return None
    contested = memory.hold.contested
    reason = Reason.FIELD_CONTESTED if contested else Reason.SCALED_BY_HAND
    return Hold(reason=reason, hand=memory.hold)


def meet(memory: Memory, uid: str) -> Memory:
    """Forget what was wanted of a workload that is gone, where another has come in its place."""
    if memory.hands.uid in ("", uid):
        return memory
    return replace(
        memory,
        recommendations=(),
        scale_ups=(),
        last_current=None,
        told_replicas=None,
        asleep=False,
    )


def _expired(memory: HandsMemory, sight: Sight) -> HandsMemory:
    hold = memory.hold
    if hold is None:
        return memory
    if hold.generation != sight.generation:
        # Whoever changes the policy wants it to act.
        return replace(memory, hold=None, reverts=0, held_until=0.0)
    if sight.now >= hold.until:
        return replace(memory, hold=None, held_until=hold.until)
    return memory


def _taken(memory: HandsMemory, sight: Sight, manual_hold_s: float) -> HandsMemory:
    in_a_row = memory.ours and sight.now - memory.held_until <= CALM_S
    reverts = memory.reverts + 1 if in_a_row else int(memory.ours)
    hold_s = manual_hold_s
    if reverts >= CONTESTED_AFTER:
        longer = CONTESTED_S * 2.0 ** min(reverts - CONTESTED_AFTER, 10)
        hold_s = max(manual_hold_s, min(longer, CONTESTED_MAX_S))
    hold = HandHold(
        count=sight.replicas,
        before=memory.standing or 0,
        asked=memory.ours,
        by=sight.manager,
        since=sight.now,
        until=sight.now + hold_s,
        generation=sight.generation,
        contested=reverts >= CONTESTED_AFTER,
    )
    return replace(
        memory, standing=sight.replicas, ours=False, asking=None, hold=hold, reverts=reverts
    )


def _moved(memory: HandsMemory, hold: HandHold, sight: Sight, manual_hold_s: float) -> HandsMemory:
    """They set it once more: back to what stood before hands back, else their time runs anew."""
    if sight.replicas == hold.before:
        return replace(
            memory,
            standing=sight.replicas,
            ours=hold.asked,
            asking=None,
            hold=None,
            held_until=sight.now,
        )
    moved = replace(
        hold,
        count=sight.replicas,
        by=sight.manager,
        since=sight.now,
        until=max(hold.until, sight.now + manual_hold_s),
    )
    return replace(memory, standing=sight.replicas, hold=moved)
