"""The parts of the status page as HTML.

Law: pure text; every piece of foreign text goes through ``escape``. No colour stands alone:
phases, rungs and conditions are also words.
"""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from tidegate_operator.hub import rival, svg
from tidegate_operator.hub.telling import (
    BAD_WHEN_TRUE,
    Headline,
    Manifest,
    amount,
    duration_s,
    figure,
    headline,
    items,
    moment,
    next_steps,
    part,
    spell_duration,
    spell_s,
    tenant_name,
    time_of,
)
from tidegate_operator.hub.trail import Point, number
from tidegate_operator.replay.autoscaler import USUAL_SHARE

HOURS = (1, 6, 24)
DEFAULT_HORIZON_S = 900.0
MAX_KEYS = 8

_ACTION_CSS = {
    "ScaleUp": "up",
    "ScaleDown": "down",
    "Warn": "warned",
    "Switch": "degraded",
    "Block": "blocked",
    "Probe": "warned",
    "Recover": "normal",
}


def overview_card(key: tuple[str, str], policy: Manifest) -> str:
    """One policy on the first page."""
    namespace, name = key
    head = headline(policy)
    status = part(policy, "status")
    replicas, demand = part(status, "replicas"), part(status, "demand")
    utilization = max((share_of(b) for b in items(status, "budgets")), default=None)
    facts = [
        ("Model", escape(head.model or "–")),
        ("Requests/s", figure(demand.get("rps"))),
        ("Ahead", figure(part(status, "forecast").get("demandAhead"))),
        ("Pods", f"{figure(replicas.get('ready'))} of {figure(replicas.get('desired'))}"),
        ("Budget", "–" if utilization is None else f"{utilization:.0%}"),
    ]
    return (
        f'<article class="card"><h2><a href="/p/{escape(namespace)}/{escape(name)}">'
        f"{escape(name)}</a> <small>{escape(namespace)}</small></h2>"
        f'<p class="badges">{badges(head)}</p><p>{escape(head.sentence)}</p>'
        f"{_facts(facts)}</article>"
    )


def badges(head: Headline) -> str:
    phase = head.phase or "New"
    parts = [f'<span class="badge {phase.lower()}">{phase}</span>']
    if not head.ready:
        parts.append('<span class="badge blocked">Not in force</span>')
    explained = {"Shadow": "Shadow: says what it would do", "Paused": "Paused: only looks"}
    parts.append(f'<span class="badge mode">{escape(explained.get(head.mode, head.mode))}</span>')
    return " ".join(parts)


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{html}</dd></div>" for name, html in facts)
    return f'<dl class="facts">{cells}</dl>'


def hero(key: tuple[str, str], policy: Manifest) -> str:
    """The head of a policy's own page."""
    head = headline(policy)
    status, spec = part(policy, "status"), part(policy, "spec")
    target = part(spec, "targetRef")
    scaling = part(spec, "scaling")
    replicas, forecast = part(status, "replicas"), part(status, "forecast")
    sidecars, cold = part(status, "sidecars"), part(status, "coldStart")
    within = spell_duration(str(forecast.get("horizon") or ""))
    ahead = forecast.get("demandAhead")
    limits = f"{figure(scaling.get('minReplicas'))} to {figure(scaling.get('maxReplicas'))}"
    facts = [
        ("Active model", f"<b>{escape(head.model or '–')}</b>"),
        ("Requests/s now", figure(part(status, "demand").get("rps"))),
        (f"At most, {f'within {within}' if within else 'ahead'}", figure(ahead)),
        (
            "Pods ready of wanted",
            f"{figure(replicas.get('ready'))} of {figure(replicas.get('desired'))}",
        ),
        ("Allowed pods", limits if scaling else "not scaled"),
        ("Cold start, 9 of 10", escape(spell_duration(str(cold.get("p90") or "–")))),
        (
            "Sidecars in step",
            f"{figure(sidecars.get('applied'))} of {figure(sidecars.get('expected'))}",
        ),
    ]
    kind = f"{target.get('kind', '')}/{target.get('name', '')}"
    return (
        f'<section class="hero {(head.phase or "new").lower()}"><h1>{escape(key[1])} '
        f"<small>{escape(key[0])} · {escape(kind)}</small></h1>"
        f'<p class="badges">{badges(head)}</p>'
        f'<p class="sentence">{escape(head.sentence)}</p>{_facts(facts)}</section>'
    )


