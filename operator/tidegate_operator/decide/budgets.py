"""Where every budget stands, and which models that leaves to be used.

Law: a rung is a matter of the share used and of nothing before it. A money budget never takes a
model that costs nothing (litellm#10973), and a model whose own budget is spent is nobody's way out
(litellm#41344).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from tidegate_operator.decide.rungs import Budget, BudgetUse, ModelRule, Rung, Scope
from tidegate_operator.decide.words import Reason, Rules
from tidegate_wire.names import OTHER

RUNG_REASONS = {
    Rung.NONE: Reason.NORMAL,
    Rung.WARN: Reason.BUDGET_WARN,
    Rung.SWITCH: Reason.BUDGET_SWITCH,
    Rung.BLOCK: Reason.BUDGET_BLOCK,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One budget's window for one key."""

    budget: Budget
    use: BudgetUse
    share: float
    rung: Rung
    """What the budget's actions ask for at this share."""
    by_money: bool
    """Whether the limit in money alone asks for it; the limit in tokens does not."""

    @property
    def name(self) -> str:
        """``budget/key``, as ``Memory.budget_rungs`` has it."""
        return f"{self.budget.name}/{self.use.key}"


@dataclass(slots=True)
class Routing:
    """What stands in the way of a model; filled by budgets and by triggers, then asked once."""

    blocked: bool = False
    avoid: frozenset[str] = frozenset()
    """Left where there is anything else."""
    barred: frozenset[str] = frozenset()
    """Not to be used whatever happens."""
    spent: frozenset[str] = frozenset()
    """No way out of another model; the first one, where nobody was sent, is left by ``avoid`` and
    ``barred`` only."""
    prefer_free: bool = False

    def joined(self, other: "Routing") -> "Routing":
        return Routing(
            blocked=self.blocked or other.blocked,
            avoid=self.avoid | other.avoid,
            barred=self.barred | other.barred,
            spent=self.spent | other.spent,
            prefer_free=self.prefer_free or other.prefer_free,
        )

    def choose(self, models: tuple[ModelRule, ...]) -> str | None:
        """The model that answers; ``None`` where none may. Without models: the empty name."""
        if self.blocked:
            return None
        if not models:
            return ""
        first = models[0].name
        closed = self.barred | (self.spent - {first})
        for out in (closed | self.avoid, closed):
            left = [model for model in models if model.name not in out]
            if left:
                free = [model for model in left if model.free] if self.prefer_free else []
                return (free or left)[0].name
        return None if first in self.barred else first


def standings(rules: Rules, uses: Iterable[BudgetUse]) -> tuple[Standing, ...]:
    """All uses that have reached an action of their budget."""
    budgets = {budget.name: budget for budget in rules.budgets}
    free = {model.name for model in rules.models if model.free}
    found = []
    for use in uses:
        budget = budgets.get(use.budget)
        if budget is None:
            continue
        standing = _standing(budget, use)
        of_free_model = budget.scope is Scope.MODEL and use.key in free
        if standing.rung is not Rung.NONE and not (standing.by_money and of_free_model):
            found.append(standing)
    return tuple(found)


def _standing(budget: Budget, use: BudgetUse) -> Standing:
    tokens = _share(use.used_tokens, budget.limit_tokens)
    money = _share(use.used_cost, budget.limit_cost)
    rung = _rung(budget, max(tokens, money))
    if budget.scope is Scope.TENANT and use.key == OTHER and rung is not Rung.NONE:
        # Many tenants share this name once the cap on names is reached; none of them can be
        # blamed.
        rung = Rung.WARN
    return Standing(
        budget=budget,
        use=use,
        share=max(tokens, money),
        rung=rung,
        by_money=_rung(budget, tokens).severity < rung.severity,
    )


def _share(used: float, limit: float | None) -> float:
    if limit is None:
        return 0.0
    return used / limit if limit > 0 else float(used > 0)


def _rung(budget: Budget, share: float) -> Rung:
    reached = (action.do for action in budget.actions if share >= action.at)
    return max(reached, key=lambda rung: rung.severity, default=Rung.NONE)


def routing(rules: Rules, standing: Standing) -> Routing:
    """What one standing takes away: from everyone, or from the one tenant whose it is."""
    if standing.budget.scope is Scope.MODEL:
        return _routing_of_model(standing)
    paid = frozenset(model.name for model in rules.models if not model.free)
    first = frozenset(model.name for model in rules.models[:1])
    if standing.rung is Rung.BLOCK:
        if standing.by_money and rules.models:
            return Routing(barred=paid)
        return Routing(blocked=True)
    if standing.rung is Rung.SWITCH:
        if standing.by_money:
            return Routing(avoid=first & paid, prefer_free=standing.share >= 1.0)
        return Routing(avoid=first)
    return Routing()


def _routing_of_model(standing: Standing) -> Routing:
    model = frozenset([standing.use.key])
    return Routing(
        avoid=model if standing.rung is Rung.SWITCH else frozenset(),
        barred=model if standing.rung is Rung.BLOCK else frozenset(),
        spent=model if standing.share >= 1.0 else frozenset(),
    )


def describe(standing: Standing) -> str:
    """Such as ``budget team-day of acme: 1,610,000 of 2,000,000 tokens used (81 %), until
    2026-01-02T00:00:00Z``."""
    budget, use = standing.budget, standing.use
    parts = []
    if budget.limit_tokens is not None:
        parts.append(f"{use.used_tokens:,} of {budget.limit_tokens:,} tokens")
    if budget.limit_cost is not None:
        parts.append(f"{use.used_cost:.2f} of {budget.limit_cost:.2f} in cost")
    whose = f" of {use.key or 'no tenant'}" if budget.scope is not Scope.POLICY else ""
    end = datetime.fromtimestamp(use.window_end, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    used = " and ".join(parts)
    # Rounded down, as status has it: 99.6 % of a limit is not spent.
    share = int(standing.share * 100 + 1e-9)
    return f"budget {budget.name}{whose}: {used} used ({share}%), until {end}"
