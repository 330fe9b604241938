"""Budgets on the ladder, one row per rule."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ladder_samples import BIG, END, FREE, SMALL, budget, use
from tidegate_operator.decide.ladder import decide_ladder
from tidegate_operator.decide.rungs import Budget, BudgetAction, BudgetUse, ModelRule, Rung, Scope
from tidegate_operator.decide.words import (
    Change,
    DataState,
    Demand,
    Inputs,
    LadderDecision,
    Memory,
    Mode,
    Phase,
    Reason,
    Rules,
)


def climb(
    rules: Rules, *uses: BudgetUse, memory: Memory | None = None
) -> tuple[LadderDecision, tuple[Change, ...], Memory]:
    demand = Demand(state=DataState.PRESENT, rps=1.0)
    inputs = Inputs(now=1000.0, current=1, ready=1, starting=0, demand=demand, budgets=uses)
    return decide_ladder(rules, inputs, Memory() if memory is None else memory)


def budget_rules(*budgets: Budget, models: tuple[ModelRule, ...] = (BIG, SMALL)) -> Rules:
    return Rules(mode=Mode.ENFORCE, models=models, budgets=budgets)


POLICY, TENANT, MODEL = Scope.POLICY, Scope.TENANT, Scope.MODEL


@pytest.mark.parametrize(
    ("share", "rung", "model", "reason"),
    [
        pytest.param(0.79, Rung.NONE, "big", Reason.NORMAL, id="below the first action nothing"),
        pytest.param(0.80, Rung.WARN, "big", Reason.BUDGET_WARN, id="at 80 % a warning"),
        pytest.param(
            0.95, Rung.SWITCH, "small", Reason.BUDGET_SWITCH, id="at 95 % the next model"
        ),
        pytest.param(1.00, Rung.BLOCK, "big", Reason.BUDGET_BLOCK, id="at 100 % blocked"),
        pytest.param(3.00, Rung.BLOCK, "big", Reason.BUDGET_BLOCK, id="and at 300 %"),
    ],
)
def test_a_policy_budget_is_for_everyone(
    share: float, rung: Rung, model: str, reason: Reason
) -> None:
    decision, _, _ = climb(budget_rules(budget(POLICY)), use(POLICY, share))
    assert (decision.rung, decision.active_model, decision.reason) == (rung, model, reason)
    assert decision.until == (None if rung is Rung.NONE else END)
    assert decision.tenants == {}


@pytest.mark.parametrize(
    ("share", "rung", "model"),
    [
        pytest.param(0.90, Rung.WARN, "", id="warned"),
        pytest.param(0.96, Rung.SWITCH, "small", id="switched"),
        pytest.param(1.10, Rung.BLOCK, "", id="blocked"),
    ],
)
def test_a_tenant_budget_is_for_that_tenant_alone(share: float, rung: Rung, model: str) -> None:
    decision, changes, _ = climb(
        budget_rules(budget(TENANT)), use(TENANT, share, "acme"), use(TENANT, 0.1, "zeta")
    )
    assert (decision.rung, decision.active_model) == (Rung.NONE, "big")
    assert list(decision.tenants) == ["acme"]
    acme = decision.tenants["acme"]
    assert (acme.rung, acme.model, acme.until, acme.budget) == (rung, model, END, "per-tenant")
    assert [(c.action, c.subject) for c in changes] == [(str(rung), "per-tenant/acme")]
    assert decision.phase is not Phase.NORMAL


def test_many_tenants_that_share_one_name_are_never_blocked_for_each_other() -> None:
    decision, _, _ = climb(budget_rules(budget(TENANT)), use(TENANT, 5.0, "other"))
    assert decision.tenants["other"].rung is Rung.WARN


@pytest.mark.parametrize(
    ("models", "shares", "money", "rung", "active"),
    [
        pytest.param((BIG, SMALL), {"big": 0.9}, False, Rung.WARN, "big", id="warned it stays"),
        pytest.param((BIG, SMALL), {"big": 0.96}, False, Rung.SWITCH, "small", id="switched away"),
        pytest.param(
            (BIG, SMALL), {"big": 1.2}, False, Rung.SWITCH, "small", id="spent: also away"
        ),
        pytest.param(
            (BIG, SMALL, FREE),
            {"big": 1.2, "small": 0.96},
            False,
            Rung.SWITCH,
            "local",
            id="and on",
        ),
        pytest.param(
            (BIG, SMALL),
            {"big": 1.2, "small": 1.0},
            True,
            Rung.BLOCK,
            "big",
            id="a spent paid model is no way out (litellm#41344)",
        ),
        pytest.param(
            (BIG, SMALL),
            {"big": 0.96, "small": 1.0},
            True,
            Rung.WARN,
            "big",
            id="nor is it before the first one is blocked",
        ),
        pytest.param(
            (BIG, FREE),
            {"big": 1.2, "local": 1.5},
            True,
            Rung.SWITCH,
            "local",
            id="a money budget never takes a free model (litellm#10973)",
        ),
        pytest.param(
            (BIG, FREE),
            {"big": 1.2, "local": 1.5},
            False,
            Rung.BLOCK,
            "big",
            id="a token budget does",
        ),
        pytest.param(
            (BIG, SMALL),
            {"small": 2.0},
            False,
            Rung.WARN,
            "big",
            id="a spent fallback moves nobody",
        ),
    ],
)
def test_a_model_budget_is_about_that_model(
    models: tuple[ModelRule, ...],
    shares: dict[str, float],
    money: bool,
    rung: Rung,
    active: str,
) -> None:
    rules = budget_rules(budget(MODEL, money=money), models=models)
    uses = [use(MODEL, share, key, money=money) for key, share in shares.items()]
    decision, _, _ = climb(rules, *uses)
    assert (decision.rung, decision.active_model) == (rung, active)


@pytest.mark.parametrize(
    ("models", "rung", "active"),
    [
        pytest.param((BIG, SMALL), Rung.BLOCK, "big", id="two paid models: blocked"),
        pytest.param((BIG, SMALL, FREE), Rung.SWITCH, "local", id="the free one stays usable"),
        pytest.param((FREE, BIG), Rung.WARN, "local", id="a free first model is not left at all"),
    ],
)
def test_money_that_is_spent_leaves_free_models(
    models: tuple[ModelRule, ...], rung: Rung, active: str
) -> None:
    """litellm#10973: free models were blocked with the rest."""
    for scope, key in ((POLICY, ""), (TENANT, "acme")):
        rules = budget_rules(budget(scope, money=True), models=models)
        decision, _, _ = climb(rules, use(scope, 1.5, key, money=True))
        if scope is POLICY:
            assert (decision.rung, decision.active_model) == (rung, active)
        else:
            assert decision.tenants["acme"].rung is rung


