"""Policies as people read them in a terminal.

Law: pure: objects in, renderables out. Colour only repeats what a word says.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tidegate_operator.cli.kube import Object, key_of
from tidegate_operator.hub.telling import (
    BAD_WHEN_TRUE,
    Manifest,
    amount,
    figure,
    headline,
    items,
    next_steps,
    part,
    spell_duration,
    tenant_name,
    time_of,
)

_PHASE = {"Normal": "green", "Warned": "yellow", "Degraded": "dark_orange3", "Blocked": "red"}
_INPUTS = {
    "demandRps": "demand now",
    "forecastRps": "demand ahead",
    "current": "replicas asked for",
    "ready": "ready",
    "starting": "starting",
    "reactive": "demand calls for",
    "forecast": "forecast calls for",
    "scheduled": "schedule calls for",
    "perReplica": "a replica carries",
}
_UNITS = {"demandRps": " req/s", "forecastRps": " req/s"}


def twin(policy: Object) -> dict[str, Any]:
    """The same shape as the status page's JSON."""
    namespace, name = key_of(policy)
    return {
        "policy": {"namespace": namespace, "name": name, "spec": policy.get("spec") or {}},
        "status": policy.get("status") or {},
    }


def overview(policies: Sequence[Object], *, namespaces: bool) -> RenderableType:
    """One line for each policy."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    if namespaces:
        table.add_column("NAMESPACE", no_wrap=True)
    table.add_column("NAME", no_wrap=True)
    for name in ("MODE", "PHASE", "MODEL"):
        table.add_column(name, no_wrap=True)
    for name in ("REQ/S", "AHEAD", "READY", "WANTED", "BUDGET"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("WHAT IS GOING ON", ratio=1, min_width=24)
    for policy in policies:
        namespace, name = key_of(policy)
        cells = [Text(namespace)] if namespaces else []
        table.add_row(*cells, Text(name), *_overview_cells(policy))
    return table


def _overview_cells(policy: Object) -> Iterator[Text]:
    head = headline(policy)
    status = part(policy, "status")
    replicas, budgets = part(status, "replicas"), items(status, "budgets")
    used = max((str(b.get("utilization") or "") for b in budgets), key=_percent, default="")
    yield Text(head.mode)
    yield phase(head.phase)
    yield Text(head.model or "-")
    yield Text(_plain(part(status, "demand").get("rps")))
    yield Text(_plain(part(status, "forecast").get("demandAhead")))
    yield Text(_plain(replicas.get("ready")))
    yield Text(_plain(replicas.get("desired")))
    yield Text(used or "-")
    yield Text(head.sentence)


def phase(name: str) -> Text:
    return Text(name or "New", style=f"bold {_PHASE.get(name, '')}".strip())


def _percent(text: str) -> float:
    try:
        return float(text.removesuffix("%"))
    except ValueError:
        return -1.0


def _plain(value: object) -> str:
    return "-" if value is None else figure(value)


def detail(policy: Object, now: float) -> RenderableType:
    """One policy, whole but for its decisions."""
    head, status = headline(policy), part(policy, "status")
    namespace, name = key_of(policy)
    target = part(policy, "spec", "targetRef")
    title = Text.assemble(
        (f"{namespace}/{name}", "bold"),
        "  ",
        phase(head.phase),
        f"  {head.mode}  ",
        (f"{target.get('kind', '')}/{target.get('name', '')}", "dim"),
    )
    parts: list[RenderableType] = [title, Text(head.sentence), Text("")]
    if not status:
        return Group(*parts, *(Text(f"  {step}") for step in next_steps(policy)))
    parts.append(_pairs(_facts(status, head.model)))
    for heading, body in (
        ("Budgets", _budgets(status, now)),
        ("Tenants off normal", _tenants(status, now)),
        ("Conditions", _conditions(status)),
    ):
        if body is not None:
            parts += [Text(""), Text(heading, style="bold"), body]
    return Group(*parts)


def _facts(status: Manifest, model: str) -> list[tuple[str, str]]:
    replicas, forecast = part(status, "replicas"), part(status, "forecast")
    demand, cold = part(status, "demand"), part(status, "coldStart")
    sidecars = part(status, "sidecars")
    within = spell_duration(str(forecast.get("horizon") or ""))
    ahead = f"at most {_plain(forecast.get('demandAhead'))} req/s within {within}"
    missing = str(forecast.get("reason") or "none")
    return [
        ("Model", model or "-"),
        ("Demand", _demand(demand)),
        ("Forecast", ahead if forecast.get("demandAhead") else missing),
        (
            "Replicas",
            f"{_plain(replicas.get('ready'))} ready, {_plain(replicas.get('desired'))} "
            f"wanted (demand calls for {_plain(replicas.get('reactive'))}, "
            f"forecast for {_plain(replicas.get('forecast'))}{_scheduled(replicas)})",
        ),
        ("Capacity", _capacity(part(status, "capacity"))),
        (
            "Cold start",
            f"9 of 10 within {spell_duration(str(cold['p90']))}"
            if cold.get("p90")
            else "not measured yet",
        ),
        (
            "Sidecars",
            f"{_plain(sidecars.get('applied'))} of {_plain(sidecars.get('expected'))} "
            f"run the current config, {_plain(sidecars.get('failed'))} refused it",
        ),
    ]


def _demand(demand: Manifest) -> str:
    words = f"{_plain(demand.get('rps'))} req/s ({demand.get('state') or 'unknown'})"
    law = part(demand, "littlesLaw")
    if law.get("holds") is not False:
        return words
    return (
        f"{words}; {_plain(law.get('inFlight'))} at once where rate x service time is "
        f"{_plain(law.get('expected'))}: one of the three is measured wrong"
    )


def _scheduled(replicas: Manifest) -> str:
    count = replicas.get("scheduled")
    return "" if count is None else f", a schedule for {_plain(count)}"


_SIGNALS = {
    "RequestsPerSecond": "req/s",
    "TokensPerSecond": "tokens/s",
    "Concurrency": "requests at once",
}
_SOURCES = {
    "Declared": "declared",
    "Learned": "learned",
    "Learning": "or more, being learned: no pod is added by it yet",
}


def _capacity(capacity: Manifest) -> str:
    if capacity.get("perReplica") is None:
        return "not known yet"
    signal = _SIGNALS.get(str(capacity.get("signal")), "req/s")
    source = _SOURCES.get(str(capacity.get("source")), "")
    return f"{_plain(capacity['perReplica'])} {signal} ({source})"


def _pairs(pairs: Sequence[tuple[str, str]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for name, value in pairs:
        table.add_row(Text(name), Text(value))
    return table


def _budgets(status: Manifest, now: float) -> Table | None:
    found = items(status, "budgets")
    if not found:
        return None
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("Budget", "Whose", "Used", "Limit", "Share", "Rung", "Starts again"):
        table.add_column(name, justify="right" if name in ("Used", "Limit", "Share") else "left")
    for budget in found:
        whose = str(budget.get("scope") or "Policy")
        end = time_of(budget.get("windowEnd"), now)
        name = str(budget.get("name"))
        limit = amount(budget.get("limit"))
        for top in items(budget, "top") or [budget]:
            key = tenant_name(top["key"]) if "key" in top else whose
            rung = str(top.get("rung") or "-")
            cells = (name, key, amount(top.get("used")), limit, str(top.get("utilization") or "-"))
            table.add_row(*(Text(cell) for cell in (*cells, rung, end)))
            name = limit = end = ""
    return table


def _tenants(status: Manifest, now: float) -> Table | None:
    found = items(status, "tenants")
    if not found:
        return None
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("Tenant", "Rung", "Why", "Until"):
        table.add_column(name)
    for tenant in found:
        cells = [tenant_name(tenant.get("name"))]
        cells += [str(tenant.get(k) or "") for k in ("rung", "reason")]
        table.add_row(*(Text(c) for c in (*cells, time_of(tenant.get("until"), now))))
    return table


def _conditions(status: Manifest) -> Table | None:
    found = items(status, "conditions")
    if not found:
        return None
    table = Table(box=None, show_header=False, pad_edge=False)
    for _ in range(3):
        table.add_column(no_wrap=True)
    table.add_column()
    for condition in found:
        kind, state = str(condition.get("type")), str(condition.get("status"))
        good = "False" if kind in BAD_WHEN_TRUE else "True"
        mark = Text("✓", "green") if state == good else Text("!", "bold yellow")
        told = f"{condition.get('reason') or ''}  {condition.get('message') or ''}".strip()
        table.add_row(mark, Text(kind), Text(state), Text(told, "dim"))
    return table


# --- explain -------------------------------------------------------------------------------------


def explanation(policy: Object, now: float) -> RenderableType:
    """The last decisions, each with all that led to it."""
    namespace, name = key_of(policy)
    head = headline(policy)
    parts: list[RenderableType] = [
        Text.assemble((f"{namespace}/{name}", "bold"), "  ", phase(head.phase), f"  {head.mode}"),
        Text(head.sentence),
    ]
    found = items(part(policy, "status"), "decisions")
    if not found:
        parts += [Text(""), Text("No decision has changed anything yet.")]
        parts += [Text(f"  {step}") for step in next_steps(policy)]
    for decision in found:
        parts += [Text(""), *_decision(decision, now)]
    return Group(*parts)


def _decision(decision: Manifest, now: float) -> Iterator[RenderableType]:
    step = " → ".join(
        str(decision[k]) for k in ("from", "to") if decision.get(k) not in (None, "")
    )
    applied = "" if decision.get("applied", True) else "  not applied"
    yield Text.assemble(
        f"{time_of(decision.get('time'), now)}  ",
        (str(decision.get("action") or ""), "bold"),
        f"  {step}  {decision.get('subject') or ''}".rstrip(),
        (f"  {decision.get('reason') or ''}", "cyan"),
        (applied, "bold yellow"),
    )
    if decision.get("message"):
        yield Padding(Text(str(decision["message"])), (0, 0, 0, 4))
    pairs = _steps(decision)
    if pairs:
        yield Padding(_pairs(pairs), (0, 0, 0, 4))


def _steps(decision: Manifest) -> list[tuple[str, str]]:
    """From what was seen to what was decided, in the order in which it was worked out."""
    inputs: Mapping[str, Any] = part(decision, "inputs")
    pairs = [
        (label, f"{figure(inputs[name])}{_UNITS.get(name, '')}")
        for name, label in _INPUTS.items()
        if inputs.get(name) is not None
    ]
    for clamp in items(decision, "clamps"):
        held = f"{figure(clamp.get('before'))} became {figure(clamp.get('after'))}"
        pairs.append((f"held by {clamp.get('reason')}", held))
    return pairs


def fault(message: str) -> Text:
    """One line for standard error."""
    return Text.from_markup(f"[bold red]tidegate:[/] {escape(message)}")
