"""Charts of one policy as inline SVG: values in, markup out.

Law: pure text. Colours and fonts come from the page's classes, so that one drawing serves light,
dark and paper; nothing is told by colour alone; every piece of foreign text is escaped. All charts
of one page share the time axis, so that what stands above each other happened at once.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from html import escape
from itertools import pairwise
from math import ceil, floor, log10

from tidegate_operator.hub.trail import GAP_S, Point

WIDE, NARROW = 920, 400
"""Drawing widths: text keeps its size, so a phone gets a drawing of its own."""
MAX_POINTS = 360
LETTER = 6.8
"""Mean width of a letter at the charts' font size."""
_STEPS_S = (60, 300, 600, 900, 1800, 3600, 7200, 10800, 14400, 21600)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The time axis: unix seconds."""

    start: float
    now: float
    end: float
    """After ``now`` by the forecast's horizon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """From values to places."""

    name: str
    """Unique in the page."""
    width: int
    height: int
    span: Span
    top_value: float = 1.0
    left: int = 40
    right: int = 10
    top: int = 14
    bottom: int = 22

    def x(self, t: float) -> float:
        share = (t - self.span.start) / max(1.0, self.span.end - self.span.start)
        return self.left + min(1.0, max(0.0, share)) * (self.width - self.left - self.right)

    def y(self, value: float) -> float:
        room = self.height - self.top - self.bottom
        return self.top + (1 - min(1.0, max(0.0, value / self.top_value))) * room

    def drawn(self, title: str, description: str, parts: Sequence[str]) -> str:
        ids = f"{self.name}-t {self.name}-d"
        return (
            f'<svg class="chart" viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-labelledby="{ids}"><title id="{self.name}-t">{escape(title)}</title>'
            f'<desc id="{self.name}-d">{escape(description)}</desc>{"".join(parts)}</svg>'
        )


def both(draw: Callable[[int, str], str], name: str) -> str:
    """A drawing for wide screens and one for narrow ones; the page shows one of them."""
    wide = draw(WIDE, f"{name}-w")
    return f'<div class="wide">{wide}</div><div class="narrow">{draw(NARROW, f"{name}-n")}</div>'


# --- demand --------------------------------------------------------------------------------------


def demand_chart(points: Sequence[Point], span: Span, width: int, name: str) -> str:
    """Demand as it came, over the band in which the forecast had expected its peak.

    A forecast made at t is about the highest demand until t + horizon, and is drawn where that
    time ends: so the line and the band that had announced it stand at the same place.
    """
    horizon_s = span.end - span.now
    shown = thinned([p for p in points if p.t + horizon_s >= span.start])
    values = [v for p in shown for v in (p.rps, p.q95) if v is not None]
    frame = Frame(name=name, width=width, height=230, span=span, top_value=_top(values))
    came = [p for p in shown if p.t >= span.start]
    parts = [
        *_grid(frame, "req/s"),
        *_band(frame, shown, horizon_s),
        *_now_line(frame),
        *_lines(frame, _peaks(came, horizon_s), lambda p: p.rps, "line-peak"),
        *_lines(frame, came, lambda p: p.rps, "line-came"),
    ]
    return frame.drawn("Demand and forecast", _demand_words(came, shown), parts)


def _peaks(points: Sequence[Point], window_s: float) -> list[Point]:
    """The highest demand of the window that ends at each point: what its band was about."""
    peaks: list[Point] = []
    start = 0
    for i, point in enumerate(points):
        while points[start].t <= point.t - window_s:
            start += 1
        known = [p.rps for p in points[start : i + 1] if p.rps is not None]
        peaks.append(
            replace(point, rps=max(known, default=None) if point.rps is not None else None)
        )
    return peaks


def _demand_words(came: Sequence[Point], shown: Sequence[Point]) -> str:
    known = [p.rps for p in came if p.rps is not None]
    if not known:
        return "No demand has been measured in this time."
    words = (
        f"Demand from {min(known):.1f} to {max(known):.1f} requests per second, "
        f"last {known[-1]:.1f}."
    )
    ahead = next((p for p in reversed(shown) if p.q95 is not None and p.q50 is not None), None)
    if ahead is None:
        return f"{words} No forecast in this time."
    return f"{words} Peak expected ahead: {ahead.q50:.1f}; 95 % sure of at most {ahead.q95:.1f}."


