"""What an LSTM's points come to in the closed loop: replicas follow them, and nothing else.

Law: it meets what all others meet (``benchmarks.goals.field``), and is swept as HPA's target is.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.goals.field import HPA_SHARES, MAX_PODS, Row, finer, row_of
from benchmarks.lstm.lessons import Foretold
from tidegate_operator.forecast.arrays import Floats
from tidegate_operator.forecast.series import Series
from tidegate_operator.replay.control import TICK_S, Hold, Seen
from tidegate_operator.replay.loop import replay
from tidegate_operator.replay.plant import PlantRules
from tidegate_operator.replay.trace import MINUTE_S, Trace

CONTROLLER = "lstm"
HOLD_S = 300.0
"""Down after so long only, as an HPA."""


@dataclass(frozen=True, slots=True)
class Points:
    """The newest point at a time, made as its minute began from the minutes before."""

    start_minute: int
    rps: Floats

    def __call__(self, now: float) -> float | None:
        """Requests per second; ``None``: there is none yet."""
        at = int(now // MINUTE_S) - self.start_minute
        return float(self.rps[min(at, len(self.rps) - 1)]) if at >= 0 else None


def unfit(step_s: int, minutes: Trace, judged: Trace) -> str | None:
    """Why a trace says nothing about forecasts by the minute; ``None``: it does."""
    if judged.start == minutes.start:
        return "not played: too short for a history"
    if step_s > MINUTE_S:
        return f"not played: its steps of {step_s // MINUTE_S} min say nothing of single minutes"
    return None


def points_of(series: Series, foretold: Foretold) -> Points:
    return Points(series.start_minute + foretold.begin + 1, foretold.points / MINUTE_S)


@dataclass(slots=True, kw_only=True)
class PointAhead:
    """Replicas for the load foretold."""

    points: Points
    target_rps: float
    """Requests per second that a replica shall have."""
    period_s: float = TICK_S
    hold: Hold = field(default_factory=lambda: Hold(HOLD_S))

    @property
    def name(self) -> str:
        return f"LSTM at {self.target_rps:g} requests/s a pod"

    def wanted(self, seen: Seen) -> int:
        point = self.points(seen.now)
        rps = seen.rps(MINUTE_S) if point is None else point
        count = min(MAX_PODS, max(1, math.ceil(rps / self.target_rps)))
        return self.hold.highest(seen.now, count)


def swept(trace: str, judged: Trace, plant: PlantRules, points: Points) -> Iterator[Row]:
    """One row for each share of a pod's capacity, as with HPA."""
    late = {}
    for percent in [round(100 * share) for share in HPA_SHARES]:
        row = _played(trace, judged, plant, points, percent)
        late[percent] = row.violations
        yield row
    for percent in finer(late):
        yield _played(trace, judged, plant, points, percent)


def _played(trace: str, judged: Trace, plant: PlantRules, points: Points, percent: int) -> Row:
    controller = PointAhead(points=points, target_rps=percent / 100 * plant.pod_rps)
    return row_of(trace, CONTROLLER, f"{percent}%", replay(judged, plant, controller))
