"""Which model answers, by config, order, tenant and time."""

import pytest

from tidegate_sidecar.admit import Blocked, Route, active_model, admit, takes_probe
from tidegate_wire.config import Do, Model, Order, SidecarConfig
from tidegate_wire.names import Refusal

NOW = 1_700_000_000.0
BIG = Model(name="big", input_price_per_mtok=3.0)
SMALL = Model(name="small", upstream="http://small:8000")
MODELS = (BIG, SMALL)


def order(
    do: Do, *, model: str = "", reason: str = "X", live: bool = True, **more: float
) -> Order:
    return Order(do=do, model=model, reason=reason, expires_at=NOW + (60 if live else 0), **more)


SWITCH = order(Do.SWITCH, model="small")
BLOCK = order(Do.BLOCK, reason="ErrorRateHigh")
OLD_BLOCK = order(Do.BLOCK, live=False)
OLD_SWITCH = order(Do.SWITCH, model="small", live=False)

# config's orders (everyone's, acme's), model asked for, by whom -> model, rewritten to, upstream
ROUTES = {
    "without an order the first model answers": (None, None, "big", "acme", ("big", None, "")),
    "another listed model has its own upstream": (
        *(None, None, "small", "acme"),
        ("small", None, "http://small:8000"),
    ),
    "an unlisted model passes unchanged": (None, None, "mine", "acme", ("mine", None, "")),
    "no model passes unchanged": (SWITCH, None, "", "acme", ("", None, "")),
    "a switch moves the first model": (
        *(SWITCH, None, "big", "acme"),
        ("small", "small", "http://small:8000"),
    ),
    "a switch leaves other listed models": (
        *(SWITCH, None, "small", "acme"),
        ("small", None, "http://small:8000"),
    ),
    "a switch leaves unlisted models": (SWITCH, None, "mine", "acme", ("mine", None, "")),
    "an expired switch is none": (OLD_SWITCH, None, "big", "acme", ("big", None, "")),
    "an expired block is none": (OLD_BLOCK, OLD_BLOCK, "big", "acme", ("big", None, "")),
    "a tenant's switch moves that tenant": (
        *(None, SWITCH, "big", "acme"),
        ("small", "small", "http://small:8000"),
    ),
    "a tenant's switch leaves the others": (None, SWITCH, "big", "zoo", ("big", None, "")),
    "a tenant's block leaves the others": (None, BLOCK, "big", "zoo", ("big", None, "")),
    "a tenant's block leaves the others on everyone's switch": (
        *(SWITCH, BLOCK, "big", "zoo"),
        ("small", "small", "http://small:8000"),
    ),
    "an expired block does not hide a live switch": (
        *(SWITCH, OLD_BLOCK, "big", "acme"),
        ("small", "small", "http://small:8000"),
    ),
}


def config(everyone: Order | None, acme: Order | None) -> SidecarConfig:
    return SidecarConfig(
        policy="ns/p", models=MODELS, order=everyone, tenant_orders={"acme": acme} if acme else {}
    )


@pytest.mark.parametrize(
    ("everyone", "acme", "asked", "tenant", "expected"), ROUTES.values(), ids=ROUTES
)
def test_where_a_request_goes(
    everyone: Order | None,
    acme: Order | None,
    asked: str,
    tenant: str,
    expected: tuple[str, str | None, str],
) -> None:
    route = admit(config(everyone, acme), tenant, asked, NOW, 0)
    assert isinstance(route, Route)
    assert (route.model, route.rewrite, route.upstream) == expected


BLOCKS = {
    "everyone's block": (BLOCK, None, "big"),
    "everyone's block, for any model": (BLOCK, None, "mine"),
    "everyone's block, for what names no model": (BLOCK, None, ""),
    "a tenant's block": (None, BLOCK, "big"),
    "a tenant's block beside everyone's switch": (SWITCH, BLOCK, "big"),
    "everyone's block beside a tenant's switch": (BLOCK, SWITCH, "big"),
}


@pytest.mark.parametrize(("everyone", "acme", "asked"), BLOCKS.values(), ids=BLOCKS)
def test_the_stricter_order_holds(everyone: Order | None, acme: Order | None, asked: str) -> None:
    assert isinstance(admit(config(everyone, acme), "acme", asked, NOW, 0), Blocked)


def test_without_a_config_everything_passes() -> None:
    route = admit(SidecarConfig(), "acme", "big", NOW, 0)
    assert isinstance(route, Route)
    assert (route.model, route.rewrite, route.upstream, route.price_in) == ("big", None, "", 0.0)


def test_a_blocked_tenant_is_told_who_why_and_until_when() -> None:
    budget = order(Do.BLOCK, reason="BudgetExhausted", retry_after_s=90.5)
    refusal = admit(config(None, budget), "acme", "big", NOW, 0)
    assert isinstance(refusal, Blocked)
    assert refusal.code is Refusal.BLOCKED_BUDGET
    assert refusal.retry_after_s == 91
    assert refusal.message == (
        "Tenant 'acme' has used up its token budget of policy ns/p (BudgetExhausted). "
        "Requests are let through again at 2023-11-14T22:14:50Z."
    )


def test_a_blocked_caller_without_retry_after_waits_until_the_order_ends() -> None:
    refusal = admit(config(BLOCK, None), "acme", "big", NOW, 0)
    assert isinstance(refusal, Blocked)
    assert (refusal.code, refusal.retry_after_s) == (Refusal.BLOCKED_ERRORS, 60)
    assert "ErrorRateHigh" in refusal.message
    almost_over = admit(config(BLOCK, None), "acme", "big", NOW + 59.9, 0)
    assert isinstance(almost_over, Blocked)
    assert almost_over.retry_after_s == 1


@pytest.mark.parametrize("share", [0.0, 0.01, 0.05, 0.1, 1 / 3, 0.5, 1.0])
def test_probes_are_their_share_in_any_hundred_requests(share: float) -> None:
    turns = [takes_probe(turn, share) for turn in range(1000)]
    for start in range(0, 900, 7):
        assert abs(sum(turns[start : start + 100]) - 100 * share) < 1 + 1e-6


def test_five_percent_of_a_hundred_are_five() -> None:
    probing = config(order(Do.SWITCH, model="small", probe_share=0.05), None)
    turn = 0
    models = []
    for _ in range(100):
        route = admit(probing, "acme", "big", NOW, turn)
        assert isinstance(route, Route)
        turn += route.took_turn
        models.append(route.model)
        unlisted = admit(probing, "acme", "mine", NOW, turn)
        assert isinstance(unlisted, Route)
        assert not unlisted.took_turn
    assert models.count("big") == 5


def test_which_model_is_active() -> None:
    assert active_model(config(None, SWITCH), NOW) == "big"
    assert active_model(config(SWITCH, None), NOW) == "small"
    assert active_model(config(SWITCH, None), NOW + 61) == "big"
    assert active_model(SidecarConfig(), NOW) == ""


def test_a_block_without_end_is_told_too() -> None:
    forever = Order(do=Do.BLOCK, reason="ErrorRateHigh", expires_at=1e18)
    refusal = admit(config(forever, None), "acme", "big", NOW, 0)
    assert isinstance(refusal, Blocked)
    assert "9999" in refusal.message
