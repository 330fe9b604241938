"""All that one tick saw and did with one policy, as the value that status, Events and metrics are
told from.

Law: values only; what was not looked at is ``None``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tidegate_operator.crd.fields import InvalidSpecError
from tidegate_operator.crd.spec import PolicySpec
from tidegate_operator.decide.hands import Hold
from tidegate_operator.decide.holding import Autoscaler
from tidegate_operator.decide.rungs import Budget, BudgetUse, Rung
from tidegate_operator.decide.words import Change, Decision, Inputs, Reason
from tidegate_operator.inject.watchdog import Health

SHOWN_QUANTILE = 0.95
"""Where none counts in the decision."""
REPLICA_ACTIONS = frozenset({"ScaleUp", "ScaleDown", "Hold"})
"""``Change.action`` of changes that are about the replica count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A change, and whether the world was changed with it."""

    change: Change
    applied: bool

    @property
    def about_replicas(self) -> bool:
        return self.change.action in REPLICA_ACTIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecars:
    """How the sidecars of the target stand."""

    expected: int = 0
    """Pods of the target that are Ready, and those that run without a sidecar."""
    reporting: int = 0
    applied: int = 0
    failed: int = 0
    settling: bool = False
    """The config is so new that a sidecar may be excused for not having it."""
    error: str = ""
    """What one of those that failed said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One tick of one policy."""

    now: float
    generation: int
    spec: PolicySpec | None = None
    """The last good one; ``None`` where there never was one."""
    problem: InvalidSpecError | None = None
    """Why the newest spec can't be used."""
    target_found: bool | None = None
    conflict_with: str = ""
    """Name of the older policy that has the target."""
    inputs: Inputs | None = None
    decision: Decision | None = None
    told: Sequence[Told] = ()
    cold_starts: Sequence[float] = ()
    hpa: int | None = None
    """Pods that a plain HPA would want; ``None``: can't be told."""
    sidecars: Sidecars = field(default_factory=Sidecars)
    injection: Health | None = None
    hold: Hold | None = None
    """Somebody else who decides the replicas."""
    autoscaler: Autoscaler | None = None
    """Of the target, whether it is in the way or not."""
    autoscalers_problem: str = ""
    """Why it is not known whether there is one."""
    namespace: str = ""
    scale_error: str = ""
    """Why the target's scale could not be written."""
    failure: str = ""
    """Why the tick could not be finished."""

    @property
    def quantile(self) -> float:
        """Of the forecast, the one that counted in the decision, or would have."""
        margin = None if self.decision is None else self.decision.scaling.margin
        return (None if margin is None else margin.quantile) or SHOWN_QUANTILE


def share_used(budget: Budget, use: BudgetUse) -> float:
    """Share of the limit; of two limits, the fuller one."""
    shares = [0.0]
    if budget.limit_tokens:
        shares.append(use.used_tokens / budget.limit_tokens)
    if budget.limit_cost:
        shares.append(use.used_cost / budget.limit_cost)
    return max(shares)


def budget_rung(budget: Budget, use: BudgetUse) -> Rung:
    """The highest action whose share is reached."""
    share = share_used(budget, use)
    reached = [action for action in budget.actions if share >= action.at]
    return max(reached, key=lambda action: action.at).do if reached else Rung.NONE


BUDGET_REASONS = {
    Rung.WARN: Reason.BUDGET_WARN,
    Rung.SWITCH: Reason.BUDGET_SWITCH,
    Rung.BLOCK: Reason.BUDGET_BLOCK,
}
