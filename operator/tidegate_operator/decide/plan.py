"""One tick of one policy: look at inputs, decide, say what is news.

Law: ``decide`` is the one function of the live loop, the backtest, the benchmarks and the tests.
What is worth telling is told once, when it becomes so; an unchanged world is silent. Shadow
decides the same as Enforce.
"""

from dataclasses import replace

from tidegate_operator.decide.ladder import decide_ladder
from tidegate_operator.decide.littles_law import LittlesLaw, check_littles_law
from tidegate_operator.decide.scaling import decide_scaling
from tidegate_operator.decide.words import (
    Change,
    DataState,
    Decision,
    Inputs,
    Memory,
    Reason,
    Rules,
    ScalingDecision,
)

_MUST_KNOW = frozenset(
    {
        Reason.DATA_ABSENT,
        Reason.DATA_STALE,
        Reason.DATA_ERROR,
        Reason.TARGET_STOPPED,
    }
)
"""Reasons for holding still that a person may have to do something about."""


def decide(rules: Rules, inputs: Inputs, memory: Memory) -> tuple[Decision, Memory]:
    """What the world should look like, what of it is news, and what the next decision must
    know."""
    before = memory
    scaling, memory = _scale(rules, inputs, memory)
    ladder, ladder_changes, memory = decide_ladder(rules, inputs, memory)
    told = _still_told(inputs, scaling, before, memory)
    changes = _scaling_changes(inputs, scaling, before, told) + ladder_changes
    if scaling.replicas != inputs.current:
        told = scaling.replicas if told is None else _further(inputs, scaling.replicas, told)
    reason = None if _is_first_look(scaling, before) else scaling.reason
    if told != memory.told_replicas or reason is not memory.last_reason:
        memory = replace(memory, told_replicas=told, last_reason=reason)
    law = _littles_law(inputs, memory)
    off_since = None if law is None else law.off_since
    if off_since != memory.littles_law_off_since:
        memory = replace(memory, littles_law_off_since=off_since)
    return Decision(scaling=scaling, ladder=ladder, littles_law=law, changes=changes), memory


def _littles_law(inputs: Inputs, memory: Memory) -> LittlesLaw | None:
    demand = inputs.demand
    if demand.state is not DataState.PRESENT:
        return None
    return check_littles_law(
        in_flight=demand.steady_in_flight,
        rps=demand.steady_rps,
        service_s=demand.service_s,
        off_since=memory.littles_law_off_since,
        now=inputs.now,
    )


def _scale(rules: Rules, inputs: Inputs, memory: Memory) -> tuple[ScalingDecision, Memory]:
    if rules.scales:
        return decide_scaling(rules.scaling, rules.mode, inputs, memory)
    alone = ScalingDecision(
        replicas=inputs.current,
        reason=Reason.SCALING_OFF,
        message="the policy has no spec.scaling: replicas are left alone",
        reactive=None,
        forecast=None,
    )
    return alone, memory


def _still_told(
    inputs: Inputs, scaling: ScalingDecision, before: Memory, memory: Memory
) -> int | None:
    """The told count that nobody has acted on yet, as long as the stabilisation window still knows
    of it.

    In Shadow the target never follows; without this a demand that hovers about a limit would be
    told on every tick.
    """
    told = before.told_replicas
    if told is None or inputs.current != before.last_current:
        return None
    if told > inputs.current:
        wanted = max((count for _, count in memory.recommendations), default=0)
        return told if wanted > inputs.current else None
    return told if scaling.replicas < inputs.current else None


def _further(inputs: Inputs, replicas: int, told: int) -> int:
    """Of two counts on the same side of the current one, that which is further from it."""
    if (replicas > inputs.current) != (told > inputs.current):
        return replicas
    return max(replicas, told) if replicas > inputs.current else min(replicas, told)


def _scaling_changes(
    inputs: Inputs, scaling: ScalingDecision, before: Memory, told: int | None
) -> tuple[Change, ...]:
    """A step, if it goes further than one already told; or that it became impossible, or possible,
    to decide."""
    current, target = inputs.current, scaling.replicas
    if target != current:
        news = told is None or _further(inputs, target, told) != told
        action = "ScaleUp" if target > current else "ScaleDown"
        return (_change(action, inputs, scaling),) if news else ()
    if scaling.reason is before.last_reason or _is_first_look(scaling, before):
        return ()
    if scaling.reason in _MUST_KNOW:
        return (_change("Hold", inputs, scaling, warning=True),)
    if before.last_reason is Reason.TARGET_STOPPED:
        return (_change("Hold", inputs, replace(scaling, reason=Reason.TARGET_STARTED)),)
    if before.last_reason in _MUST_KNOW:
        text = f"the sidecars report again; {scaling.message}"
        found = replace(scaling, reason=Reason.METRICS_FOUND, message=text)
        return (_change("Hold", inputs, found),) if scaling.reactive is not None else ()
    return ()


def _is_first_look(scaling: ScalingDecision, before: Memory) -> bool:
    """A rate takes two looks: that the first one has none is no news, that the second has none
    is."""
    return scaling.reason is Reason.DATA_ABSENT and before.last_current is None


def _change(
    action: str, inputs: Inputs, scaling: ScalingDecision, *, warning: bool = False
) -> Change:
    return Change(
        action=action,
        reason=scaling.reason,
        message=scaling.message,
        before=str(inputs.current),
        after=str(scaling.replicas),
        warning=warning,
    )