# --- charts --------------------------------------------------------------------------------------


def charts(policy: Manifest, points: Sequence[Point], now: float, hours: int) -> str:
    """Demand, replicas and model over one time axis."""
    status = part(policy, "status")
    horizon_s = duration_s(str(part(status, "forecast").get("horizon") or ""))
    span = svg.Span(
        start=now - hours * 3600.0, now=now, end=now + (horizon_s or DEFAULT_HORIZON_S)
    )
    tabs = " ".join(
        f'<a href="?h={h}"{" aria-current=true" if h == hours else ""}>{h} h</a>' for h in HOURS
    )
    body = _no_points(policy)
    if any(p.t >= span.start for p in points):
        body = _drawings(policy, points, span) + "<p class=note>All times are UTC.</p>"
    return _section("Demand and replicas", body, f'<nav class="tabs">{tabs}</nav>')


def _drawings(policy: Manifest, points: Sequence[Point], span: svg.Span) -> str:
    models = [str(m.get("name")) for m in items(part(policy, "spec"), "models")]
    shown = [p for p in points if p.t >= span.start]
    drawings: list[tuple[str, Callable[[int, str], str], str]] = [
        (
            _demand_legend(span.end - span.now),
            lambda w, n: svg.demand_chart(points, span, w, n),
            "demand",
        ),
        (_replica_legend(shown), lambda w, n: svg.replica_chart(points, span, w, n), "replicas"),
        (
            _model_legend(models),
            lambda w, n: svg.model_ribbon(points, span, models, w, n),
            "model",
        ),
    ]
    notes = {"replicas": _beside_hpa(policy, shown)}
    return "".join(
        f"<figure><figcaption>{legend}</figcaption>{svg.both(draw, name)}{notes.get(name, '')}"
        "</figure>"
        for legend, draw, name in drawings
    )


def _demand_legend(horizon_s: float) -> str:
    window = spell_s(horizon_s)
    ahead = f"{window} before"
    return (
        '<b>Demand</b> <span class="key k-came">what came</span> '
        f'<span class="key k-peak">its highest in {window}</span> '
        f'<span class="key k-band">that highest, as forecast {ahead}: q50 to q95</span>'
    )


def _replica_legend(shown: Sequence[Point]) -> str:
    legend = (
        '<b>Replicas</b> <span class="key k-wanted">wanted</span> '
        '<span class="key k-ready">ready</span>'
    )
    if all(p.hpa is None for p in shown):
        return legend
    return f'{legend} <span class="key k-hpa">an HPA at {USUAL_SHARE:.0%} would want</span>'


def _beside_hpa(policy: Manifest, shown: Sequence[Point]) -> str:
    """What both cost, or why that can't be told."""
    found, target = rival.bill(shown), rival.target(policy)
    if not found.length_s:
        why = rival.why_unknown(policy)
        return f'<p class="note">What an HPA would want is not known: {why}</p>' if why else ""
    return (
        f'<p class="note">Wanted in these {spell_s(found.length_s)}: '
        f"<b>{found.wanted_pod_hours:,.1f}</b> pod-hours; by an HPA that keeps each pod at "
        f"{USUAL_SHARE:.0%}{f' ({target})' if target else ''}, on the demand alone: "
        f"<b>{found.hpa_pod_hours:,.1f}</b>. How late its requests would have been, "
        "<code>tidegate backtest</code> tells.</p>"
    )


def _model_legend(models: Sequence[str]) -> str:
    keys = "".join(
        f' <span class="key k-m{min(i, 3)}">{escape(name)}</span>' for i, name in enumerate(models)
    )
    return f"<b>Model that answers</b>{keys}"


