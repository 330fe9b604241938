"""How many replicas there should be, and every step on the way to that count.

Law: the observed demand sets the floor and a trusted forecast may raise or hold it, never lower
it. Up at once, within the behaviour's limits; down only when data is present, nothing is starting
and both were low for the whole stabilisation window. No data is no evidence of no traffic: it
holds. A count of 0 that somebody else set means stop.
"""

from tidegate_operator.decide.limits import Steps, limit_down, limit_up, recommend
from tidegate_operator.decide.need import find_need, trouble_with
from tidegate_operator.decide.past import forget, look_back, remember
from tidegate_operator.decide.sayings import say_decision, say_hold, say_left_alone
from tidegate_operator.decide.words import (
    Inputs,
    Memory,
    Mode,
    Reason,
    ScalingDecision,
    ScalingRules,
)


def decide_scaling(
    rules: ScalingRules, mode: Mode, inputs: Inputs, memory: Memory
) -> tuple[ScalingDecision, Memory]:
    """Choose the replica count for the coming tick, and what to remember of it."""
    if mode is Mode.PAUSED:
        return say_left_alone(inputs, Reason.PAUSED, "the policy is paused"), forget(memory)
    if inputs.current == 0:
        message = (
            "somebody set replicas to 0, which means stop: nothing is scaled until somebody sets"
            " it above 0"
        )
        return say_left_alone(inputs, Reason.TARGET_STOPPED, message), forget(memory)
    past = look_back(rules, inputs, memory)
    reason, trouble = trouble_with(inputs.demand)
    if reason is not None:
        held = say_hold(rules, inputs, reason, trouble)
        return held, remember(memory, inputs, past, inputs.current)
    need = find_need(rules, inputs)
    steps = Steps(need.reactive)
    recommendation = recommend(rules, inputs, need, steps)
    if recommendation > inputs.current:
        limit_up(rules, inputs, past, steps)
    elif recommendation < inputs.current:
        limit_down(rules, inputs, past, need, steps)
    decision = say_decision(rules, inputs, need, steps)
    return decision, remember(memory, inputs, past, recommendation)
