"""How much room is kept above demand: which choices there are, and which one pays.

Law: the choice is evidence, not opinion: what each margin would have cost and whom it would have
made wait, on the load that came (``counterfactual``), decides; until there are hours of that, the
policy's own margin stands, and for days nothing leaner. Following the leader over a few experts,
with forgetting (Cesa-Bianchi and Lugosi, Prediction, Learning, and Games, 2006, chapters 3 and
11).

Why not one margin for all: what suits a daily pattern made 4.7 % of the requests late where bursts
recur by the clock, and the choice 0.5 % (docs/forecasting.md).
"""

from dataclasses import replace
from functools import lru_cache

from tidegate_operator.decide.trial import Book, Margin
from tidegate_operator.decide.words import ScalingRules

WITH_FORECAST = (
    Margin(0.9, 0.5, 1.0),
    Margin(0.9, 0.9, 1.1),
    Margin(0.9, 0.9, 1.0),
    Margin(0.9, 0.95, 1.05),
    Margin(0.9, 0.95, 0.95),
    Margin(0.9, 0.98, 1.0),
    Margin(0.9, 0.98, 0.9),
    Margin(0.9, 0.99, 0.95),
    Margin(0.9, 0.99, 0.85),
    Margin(0.9, 0.99, 0.75),
)
"""From lean to strict. A quantile of the very highest minute may fill more than all of the
capacity: the queue carries a short peak."""
ALONE = tuple(
    Margin(share) for share in (0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.5, 0.4, 0.3)
)
"""Where no forecast is trusted, or none pays: what an HPA's target is."""
MARGINS = (*WITH_FORECAST, *ALONE)

BEGINNINGS = ((0.001, 0.99, 0.6), (0.005, 0.95, 0.7), (1.0, 0.90, 0.8))
"""Up to which share of late requests a policy begins with which quantile of the forecast and,
where there is none, with demand filling how much of the capacity."""

HALF_LIFE_S = 3 * 86400.0
"""Of evidence: more than one day, and no month's growth."""
LEAST_MINUTES = 6 * 60
"""Of evidence, before it counts for more than the policy's own margin."""
LEANER_MINUTES = 3 * 24 * 60
"""Of evidence, before less room than the policy's own is believed to be enough: one calm day says
little of the next."""
NEAR = 0.02
"""Margins whose cost is this near to the cheapest one's are as cheap: of these the one that made
fewest wait is taken, and the one in use is kept."""


def cheapest(book: Book, allowed_late: float, own: int, standing: int | None) -> int:
    """Index of the margin that costs least of those that kept to ``allowed_late``; where none
    did, of the one that came nearest.

    ``own`` is the index of the policy's own margin, ``standing`` of the one in use, ``None`` at
    first.
    """
    most_late = allowed_late * book.arrived
    least_pod_s = 0.0 if book.minutes >= LEANER_MINUTES else book.pod_s[own]
    fit = [
        k for k, late in enumerate(book.late) if late <= most_late and book.pod_s[k] >= least_pod_s
    ]
    if not fit:
        return min(range(len(book.late)), key=lambda k: (book.late[k], book.pod_s[k]))
    as_cheap = min(book.pod_s[k] for k in fit) * (1.0 + NEAR)
    if standing is not None and standing in fit and book.pod_s[standing] <= as_cheap:
        return standing
    return min(
        (k for k in fit if book.pod_s[k] <= as_cheap), key=lambda k: (book.late[k], book.pod_s[k])
    )


def keeping(allowed_late: float, rules: ScalingRules) -> ScalingRules:
    """``rules`` of which no more than ``allowed_late`` of the requests may be late, with the room
    that stands until there is evidence."""
    quantile, alone = next(
        (quantile, alone) for most, quantile, alone in BEGINNINGS if allowed_late <= most
    )
    return replace(
        rules,
        allowed_late=allowed_late,
        quantile=quantile,
        reactive_alone_utilization=alone,
    )


@lru_cache(maxsize=256)
def under(rules: ScalingRules, margin: Margin) -> ScalingRules:
    """``rules`` with the room that ``margin`` keeps."""
    return replace(
        rules,
        reactive_utilization=margin.reactive_utilization,
        reactive_alone_utilization=margin.reactive_utilization,
        quantile=margin.quantile,
        forecast_utilization=margin.forecast_utilization,
    )