def _no_points(policy: Manifest) -> str:
    steps = "".join(f"<pre>{escape(step)}</pre>" for step in next_steps(policy))
    words = "Nothing has been measured in this time; figures come from the sidecars."
    if not part(policy, "status"):
        words = "Figures follow the operator's first look. If none come, see whether it runs:"
    elif steps:
        words += " None reports yet. This gives the target's pods theirs:"
    return f'<div class="empty"><p>{words}</p>{steps}</div>'


# --- budgets and tenants -------------------------------------------------------------------------


def share_of(budget: Manifest) -> float:
    """Used over limit, from ``81%`` or from the figures; 0 where neither can be read."""
    given = number(str(budget.get("utilization") or "").removesuffix("%"))
    if given is not None:
        return given / 100
    used, limit = number(budget.get("used")), number(budget.get("limit"))
    return used / limit if used is not None and limit else 0.0


def budgets(policy: Manifest, now: float) -> str:
    status, spec = part(policy, "status"), part(policy, "spec")
    rules = {str(b.get("name")): b for b in items(spec, "budgets")}
    found = items(status, "budgets")
    if not found:
        return ""
    cards = [
        _budget(budget, rules.get(str(budget.get("name")), {}), now, f"b{i}")
        for i, budget in enumerate(found)
    ]
    return _section("Budgets", "".join(cards))


def _budget(budget: Manifest, rule: Manifest, now: float, name: str) -> str:
    marks = _marks(rule)
    share = share_of(budget)
    scope = str(budget.get("scope") or "Policy")
    unit = "tokens" if part(rule, "limit").get("tokens") else ""
    end = moment(budget.get("windowEnd"))
    reset = f"starts again at {time_of(budget.get('windowEnd'), now)}" if end else ""
    left = f", in {spell_s(end - now)}" if end and end > now else ""
    spent = f"{amount(budget.get('used'))} of {amount(budget.get('limit'))} {unit}".strip()
    per = "" if scope == "Policy" else f" · the fullest {escape(scope.lower())}"
    words = f"{share:.0%} used, {spent}; {reset}{left}"
    tops = items(budget, "top")[:MAX_KEYS]
    keys = "".join(
        _budget_key(top, marks, f"{name}-{i}", labels=i == len(tops) - 1)
        for i, top in enumerate(tops)
    )
    bar = "" if keys else svg.budget_bar(share, marks, name, words)
    return (
        f'<article class="budget"><h3>{escape(str(budget.get("name")))} <b>{share:.0%}</b></h3>'
        f'<p class="note">{escape(spent)}{per} · {escape(reset + left)}</p>{bar}{keys}</article>'
    )


def _budget_key(
    top: Manifest, marks: Sequence[tuple[float, str]], name: str, *, labels: bool
) -> str:
    share = share_of(top)
    rung = str(top.get("rung") or "None")
    off = (
        ""
        if rung in ("None", "Normal")
        else f' <span class="badge {_rung_css(rung)}">{escape(rung)}</span>'
    )
    bar = svg.budget_bar(
        share, marks, name, f"{tenant_name(top.get('key'))}: {share:.0%} used", labels=labels
    )
    return (
        f'<div class="budget-key"><p>{escape(tenant_name(top.get("key")))}{off} '
        f'<span class="note">{amount(top.get("used"))} · {share:.0%}</span></p>{bar}</div>'
    )


def _marks(rule: Manifest) -> list[tuple[float, str]]:
    found = []
    for action in items(rule, "actions"):
        at = number(str(action.get("at") or "").removesuffix("%"))
        if at is not None:
            found.append((at / 100, str(action.get("do") or "")))
    return sorted(found)


def _rung_css(rung: str) -> str:
    return {"Warn": "warned", "Switch": "degraded", "Block": "blocked"}.get(rung, "normal")


