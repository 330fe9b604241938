"""A backtest as people read it in a terminal.

Law: pure: values in, renderables out. The answer stands first, and colour only repeats what a word
says.
"""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tidegate_operator.backtest.compete import Backtest
from tidegate_operator.backtest.field import Kind, Outcome
from tidegate_operator.backtest.verdict import beside, learning_words

_COLOUR = {True: "bold green", False: "bold yellow", None: "bold"}


def screen(played: Backtest, price: float | None) -> RenderableType:
    """Verdict, table, the learning period, what was assumed."""
    verdict = played.verdict
    parts: list[RenderableType] = [Text(verdict.sentence, style=_COLOUR[verdict.pays])]
    parts += [Text(f"  - {reason}") for reason in verdict.because]
    parts += [Text(""), Text(_judged(played)), Text(""), _table(played.outcomes, price)]
    for told in learning_words(played.found):
        parts += [Text(""), Text(told)]
    parts.append(Text(""))
    parts += [Text("Assumed:"), Padding(_assumed(played), (0, 0, 0, 2))]
    parts += [Text(f"Note: {note}.") for note in played.history.notes]
    return Group(*parts)


def _judged(played: Backtest) -> str:
    found, history = played.found, played.history
    text = f"{history.whole.name}: {found.days:.1f} days"
    if history.learning is not None:
        before = (history.learning.end - history.learning.start) / 3600
        text += f" judged, after {before:g} hours to learn from"
    if found.trust is not None:
        text += f"; the forecast was good enough to be used in {found.trust.share:.0%} of them"
    return f"{text}."


def _table(outcomes: Sequence[Outcome], price: float | None) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("CONTROLLER", no_wrap=True)
    heads = ["POD-HOURS", "COST", "VS YOUR HPA", "LATE OR LOST", "IN TIME"]
    if price is None:
        heads.remove("COST")
    for head in (*heads, "WAIT P50", "P95", "P99", "UPS", "DOWNS"):
        table.add_column(head, justify="right", no_wrap=True)
    hpa = next(outcome for outcome in outcomes if outcome.kind is Kind.HPA)
    for outcome in outcomes:
        style = "bold" if outcome.kind is Kind.TIDEGATE else ""
        table.add_row(*_cells(outcome, hpa, price), style=style)
    return table


def _cells(outcome: Outcome, hpa: Outcome, price: float | None) -> list[str]:
    result = outcome.result
    money = [] if price is None else [f"{outcome.pod_hours * price:,.0f}"]
    return [
        outcome.label,
        f"{outcome.pod_hours:,.0f}",
        *money,
        beside(outcome, hpa),
        f"{outcome.violations:.2%}",
        f"{1 - outcome.violations:.2%}",
        *(f"{wait:.1f} s" for wait in (result.wait_p50_s, result.wait_p95_s, result.wait_p99_s)),
        f"{result.scale_ups:,}",
        f"{result.scale_downs:,}",
    ]


def _assumed(played: Backtest) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for told in played.assumed.told:
        table.add_row(told.name, told.value, Text(told.source, style="dim"))
    return table
