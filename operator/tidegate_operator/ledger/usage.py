"""Who used how many tokens in which window, from the sidecars' cumulative counters.

Law: only what a counter grew by counts, and every growth counts once. A look that comes twice,
late or out of order adds nothing; a process that starts anew is another counter; a pod that is
gone takes nothing away with it. All pods' usage is one sum (bifrost#3547), and estimated tokens
are tokens (LLMKube#1852).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tidegate_operator.decide.rungs import Budget, BudgetUse, ModelCounts, Scope
from tidegate_operator.ledger.windows import window_of
from tidegate_wire.names import ERROR_OUTCOMES, MAX_LABEL_VALUES, OTHER, Outcome
from tidegate_wire.stats import Series, SidecarStats

STATE_VERSION = 1
FORGET_AFTER_S = 86400.0
"""A process that was not heard of for so long is gone, or was cut off for longer than anyone
waits."""
MAX_NAMES = MAX_LABEL_VALUES
"""Tenants, and models, kept apart; later ones share ``other`` and stay there. A sidecar caps at
the same number, but not at the same names. A pod's row takes some 40 bytes of state, 15
compressed."""


class InvalidStateError(ValueError):
    """A checkpoint can't be read as this room's state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Sums of one (model, tenant), of everything, or of what one look added."""

    ended: int = 0
    """Requests let through and ended."""
    errors: int = 0
    blocked: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_estimated: int = 0
    """Those of ``tokens_in + tokens_out`` that no model server confirmed."""
    cost: float = 0.0

    @property
    def tokens(self) -> int:
        return self.tokens_in + self.tokens_out


Delta = Usage
"""What one look added."""

_Row = list[int | float]
"""The fields of ``Usage`` in order: one list per counter is what makes a look at 200 tenants
cheap."""
_FIELDS = tuple(Usage.__dataclass_fields__)
_TOKENS_IN, _TOKENS_OUT, _COST = (_FIELDS.index(n) for n in ("tokens_in", "tokens_out", "cost"))
_Key = tuple[str, str]
_Used = dict[str, tuple[int, float]]


@dataclass(slots=True)
class _Process:
    """One life of one sidecar, as it was last seen."""

    seen_at: float
    rows: dict[_Key, _Row]


@dataclass(slots=True)
class _Window:
    """One budget's current window, and what had been used before it began."""

    unit: str
    timezone: str
    scope: Scope
    start: float
    end: float
    base: dict[str, tuple[int, float]]
    """Tokens and cost by key at the window's begin."""

    def is_of(self, budget: Budget) -> bool:
        """Whether the budget still means this kind of window; an edited one begins anew."""
        return (self.unit, self.timezone, self.scope) == (
            budget.unit,
            budget.timezone,
            budget.scope,
        )