def test_tokens_that_are_spent_leave_nothing() -> None:
    rules = budget_rules(budget(POLICY, limit_cost=100.0), models=(BIG, FREE))
    decision, _, _ = climb(rules, use(POLICY, 1.5))
    assert decision.rung is Rung.BLOCK


def test_a_switch_without_a_block_prefers_what_is_free_and_never_blocks() -> None:
    switching = budget(POLICY, money=True, actions=(BudgetAction(at=0.95, do=Rung.SWITCH),))
    spent = use(POLICY, 1.5, money=True)
    assert (
        climb(budget_rules(switching, models=(BIG, SMALL, FREE)), spent)[0].active_model == "local"
    )
    assert climb(budget_rules(switching, models=(BIG, SMALL)), spent)[0].active_model == "small"
    nearly = use(POLICY, 0.97, money=True)
    rules = budget_rules(switching, models=(BIG, SMALL, FREE))
    assert climb(rules, nearly)[0].active_model == "small", (
        "while money is left, the next in order"
    )


def test_a_new_window_brings_everybody_back_at_once() -> None:
    rules = budget_rules(budget(TENANT))
    _, changes, memory = climb(rules, use(TENANT, 0.85, "acme"))
    assert [c.action for c in changes] == ["Warn"]
    _, changes, memory = climb(rules, use(TENANT, 0.97, "acme"), memory=memory)
    assert [c.action for c in changes] == ["Switch"]
    _, changes, memory = climb(rules, use(TENANT, 1.0, "acme"), memory=memory)
    assert [(c.action, c.reason) for c in changes] == [("Block", Reason.BUDGET_BLOCK)]
    decision, changes, memory = climb(rules, use(TENANT, 1.2, "acme"), memory=memory)
    assert changes == (), "an unchanged rung is not told again"
    decision, changes, memory = climb(rules, use(TENANT, 0.0, "acme"), memory=memory)
    assert [(c.action, c.reason, c.before) for c in changes] == [
        ("Recover", Reason.BUDGET_RESET, "Block")
    ]
    assert (decision.phase, decision.tenants, memory.budget_rungs) == (Phase.NORMAL, {}, {})