def _band(frame: Frame, points: Sequence[Point], shift_s: float) -> Iterator[str]:
    for run in _runs(points, lambda p: p.q50 is not None and p.q95 is not None):
        moved = [(frame.x(p.t + shift_s), p) for p in run]
        upper = [f"{x:.1f},{frame.y(p.q95 or 0):.1f}" for x, p in moved]
        lower = [f"{x:.1f},{frame.y(p.q50 or 0):.1f}" for x, p in moved]
        yield f'<polygon class="band" points="{" ".join(upper + lower[::-1])}"/>'
        yield f'<polyline class="band-top" points="{" ".join(upper)}"/>'
        yield f'<polyline class="band-mid" points="{" ".join(lower)}"/>'


# --- replicas ------------------------------------------------------------------------------------


def replica_chart(points: Sequence[Point], span: Span, width: int, name: str) -> str:
    """Pods that were wanted, over those that were ready; and an HPA's, where it is known."""
    shown = thinned([p for p in points if p.t >= span.start])
    values = [float(v) for p in shown for v in (p.wanted, p.ready, p.hpa) if v is not None]
    frame = Frame(
        name=name, width=width, height=150, span=span, top_value=max(2.0, *values, 0.0) + 0.5
    )
    parts = [
        *_grid(frame, "pods", whole=True),
        *_ready_area(frame, shown),
        *_now_line(frame),
        # Below the wanted, whose gaps let it be seen where both are the same.
        *_stairs(frame, shown, lambda p: p.hpa, "line-hpa"),
        *_stairs(frame, shown, lambda p: p.wanted, "line-wanted"),
    ]
    return frame.drawn("Replicas", _replica_words(shown), parts)


def _replica_words(shown: Sequence[Point]) -> str:
    if not shown:
        return "No replicas have been seen in this time."
    words = f"Last: {_count(shown[-1].wanted)} wanted, {_count(shown[-1].ready)} ready."
    hpa = [p.hpa for p in shown if p.hpa is not None]
    if not hpa:
        return words
    return f"{words} A plain HPA would have wanted from {min(hpa)} to {max(hpa)}, last {hpa[-1]}."


def _count(value: int | None) -> str:
    return "unknown" if value is None else str(value)


def _ready_area(frame: Frame, points: Sequence[Point]) -> Iterator[str]:
    for run in _runs(points, lambda p: p.ready is not None):
        stairs = _stair_points(frame, run, lambda p: p.ready)
        floor_y = frame.y(0)
        ends = f"{stairs[-1][0]:.1f},{floor_y:.1f} {stairs[0][0]:.1f},{floor_y:.1f}"
        corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in stairs)
        yield f'<polygon class="ready" points="{corners} {ends}"/>'


def _stairs(
    frame: Frame, points: Sequence[Point], value: Callable[[Point], float | None], css: str
) -> Iterator[str]:
    for run in _runs(points, lambda p: value(p) is not None):
        corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in _stair_points(frame, run, value))
        yield f'<polyline class="{css}" points="{corners}"/>'


def _stair_points(
    frame: Frame, run: Sequence[Point], value: Callable[[Point], float | None]
) -> list[tuple[float, float]]:
    corners: list[tuple[float, float]] = []
    for point in run:
        x, y = frame.x(point.t), frame.y(value(point) or 0.0)
        if corners and corners[-1][1] != y:
            corners.append((x, corners[-1][1]))
        corners.append((x, y))
    end = frame.x(min(run[-1].t + 60.0, frame.span.now))
    return [*corners, (max(end, corners[-1][0]), corners[-1][1])]


# --- which model answered ------------------------------------------------------------------------


def model_ribbon(
    points: Sequence[Point], span: Span, models: Sequence[str], width: int, name: str
) -> str:
    """One strip: which model answered when. All but the first are hatched."""
    frame = Frame(name=name, width=width, height=64, span=span, top=4, bottom=24)
    shown = [p for p in points if p.t >= span.start and p.model]
    pieces = _model_pieces(shown, span.now)
    parts = [_hatch(name)]
    for start, end, model in pieces:
        parts += _piece(frame, start, end, model, models)
    parts += [*_time_axis(frame), *_now_line(frame)]
    words = "; ".join(f"{model} from {clock_time(start)}" for start, _, model in pieces[-12:])
    return frame.drawn("Active model", words or "No model has answered in this time.", parts)


