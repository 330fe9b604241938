"""What was played, as one SVG for ``docs/forecasting.md``: cost against lateness, trace by trace.

Law: pure but for the file that it writes; nothing is told by colour alone, and it can be read on
dark and on light ground.
"""

import math
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from benchmarks.goals.field import Played, Row

WIDTH, PANEL_W, PANEL_H = 900, 430, 250
LEFT, TOP, BOTTOM, RIGHT = 54, 40, 36, 16
LEAST_LATE, MOST_LATE = 0.0003, 0.2
"""What is below or above stands at the edge."""
TICKS = (0.001, 0.005, 0.01, 0.05, 0.1)
OURS, THEIRS, KNOWS, OTHERS = "#2f81f7", "#8b949e", "#3fb950", "#d29922"
_STYLE = (
    "<style>text{font:12px system-ui,sans-serif;fill:#768390}.h{font-weight:600}"
    ".g{stroke:#76839055;stroke-width:1}</style>"
)


def draw(played: Sequence[Played], folder: Path) -> None:
    """Write ``goals.svg``: one panel for each trace that is long enough for a forecast."""
    shown = [each for each in played if each.trusted is not None]
    rows = math.ceil(len(shown) / 2)
    parts = [_STYLE]
    for place, each in enumerate(shown):
        x, y = place % 2 * (PANEL_W + 30), place // 2 * PANEL_H
        parts.append(f'<g transform="translate({x},{y})">{"".join(_panel(each))}</g>')
    title = "Pod-hours against late requests: Tidegate, HPA at its targets, others, an oracle"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "goals.svg").write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {rows * PANEL_H + 50}"'
        f' role="img"><title>{title}</title>{"".join(parts)}{_legend(rows * PANEL_H + 18)}</svg>\n'
    )


def _panel(each: Played) -> Iterator[str]:
    sweep = sorted(
        (row for row in each.rows if row.controller == "hpa"), key=lambda row: row.pod_hours
    )
    ours = [row for row in each.rows if row.controller == "tidegate"]
    oracle = [row for row in each.rows if row.controller == "oracle"]
    others = [row for row in each.rows if row.controller in {"keda", "kpa", "seasonal-naive"}]
    least = min(row.pod_hours for row in (*oracle, *ours))
    most = 2.2 * min(row.pod_hours for row in ours)

    def at(row: Row) -> tuple[float, float]:
        share = (min(row.pod_hours, most) - 0.9 * least) / (most - 0.9 * least)
        return LEFT + share * (PANEL_W - LEFT - RIGHT), _y(row.violations)

    start = f"{each.cold_start_s / 60:g} min to start"
    yield f'<text class="h" x="{LEFT}" y="20">{escape(each.trace)}, {start}</text>'
    for tick in TICKS:
        y = _y(tick)
        yield f'<path class="g" d="M{LEFT},{y:.1f}H{PANEL_W - RIGHT}"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:.1%}</text>'
    for hours in _nice(0.9 * least, most):
        x = LEFT + (hours - 0.9 * least) / (most - 0.9 * least) * (PANEL_W - LEFT - RIGHT)
        yield f'<text x="{x:.1f}" y="{PANEL_H - 14}" text-anchor="middle">{hours:,.0f}</text>'
    line = " ".join("{:.1f},{:.1f}".format(*at(row)) for row in sweep if row.pod_hours <= most)
    yield f'<polyline points="{line}" fill="none" stroke="{THEIRS}" stroke-width="2"/>'
    line = " ".join(
        "{:.1f},{:.1f}".format(*at(row)) for row in sorted(ours, key=lambda r: r.pod_hours)
    )
    yield f'<polyline points="{line}" fill="none" stroke="{OURS}" stroke-width="2"/>'
    for group, shape in ((sweep, _dot), (ours, _square), (oracle, _diamond), (others, _cross)):
        for row in group:
            if row.pod_hours <= most:
                yield shape(*at(row), _words(row))


def _words(row: Row) -> str:
    cost = f"{row.pod_hours:,.0f} pod-hours, {row.violations:.2%} late"
    return f"{row.controller} {row.setting}: {cost}"


def _y(late: float) -> float:
    share = math.log(min(max(late, LEAST_LATE), MOST_LATE) / LEAST_LATE)
    height = PANEL_H - TOP - BOTTOM
    return PANEL_H - BOTTOM - share / math.log(MOST_LATE / LEAST_LATE) * height


def _nice(low: float, high: float) -> list[float]:
    """Four or five round figures between."""
    step = 10.0 ** math.floor(math.log10((high - low) / 3))
    step *= next(k for k in (1, 2, 5, 10) if (high - low) / (step * k) <= 5)
    first = math.ceil(low / step)
    return [k * step for k in range(first, int(high / step) + 1)]


def _dot(x: float, y: float, says: str) -> str:
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{THEIRS}"><title>{says}</title></circle>'
    )


def _square(x: float, y: float, says: str) -> str:
    return (
        f'<rect x="{x - 5:.1f}" y="{y - 5:.1f}" width="10" height="10" fill="{OURS}">'
        f"<title>{says}</title></rect>"
    )


def _diamond(x: float, y: float, says: str) -> str:
    points = f"{x:.1f},{y - 6:.1f} {x + 6:.1f},{y:.1f} {x:.1f},{y + 6:.1f} {x - 6:.1f},{y:.1f}"
    return f'<polygon points="{points}" fill="{KNOWS}"><title>{says}</title></polygon>'


def _cross(x: float, y: float, says: str) -> str:
    path = f"M{x - 4:.1f},{y - 4:.1f}l8,8m0,-8l-8,8"
    look = f'stroke="{OTHERS}" stroke-width="2.5" fill="none"'
    return f'<path d="{path}" {look}><title>{says}</title></path>'


def _legend(y: float) -> str:
    marks = (
        (_square, "Tidegate, strict to lean"),
        (_dot, "HPA on request rate, targets 20 to 95 %"),
        (_cross, "KEDA, KPA, as yesterday"),
        (_diamond, "oracle"),
    )
    parts, x = [], LEFT
    for mark, says in marks:
        parts.append(mark(x, y - 4, says) + f'<text x="{x + 12}" y="{y}">{says}</text>')
        x += 30 + 7 * len(says)
    says = "across: pod-hours; upwards: late requests"
    return "".join(parts) + f'<text x="{LEFT}" y="{y + 20}">{says}</text>'