def test_paused_steps_back_with_a_window_but_no_further_up() -> None:
    rules = budget_rules(budget(TENANT))
    _, _, memory = climb(rules, use(TENANT, 0.85, "acme"))
    paused = replace(rules, mode=Mode.PAUSED)
    decision, changes, memory = climb(
        paused, use(TENANT, 1.5, "acme"), use(TENANT, 1.5, "zeta"), memory=memory
    )
    assert {key: t.rung for key, t in decision.tenants.items()} == {"acme": Rung.WARN}
    assert changes == ()
    decision, changes, _ = climb(paused, memory=memory)
    assert decision.tenants == {}
    assert [c.reason for c in changes] == [Reason.BUDGET_RESET]


def test_the_stricter_of_a_tenants_budgets_holds() -> None:
    hourly = budget(TENANT, name="hourly")
    rules = budget_rules(budget(TENANT), hourly)
    hour = replace(use(TENANT, 1.0, "acme"), budget="hourly", window_end=3600.0)
    decision, changes, _ = climb(rules, use(TENANT, 0.85, "acme"), hour)
    assert (decision.tenants["acme"].rung, decision.tenants["acme"].until) == (Rung.BLOCK, 3600.0)
    assert {c.subject for c in changes} == {"per-tenant/acme", "hourly/acme"}


def test_the_message_has_the_figures_in_it() -> None:
    _, changes, _ = climb(budget_rules(budget(TENANT)), use(TENANT, 0.96, "acme"))
    assert changes[0].message == (
        "budget per-tenant of acme: 960 of 1,000 tokens used (96%), "
        "until 1970-01-02T00:00:00Z: small answers"
    )
    assert changes[0].warning


def test_a_use_of_a_budget_that_is_gone_is_nothing() -> None:
    decision, changes, _ = climb(budget_rules(), use(TENANT, 9.0, "acme"))
    assert (decision.phase, changes) == (Phase.NORMAL, ())


SHARES = st.floats(0, 2)


@given(SHARES, SHARES, st.booleans(), st.permutations([BIG, SMALL, FREE]), st.integers(1, 3))
def test_using_more_never_lowers_the_rung(
    one: float, other: float, money: bool, models: list[ModelRule], count: int
) -> None:
    rules = budget_rules(budget(POLICY, money=money), models=tuple(models[:count]))
    low, high = sorted((one, other))
    less = climb(rules, use(POLICY, low, money=money))[0]
    more = climb(rules, use(POLICY, high, money=money))[0]
    assert less.rung.severity <= more.rung.severity


@given(
    st.dictionaries(st.sampled_from(["big", "small", "local"]), SHARES),
    st.dictionaries(st.sampled_from(["acme", "zeta"]), SHARES),
    SHARES,
    st.booleans(),
)
def test_nobody_is_ever_sent_to_a_model_whose_budget_is_spent(
    by_model: dict[str, float], by_tenant: dict[str, float], policy: float, money: bool
) -> None:
    rules = budget_rules(
        budget(MODEL, money=money), budget(TENANT), budget(POLICY), models=(BIG, SMALL, FREE)
    )
    uses = [use(MODEL, share, key, money=money) for key, share in by_model.items()]
    uses += [use(TENANT, share, key) for key, share in by_tenant.items()]
    decision, _, memory = climb(rules, *uses, use(POLICY, policy))
    spent = {model for model, share in by_model.items() if share >= 1.0}
    if money:
        spent.discard("local")
    sent = [decision.active_model] if decision.rung is Rung.SWITCH else []
    sent += [t.model for t in decision.tenants.values() if t.rung is Rung.SWITCH]
    assert not spent.intersection(sent)
    assert climb(rules, *uses, use(POLICY, policy), memory=memory)[1] == (), "told once"