def _model_pieces(points: Sequence[Point], now: float) -> list[tuple[float, float, str]]:
    pieces: list[tuple[float, float, str]] = []
    for point in points:
        if pieces and pieces[-1][2] == point.model and point.t - pieces[-1][1] <= GAP_S:
            pieces[-1] = (pieces[-1][0], point.t, point.model)
            continue
        if pieces and point.t - pieces[-1][1] <= GAP_S:
            pieces[-1] = (pieces[-1][0], point.t, pieces[-1][2])
        pieces.append((point.t, point.t, point.model))
    if pieces and now - pieces[-1][1] <= GAP_S:
        pieces[-1] = (pieces[-1][0], now, pieces[-1][2])
    return pieces


def _piece(
    frame: Frame, start: float, end: float, model: str, models: Sequence[str]
) -> Iterator[str]:
    left, right = frame.x(start), frame.x(end)
    wide = max(1.5, right - left)
    place = min(models.index(model), 3) if model in models else 3
    box = f'x="{left:.1f}" y="{frame.top}" width="{wide:.1f}" height="{frame.height - 28}"'
    yield f'<rect class="model m{place}" {box}><title>{escape(model)}</title></rect>'
    if place:
        yield f'<rect fill="url(#{frame.name}-hatch)" {box}/>'
    room = int((wide - 8) / LETTER)
    if room >= min(6, len(model)):
        text = model if len(model) <= room else model[: room - 1] + "…"
        middle = frame.top + (frame.height - 28) / 2 + 4
        yield f'<text class="on-model" x="{left + 6:.1f}" y="{middle:.1f}">{escape(text)}</text>'


def _hatch(name: str) -> str:
    return (
        f'<defs><pattern id="{name}-hatch" width="7" height="7" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)"><rect class="hatch" width="2" height="7"/></pattern></defs>'
    )


# --- budgets -------------------------------------------------------------------------------------


def budget_bar(
    share: float, marks: Sequence[tuple[float, str]], name: str, words: str, *, labels: bool = True
) -> str:
    """How full a budget is, with the places where something happens; shares of the limit."""
    width, bar = 400, 14
    height = bar + (20 if labels else 5)
    scale = (width - 2) / max(1.0, share, *(at for at, _ in marks))
    reached = [do for at, do in marks if share >= at]
    css = f"fill-{reached[-1].lower()}" if reached else "fill-none"
    filled = max(0.0, share) * scale
    parts = [
        f'<rect class="trough" x="1" y="1" width="{width - 2}" height="{bar}" rx="3"/>',
        f'<rect class="{escape(css)}" x="1" y="1" width="{filled:.1f}" height="{bar}" rx="3"/>',
        *(
            f'<line class="mark" x1="{1 + at * scale:.1f}" x2="{1 + at * scale:.1f}" '
            f'y1="0" y2="{bar + 4}"/>'
            for at, _ in marks
        ),
        *(_mark_labels(marks, scale, width, height) if labels else ()),
    ]
    frame = Frame(
        name=name, width=width, height=height, span=Span(start=0, now=0, end=1), left=0, right=0
    )
    return frame.drawn("Budget used", words, parts)


def _mark_labels(
    marks: Sequence[tuple[float, str]], scale: float, width: int, height: int
) -> Iterator[str]:
    """From the right, each moved left as far as its neighbour asks."""
    free = float(width)
    for at, do in sorted(marks, reverse=True):
        label = f"{do} {at:.0%}"
        right = min(1 + at * scale + 4, free)
        free = right - LETTER * len(label) - 8
        yield (
            f'<text class="tick" x="{right:.1f}" y="{height - 3}" text-anchor="end">'
            f"{escape(label)}</text>"
        )


# --- what they share -----------------------------------------------------------------------------


def thinned(points: Sequence[Point], most: int = MAX_POINTS) -> list[Point]:
    """At most about ``most`` points; of each group the busiest, with the group's highest band."""
    size = ceil(len(points) / most)
    if size <= 1:
        return list(points)
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return [_merged(group) for group in groups]


