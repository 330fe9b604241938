"""The last day of a policy, minute by minute, as the status page draws it.

Law: one entry a minute, figures only; an entry tells what was known then and is never revised.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from tidegate_operator.decide.words import Decision, Inputs

KEPT_S = 86400.0
FRESH_S = 120.0
"""A forecast is made once a minute; an older one is not this minute's."""


class Recent:
    """``t, rps, q50, q95, wanted, ready, model``; the quantiles are those forecast at ``t``."""

    def __init__(self, items: Iterable[Mapping[str, Any]]) -> None:
        self.items = [dict(item) for item in items if isinstance(item.get("t"), (int, float))]

    def look(self, now: float, inputs: Inputs, decision: Decision) -> None:
        """Add this minute's entry, unless it is there."""
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
                "model": decision.ladder.active_model,
            }
        )
        while self.items and self.items[0]["t"] < now - KEPT_S:
            self.items.pop(0)


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 2)
