"""The demo's result as one HTML file: figures, pictures, every decision with its reason.

Law: pure; a self-contained file that loads nothing. It is drawn by the status page's own pieces,
so that what people saw while it ran is what they find in the report.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from math import ceil
from typing import Any

from tidegate_operator.demo.story import Figures, Hpa
from tidegate_operator.hub import cards, svg
from tidegate_operator.hub.trail import Point


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the report shows."""

    figures: Figures
    policy: Mapping[str, Any]
    """The policy as it was at the end, spec and status."""
    points: Sequence[Point]
    decisions: Sequence[Mapping[str, Any]]
    """Oldest first."""
    budgets: Sequence[Mapping[str, Any]]
    """As they stood when they were fullest."""
    hpa: Hpa | None
    minutes: Mapping[str, Mapping[str, Any]]
    """Callers' tallies by minute since ``start``, as text."""
    start: float
    end: float
    trace: str


def render(report: Report) -> str:
    style = files("tidegate_operator.hub").joinpath("page.css").read_text(encoding="utf-8")
    status = {
        **(report.policy.get("status") or {}),
        "decisions": list(report.decisions)[::-1],
        "budgets": list(report.budgets),
    }
    policy = {**report.policy, "status": status}
    hours = ceil((report.end - report.start) / 3600)
    body = (
        _head(report),
        _beside_hpa(report),
        cards.charts(policy, report.points, report.end, hours),
        _budgets(report, policy),
        _callers(report),
        cards.decisions(policy, report.end),
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Tidegate demo</title><style>{style} .tabs{{display:none}}</style></head><body>"
        f'<div class="top"><a>Tidegate demo</a><span class="note">{_when(report)}</span></div>'
        f"<main>{''.join(body)}</main></body></html>"
    )


def _when(report: Report) -> str:
    start, end = (datetime.fromtimestamp(t, UTC) for t in (report.start, report.end))
    return f"{start:%a %H:%M} to {end:%H:%M} at {report.figures.speed:g}x"


def _facts(facts: Sequence[tuple[str, str]]) -> str:
    cells = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts)
    return f'<dl class="facts">{cells}</dl>'


def headline(figures: Figures) -> str:
    """The result in a sentence or two."""
    lost = figures.failed_requests
    text = (
        f"{figures.requests:,} requests, {lost:,} failed; "
        f"{figures.slo_attained:.1%} of answers began in time."
    )
    if figures.scale_ups:
        text += (
            f" {figures.scale_ups_ahead_of_load} of {figures.scale_ups} scale-ups came before"
            " the load that they were for."
        )
    return text


def _head(report: Report) -> str:
    figures = report.figures
    equal = figures.tokens_in + figures.tokens_out == figures.tokens_reported_by_model_server
    facts = [
        ("Requests", f"{figures.requests:,}"),
        ("Failed", f"{figures.failed_requests:,}"),
        ("First token in time", f"{figures.slo_attained:.1%}"),
        ("Model switched, and back", f"{figures.switches}, {figures.recoveries}"),
        (
            "Budget warned, switched, blocked",
            f"{figures.budget_warnings}, {figures.budget_switches}, {figures.budget_blocks}",
        ),
        ("Turned away by budget", f"{figures.blocked_requests:,}"),
        ("Tokens counted", f"{figures.tokens_in + figures.tokens_out:,}"),
        (
            "By the model servers",
            f"{figures.tokens_reported_by_model_server:,}{' (equal)' if equal else ''}",
        ),
    ]
    title = f"What happened <small>{escape(report.trace)}</small>"
    return (
        f'<section class="hero normal"><h1>{title}</h1>'
        f'<p class="sentence">{escape(headline(figures))}</p>{_facts(facts)}</section>'
    )