def _merged(group: Sequence[Point]) -> Point:
    peak = max(group, key=lambda p: -1.0 if p.rps is None else p.rps)
    band = max(group, key=lambda p: -1.0 if p.q95 is None else p.q95)
    last = group[-1]
    return replace(
        last, rps=peak.rps, q50=band.q50, q95=band.q95, wanted=last.wanted, ready=last.ready
    )


def _runs(points: Sequence[Point], known: Callable[[Point], bool]) -> Iterator[list[Point]]:
    """Stretches in which ``known`` holds and no time is missing."""
    run: list[Point] = []
    gap_s = max(GAP_S, 2.5 * _step_s(points))
    for point in points:
        if run and (not known(point) or point.t - run[-1].t > gap_s):
            yield run
            run = []
        if known(point):
            run.append(point)
    if run:
        yield run


def _step_s(points: Sequence[Point]) -> float:
    steps = sorted(b.t - a.t for a, b in pairwise(points))
    return steps[len(steps) // 2] if steps else 0.0


def _lines(
    frame: Frame, points: Sequence[Point], value: Callable[[Point], float | None], css: str
) -> Iterator[str]:
    for run in _runs(points, lambda p: value(p) is not None):
        places = [f"{frame.x(p.t):.1f},{frame.y(value(p) or 0.0):.1f}" for p in run]
        if len(places) == 1:
            x, y = places[0].split(",")
            yield f'<circle class="dot-came" cx="{x}" cy="{y}" r="2"/>'
        else:
            yield f'<polyline class="{css}" points="{" ".join(places)}"/>'


def _grid(frame: Frame, unit: str, *, whole: bool = False) -> Iterator[str]:
    step = _nice(frame.top_value / 5)
    if whole:
        step = max(1.0, ceil(step))
    for i in range(floor(frame.top_value / step + 1e-9) + 1):
        y = frame.y(i * step)
        yield (
            f'<line class="grid" x1="{frame.left}" x2="{frame.width - frame.right}" '
            f'y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{frame.left - 5}" y="{y + 4:.1f}" text-anchor="end">'
            f"{i * step:g}</text>"
        )
    yield f'<text class="tick" x="{frame.left + 4}" y="{frame.top - 3}">{escape(unit)}</text>'
    yield from _time_axis(frame)


def _time_axis(frame: Frame) -> Iterator[str]:
    length_s = frame.span.end - frame.span.start
    most = max(2, (frame.width - frame.left) // 70)
    step_s = next((s for s in _STEPS_S if length_s / s <= most), 43200)
    t = ceil(frame.span.start / step_s) * step_s
    base = frame.height - frame.bottom
    while t <= frame.span.end:
        x = frame.x(t)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{base}" y2="{base + 4}"/>'
        if frame.left + 8 <= x <= frame.width - 16:
            yield (
                f'<text class="tick" x="{x:.1f}" y="{frame.height - 5}" text-anchor="middle">'
                f"{clock_time(t)}</text>"
            )
        t += step_s


def _now_line(frame: Frame) -> Iterator[str]:
    x = frame.x(frame.span.now)
    base = frame.height - frame.bottom
    yield f'<line class="now" x1="{x:.1f}" x2="{x:.1f}" y1="{frame.top}" y2="{base}"/>'
    if frame.top >= 10:
        yield (
            f'<text class="tick" x="{x - 3:.1f}" y="{frame.top - 3}" text-anchor="end">now</text>'
        )


def clock_time(t: float) -> str:
    """``14:05`` in UTC; midnight is the day's name."""
    at = datetime.fromtimestamp(t, UTC)
    return f"{at:%a %-d}" if at.hour == at.minute == 0 else f"{at:%H:%M}"


def _top(values: Sequence[float]) -> float:
    highest = max(values, default=0.0) * 1.05
    if highest <= 0:
        return 1.0
    step = _nice(highest / 5)
    return ceil(highest / step) * step


def _nice(value: float) -> float:
    """The next of 1, 2, 5, 10, ... from ``value`` up."""
    if value <= 0:
        return 1.0
    power = 10.0 ** floor(log10(value))
    return next(power * m for m in (1, 2, 5, 10) if power * m >= value * 0.999)
