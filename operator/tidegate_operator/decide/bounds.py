"""Between which counts a decision may move: the policy's limits, as schedules narrow them.

Law: limits hold whatever the demand, and without any. A schedule never takes a count past the
policy's own ``minReplicas`` and ``maxReplicas``, and where schedules contradict each other the
higher minimum is kept.
"""

from dataclasses import dataclass

from tidegate_operator.decide.schedules import Calendar
from tidegate_operator.decide.words import Reason, ScalingRules


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    least: int
    most: int
    least_reason: Reason = Reason.MIN_REPLICAS
    most_reason: Reason = Reason.MAX_REPLICAS
    least_by: str = ""
    """Name of the schedule behind ``least``; empty: the policy's own minimum."""
    most_by: str = ""


def find_bounds(rules: ScalingRules, calendar: Calendar) -> Bounds:
    """0 is within them only where the policy may scale to zero."""
    lowest = 0 if rules.idle_before_zero_s is not None else 1
    least, most = max(lowest, rules.min_replicas), rules.max_replicas
    bounds = Bounds(least=min(least, most), most=most)
    raised = min(calendar.least, most)
    if raised > bounds.least:
        bounds = Bounds(
            least=raised,
            most=most,
            least_reason=Reason.SCHEDULE_MIN,
            least_by=calendar.least_by,
        )
    if calendar.most is None or calendar.most >= most:
        return bounds
    return Bounds(
        least=bounds.least,
        most=max(calendar.most, bounds.least, 1),
        least_reason=bounds.least_reason,
        most_reason=Reason.SCHEDULE_MAX,
        least_by=bounds.least_by,
        most_by=calendar.most_by,
    )