def _beside_hpa(report: Report) -> str:
    figures, hpa = report.figures, report.hpa
    if hpa is None or figures.hpa_pod_minutes is None or figures.hpa_slo_attained is None:
        return ""
    facts = [
        ("Tidegate: pod-minutes", f"{figures.pod_minutes:,.0f}"),
        ("in time", f"{figures.slo_attained:.1%}"),
        ("Plain HPA: pod-minutes", f"{figures.hpa_pod_minutes:,.0f}"),
        ("in time ", f"{figures.hpa_slo_attained:.1%}"),
    ]
    points = _with_hpa(report.points, hpa)
    span = svg.Span(start=report.start, now=report.end, end=report.end)
    legend = (
        '<b>Pods</b> <span class="key k-wanted">plain HPA, replayed</span> '
        '<span class="key k-ready">Tidegate, ready</span>'
    )
    chart = svg.both(lambda w, n: svg.replica_chart(points, span, w, n), "beside")
    note = (
        '<p class="note">Tidegate was measured here, with errors, budgets and real processes; the '
        "HPA is a simulation on the same minutes and the same pods, without any of these: it "
        "carries what budgets turned away here, too.</p>"
    )
    return (
        "<section class=panel><header><h2>Beside a plain HPA</h2></header>"
        f"{_facts(facts)}<figure><figcaption>{legend}</figcaption>{chart}</figure>{note}</section>"
    )


def _with_hpa(points: Sequence[Point], hpa: Hpa) -> list[Point]:
    """The HPA's pods in the place of the wanted ones."""
    joined, at = [], 0
    for point in points:
        while at + 1 < len(hpa.pods) and hpa.pods[at + 1][0] <= point.t:
            at += 1
        pods = hpa.pods[at][1] if hpa.pods and hpa.pods[at][0] <= point.t else None
        joined.append(replace(point, wanted=pods))
    return joined


def _budgets(report: Report, policy: Mapping[str, Any]) -> str:
    """At their fullest: by the end of the run the window may just have begun anew."""
    drawn = cards.budgets(policy, report.end)
    return drawn.replace("<h2>Budgets</h2>", "<h2>Budgets, at their fullest</h2>", 1)


def _callers(report: Report) -> str:
    """What callers saw, minute by minute."""
    series = sorted((int(m), tally) for m, tally in report.minutes.items())
    if not series:
        return ""
    drawn = svg.both(lambda w, n: _caller_chart(report, series, w, n), "callers")
    legend = (
        '<b>Answers a minute</b> <span class="key c-ok">answered</span> '
        '<span class="key c-blocked">turned away by budget</span> '
        '<span class="key c-failed">failed</span>'
    )
    style = (
        "<style>.c-ok::before,.b-ok{background:var(--ready);fill:var(--ready)}"
        ".c-blocked::before,.b-blocked{background:#c69200;fill:#c69200}"
        ".c-failed::before,.b-failed{background:#c62f2f;fill:#c62f2f}</style>"
    )
    return (
        f"<section class=panel>{style}<header><h2>What callers saw</h2></header>"
        f"<figure><figcaption>{legend}</figcaption>{drawn}</figure></section>"
    )


def _caller_chart(
    report: Report, series: Sequence[tuple[int, Mapping[str, Any]]], width: int, name: str
) -> str:
    span = svg.Span(start=report.start, now=report.end, end=report.end)
    most = max(int(tally["sent"]) for _, tally in series)
    frame = svg.Frame(name=name, width=width, height=130, span=span, top_value=max(1.0, most))
    wide = max(0.6, frame.x(report.start + 60) - frame.x(report.start) - 0.3)
    parts = []
    for minute, tally in series:
        x, floor = frame.x(report.start + minute * 60), 0.0
        for kind in ("ok", "blocked", "failed"):
            value = float(tally[kind])
            if value:
                top, base = frame.y(floor + value), frame.y(floor)
                parts.append(
                    f'<rect class="b-{kind}" x="{x:.1f}" y="{top:.1f}" width="{wide:.2f}" '
                    f'height="{base - top:.1f}"/>'
                )
            floor += value
    parts.append(
        f'<text class="tick" x="{frame.left - 5}" y="{frame.top + 4}" text-anchor="end">{most}'
        "</text>"
    )
    hour = ceil(report.start / 3600) * 3600
    while hour < report.end:
        parts.append(
            f'<text class="tick" x="{frame.x(hour):.1f}" y="{frame.height - 5}" '
            f'text-anchor="middle">{svg.clock_time(hour)}</text>'
        )
        hour += 3600
    words = f"{len(series)} minutes, at most {most} requests in one."
    return frame.drawn("Answers per minute", words, parts)