class Ledger:
    """All usage of one policy. ``state`` is what ``to_state`` gave, or ``None`` to begin."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        self._totals: dict[_Key, _Row] = {}
        self._processes: dict[tuple[str, str], _Process] = {}
        self._windows: dict[str, _Window] = {}
        self._born: float | None = None
        self._tenants: set[str] = set()
        self._models: set[str] = set()
        if state:
            self._restore(state)

    # --- looking ----------------------------------------------------------------------------

    def look(self, stats: SidecarStats, now: float) -> Delta:
        """Take in one look at one sidecar; what it added.

        A process seen for the first time counts from zero: its counters did when it started.
        """
        self._reach(now)
        self._forget(now)
        process = self._processes.setdefault((stats.pod_uid, stats.boot), _Process(now, {}))
        process.seen_at = max(process.seen_at, now)
        added: _Row = [0] * len(_FIELDS)
        for key, row in self._rows(stats).items():
            self._add(process, key, row, added)
        return _usage(added)

    @property
    def begun(self) -> bool:
        """Whether this ledger has looked before, in this life of the operator or in an earlier."""
        return self._born is not None

    def adopt(self, stats: SidecarStats, now: float) -> None:
        """Take a process as it stands: what it counted before the ledger began is nobody's here.

        A policy that is put on pods which have run for a month must not book that month into the
        current window and block everyone at once.
        """
        self._reach(now)
        self._processes[stats.pod_uid, stats.boot] = _Process(now, self._rows(stats))

    def _add(self, process: _Process, key: _Key, row: _Row, added: _Row) -> None:
        """Add what ``row`` has over the last one; an older look has nothing over it
        (litellm#28247)."""
        last = process.rows.get(key)
        if last is None:
            last = process.rows[key] = [0] * len(_FIELDS)
        if last == row:
            return
        total = self._totals.setdefault(key, [0] * len(_FIELDS))
        for i, value in enumerate(row):
            growth = value - last[i]
            if growth > 0:
                last[i] = value
                total[i] += growth
                added[i] += growth

    def _rows(self, stats: SidecarStats) -> dict[_Key, _Row]:
        """Counters by capped names; rows that came to share a name are summed before they are
        compared."""
        rows: dict[_Key, _Row] = {}
        for series in stats.series:
            key = (_capped(self._models, series.model), _capped(self._tenants, series.tenant))
            row = _row(series)
            if key in rows:
                row = [a + b for a, b in zip(rows[key], row, strict=True)]
            rows[key] = row
        return rows

    def _reach(self, now: float) -> None:
        """Turn the windows that have ended, before anything that is seen at ``now`` is added."""
        if self._born is None:
            self._born = now
        for window in self._windows.values():
            if now >= window.end:
                window.start, window.end = window_of(window.unit, window.timezone, now)
                window.base = self._by_key(window.scope)

    def _forget(self, now: float) -> None:
        gone = [k for k, p in self._processes.items() if now - p.seen_at > FORGET_AFTER_S]
        for key in gone:
            del self._processes[key]

    # --- asking -----------------------------------------------------------------------------

    def totals(self) -> Usage:
        """Everything since the ledger began."""
        return _usage(_sum(self._totals.values()))

    def totals_by(self) -> dict[_Key, Usage]:
        """The same by (model, tenant)."""
        return {key: _usage(row) for key, row in self._totals.items()}

    def counts(self) -> dict[str, ModelCounts]:
        """Requests and errors by model."""
        found: dict[str, tuple[int, int]] = {}
        for (model, _), row in self._totals.items():
            ended, errors = found.get(model, (0, 0))
            found[model] = (ended + int(row[0]), errors + int(row[1]))
        return {model: ModelCounts(ended=n, errors=e) for model, (n, e) in found.items()}

    def budget_uses(self, budgets: Iterable[Budget], now: float) -> tuple[BudgetUse, ...]:
        """Usage of every budget's current window: one use for scope Policy, else one for each key
        that used any.

        What is first seen after a window's begin belongs to that window. A budget that is new, or
        whose window or scope was edited, counts from then on.
        """
        self._reach(now)
        asked = tuple(budgets)
        for name in self._windows.keys() - {budget.name for budget in asked}:
            del self._windows[name]
        return tuple(use for budget in asked for use in self._uses(budget, now))

    def _uses(self, budget: Budget, now: float) -> Iterable[BudgetUse]:
        used = self._by_key(budget.scope)
        window = self._window(budget, used, now)
        for key, (tokens, cost) in used.items():
            base_tokens, base_cost = window.base.get(key, (0, 0.0))
            if budget.scope is Scope.POLICY or tokens > base_tokens or cost > base_cost:
                yield BudgetUse(
                    budget=budget.name,
                    key=key,
                    used_tokens=tokens - base_tokens,
                    used_cost=cost - base_cost,
                    window_start=window.start,
                    window_end=window.end,
                )

    def _window(self, budget: Budget, used: _Used, now: float) -> _Window:
        window = self._windows.get(budget.name)
        if window is None or not window.is_of(budget):
            start, end = window_of(budget.unit, budget.timezone, now)
            whole = self._born is not None and self._born >= start
            window = self._windows[budget.name] = _Window(
                unit=budget.unit,
                timezone=budget.timezone,
                scope=budget.scope,
                start=start,
                end=end,
                base={} if whole else used,
            )
        return window

    def _by_key(self, scope: Scope) -> _Used:
        """Tokens and cost so far, by the key that a budget of ``scope`` has."""
        used: _Used = {"": (0, 0.0)} if scope is Scope.POLICY else {}
        for (model, tenant), row in self._totals.items():
            key = {Scope.POLICY: "", Scope.TENANT: tenant, Scope.MODEL: model}[scope]
            tokens, cost = used.get(key, (0, 0.0))
            used[key] = (tokens + int(row[_TOKENS_IN] + row[_TOKENS_OUT]), cost + row[_COST])
        return used

    # --- checkpoint -------------------------------------------------------------------------

    def to_state(self) -> dict[str, Any]:
        """All of it as JSON-able values."""
        return {
            "v": STATE_VERSION,
            "born": self._born,
            "totals": [[*key, *row] for key, row in self._totals.items()],
            "processes": [
                [uid, boot, process.seen_at, [[*key, *row] for key, row in process.rows.items()]]
                for (uid, boot), process in self._processes.items()
            ],
            "windows": {
                name: {**asdict(window), "base": [[k, *v] for k, v in window.base.items()]}
                for name, window in self._windows.items()
            },
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        if state.get("v") != STATE_VERSION:
            raise InvalidStateError(f"ledger.v must be {STATE_VERSION}, was: {state.get('v')!r}")
        try:
            self._born = state["born"]
            self._totals = _read_rows(state["totals"])
            for uid, boot, seen_at, rows in state["processes"]:
                self._processes[uid, boot] = _Process(float(seen_at), _read_rows(rows))
            for name, window in state["windows"].items():
                base = {key: (int(tokens), float(cost)) for key, tokens, cost in window["base"]}
                scope = Scope(window["scope"])
                self._windows[name] = _Window(**{**window, "scope": scope, "base": base})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidStateError(f"ledger state can't be read: {error!r}") from error
        for model, tenant in self._totals:
            self._models.add(model)
            self._tenants.add(tenant)


# --- rows ---------------------------------------------------------------------------------------


def _read_rows(rows: Iterable[Sequence[Any]]) -> dict[_Key, _Row]:
    found: dict[_Key, _Row] = {}
    for model, tenant, *row in rows:
        if len(row) != len(_FIELDS) or not all(isinstance(v, int | float) for v in row):
            raise ValueError(f"a row must hold {len(_FIELDS)} numbers, was: {row!r:.80}")
        found[str(model), str(tenant)] = list(row)
    return found


def _row(series: Series) -> _Row:
    outcomes = {name: _count(n) for name, n in series.outcomes.items()}
    blocked = outcomes.get(Outcome.BLOCKED, 0)
    return [
        sum(outcomes.values()) - blocked,
        sum(outcomes.get(outcome, 0) for outcome in ERROR_OUTCOMES),
        blocked,
        _count(series.tokens_in),
        _count(series.tokens_out),
        _count(series.tokens_estimated),
        _money(series.cost),
    ]


def _count(value: int) -> int:
    """A counter; what can't be one grew by nothing, and must not poison a sum for good."""
    return value if isinstance(value, int) and value > 0 else 0


def _money(value: float) -> float:
    return value if isinstance(value, int | float) and 0 < value < math.inf else 0.0


def _capped(known: set[str], name: str) -> str:
    if name in known:
        return name
    if len(known) >= MAX_NAMES:
        return OTHER
    known.add(name)
    return name


def _sum(rows: Iterable[_Row]) -> _Row:
    total: _Row = [0] * len(_FIELDS)
    for row in rows:
        total = [a + b for a, b in zip(total, row, strict=True)]
    return total


def _usage(row: _Row) -> Usage:
    return Usage(**dict(zip(_FIELDS, row, strict=True)))  # type: ignore[arg-type]