def tenants(policy: Manifest, now: float) -> str:
    found = items(part(policy, "status"), "tenants")
    if not found:
        return ""
    rows = "".join(
        f'<tr><td data-h="Tenant">{escape(tenant_name(t.get("name")))}</td>'
        f'<td data-h="Rung"><span class="badge {_rung_css(str(t.get("rung")))}">'
        f"{escape(str(t.get('rung')))}</span></td>"
        f'<td data-h="Why">{escape(str(t.get("reason") or ""))}</td>'
        f'<td data-h="Until">{escape(time_of(t.get("until"), now))}</td></tr>'
        for t in found
    )
    head = "<tr><th>Tenant</th><th>Rung</th><th>Why</th><th>Until</th></tr>"
    return _section(
        "Tenants off normal",
        f'<table class="stack"><thead>{head}</thead><tbody>{rows}</tbody></table>',
    )


# --- decisions and conditions --------------------------------------------------------------------


def decisions(policy: Manifest, now: float) -> str:
    found = items(part(policy, "status"), "decisions")
    if not found:
        words = "Nothing has had to change yet. Each change will stand here, with why."
        body = f'<p class="empty">{words}</p>'
    else:
        body = f'<ol class="decisions">{"".join(_decision(d, now) for d in found)}</ol>'
    return _section("Last decisions", body)


def _decision(decision: Manifest, now: float) -> str:
    action = str(decision.get("action") or "")
    css = _ACTION_CSS.get(action, "mode")
    subject = str(decision.get("subject") or "")
    step = " → ".join(
        str(decision[k]) for k in ("from", "to") if decision.get(k) not in (None, "")
    )
    would = "" if decision.get("applied", True) else ' <span class="badge mode">not applied</span>'
    return (
        f'<li><div class="when"><time>{escape(time_of(decision.get("time"), now))}</time></div>'
        f'<div><p><span class="badge {css}">{escape(action)}</span>{would} '
        f"<b>{escape(step)}</b> {escape(subject)} "
        f'<span class="note">{escape(str(decision.get("reason") or ""))}</span></p>'
        f"<p>{escape(str(decision.get('message') or ''))}</p>{_figures(decision)}</div></li>"
    )


_INPUTS = {
    "demandRps": "demand req/s",
    "forecastRps": "forecast req/s",
    "current": "pods asked for",
    "ready": "ready",
    "starting": "starting",
    "reactive": "demand calls for",
    "forecast": "forecast calls for",
}


def _figures(decision: Manifest) -> str:
    inputs: Mapping[str, Any] = part(decision, "inputs")
    known = [
        (label, inputs[name]) for name, label in _INPUTS.items() if inputs.get(name) is not None
    ]
    clamps = [
        f"{escape(str(c.get('reason')))} {figure(c.get('before'))} → {figure(c.get('after'))}"
        for c in items(decision, "clamps")
    ]
    facts = [f"{label} <b>{figure(value)}</b>" for label, value in known]
    if clamps:
        facts.append(f'<span class="held">held by {", ".join(clamps)}</span>')
    return f'<p class="figures">{" · ".join(facts)}</p>' if facts else ""


def conditions(policy: Manifest) -> str:
    found = items(part(policy, "status"), "conditions")
    if not found:
        return ""
    rows = "".join(_condition(c) for c in found)
    return _section("Conditions", f'<ul class="conditions">{rows}</ul>')


def _condition(condition: Manifest) -> str:
    kind, state = str(condition.get("type")), str(condition.get("status"))
    good = "False" if kind in BAD_WHEN_TRUE else "True"
    mark, css = ("?", "unknown") if state == "Unknown" else ("!", "bad")
    if state == good:
        mark, css = "✓", "good"
    reason, message = str(condition.get("reason") or ""), str(condition.get("message") or "")
    return (
        f'<li class="{css}"><span class="sign" aria-hidden="true">{mark}</span><div>'
        f"<b>{escape(kind)}</b> {escape(state)} <span class=note>{escape(reason)}</span>"
        f"<br>{escape(message)}</div></li>"
    )


def _section(title: str, body: str, aside: str = "") -> str:
    return (
        f'<section class="panel"><header><h2>{escape(title)}</h2>{aside}</header>{body}</section>'
    )
