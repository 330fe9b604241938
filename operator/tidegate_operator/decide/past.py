"""What happened before this tick and still counts: recommendations and pods added.

Law: what was added is read off the target and not off our own decisions; whatever was not looked
at for long begins anew.
"""

from dataclasses import dataclass, replace

from tidegate_operator.decide.words import Inputs, Memory, ScalingRules

_UNSEEN_S = 120.0
"""After so long without a decision the stabilisation window counts as unseen, and begins anew."""


@dataclass(frozen=True, slots=True)
class Past:
    """What happened before this tick and still counts."""

    recommendations: tuple[tuple[float, int], ...]
    ups: tuple[tuple[float, int], ...]


def forget(memory: Memory) -> Memory:
    """Whoever takes over again begins with a whole stabilisation window."""
    if memory.last_current is None and not memory.recommendations and not memory.scale_ups:
        return memory
    return replace(memory, recommendations=(), scale_ups=(), last_current=None)


def look_back(rules: ScalingRules, inputs: Inputs, memory: Memory) -> Past:
    """Drop what is too old, and take in what the target's count says of the time since.

    Pods added are read off the target rather than off the last decision: in Shadow, and after a
    write that failed, a decision added nothing; and what a person added counts as well
    (dynamo#4420).
    """
    now, current = inputs.now, inputs.current
    recommendations, ups = memory.recommendations, memory.scale_ups
    last = recommendations[-1][0] if recommendations else now
    if not recommendations or now - last > _UNSEEN_S:
        recommendations = ((now, current),)
    if memory.last_current is not None and current > memory.last_current:
        ups = (*ups, (last, current - memory.last_current))
        # Whoever raised it meant it: undone within the window, it would be a fight.
        recommendations = (*recommendations, (last, current))
    since = now - rules.stabilization_s
    recommendations = tuple(r for r in recommendations if r[0] > since)
    if ups:
        ups = tuple(up for up in ups if up[0] > now - rules.up_period_s)
    return Past(recommendations, ups)


def remember(memory: Memory, inputs: Inputs, past: Past, count: int) -> Memory:
    """Add a recommendation; earlier ones that are no higher can never be the highest again."""
    higher = tuple(r for r in past.recommendations if r[1] > count)
    return replace(
        memory,
        recommendations=(*higher, (inputs.now, count)),
        scale_ups=past.ups,
        last_current=inputs.current,
    )
