"""A backtest as one HTML file: the answer, who took how many pods and was how late, pictures.

Law: pure; a self-contained file that loads nothing. Every piece of foreign text is escaped, and
every figure is one that the table in the terminal has too.
"""

from collections.abc import Callable, Sequence
from html import escape
from importlib.resources import files

from tidegate_operator.backtest.compete import Backtest
from tidegate_operator.backtest.field import Kind, Outcome
from tidegate_operator.backtest.picture import (
    BAND,
    View,
    busiest_day,
    load_chart,
    moment,
    pods_chart,
    view,
)
from tidegate_operator.backtest.verdict import beside, hours, learning_words
from tidegate_operator.hub import svg

MOST_ALLOWED = 6
"""Bars of violations end at this many times what is allowed, so that small ones can be seen."""
_HERO = {True: "normal", False: "warned", None: ""}


def render(played: Backtest, price: float | None) -> str:
    """The whole file; ``price`` is per pod and hour."""
    style = _style("tidegate_operator.hub", "page.css")
    style += _style("tidegate_operator.backtest", "report.css")
    name = escape(played.history.whole.name)
    body = (
        _answer(played, price),
        _bars(played),
        _days(played),
        _figures(played, price),
        _assumed(played),
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Tidegate backtest</title><style>{style}</style></head><body>"
        f'<div class="top"><a>Tidegate backtest</a><span class="note">{name}</span></div>'
        f"<main>{''.join(body)}</main></body></html>"
    )


def _style(room: str, name: str) -> str:
    return files(room).joinpath(name).read_text(encoding="utf-8")


def _answer(played: Backtest, price: float | None) -> str:
    found, verdict = played.found, played.verdict
    ours, own, best = found.ours, found.outcomes[Kind.HPA], found.rival
    facts = [
        ("Tidegate", *_fact(ours, price)),
        (f"Your {own.label}", *_fact(own, price)),
        ("The best HPA in hindsight", *_fact(best, price)),
        ("An oracle", *_fact(found.outcomes[Kind.ORACLE], price)),
    ]
    cells = "".join(
        f"<div><dt>{escape(who)}</dt><dd>{escape(paid)}</dd><dd>{escape(late)}</dd></div>"
        for who, paid, late in facts
    )
    reasons = "".join(f"<li>{escape(reason)}</li>" for reason in verdict.because)
    listed = f'<ul class="reasons">{reasons}</ul>' if reasons else ""
    return (
        f'<section class="hero {_HERO[verdict.pays]}"><p class="sentence">'
        f'{escape(verdict.sentence)}</p>{listed}<dl class="facts">{cells}</dl></section>'
    )


def _fact(outcome: Outcome, price: float | None) -> tuple[str, str]:
    cost = "" if price is None else f" for {outcome.pod_hours * price:,.0f}"
    return f"{hours(outcome)} pod-hours{cost}", f"{outcome.violations:.2%} late or lost"


def _bars(played: Backtest) -> str:
    found = played.found
    most = max(outcome.pod_hours for outcome in played.outcomes)
    highest = max(MOST_ALLOWED * found.allowed, 0.001)
    rows = [
        '<div class="h name">Controller</div><div class="h">Pod-hours</div>'
        f'<div class="h">Late or lost; the mark is the allowed {found.allowed:.2%}</div>'
    ]
    for outcome in played.outcomes:
        us = " us" if outcome.kind is Kind.TIDEGATE else ""
        paid, late = outcome.pod_hours / most, min(1.0, outcome.violations / highest)
        mark = f'<u style="left:{min(1.0, found.allowed / highest):.1%}"></u>'
        over = "" if found.keeps(outcome) else " late"
        rows.append(
            f'<div class="name{us}">{escape(outcome.label)}</div>'
            f'<div class="bar{us}"><div><i style="width:{paid:.1%}"></i></div>'
            f"<span>{hours(outcome)}</span></div>"
            f'<div class="bar{us}{over}"><div><i style="width:{late:.1%}"></i>{mark}</div>'
            f"<span>{outcome.violations:.2%}</span></div>"
        )
    return _panel(
        "What was paid, and who waited",
        f'<div class="bars">{"".join(rows)}</div>',
        f"Bars of late or lost requests end at {highest:.1%}.",
    )


