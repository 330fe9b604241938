"""Which model answers a request, or why none does.

Law: pure. ``now`` and the request's number are arguments; the same arguments give the same answer.
An order past its ``expires_at`` is as if it were not there, so that a dead operator leaves no
fleet degraded.
"""

import math
from datetime import UTC, datetime
from typing import Final

from tidegate_wire.config import Do, Model, Order, SidecarConfig
from tidegate_wire.names import Refusal


class Route:
    """Where a request goes."""

    __slots__ = ("model", "price_in", "price_out", "probe", "rewrite", "took_turn", "upstream")

    def __init__(
        self, asked: str, model: Model | None, *, probe: bool = False, took_turn: bool = False
    ) -> None:
        self.model = asked if model is None else model.name
        """The model that answers."""
        self.rewrite = None if model is None or model.name == asked else model.name
        """What ``model`` in the body becomes; None leaves it."""
        self.upstream = "" if model is None else model.upstream
        """``http://host:port``; empty: the model server in this pod."""
        self.price_in = 0.0 if model is None else model.input_price_per_mtok
        self.price_out = 0.0 if model is None else model.output_price_per_mtok
        self.probe = probe
        """Sent to the first model to see whether it has recovered."""
        self.took_turn = took_turn
        """An order with probes applied: the next request of that kind has the next number."""


class Blocked:
    """A request that is refused, and what its caller is told."""

    __slots__ = ("code", "message", "model", "retry_after_s")

    def __init__(self, code: Refusal, message: str, retry_after_s: int, model: str) -> None:
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s
        self.model = model
        """The model that would have answered."""


_LAST_DATE: Final = 253402300799.0
"""The end of the year 9999, past which there are no dates to be told."""
_STRICTNESS: Final = {Do.SWITCH: 1, Do.BLOCK: 2}


def order_in_force(config: SidecarConfig, tenant: str, now: float) -> Order | None:
    """The stricter of the tenant's order and everyone's; of two alike the tenant's own."""
    own, general = config.tenant_orders.get(tenant), config.order
    if own is None and general is None:
        return None
    own, general = _live(own, now), _live(general, now)
    if own is None or general is None:
        return own or general
    return general if _STRICTNESS[general.do] > _STRICTNESS[own.do] else own


def _live(order: Order | None, now: float) -> Order | None:
    return order if order is not None and order.expires_at > now else None


def admit(
    config: SidecarConfig, tenant: str, asked: str, now: float, turn: int
) -> Route | Blocked:
    """Decide on one request for model ``asked``.

    ``turn`` numbers the requests that an order with probes switched, from 0: it grows by one
    with each ``Route.took_turn``.
    """
    order = order_in_force(config, tenant, now)
    if order is not None and order.do is Do.BLOCK:
        return _block(config, order, tenant, asked, now)
    models = config.models
    if not models or asked == "":
        return Route(asked, None)
    if asked != models[0].name:
        return Route(asked, _named(config, asked))
    if order is None:
        return Route(asked, models[0])
    if takes_probe(turn, order.probe_share):
        return Route(asked, models[0], probe=True, took_turn=True)
    return Route(asked, _named(config, order.model), took_turn=order.probe_share > 0)


def _named(config: SidecarConfig, name: str) -> Model | None:
    for model in config.models:
        if model.name == name:
            return model
    return None


def takes_probe(turn: int, share: float) -> bool:
    """Whether the request with this number is a probe: evenly spread, so that 5 % of 100 requests
    are 5."""
    # The small addition keeps 20 * 0.05 from coming out below 1.
    return math.floor((turn + 1) * share + 1e-9) > math.floor(turn * share + 1e-9)


def active_model(config: SidecarConfig, now: float) -> str:
    """The model that answers everyone whose tenant has no order; empty without models."""
    order = _live(config.order, now)
    if order is not None and order.do is Do.SWITCH:
        return order.model
    return config.models[0].name if config.models else ""


def _block(config: SidecarConfig, order: Order, tenant: str, asked: str, now: float) -> Blocked:
    wait_s = order.retry_after_s or order.expires_at - now
    until = datetime.fromtimestamp(min(now + wait_s, _LAST_DATE), UTC).strftime(
        "%Y-%m-%dT%H:%M:%SZ"
    )
    by_budget = "Budget" in order.reason
    own = config.tenant_orders.get(tenant) is order
    whose = f"Tenant {tenant!r}" if own and tenant else "This service"
    policy = f" of policy {config.policy}" if config.policy else ""
    if by_budget:
        message = f"{whose} has used up its token budget{policy} ({order.reason})"
    else:
        message = f"{whose} takes no requests at present, by order{policy} ({order.reason})"
    return Blocked(
        Refusal.BLOCKED_BUDGET if by_budget else Refusal.BLOCKED_ERRORS,
        f"{message}. Requests are let through again at {until}.",
        max(1, math.ceil(wait_s)),
        asked,
    )
