"""What a plain HPA would have wanted, beside what was wanted here.

Law: pure; the counts are the operator's own (``replay.on_paper``), put beside each other only for
the minutes in which both are known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from tidegate_operator.decide.signals import CapacitySource, Signal
from tidegate_operator.hub.telling import Manifest, figure, part
from tidegate_operator.hub.trail import GAP_S, Point, number
from tidegate_operator.replay.autoscaler import USUAL_SHARE

_UNITS = {
    Signal.REQUESTS: "requests/s",
    Signal.TOKENS: "tokens/s",
    Signal.CONCURRENCY: "requests at once",
}


def why_unknown(policy: Manifest) -> str:
    """Why there is nothing that an HPA could aim at; empty where there is or nothing is scaled."""
    source = part(policy, "status", "capacity").get("source")
    if source == CapacitySource.LEARNING:
        return "of what one replica carries no more than a lower bound is known yet."
    if source == "Unknown":
        return "what one replica carries is not known yet."
    return ""


def target(policy: Manifest) -> str:
    """What the HPA aims at in each pod, such as ``0.70 requests/s``; empty: not known."""
    capacity = part(policy, "status", "capacity")
    carries = number(capacity.get("perReplica"))
    unit = next((word for signal, word in _UNITS.items() if signal == capacity.get("signal")), "")
    return f"{figure(carries * USUAL_SHARE)} {unit}" if carries is not None and unit else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """Pods over the time in which both counts are known."""

    length_s: float
    wanted_pod_hours: float
    hpa_pod_hours: float


def bill(points: Sequence[Point]) -> Bill:
    length_s = wanted_s = hpa_s = 0.0
    for point, after in pairwise(points):
        lasted_s = after.t - point.t
        if point.wanted is None or point.hpa is None or lasted_s > GAP_S:
            continue
        length_s += lasted_s
        wanted_s += point.wanted * lasted_s
        hpa_s += point.hpa * lasted_s
    return Bill(length_s=length_s, wanted_pod_hours=wanted_s / 3600, hpa_pod_hours=hpa_s / 3600)
