"""What a plain HPA would have asked for on the same demand, beside what was wanted here.

Law: pure; worked out from a policy and its points wherever they are shown, and kept nowhere. It is
told for the minutes alone in which the wanted count is known, too, and only where it is known what
an HPA would have aimed at. How late requests would have been is not told: that needs a plant.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from tidegate_operator.decide.signals import CapacitySource, Signal
from tidegate_operator.hub.telling import Manifest, part
from tidegate_operator.hub.trail import GAP_S, Point, number
from tidegate_operator.replay.autoscaler import USUAL_SHARE, HpaRules
from tidegate_operator.replay.on_paper import counts_on_paper

MOST_REPLICAS = 10_000
"""As the CRD has it."""
_LEAST_RPS = 1e-6
"""Of a target; what is less is no figure that anybody meant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What the HPA would have been set to."""

    rules: HpaRules | None
    """``None``: there is nothing that it could aim at."""
    why_not: str = ""
    """A sentence; empty also where the policy does not scale at all."""


def find_aim(policy: Manifest) -> Aim:
    """An ``averageValue`` of ``USUAL_SHARE`` of what one replica carries now, and the policy's own
    limits; but at least one replica, as an HPA has it by default."""
    scaling = part(policy, "spec", "scaling")
    least, most = number(scaling.get("minReplicas")), number(scaling.get("maxReplicas"))
    if most is None:
        return Aim(rules=None)
    target_rps, why_not = _target_rps(part(policy, "status", "capacity"))
    if target_rps is None:
        return Aim(rules=None, why_not=why_not)
    rules = HpaRules(
        target_rps=target_rps,
        min_replicas=int(min(max(1.0, least or 1.0), MOST_REPLICAS)),
        max_replicas=int(min(max(1.0, most), MOST_REPLICAS)),
    )
    return Aim(rules=rules)


def _target_rps(capacity: Manifest) -> tuple[float | None, str]:
    source, signal = capacity.get("source"), capacity.get("signal")
    rps = number(capacity.get("perReplica"))
    if source == CapacitySource.LEARNING:
        return None, "of what one replica carries no more than a lower bound is known yet."
    if source not in tuple(CapacitySource) or rps is None or rps * USUAL_SHARE < _LEAST_RPS:
        return None, "it is not known yet what one replica carries."
    if signal != Signal.REQUESTS:
        unit = "tokens per second" if signal == Signal.TOKENS else "requests at once"
        return None, (
            f"what one replica carries is known in {unit}, and an HPA on the request rate can't "
            "aim at that."
        )
    return rps * USUAL_SHARE, ""


def with_hpa(aim: Aim, points: Sequence[Point]) -> list[Point]:
    """The same points with ``hpa``, where it can be told."""
    rules = aim.rules
    if rules is None or rules.target_rps is None:
        return list(points)
    enough_rps = 2 * rules.max_replicas * rules.target_rps
    rates = [(p.t, None if p.rps is None else min(p.rps, enough_rps)) for p in points]
    counts = counts_on_paper(rates, rules, GAP_S)
    return [
        point if point.wanted is None else replace(point, hpa=count)
        for point, count in zip(points, counts, strict=True)
    ]


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
