"""How many replicas there should be, and every step on the way to that count.

Law: the observed demand sets the floor; a trusted forecast and a schedule may raise or hold it,
never lower it. Up at once, within the behaviour's limits; down only when data is present, nothing
is starting and all were low for the whole stabilisation window. No data is no evidence of no
traffic: it never removes a pod. A count of 0 that somebody else set means stop; one that the
policy itself came to ends with the next forecast, schedule or demand.
"""

from dataclasses import replace

from tidegate_operator.decide.bounds import Bounds, find_bounds
from tidegate_operator.decide.counterfactual import margin_in_use, step
from tidegate_operator.decide.limits import (
    Steps,
    heed_lower_bound,
    keep_within,
    limit_down,
    limit_up,
    recommend,
)
from tidegate_operator.decide.load import Load, find_load, learn_capacity
from tidegate_operator.decide.margins import under
from tidegate_operator.decide.need import find_need, trouble_with, usable_forecast
from tidegate_operator.decide.past import Past, forget, look_back, remember
from tidegate_operator.decide.sayings import say_decision, say_hold, say_left_alone
from tidegate_operator.decide.schedules import (
    Calendar,
    expected_rps,
    read_calendar,
    remember_before,
)
from tidegate_operator.decide.unknown import count_zero, is_idle, note_looks, raise_without
from tidegate_operator.decide.words import (
    Inputs,
    Memory,
    Mode,
    Reason,
    ScalingDecision,
    ScalingRules,
    renewed,
)


def decide_scaling(
    rules: ScalingRules, mode: Mode, inputs: Inputs, memory: Memory
) -> tuple[ScalingDecision, Memory]:
    """Choose the replica count for the coming tick, and what to remember of it."""
    if mode is Mode.PAUSED:
        return say_left_alone(inputs, Reason.PAUSED, "the policy is paused"), forget(memory)
    if inputs.current == 0 and not memory.asleep:
        message = (
            "somebody set replicas to 0, which means stop: nothing is scaled until somebody sets"
            " it above 0"
        )
        return say_left_alone(inputs, Reason.TARGET_STOPPED, message), forget(memory)
    memory = note_looks(inputs, memory)
    memory = renewed(memory, books=learn_capacity(rules, inputs.carried, memory.books))
    demand = count_zero(inputs, memory)
    if demand is not inputs.demand:
        inputs = replace(inputs, demand=demand)
    past = look_back(rules, inputs, memory)
    calendar = read_calendar(rules.schedules, inputs.now, inputs.lead_s)
    bounds = find_bounds(rules, calendar)
    load, trouble = _load(rules, inputs, memory)
    if load is None:
        decision = _without(rules, inputs, memory, past, bounds, trouble)
        recommendation = inputs.current
    else:
        before = remember_before(memory.before_events, calendar, load.rps)
        memory = renewed(memory, before_events=before)
        rules, load, memory = _with_margin(rules, inputs, load, memory)
        decision, recommendation = _with(rules, inputs, memory, past, bounds, load, calendar)
    memory = remember(memory, inputs, past, recommendation)
    return decision, renewed(memory, asleep=mode is Mode.ENFORCE and decision.replicas == 0)


def _load(
    rules: ScalingRules, inputs: Inputs, memory: Memory
) -> tuple[Load | None, tuple[Reason, str]]:
    """What is to be carried; ``None``: nothing to decide on, and why (else without meaning)."""
    reason, words = trouble_with(inputs.demand)
    if reason is not None:
        return None, (reason, words)
    load, words = find_load(rules, inputs.demand, memory.books)
    return load, (Reason.CAPACITY_UNKNOWN, words)


def _with_margin(
    rules: ScalingRules, inputs: Inputs, load: Load, memory: Memory
) -> tuple[ScalingRules, Load, Memory]:
    """The room that has proved itself, where the policy leaves that open."""
    if rules.allowed_late is None:
        return rules, load, memory
    trial = step(rules, inputs, load, memory.trial)
    trusted = usable_forecast(rules, inputs)[0] is not None
    rules = under(rules, margin_in_use(rules, trial, trusted))
    return rules, replace(load, rules=rules), replace(memory, trial=trial)


def _with(
    rules: ScalingRules,
    inputs: Inputs,
    memory: Memory,
    past: Past,
    bounds: Bounds,
    load: Load,
    calendar: Calendar,
) -> tuple[ScalingDecision, int]:
    """The decision, and the count that was called for before limits on steps."""
    need = find_need(rules, inputs, load, expected_rps(memory.before_events, calendar))
    steps = Steps(need.reactive)
    recommendation = recommend(inputs, need, bounds, steps)
    if recommendation > inputs.current:
        heed_lower_bound(inputs, need, bounds, steps)
        limit_up(rules, inputs, past, bounds, steps)
    elif recommendation < inputs.current:
        idle = is_idle(rules, inputs, memory)
        limit_down(rules, inputs, past, need, bounds, steps, idle=idle)
    return say_decision(rules, inputs, need, bounds, steps), recommendation


def _without(
    rules: ScalingRules,
    inputs: Inputs,
    memory: Memory,
    past: Past,
    bounds: Bounds,
    trouble: tuple[Reason, str],
) -> ScalingDecision:
    """Nothing to decide on: as ``onLost`` says, and within the limits."""
    steps = Steps(inputs.current)
    reason, words = raise_without(rules, inputs, memory, steps, trouble)
    keep_within(bounds, steps)
    if steps.target > inputs.current:
        limit_up(rules, inputs, past, bounds, steps)
    return say_hold(inputs, bounds, steps, reason, words)
