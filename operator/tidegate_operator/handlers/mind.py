"""What a policy's loop knows from tick to tick, and a restart gets back.

Law: what is here is in the checkpoint or can be learned anew; nothing of it is decided here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tidegate_operator.cluster.history import Checkpoint
from tidegate_operator.decide.words import Memory
from tidegate_operator.handlers.ahead import Ahead
from tidegate_operator.handlers.last_words import LastWords
from tidegate_operator.handlers.look import ColdStarts
from tidegate_operator.handlers.recent import Recent
from tidegate_operator.ledger.carried import CarriedLoads
from tidegate_operator.ledger.demand import DemandHistory
from tidegate_operator.ledger.engines import EngineHistory
from tidegate_operator.ledger.usage import Ledger


@dataclass(slots=True)
class Mind:
    """All of one policy."""

    ledger: Ledger
    demand: DemandHistory
    carried: CarriedLoads
    engines: EngineHistory
    memory: Memory
    cold_starts: ColdStarts
    ahead: Ahead
    recent: Recent
    saved_key: Any
    """What was worth saving at the last checkpoint."""
    saved_at: float
    last_words: LastWords


def key_of(mind: Mind) -> tuple[Any, ...]:
    """(what must be saved at once, what must be saved soon)."""
    memory = mind.memory
    rungs = tuple(sorted(memory.budget_rungs.items()))
    totals = mind.ledger.totals()
    hands = memory.hands
    at_once = (memory.rung, memory.probing, rungs, hands.hold)
    # A count that was only found is found again after a restart.
    ours = hands.standing if hands.ours else None
    return at_once, (totals, tuple(mind.cold_starts.samples), ours)


def demand_state(saved: Checkpoint) -> Mapping[str, Any] | None:
    """State of the demand history; a checkpoint from elsewhere may hold counts alone."""
    if not saved.counts and not saved.looks:
        return None
    return {**(saved.looks or {}), "start_minute": saved.start_minute, "counts": saved.counts}


def forget_scaling(memory: Memory, before: Memory) -> Memory:
    return replace(memory, told_replicas=before.told_replicas, last_reason=before.last_reason)
