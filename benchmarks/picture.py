"""A run's figures as one SVG, for ``docs/performance.md``.

Law: pure; nothing is told by colour alone, and it can be read on dark and on light ground.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

from benchmarks.loads import CHUNK, REQUEST, USAGE_CHUNK

WIDTH = 860
LABEL_WIDTH = 210
BAR = 18
ROW = 26
HEAD = 40
OURS, THEIRS = "#2f81f7", "#8b949e"
_STYLE = "<style>text{font:13px system-ui,sans-serif;fill:#768390}.h{font-weight:600}</style>"
Row = tuple[str, float]


def drawn(told: dict[str, Any]) -> str:
    """The picture of what ``report.as_values`` gives."""
    panels = [
        (f"CPU microseconds per {load.says}", _rows(told, load.name))
        for load in (REQUEST, CHUNK, USAGE_CHUNK)
    ]
    memory = [(name, figures["pss_loaded_mb"]) for name, figures in told["proxies"].items()]
    panels.append(("Memory under load, MB (PSS)", [row for row in memory if row[1]]))
    parts, y = [_STYLE], 0
    for title, rows in panels:
        parts += _panel(title, rows, y)
        y += HEAD + ROW * len(rows)
    title = "CPU and memory of the sidecar beside other proxies"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 10}" role="img">'
        f"<title>{title}</title>{''.join(parts)}</svg>\n"
    )


def _rows(told: dict[str, Any], load: str) -> list[Row]:
    spreads = {name: figures[load]["cpu_us"] for name, figures in told["proxies"].items()}
    return [(name, spread["median"]) for name, spread in spreads.items() if spread]


def _panel(title: str, rows: Sequence[Row], y: int) -> list[str]:
    # One a hundred times as long would leave the others none: its bar is cut, and says so.
    ordered = sorted(value for _, value in rows)
    most = ordered[-1]
    if len(ordered) > 1 and most > 4 * ordered[-2]:
        most = 1.5 * ordered[-2]
    parts = [f'<text class="h" x="0" y="{y + 26}">{escape(title)}</text>']
    for number, (name, value) in enumerate(rows):
        top = y + HEAD + ROW * number
        length = (WIDTH - LABEL_WIDTH - 90) * min(value / most, 1.0)
        ours = name.startswith("tidegate")
        cut = " (cut)" if value > most else ""
        parts.append(
            f'<text class="{"h" if ours else "n"}" x="0" y="{top + 14}">{escape(name)}</text>'
            f'<rect x="{LABEL_WIDTH}" y="{top}" width="{length:.0f}" height="{BAR}" rx="2" '
            f'fill="{OURS if ours else THEIRS}"/>'
            f'<text x="{LABEL_WIDTH + length + 6:.0f}" y="{top + 14}">{value:,.0f}{cut}</text>'
        )
    return parts
