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
from tidegate_operator.backtest.verdict import beside, hours, learning_words

_COLOUR = {True: "bold green", False: "bold yellow", None: "bold"}


WIDE = 110
"""Columns from which all figures have room."""


def screen(played: Backtest, price: float | None, width: int) -> RenderableType:
    """Verdict, table, the learning period, what was assumed; fewer figures on less ``width``."""
    verdict = played.verdict
    parts: list[RenderableType] = [Text(verdict.sentence, style=_COLOUR[verdict.pays])]
    parts += [Text(f"  - {reason}") for reason in verdict.because]
    parts += [Text(""), Text(_judged(played)), Text(""), _table(played.outcomes, price, width)]
    wait_s = played.assumed.plant.slo_wait_s
    parts.append(Text(f"LATE: waited longer than {wait_s:g} s, or lost. WAIT in seconds.", "dim"))
    for told in learning_words(played.found):
        parts += [Text(""), Text(told)]
    parts.append(Text(""))
    parts += [Text("Assumed:"), Padding(_assumed(played), (0, 0, 0, 2), expand=False)]
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


def _table(outcomes: Sequence[Outcome], price: float | None, width: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("CONTROLLER", no_wrap=True)
    hpa = next(outcome for outcome in outcomes if outcome.kind is Kind.HPA)
    rows = [_cells(outcome, hpa, price, width) for outcome in outcomes]
    for head in rows[0]:
        table.add_column(head, justify="right", no_wrap=True)
    for outcome, cells in zip(outcomes, rows, strict=True):
        style = "bold" if outcome.kind is Kind.TIDEGATE else ""
        table.add_row(outcome.label, *cells.values(), style=style)
    return table


def _cells(outcome: Outcome, hpa: Outcome, price: float | None, width: int) -> dict[str, str]:
    """By the heads of their columns."""
    result = outcome.result
    cells = {"POD-HOURS": hours(outcome)}
    if price is not None:
        cells["COST"] = f"{outcome.pod_hours * price:,.0f}"
    cells |= {"VS HPA": beside(outcome, hpa), "LATE": f"{outcome.violations:.2%}"}
    if width >= WIDE:
        cells |= {
            "IN TIME": f"{1 - outcome.violations:.2%}",
            "WAIT P50": f"{result.wait_p50_s:.1f}",
            "P95": f"{result.wait_p95_s:.1f}",
        }
    cells["P99" if width >= WIDE else "WAIT P99"] = f"{result.wait_p99_s:.1f}"
    if width >= WIDE:
        cells |= {"UPS": f"{result.scale_ups:,}", "DOWNS": f"{result.scale_downs:,}"}
    return cells


def _assumed(played: Backtest) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for told in played.assumed.told:
        table.add_row(told.name, told.value, Text(told.source, style="dim"))
    return table
