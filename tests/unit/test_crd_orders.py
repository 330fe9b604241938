"""What sidecars are told: who gets which order, for how long, and when it is said anew."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_cluster import START, policy
from tidegate_operator.crd.orders import render_config
from tidegate_operator.crd.spec import PolicySpec, read_spec
from tidegate_operator.decide.rungs import Rung
from tidegate_operator.decide.words import LadderDecision, Phase, Reason, TenantRung
from tidegate_wire.config import Do, Order, SidecarConfig

TTL_S = 900.0
BUDGET = {
    "name": "team-day",
    "scope": "Tenant",
    "limit": {"tokens": 1000},
    "window": {"unit": "Day"},
    "actions": [{"at": "100%", "do": "Block"}],
}


def spec(mode: str = "Enforce") -> PolicySpec:
    gateway = {"identify": {"header": "X-Tenant-Id"}}
    return read_spec(policy(mode=mode, budgets=[BUDGET], gateway=gateway))


def ladder(rung: Rung = Rung.NONE, **changes: Any) -> LadderDecision:
    return LadderDecision(
        **{
            "phase": Phase.NORMAL,
            "active_model": "llama-8b" if rung is Rung.SWITCH else "llama-70b",
            "rung": rung,
            "reason": Reason.ERROR_RATE_HIGH,
            "message": "",
        }
        | changes
    )


def render(
    stand: LadderDecision | None,
    *,
    now: float = START,
    before: SidecarConfig | None = None,
    mode: str = "Enforce",
) -> SidecarConfig:
    return render_config("shop/chat", spec(mode), stand, before=before, now=now, order_ttl_s=TTL_S)


BLOCKED = {
    "acme": TenantRung(
        rung=Rung.BLOCK, reason=Reason.BUDGET_BLOCK, budget="team-day", until=START + 3600
    )
}


def test_a_normal_policy_gives_no_orders() -> None:
    config = render(ladder())
    assert (config.order, config.tenant_orders) == (None, {})
    assert (config.policy, config.tenant_header) == ("shop/chat", "x-tenant-id")
    assert [model.name for model in config.models] == ["llama-70b", "llama-8b"]


def test_a_switch_names_the_model_and_ends_by_itself() -> None:
    assert render(ladder(Rung.SWITCH, probe_share=0.05)).order == Order(
        do=Do.SWITCH,
        model="llama-8b",
        reason="ErrorRateHigh",
        expires_at=START + TTL_S,
        probe_share=0.05,
    )


def test_an_order_is_renewed_at_half_of_its_life_and_not_before() -> None:
    first = render(ladder(Rung.SWITCH))
    assert render(ladder(Rung.SWITCH), now=START + 449, before=first) == first
    renewed = render(ladder(Rung.SWITCH), now=START + 450, before=first)
    assert renewed.order is not None
    assert renewed.order.expires_at == START + 450 + TTL_S


def test_an_order_that_changes_is_given_at_once() -> None:
    first = render(ladder(Rung.SWITCH))
    probing = render(ladder(Rung.SWITCH, probe_share=0.05), now=START + 15, before=first)
    assert probing.order is not None
    assert (probing.order.probe_share, probing.order.expires_at) == (0.05, START + 15 + TTL_S)


def test_an_order_ends_no_later_than_the_budget_that_asked_for_it() -> None:
    config = render(ladder(Rung.BLOCK, until=START + 300))
    assert config.order is not None
    assert config.order.expires_at == START + 300
    again = render(ladder(Rung.BLOCK, until=START + 300), now=START + 200, before=config)
    assert again == config


def test_a_tenants_order_ends_with_the_window_and_is_said_once() -> None:
    config = render(ladder(tenants=BLOCKED))
    assert config.tenant_orders == {
        "acme": Order(do=Do.BLOCK, reason="BudgetExhausted", expires_at=START + 3600)
    }
    assert render(ladder(tenants=BLOCKED), now=START + 3000, before=config) == config
    assert render(ladder(tenants=BLOCKED), now=START + 3600, before=config).tenant_orders == {}


def test_a_warning_is_no_order() -> None:
    warned = {
        "acme": TenantRung(
            rung=Rung.WARN, reason=Reason.BUDGET_WARN, budget="team-day", until=START + 9
        )
    }
    config = render(ladder(Rung.WARN, tenants=warned))
    assert (config.order, config.tenant_orders) == (None, {})


def test_shadow_gives_no_orders() -> None:
    config = render(ladder(Rung.BLOCK, tenants=BLOCKED), mode="Shadow")
    assert (config.order, config.tenant_orders) == (None, {})


def test_a_pause_lets_orders_stand_and_begins_none() -> None:
    blocked = ladder(Rung.BLOCK, tenants=BLOCKED)
    in_force = render(blocked)
    assert render(blocked, now=START + 15, before=in_force, mode="Paused") == in_force
    fresh = render(blocked, before=render(ladder()), mode="Paused")
    assert (fresh.order, fresh.tenant_orders) == (None, {})


def test_while_nothing_is_decided_orders_run_out_by_themselves() -> None:
    in_force = render(ladder(Rung.SWITCH, tenants=BLOCKED))
    assert render(None, now=START + 899, before=in_force) == in_force
    later = render(None, now=START + 900, before=in_force)
    assert later.order is None
    assert set(later.tenant_orders) == {"acme"}
    assert render(None) == render(ladder())


@given(
    rung=st.sampled_from(list(Rung)),
    until=st.none() | st.integers(min_value=-1000, max_value=5000),
    now=st.integers(min_value=0, max_value=5000),
    gap=st.integers(min_value=0, max_value=2000),
)
def test_no_order_outlives_its_life_or_its_cause(
    rung: Rung, until: int | None, now: int, gap: int
) -> None:
    ends_at = None if until is None else START + until
    stand = ladder(rung, until=ends_at)
    first = render(stand, now=START + now)
    second = render(stand, now=START + now + gap, before=first)
    for at, config in ((now, first), (now + gap, second)):
        if config.order is not None:
            assert START + at < config.order.expires_at <= START + at + TTL_S
            assert ends_at is None or config.order.expires_at <= ends_at
    assert SidecarConfig.from_json(second.to_json()) == second


@pytest.mark.parametrize("rung", [Rung.SWITCH, Rung.BLOCK])
def test_an_order_in_force_never_lapses_between_ticks(rung: Rung) -> None:
    config = render(ladder(rung))
    for tick in range(1, 200):
        now = START + 15 * tick
        config = render(ladder(rung), now=now, before=config)
        assert config.order is not None
        assert config.order.expires_at - now > TTL_S / 2 - 15
