"""Which model answers, for everyone and for single tenants: Normal, Warn, Switch, Block.

Law: triggers and budgets each say what must not be used; the first model that nothing forbids
answers, and only where none is left, and somebody asked for it, is anybody blocked. A paused
policy steps no further, but steps back with the end of a budget's window.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tidegate_operator.decide.budgets import (
    RUNG_REASONS,
    Routing,
    Standing,
    describe,
    routing,
    standings,
)
from tidegate_operator.decide.rungs import Rung, Scope
from tidegate_operator.decide.triggers import Verdict, standing_verdict, watch_errors
from tidegate_operator.decide.words import (
    Change,
    Inputs,
    LadderDecision,
    Memory,
    Mode,
    Phase,
    Reason,
    Rules,
    TenantRung,
)

BLOCKED = "blocked"
"""What stands for a model's name in a change where no model answers."""

_PHASES = {
    Rung.NONE: Phase.NORMAL,
    Rung.WARN: Phase.WARNED,
    Rung.SWITCH: Phase.DEGRADED,
    Rung.BLOCK: Phase.BLOCKED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Effect:
    """A standing, and the rung that it really leads to: a Block by money ends at a free model."""

    standing: Standing
    rung: Rung
    model: str


def decide_ladder(
    rules: Rules, inputs: Inputs, memory: Memory
) -> tuple[LadderDecision, tuple[Change, ...], Memory]:
    """Choose who is answered by which model, tell what changed, and what to remember of it."""
    if not (
        rules.budgets or rules.triggers or memory.budget_rungs or memory.rung is not Rung.NONE
    ):
        return _normal(rules), (), memory
    paused = rules.mode is Mode.PAUSED
    held = standings(rules, inputs.budgets)
    if paused:
        held = _no_further(held, memory)
    shared = _join(routing(rules, s) for s in held if s.budget.scope is not Scope.TENANT)
    before = _join((shared, _routing_of_triggers(rules, memory.rung, half_open=False)))
    verdict = standing_verdict(rules, inputs, memory)
    if not paused:
        verdict, memory = watch_errors(
            rules,
            inputs,
            memory,
            answering=before.choose(rules.models) or _first(rules),
            first_open=shared.choose(rules.models) == _first(rules),
        )
    everyone = _join(
        (shared, _routing_of_triggers(rules, verdict.rung, half_open=verdict.half_open))
    )
    effects = tuple(_effect(rules, standing, shared, everyone) for standing in held)
    decision = _decision(rules, everyone, verdict, effects)
    told = _models_named(verdict.changes, before.choose(rules.models), everyone, rules)
    news, rungs = _budget_changes(effects, memory)
    return decision, told + news, replace(memory, budget_rungs=rungs)


def _first(rules: Rules) -> str:
    return rules.models[0].name if rules.models else ""


def _normal(rules: Rules) -> LadderDecision:
    return LadderDecision(
        phase=Phase.NORMAL,
        active_model=_first(rules),
        rung=Rung.NONE,
        reason=Reason.NORMAL,
        message="",
    )


def _no_further(held: tuple[Standing, ...], memory: Memory) -> tuple[Standing, ...]:
    """Standings, none of them stricter than what was told before the policy was paused."""
    told = [memory.budget_rungs.get(standing.name, Rung.NONE) for standing in held]
    return tuple(
        standing if standing.rung.severity <= rung.severity else replace(standing, rung=rung)
        for standing, rung in zip(held, told, strict=True)
        if rung is not Rung.NONE
    )


# --- routing ------------------------------------------------------------------------------------


def _join(routings: Iterable[Routing]) -> Routing:
    joined = Routing()
    for one in routings:
        joined = joined.joined(one)
    return joined


def _routing_of_triggers(rules: Rules, rung: Rung, *, half_open: bool) -> Routing:
    """A blocked policy has no side road for probes: half-open, it lets everything through and
    watches."""
    if rung is Rung.BLOCK:
        return Routing(blocked=not half_open)
    if rung is Rung.SWITCH:
        return Routing(avoid=frozenset([_first(rules)]))
    return Routing()


def _effect(rules: Rules, standing: Standing, shared: Routing, everyone: Routing) -> _Effect:
    """What a standing leads to, given what else is not to be used."""
    if standing.rung is Rung.WARN:
        return _Effect(standing=standing, rung=Rung.WARN, model="")
    scope, first = standing.budget.scope, _first(rules)
    if scope is Scope.MODEL and standing.use.key != first:
        # Nobody is moved: the model is only no way out any more.
        return _Effect(standing=standing, rung=Rung.WARN, model="")
    others = everyone if scope is Scope.TENANT else shared
    own = routing(rules, standing).joined(replace(others, blocked=False))
    model = own.choose(rules.models)
    if model is None:
        return _Effect(standing=standing, rung=Rung.BLOCK, model="")
    rung = Rung.WARN if model == first else Rung.SWITCH
    return _Effect(standing=standing, rung=rung, model=model)


# --- the decision -------------------------------------------------------------------------------


def _decision(
    rules: Rules, everyone: Routing, verdict: Verdict, effects: tuple[_Effect, ...]
) -> LadderDecision:
    shared = [e for e in effects if e.standing.budget.scope is not Scope.TENANT]
    model = everyone.choose(rules.models)
    rung = _rung_of(rules, model, verdict, shared)
    by_trigger = _by_trigger(rung, verdict)
    causes = [] if by_trigger else [e for e in shared if e.rung is rung]
    tenants = _tenant_rungs(effects)
    worst = max((rung, *(t.rung for t in tenants.values())), key=lambda r: r.severity)
    probed = verdict.half_open and rung is Rung.SWITCH and _only_trigger_avoids(rules, shared)
    return LadderDecision(
        phase=_PHASES[worst],
        active_model=_first(rules) if model is None else model,
        rung=rung,
        reason=Reason.ERROR_RATE_HIGH if by_trigger else RUNG_REASONS[rung],
        message=_message(rules, rung, model, verdict, causes),
        probe_share=rules.recovery.probe_share if probed else 0.0,
        until=max((e.standing.use.window_end for e in causes), default=None),
        tenants=tenants,
    )


def _rung_of(rules: Rules, model: str | None, verdict: Verdict, shared: list[_Effect]) -> Rung:
    if model is None:
        return Rung.BLOCK
    if model != _first(rules):
        return Rung.SWITCH
    return Rung.WARN if shared or verdict.warnings or verdict.rung is not Rung.NONE else Rung.NONE


def _by_trigger(rung: Rung, verdict: Verdict) -> bool:
    """Whether errors are why: evidence ends that, not the end of a window."""
    if rung is Rung.WARN:
        return bool(verdict.warnings) or verdict.rung is not Rung.NONE
    return rung is not Rung.NONE and verdict.rung is rung


def _only_trigger_avoids(rules: Rules, shared: list[_Effect]) -> bool:
    """Whether the first model could answer, were it not for its errors: a spent one is not
    probed."""
    return all(effect.rung is Rung.WARN for effect in shared)


def _message(
    rules: Rules, rung: Rung, model: str | None, verdict: Verdict, causes: list[_Effect]
) -> str:
    why = [verdict.message, *verdict.warnings, *(describe(e.standing) for e in causes)]
    text = "; ".join(part for part in why if part)
    if model is None:
        return f"{text}: requests are blocked"
    if rung is Rung.SWITCH:
        return f"{text}: {model} answers in place of {_first(rules)}"
    if verdict.rung is Rung.SWITCH:
        return f"{text}: no other model is left to switch to"
    return text


def _tenant_rungs(effects: tuple[_Effect, ...]) -> dict[str, TenantRung]:
    """Each tenant's strictest standing; of equal ones that which lasts longest."""
    found: dict[str, TenantRung] = {}
    for effect in effects:
        if effect.standing.budget.scope is not Scope.TENANT:
            continue
        use = effect.standing.use
        rung = TenantRung(
            rung=effect.rung,
            reason=RUNG_REASONS[effect.rung],
            budget=effect.standing.budget.name,
            until=use.window_end,
            model=effect.model if effect.rung is Rung.SWITCH else "",
        )
        other = found.get(use.key)
        if other is None or _strictness(rung) > _strictness(other):
            found[use.key] = rung
    return found


def _strictness(rung: TenantRung) -> tuple[int, float]:
    return rung.rung.severity, rung.until


# --- what to tell -------------------------------------------------------------------------------


def _models_named(
    changes: tuple[Change, ...], before: str | None, everyone: Routing, rules: Rules
) -> tuple[Change, ...]:
    """Put models to the triggers' changes that are about models."""
    after = everyone.choose(rules.models)
    old, new = (BLOCKED if name is None else name for name in (before, after))
    return tuple(c if c.after else _model_named(c, old, new) for c in changes)


def _model_named(change: Change, old: str, new: str) -> Change:
    text = change.message
    if new == BLOCKED:
        text += ": requests are blocked"
    elif new != old and new:
        text += f": {new} answers{' again' if change.action == 'Recover' else ''}"
    return replace(change, before=old, after=new, message=text)


def _budget_changes(
    effects: tuple[_Effect, ...], memory: Memory
) -> tuple[tuple[Change, ...], dict[str, Rung]]:
    """News of budgets since they were last told, and what is told now."""
    now = {effect.standing.name: effect for effect in effects}
    changes = []
    for name, effect in now.items():
        told = memory.budget_rungs.get(name, Rung.NONE)
        if effect.rung is not told:
            changes.append(_budget_change(effect, told))
    for name, told in memory.budget_rungs.items():
        if name not in now:
            changes.append(_reset(name, told))
    rungs = {name: effect.rung for name, effect in now.items()}
    return tuple(changes), rungs


def _budget_change(effect: _Effect, told: Rung) -> Change:
    text = describe(effect.standing)
    if effect.rung is Rung.SWITCH:
        text += f": {effect.model} answers"
    elif effect.rung is Rung.BLOCK:
        text += ": requests are blocked"
    elif effect.standing.rung is not Rung.WARN:
        text += ": nothing to switch to" if effect.model else ": no longer switched to"
    return Change(
        action=str(effect.rung),
        reason=RUNG_REASONS[effect.rung],
        message=text,
        before=str(told),
        after=str(effect.rung),
        subject=effect.standing.name,
        warning=effect.rung.severity > told.severity,
    )


def _spelled(name: str) -> str:
    """``budget day of acme`` for ``day/acme``, ``budget day`` for ``day/``."""
    budget, _, key = name.partition("/")
    return f"budget {budget} of {key}" if key else f"budget {budget}"


def _reset(name: str, told: Rung) -> Change:
    return Change(
        action="Recover",
        reason=Reason.BUDGET_RESET,
        message=f"{_spelled(name)}: below every action again, by a new window or a new limit",
        before=str(told),
        after=str(Rung.NONE),
        subject=name,
    )
