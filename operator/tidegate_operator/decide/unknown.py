"""Zero, absent, stale and unreadable demand, told apart; and what is done without demand.

Law: only a demand that is known to be zero is zero. Without demand a pod may be added, where the
policy says so, and none is ever removed (keda#8036, keda#7657).
"""

import math
from dataclasses import replace

from tidegate_operator.decide.limits import Steps
from tidegate_operator.decide.load import find_load
from tidegate_operator.decide.signals import CapacitySource
from tidegate_operator.decide.words import (
    DataState,
    Demand,
    Inputs,
    Memory,
    OnLost,
    Reason,
    ScalingRules,
    renewed,
)

ABSENT_IS_ZERO_LOOKS = 3
"""A series that never began is no traffic once so many looks in a row found sidecars alive with
nothing in flight (dynamo#6985)."""


def note_looks(inputs: Inputs, memory: Memory) -> Memory:
    """Remember since when demand is lost, absent or zero."""
    demand = inputs.demand
    silent = demand.state is DataState.ABSENT and demand.reporting > 0 and demand.in_flight == 0
    absent_looks = min(memory.absent_looks + 1, ABSENT_IS_ZERO_LOOKS) if silent else 0
    is_zero = absent_looks >= ABSENT_IS_ZERO_LOOKS or (
        demand.state is DataState.PRESENT and demand.rps == 0 and demand.in_flight == 0
    )
    awake = inputs.current > 0
    lost = demand.state is not DataState.PRESENT and not is_zero and awake
    return renewed(
        memory,
        absent_looks=absent_looks,
        lost_since=(memory.lost_since or inputs.now) if lost else None,
        idle_since=(memory.idle_since or inputs.now) if is_zero and awake else None,
    )


def count_zero(inputs: Inputs, memory: Memory) -> Demand:
    """The demand to decide on: that of nobody at all is zero, where that is known.

    A target that sleeps has no sidecar to ask; what a metrics server sees of it counts.
    """
    demand = inputs.demand
    sleeps = inputs.current == 0 and demand.state is not DataState.PRESENT
    if sleeps or memory.absent_looks >= ABSENT_IS_ZERO_LOOKS:
        return replace(demand, state=DataState.PRESENT, rps=0.0, peak_rps=None, in_flight=0)
    return demand


def is_idle(rules: ScalingRules, inputs: Inputs, memory: Memory) -> bool:
    """Whether nothing has come for as long as the policy wants before it scales to zero."""
    wanted_s, since = rules.idle_before_zero_s, memory.idle_since
    return wanted_s is not None and since is not None and inputs.now - since >= wanted_s


def raise_without(
    rules: ScalingRules,
    inputs: Inputs,
    memory: Memory,
    steps: Steps,
    trouble: tuple[Reason, str],
) -> tuple[Reason, str]:
    """Add what ``metrics.onLost`` asks for; the reason and the words for the count then."""
    words = trouble[1]
    if rules.on_lost is OnLost.FALLBACK and _lost_s(inputs, memory) >= rules.max_age_s:
        wanted, reason = rules.fallback_replicas, Reason.FALLBACK
        words = f"{words}; fallbackReplicas is {wanted}"
    elif rules.on_lost is OnLost.REACTIVE_ONLY:
        wanted, reason = _still_seen(rules, inputs, memory), Reason.DEMAND_HIGH
        words = f"{words}; what can still be seen of demand needs {wanted}"
    else:
        return trouble
    if wanted <= inputs.current:
        return trouble
    steps.target = wanted
    return reason, words


def _lost_s(inputs: Inputs, memory: Memory) -> float:
    return 0.0 if memory.lost_since is None else inputs.now - memory.lost_since


def _still_seen(rules: ScalingRules, inputs: Inputs, memory: Memory) -> int:
    """Pods for the last or partial demand; 0 where there is none."""
    rps = inputs.demand.rps
    if rps is None or not 0 <= rps < math.inf:
        return 0
    load, _ = find_load(rules, inputs.demand, memory.books)
    if load is None or load.used.source is CapacitySource.LEARNING:
        return 0
    return load.pods(load.rps, rules.reactive_alone_utilization)
