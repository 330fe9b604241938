"""What the sidecars of a policy are told: a decision as a ``SidecarConfig``.

Law: an order that goes on says the same words until half of its life is gone, so that an unchanged
decision writes nothing; and every order ends by itself, so that a dead operator leaves no fleet
degraded.
"""

from dataclasses import replace

from tidegate_operator.crd.spec import PolicySpec
from tidegate_operator.decide.rungs import Rung, Scope
from tidegate_operator.decide.words import LadderDecision, Mode
from tidegate_wire.config import Do, Order, SidecarConfig

_DO = {Rung.SWITCH: Do.SWITCH, Rung.BLOCK: Do.BLOCK}


def render_config(
    policy: str,
    spec: PolicySpec,
    ladder: LadderDecision | None,
    *,
    before: SidecarConfig | None,
    now: float,
    order_ttl_s: float,
) -> SidecarConfig:
    """The config for all sidecars of ``policy`` (``namespace/name``).

    ``ladder`` is ``None`` while nothing was decided: what stood ``before`` stands on until it
    expires. Orders are given in ``Enforce``; in ``Paused`` those that were given before go on.
    """
    plain = SidecarConfig(
        policy=policy,
        models=spec.models,
        tenant_header=spec.tenant_header,
        timeouts=spec.timeouts,
        max_request_bytes=spec.max_request_bytes,
    )
    if spec.rules.mode is Mode.SHADOW:
        return plain
    if ladder is None:
        return plain if before is None else _keep_orders(plain, before, now)
    had = SidecarConfig() if before is None else before
    order = _for_everyone(spec, ladder, had.order, now, order_ttl_s)
    tenant_orders = _for_tenants(spec, ladder, now)
    if spec.rules.mode is Mode.PAUSED:
        # Shadow's ladder may stand on a rung that was never in force: a pause begins nothing.
        order = order if had.order is not None else None
        tenant_orders = {t: o for t, o in tenant_orders.items() if t in had.tenant_orders}
    return replace(plain, order=order, tenant_orders=tenant_orders)


def _keep_orders(plain: SidecarConfig, before: SidecarConfig, now: float) -> SidecarConfig:
    names = {model.name for model in plain.models}

    def stands(order: Order) -> bool:
        return order.expires_at > now and (order.do is Do.BLOCK or order.model in names)

    return replace(
        plain,
        order=before.order if before.order is not None and stands(before.order) else None,
        tenant_orders={t: o for t, o in before.tenant_orders.items() if stands(o)},
    )


def _for_everyone(
    spec: PolicySpec, ladder: LadderDecision, before: Order | None, now: float, ttl_s: float
) -> Order | None:
    do = _DO.get(ladder.rung)
    ends_at = float("inf") if ladder.until is None else ladder.until
    if do is None or ends_at <= now:
        return None
    if do is Do.SWITCH and ladder.active_model not in {model.name for model in spec.models}:
        return None
    order = Order(
        do=do,
        model=ladder.active_model if do is Do.SWITCH else "",
        reason=str(ladder.reason),
        expires_at=min(now + ttl_s, ends_at),
        probe_share=ladder.probe_share,
    )
    if before is None or replace(before, expires_at=order.expires_at) != order:
        return order
    fresh = before.expires_at - now > ttl_s / 2 or before.expires_at == ends_at
    return before if fresh and before.expires_at <= ends_at else order


def _for_tenants(spec: PolicySpec, ladder: LadderDecision, now: float) -> dict[str, Order]:
    """One order for each tenant that is off the normal rung; it ends with the budget's window."""
    names = {model.name for model in spec.models}
    by_tenant = {b.name for b in spec.rules.budgets if b.scope is Scope.TENANT}
    orders = {}
    for tenant, stand in sorted(ladder.tenants.items()):
        do = _DO.get(stand.rung)
        if do is None or stand.until <= now or stand.budget not in by_tenant:
            continue
        if do is Do.SWITCH and stand.model not in names:
            continue
        order = Order(
            do=do,
            model=stand.model if do is Do.SWITCH else "",
            reason=str(stand.reason),
            expires_at=stand.until,
        )
        orders[tenant] = order
    return orders
