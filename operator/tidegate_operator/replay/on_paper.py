"""A plain HPA on the request rate, told from the rate alone.

Law: an external metric's ``AverageValue`` asks the same of a total whatever pods there are, so the
count needs no plant; how late requests would be it does not tell. A rate that is not known is no
metric, and without a metric an HPA leaves the count as it is.
"""

import math
from collections import deque

from tidegate_operator.decide.words import ScalingRules
from tidegate_operator.replay.autoscaler import (
    USUAL_SHARE,
    Autoscaler,
    HpaRules,
    by_average_value,
)

_ENOUGH = 2.0
"""So many times what the most replicas are to carry asks for the most; more need not be told."""


def usual_hpa(limits: ScalingRules, carries_rps: float) -> HpaRules:
    """The policy's limits, but at least one replica, as an HPA has it by default."""
    return HpaRules(
        target_rps=carries_rps * USUAL_SHARE,
        min_replicas=max(1, limits.min_replicas),
        max_replicas=max(1, limits.max_replicas),
    )


class OnPaper:
    """The HPA with its memory; looks come every ``SYNC_S``."""

    def __init__(self, count: int | None = None) -> None:
        """``count`` is what it had when it was left; ``None``: it takes over the pods that it
        finds."""
        self._count = count
        self._autoscaler: Autoscaler | None = None
        self._rates: deque[tuple[float, float | None]] = deque()

    def look(
        self, now: float, rps: float | None, found: int, rules: HpaRules | None
    ) -> int | None:
        """The count from ``now`` on; ``None``: there is nothing that it could aim at.

        Args:
            rps: requests per second of the last ``window_s``; ``None``: not known.
            found: pods that there are.
            rules: with ``target_rps``; what it was and how it came about stays known without.
        """
        self._rates.append((now, rps))
        if rules is None or rules.target_rps is None:
            self._rates.clear()
            return None
        if self._autoscaler is None:
            self._autoscaler = Autoscaler(rules)
        self._autoscaler.rules = rules
        count = found if self._count is None else self._count
        count = min(max(count, rules.min_replicas), rules.max_replicas)
        seen_rps = self._seen(now - rules.lag_s)
        if seen_rps is not None and 0 <= seen_rps < math.inf:
            seen_rps = min(seen_rps, _ENOUGH * rules.max_replicas * rules.target_rps)
            wanted = by_average_value(seen_rps, rules.target_rps, count, rules.tolerance)
            count = self._autoscaler.count(now, count, wanted)
        self._count = count
        return count

    def _seen(self, until: float) -> float | None:
        """The newest rate that was measured by then."""
        while len(self._rates) > 1 and self._rates[1][0] <= until:
            self._rates.popleft()
        at, rps = self._rates[0]
        return rps if at <= until else None
