"""A config is read whole or refused with field, rule and value."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate_wire.config import Do, Model, Order, SidecarConfig, Timeouts, WireError

CONFIG = SidecarConfig(
    policy="shop/chat",
    models=(
        Model(name="llama-70b", input_price_per_mtok=0.9, output_price_per_mtok=0.9),
        Model(name="llama-8b", upstream="http://llama-8b.shop.svc:8000"),
    ),
    order=Order(do=Do.SWITCH, model="llama-8b", reason="ErrorRateHigh", expires_at=1e9),
    tenant_orders={"acme": Order(do=Do.BLOCK, reason="BudgetExhausted", expires_at=2e9)},
    tenant_header="x-tenant-id",
    timeouts=Timeouts(first_token_s=5.0),
)


def edited(change: Callable[[dict[str, Any]], object]) -> bytes:
    body = json.loads(CONFIG.to_json())
    change(body)
    return json.dumps(body).encode()


def test_a_config_survives_the_wire() -> None:
    assert SidecarConfig.from_json(CONFIG.to_json()) == CONFIG


def test_equal_configs_have_equal_hashes_however_their_mappings_were_built() -> None:
    orders = {n: Order(do=Do.BLOCK, reason="r", expires_at=1.0) for n in ("a", "b")}
    backwards = dict(reversed(orders.items()))
    assert SidecarConfig(tenant_orders=orders).hash == SidecarConfig(tenant_orders=backwards).hash
    assert SidecarConfig().hash != CONFIG.hash


def test_whole_and_decimal_numbers_are_one_config() -> None:
    whole, decimal = (
        SidecarConfig(order=Order(do=Do.BLOCK, reason="r", expires_at=n, retry_after_s=n))
        for n in (60, 60.0)
    )
    assert whole.hash == decimal.hash


def test_a_field_from_a_newer_operator_is_left_alone() -> None:
    assert SidecarConfig.from_json(edited(lambda b: b.update(colour="blue"))) == CONFIG


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        pytest.param(
            lambda b: b.update(schema_version=2),
            "config.schema_version must be 1, was: 2",
            id="a version we do not know",
        ),
        pytest.param(
            lambda b: b.pop("schema_version"), "config.schema_version is missing", id="no version"
        ),
        pytest.param(
            lambda b: b["models"][1].update(upstream="ftp://x"),
            r"config.models\[1\].upstream must be like http://host:8000 or https://host/path, "
            r"was: 'ftp://x'",
            id="an upstream we cannot speak to",
        ),
        pytest.param(
            lambda b: b["models"][1].update(name="llama-70b"),
            "config.models must have distinct names",
            id="one name twice",
        ),
        pytest.param(
            lambda b: b["order"].update(model="gpt"),
            r"order.model must be one of \['llama-70b', 'llama-8b'\], was: 'gpt'",
            id="a switch to nowhere",
        ),
        pytest.param(
            lambda b: b["order"].update(do="Explode"),
            r"order.do must be one of \['Switch', 'Block'\], was: 'Explode'",
            id="an order we do not know",
        ),
        pytest.param(
            lambda b: b["order"].update(probe_share=1.5),
            "config.order.probe_share must be between 0 and 1, was: 1.5",
            id="more probes than requests",
        ),
        pytest.param(
            lambda b: b["timeouts"].update(idle_s=0),
            "config.timeouts.idle_s must be above 0, was: 0.0",
            id="a time-out of nothing",
        ),
        pytest.param(
            lambda b: b["timeouts"].update(idle_s=float("nan")),
            "config.timeouts.idle_s must be finite, was: nan",
            id="a time-out that is no number",
        ),
        pytest.param(
            lambda b: b.update(max_request_bytes=True),
            "config.max_request_bytes must be int, was: True",
            id="a truth where a number belongs",
        ),
        pytest.param(
            lambda b: b.update(models={}), "config.models must be list, was: {}", id="wrong shape"
        ),
    ],
)
def test_a_bad_config_is_refused_by_name(
    change: Callable[[dict[str, Any]], object], problem: str
) -> None:
    with pytest.raises(WireError, match=problem):
        SidecarConfig.from_json(edited(change))


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(
        lambda value: json.dumps(value).encode()
    )
)
def test_garbage_is_refused_and_nothing_else(raw: bytes) -> None:
    with pytest.raises(WireError):
        SidecarConfig.from_json(raw)