def _days(played: Backtest) -> str:
    start, end = busiest_day(played)
    day = view(played, start, end)
    minutes = played.found.ours.result.minutes
    whole = view(played, minutes.start, minutes.start + 60.0 * len(minutes.load))
    pods = (
        '<b>Pods paid</b> <span class="key k-ours">Tidegate</span> '
        f'<span class="key k-hpa">{escape(played.found.outcomes[Kind.HPA].label)}</span> '
        '<span class="key k-oracle">oracle</span>'
    )
    load = (
        '<b>Load</b> <span class="key k-came">busiest minute as it came</span> '
        f'<span class="key k-band">forecast of the peak, quantiles {BAND[0]} to {BAND[1]}</span>'
    )
    title = f"The busiest day: {moment(start)} to {moment(end)}"
    return _panel(
        title, _figure(load, day, load_chart, "day-load") + _figure(pods, day, pods_chart, "day")
    ) + _panel(
        "All judged days",
        _figure(load, whole, load_chart, "all-load") + _figure(pods, whole, pods_chart, "all"),
    )


def _figure(caption: str, seen: View, draw: Callable[[View, int, str], str], name: str) -> str:
    drawn = svg.both(lambda width, unique: draw(seen, width, unique), name)
    return f"<figure><figcaption>{caption}</figcaption>{drawn}</figure>"


def _figures(played: Backtest, price: float | None) -> str:
    heads = [
        "Controller",
        "Pod-hours",
        "Beside your HPA",
        "Late or lost",
        "Wait p50",
        "p95",
        "p99",
    ]
    heads += ["SLO minutes missed", "Scale-ups", "Scale-downs"]
    if price is not None:
        heads.insert(2, "Cost")
    hpa = played.found.outcomes[Kind.HPA]
    rows = "".join(
        "<tr>"
        + "".join(
            f'<td class="{"" if at == 0 else "n"}" data-h="{escape(head)}">{escape(cell)}</td>'
            for at, (head, cell) in enumerate(zip(heads, _cells(outcome, hpa, price), strict=True))
        )
        + "</tr>"
        for outcome in played.outcomes
    )
    shown = "".join(
        f'<th class="{"" if at == 0 else "n"}">{escape(head)}</th>'
        for at, head in enumerate(heads)
    )
    table = f'<table class="stack"><thead><tr>{shown}</tr></thead><tbody>{rows}</tbody></table>'
    return _panel("All figures", table, *learning_words(played.found))


def _cells(outcome: Outcome, hpa: Outcome, price: float | None) -> list[str]:
    result = outcome.result
    cost = [] if price is None else [f"{outcome.pod_hours * price:,.0f}"]
    return [
        outcome.label,
        hours(outcome),
        *cost,
        beside(outcome, hpa),
        f"{outcome.violations:.2%}",
        *(f"{wait:.1f} s" for wait in (result.wait_p50_s, result.wait_p95_s, result.wait_p99_s)),
        f"{result.slo_minutes:,}",
        f"{result.scale_ups:,}",
        f"{result.scale_downs:,}",
    ]


def _assumed(played: Backtest) -> str:
    rows = "".join(
        f"<tr><td>{escape(told.name)}</td><td>{escape(told.value)}</td>"
        f'<td class="note">{escape(told.source)}</td></tr>'
        for told in played.assumed.told
    )
    return _panel("What was taken for granted", f"<table>{rows}</table>", *played.history.notes)


def _panel(title: str, content: str, *notes: str) -> str:
    told: Sequence[str] = [f'<p class="note">{escape(note)}</p>' for note in notes]
    head = f"<header><h2>{escape(title)}</h2></header>"
    return f'<section class="panel">{head}{content}{"".join(told)}</section>'
