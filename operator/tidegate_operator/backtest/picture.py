"""What a backtest looks like over time, as inline SVG: load under its forecast, pods of those who
matter.

Law: pure text, drawn in the status page's own frame and classes, so that light, dark and paper are
served by one drawing. A line is never told from another by colour alone. What a group of minutes
shows is its highest load and its mean of pods: peaks are what scaling is about, pods what is paid.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from math import ceil
from statistics import fmean

from tidegate_operator.backtest.compete import Backtest
from tidegate_operator.backtest.field import Kind
from tidegate_operator.hub import svg
from tidegate_operator.replay.trace import DAY_S, MINUTE_S

Value = float | None
DRAWN = {Kind.ORACLE: "p-oracle", Kind.HPA: "p-hpa", Kind.TIDEGATE: "p-ours"}
"""Whose pods are drawn, the last on top, and the class of the line."""
BAND = (0.5, 0.95)
"""Quantiles of the forecast between which it is drawn."""
GROUPS = 288
"""Points along an axis: five minutes of a day."""
DATED_FROM = 365 * DAY_S
"""Smaller seconds count from a file's own start and have no date."""
_STEPS_S = (3 * 3600, 6 * 3600, DAY_S, 2 * DAY_S, 7 * DAY_S, 14 * DAY_S, 30 * DAY_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A part of the judged minutes, in groups of equal length."""

    start: float
    end: float
    group_s: float
    load: Sequence[Value]
    """Requests per second of the busiest minute."""
    expected: Sequence[tuple[Value, Value]]
    """The edges of ``BAND`` of the forecast whose horizon ends there."""
    pods: Mapping[Kind, Sequence[float]]

    @property
    def times(self) -> Sequence[float]:
        return [self.start + self.group_s * i for i in range(len(self.load))]


def view(played: Backtest, start: float, end: float) -> View:
    """``start`` and ``end`` in the history's seconds, within the judged part."""
    minutes = played.found.ours.result.minutes
    first = max(0, round((start - minutes.start) / MINUTE_S))
    last = min(len(minutes.load), round((end - minutes.start) / MINUTE_S))
    size = max(1, ceil((last - first) / GROUPS))
    groups = [range(at, min(at + size, last)) for at in range(first, last, size)]
    return View(
        start=minutes.start + first * MINUTE_S,
        end=minutes.start + last * MINUTE_S,
        group_s=size * MINUTE_S,
        load=[max(minutes.load[m] for m in group) / MINUTE_S for group in groups],
        expected=[_expected(played, minutes.start, group) for group in groups],
        pods={
            kind: [fmean(outcome.result.minutes.paid[m] for m in group) for group in groups]
            for kind in DRAWN
            if (outcome := played.found.outcomes[kind])
        },
    )


def _expected(played: Backtest, start: float, group: Sequence[int]) -> tuple[Value, Value]:
    """The highest of a group, shifted to where its horizon ends: so the band that announced a peak
    stands where the peak is."""
    found = [
        forecast.quantiles
        for minute in group
        if (forecast := played.forecasts(start + minute * MINUTE_S - played.assumed.horizon_s))
        and forecast.reliable
    ]
    middle = [q[BAND[0]] for q in found if BAND[0] in q]
    upper = [q[BAND[1]] for q in found if BAND[1] in q]
    return max(middle, default=None), max(upper, default=None)


def busiest_day(played: Backtest) -> tuple[float, float]:
    """The day (of the history's own midnights) in which most requests came."""
    minutes = played.found.ours.result.minutes
    end = minutes.start + len(minutes.load) * MINUTE_S
    begins = [minutes.start]
    while (following := begins[-1] - begins[-1] % DAY_S + DAY_S) < end:
        begins.append(following)

    def requests(begin: float) -> float:
        first = round((begin - minutes.start) / MINUTE_S)
        return sum(minutes.load[first : first + DAY_S // MINUTE_S])

    begin = max(begins, key=requests)
    return begin, min(begin + DAY_S, end)


def load_chart(seen: View, width: int, name: str) -> str:
    """Load as it came, over the band in which the forecast had expected its peak."""
    highest = [v for v in (*seen.load, *(q for _, q in seen.expected)) if v is not None]
    frame = _frame(seen, width, name, 220, max(highest, default=0.0))
    lower = [middle for middle, _ in seen.expected]
    upper = [quantile for _, quantile in seen.expected]
    parts = [
        *_axes(frame, seen, "req/s"),
        *_band(frame, seen.times, lower, upper),
        *_lines(frame, seen.times, upper, "band-top"),
        *_lines(frame, seen.times, seen.load, "line-came"),
    ]
    known = [v for v in seen.load if v is not None]
    words = f"Load from {min(known):.1f} to {max(known):.1f} requests per second."
    return frame.drawn("Load and forecast", words, parts)


def pods_chart(seen: View, width: int, name: str) -> str:
    """Pods that were paid, by whose they are."""
    highest = max(max(pods) for pods in seen.pods.values())
    frame = _frame(seen, width, name, 200, highest)
    parts = [*_axes(frame, seen, "pods")]
    for kind, pods in seen.pods.items():
        parts += _lines(frame, seen.times, pods, DRAWN[kind])
    words = "; ".join(
        f"{kind}: {fmean(pods):.1f} pods on average" for kind, pods in seen.pods.items()
    )
    return frame.drawn("Pods", words, parts)


def _frame(seen: View, width: int, name: str, height: int, highest: float) -> svg.Frame:
    span = svg.Span(start=seen.start, now=seen.end, end=seen.end)
    return svg.Frame(
        name=name, width=width, height=height, span=span, top_value=highest * 1.05 or 1.0
    )


def _band(
    frame: svg.Frame, times: Sequence[float], lower: Sequence[Value], upper: Sequence[Value]
) -> Iterator[str]:
    for run in _runs(upper):
        there = [(frame.x(times[i]), frame.y(upper[i] or 0.0)) for i in run]
        back = [(frame.x(times[i]), frame.y(lower[i] or 0.0)) for i in reversed(run)]
        yield f'<polygon class="band" points="{_places([*there, *back])}"/>'


def _lines(
    frame: svg.Frame, times: Sequence[float], values: Sequence[Value], css: str
) -> Iterator[str]:
    for run in _runs(values):
        places = [(frame.x(times[i]), frame.y(values[i] or 0.0)) for i in run]
        yield f'<polyline class="{css}" points="{_places(places)}"/>'


def _runs(values: Sequence[Value]) -> Iterator[list[int]]:
    """Stretches in which all is known."""
    run: list[int] = []
    for index, value in enumerate(values):
        if value is not None:
            run.append(index)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _places(places: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _axes(frame: svg.Frame, seen: View, unit: str) -> Iterator[str]:
    for value in _ticks(frame.top_value):
        y = frame.y(value)
        yield (
            f'<line class="grid" x1="{frame.left}" x2="{frame.width - frame.right}"'
            f' y1="{y:.1f}" y2="{y:.1f}"/><text class="tick" x="{frame.left - 5}" y="{y + 4:.1f}"'
            f' text-anchor="end">{value:g}</text>'
        )
    yield f'<text class="tick" x="{frame.left + 4}" y="{frame.top - 3}">{escape(unit)}</text>'
    most = max(2, (frame.width - frame.left) // 70)
    step_s = next((s for s in _STEPS_S if (seen.end - seen.start) / s <= most), _STEPS_S[-1])
    at = ceil(seen.start / step_s) * step_s
    base = frame.height - frame.bottom
    while at <= seen.end:
        x = frame.x(at)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{frame.top}" y2="{base}"/>'
        if frame.left + 8 <= x <= frame.width - 16:
            yield (
                f'<text class="tick" x="{x:.1f}" y="{frame.height - 5}" text-anchor="middle">'
                f"{moment(at)}</text>"
            )
        at += step_s


def _ticks(top: float) -> list[float]:
    """At most six round values from 0 up to ``top``."""
    power = 10.0 ** (len(str(int(top))) - 2)
    step = next(m * power for m in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if top / (m * power) <= 5)
    return [step * i for i in range(int(top / step + 1e-9) + 1)]


def moment(t: float) -> str:
    """``14:00``; at midnight the date, or the day's number where the history has no dates."""
    if t % DAY_S:
        return f"{int(t % DAY_S // 3600):02d}:{int(t % 3600 // 60):02d}"
    if t < DATED_FROM:
        return f"day {t / DAY_S:.0f}"
    return f"{datetime.fromtimestamp(t, UTC):%-d %b}"
