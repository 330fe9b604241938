"""The last day of a policy, minute by minute, as the status page draws it.

Law: one entry a minute, figures only; an entry tells what was known then and is never revised.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from tidegate_operator.decide.load import carries_rps
from tidegate_operator.decide.signals import CapacitySource
from tidegate_operator.decide.words import Decision, Inputs, ScalingRules
from tidegate_operator.replay.autoscaler import HpaRules
from tidegate_operator.replay.on_paper import OnPaper, usual_hpa

KEPT_S = 86400.0
FRESH_S = 120.0
"""A forecast is made once a minute; an older one is not this minute's."""


class Recent:
    """``t, rps, q50, q95, wanted, ready, hpa, model``: the quantiles as forecast at ``t``."""

    def __init__(self, items: Iterable[Mapping[str, Any]]) -> None:
        self.items = [dict(item) for item in items if isinstance(item.get("t"), (int, float))]
        counts = (item.get("hpa") for item in reversed(self.items))
        self._paper = OnPaper(next((n for n in counts if isinstance(n, int) and n > 0), None))
        self._aim: HpaRules | None = None
        """As it was when demand was known last."""
        self.hpa: int | None = None
        """Pods that a plain HPA would want since the last look; ``None``: can't be told."""

    def look(self, now: float, rules: ScalingRules, inputs: Inputs, decision: Decision) -> None:
        """At each tick; adds this minute's entry, unless it is there."""
        if inputs.demand.rps is not None:
            self._aim = _plain_hpa(rules, inputs, decision)
        self.hpa = self._paper.look(now, inputs.demand.rps, inputs.current, self._aim)
        minute = 60 * math.floor(now / 60)
        if self.items and self.items[-1]["t"] >= minute:
            return
        forecast = inputs.forecast
        fresh = forecast is not None and now - forecast.made_at < FRESH_S
        quantiles = forecast.quantiles if forecast is not None and fresh else {}
        self.items.append(
            {
                "t": minute,
                "rps": _short(inputs.demand.rps),
                "q50": _short(quantiles.get(0.5)),
                "q95": _short(quantiles.get(0.95)),
                "wanted": decision.scaling.replicas,
                "ready": inputs.ready,
                "hpa": self.hpa,
                "model": decision.ladder.active_model,
            }
        )
        while self.items and self.items[0]["t"] < now - KEPT_S:
            self.items.pop(0)


def _plain_hpa(rules: ScalingRules, inputs: Inputs, decision: Decision) -> HpaRules | None:
    """``None`` where the target is not scaled, or no more than a lower bound is known of what one
    replica carries."""
    used = decision.scaling.capacity
    if used is None or used.source is CapacitySource.LEARNING:
        return None
    rps = carries_rps(used, inputs.demand)
    return None if rps is None else usual_hpa(rules, rps)


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
