"""Demand as requests per second, whatever it is measured in, and what one replica carries of it.

Law: Little's law (L = lambda W) and the tokens of a request tie the signals together, so that one
history, one forecast and one queue serve them all. Demand is the whole target's, never a mean over
pods. What can't be told yet is ``None`` and why.
"""

import math
from dataclasses import dataclass

from tidegate_operator.decide.queueing import pods_needed
from tidegate_operator.decide.words import Demand, ScalingRules, Signal


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is to be carried, and by how much each replica."""

    rules: ScalingRules
    rps: float
    peak_rps: float
    """Highest of the last few minutes; at least ``rps``."""
    capacity_rps: float
    service_s: float | None
    in_flight: int | None

    def pods(self, rps: float, utilization: float) -> int:
        return pods_needed(
            rps,
            capacity_rps=self.capacity_rps,
            service_s=self.service_s,
            wait_target_s=self.rules.wait_target_s,
            wait_percentile=self.rules.wait_percentile,
            utilization=utilization,
        )

    def forecast_pods(self, rps: float) -> int:
        """Pods for rps / rho: the margin is on the load, since the quantile is of the very peak
        (docs/forecasting.md)."""
        return self.pods(rps / self.rules.forecast_utilization, 1.0)

    def pods_within_slo(self) -> int:
        """Pods without which the recent peak, or the requests in flight at this moment, would wait
        too long."""
        pods = self.pods(self.peak_rps, 1.0)
        if self.in_flight and self.service_s:
            slots = max(1, round(self.capacity_rps * self.service_s))
            pods = max(pods, math.ceil(self.in_flight / slots))
        return pods


def find_load(rules: ScalingRules, demand: Demand) -> tuple[Load | None, str]:
    """``demand`` must hold a rate. ``None``: what a replica carries can't be told, and why."""
    capacity, why = _capacity_rps(rules, demand)
    if capacity is None:
        return None, why
    rps = demand.rps or 0.0
    service_s = demand.service_s
    if rules.capacity_in_flight is not None and service_s and demand.mean_in_flight is not None:
        # Requests that wait in a server's queue are in flight, and no arrival tells of them.
        rps = demand.mean_in_flight / service_s
    peak = demand.peak_rps
    known = peak is not None and 0 <= peak < math.inf
    return Load(
        rules=rules,
        rps=rps,
        peak_rps=max(rps, peak) if known and peak is not None else rps,
        capacity_rps=capacity,
        service_s=service_s,
        in_flight=demand.in_flight,
    ), ""


def _capacity_rps(rules: ScalingRules, demand: Demand) -> tuple[float | None, str]:
    if rules.capacity_rps is not None:
        return rules.capacity_rps, ""
    if rules.capacity_tokens_per_s is not None:
        if not demand.tokens_per_request:
            return None, "no request has told its tokens yet"
        return rules.capacity_tokens_per_s / demand.tokens_per_request, ""
    if rules.capacity_in_flight is not None:
        if not demand.service_s:
            return None, "no request has ended yet, so that none has told how long it takes"
        return rules.capacity_in_flight / demand.service_s, ""
    return None, "spec.scaling.capacityPerReplica is not set"


def signal_of(rules: ScalingRules) -> Signal:
    """What demand is measured in; ``AUTO`` has become one of the others."""
    if rules.capacity_tokens_per_s is not None:
        return Signal.TOKENS
    return Signal.CONCURRENCY if rules.capacity_in_flight is not None else Signal.REQUESTS
