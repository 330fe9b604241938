"""A policy lived through in simulated time: each tick's decision is what the next tick finds."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tidegate_operator.decide.capacity import Carried
from tidegate_operator.decide.plan import decide
from tidegate_operator.decide.rungs import BudgetUse, ModelCounts
from tidegate_operator.decide.words import (
    Change,
    DataState,
    Decision,
    Demand,
    Forecast,
    Inputs,
    Memory,
    Mode,
    Reason,
    Rules,
)

TICK_S = 15.0


def present(rps: float, **more: float | None) -> Demand:
    return Demand(state=DataState.PRESENT, rps=rps, **more)  # type: ignore[arg-type]


def forecast(rps: float, *, made_at: float = 0.0, **more: object) -> Forecast:
    values = {
        "horizon_s": 360.0,
        "quantiles": {0.5: rps * 0.8, 0.9: rps * 0.9, 0.95: rps, 0.99: rps * 1.1},
        "reliable": True,
        "reason": Reason.FORECAST_GOOD,
        "coverage": 0.95,
    }
    return Forecast(made_at=made_at, **(values | more))  # type: ignore[arg-type]


@dataclass
class Story:
    """Time, a target and what was told. ``tick`` decides once; in Enforce the target follows."""

    rules: Rules
    current: int = 1
    now: float = 1_000_000.0
    memory: Memory = field(default_factory=Memory)
    counts: dict[str, ModelCounts] = field(default_factory=dict)
    budgets: tuple[BudgetUse, ...] = ()
    told: list[Change] = field(default_factory=list)
    decision: Decision | None = None
    lead_s: float = 0.0
    carried: tuple[Carried, ...] = ()

    def tick(
        self,
        demand: Demand | float = 0.0,
        *,
        ahead: Forecast | None = None,
        starting: int = 0,
        seconds: float = TICK_S,
    ) -> Decision:
        self.now += seconds
        if not isinstance(demand, Demand):
            demand = present(demand)
        inputs = Inputs(
            now=self.now,
            current=self.current,
            ready=self.current - starting,
            starting=starting,
            demand=demand,
            forecast=ahead,
            lead_s=self.lead_s,
            carried=self.carried,
            counts=dict(self.counts),
            budgets=self.budgets,
        )
        self.decision, self.memory = decide(self.rules, inputs, self.memory)
        self.told += self.decision.changes
        if self.rules.mode is Mode.ENFORCE:
            self.current = self.decision.scaling.replicas
        return self.decision

    def serve(self, errors: Mapping[str, float] | None = None, *, rps: float = 10.0) -> Decision:
        """A tick of traffic by the orders of the last decision; ``errors`` is the error share by
        model."""
        ladder = None if self.decision is None else self.decision.ladder
        first = self.rules.models[0].name
        share: dict[str, float] = {first: 1.0}
        if ladder is not None and self.rules.mode is not Mode.SHADOW:
            blocked = ladder.rung == "Block"
            share = {} if blocked else {ladder.active_model: 1.0 - ladder.probe_share}
            if ladder.probe_share:
                share[first] = share.get(first, 0.0) + ladder.probe_share
        for model, part in share.items():
            ended = round(rps * TICK_S * part)
            bad = round(ended * (errors or {}).get(model, 0.0))
            self.count(model, ended, bad)
        return self.tick(rps)

    def count(self, model: str, ended: int, errors: int = 0) -> None:
        was = self.counts.get(model, ModelCounts(ended=0, errors=0))
        self.counts[model] = ModelCounts(ended=was.ended + ended, errors=was.errors + errors)

    def actions(self) -> list[str]:
        return [change.action for change in self.told]

    def reasons(self) -> list[Reason]:
        return [change.reason for change in self.told]
