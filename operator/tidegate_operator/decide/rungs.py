"""The words of the ladder: what trips a rung, whose usage a budget counts, what was counted.

Law: values only, as in ``words``.
"""

from dataclasses import dataclass
from enum import StrEnum


class Rung(StrEnum):
    """The rungs of the ladder, mildest first; also what a trigger or a budget action asks for."""

    NONE = "None"
    WARN = "Warn"
    SWITCH = "Switch"
    BLOCK = "Block"

    @property
    def severity(self) -> int:
        """0 for ``NONE`` to 3 for ``BLOCK``: what the rungs compare by."""
        return _SEVERITY[self]


_SEVERITY = {rung: severity for severity, rung in enumerate(Rung)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """``spec.degrade.triggers[]``: enter above ``enter`` for ``for_s``, leave below ``exit``."""

    name: str
    enter: float
    exit: float
    for_s: float = 60.0
    min_requests: int = 20
    do: Rung = Rung.SWITCH


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """``spec.degrade.recovery``: half-open probes, and how long to wait before the next ones."""

    probe_share: float = 0.05
    successes: int = 10
    backoff_initial_s: float = 60.0
    backoff_factor: float = 2.0
    backoff_max_s: float = 3600.0


class Scope(StrEnum):
    """Whose usage a budget counts."""

    POLICY = "Policy"
    TENANT = "Tenant"
    MODEL = "Model"


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetAction:
    at: float
    """Share of the limit, such as 0.95."""
    do: Rung


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """``spec.budgets[]``: tokens and/or money for a calendar window."""

    name: str
    scope: Scope = Scope.POLICY
    limit_tokens: int | None = None
    limit_cost: float | None = None
    unit: str = "Day"
    """Hour, Day, Week (from Monday) or Month."""
    timezone: str = "UTC"
    actions: tuple[BudgetAction, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRule:
    """``spec.models[]`` as far as decisions care."""

    name: str
    free: bool = False
    """Costs nothing; stays usable when a money budget is spent (litellm#10973)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCounts:
    """Cumulative requests of one model since the policy was first seen."""

    ended: int
    errors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetUse:
    """Usage of one budget's current window by one key."""

    budget: str
    key: str
    """Tenant or model; empty for scope ``Policy``."""
    used_tokens: int
    used_cost: float
    window_start: float
    window_end: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerMemory:
    above_since: float | None = None
    """Since when the rate has stood above ``enter``."""
    active_since: float | None = None


class Probing(StrEnum):
    CLOSED = "Closed"
    OPEN = "Open"
    HALF_OPEN = "HalfOpen"
