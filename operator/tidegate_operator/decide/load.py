"""Demand as requests per second, whatever it is measured in, and what one replica carries of it.

Law: Little's law (L = lambda W) and the tokens of a request tie the signals together, so that one
history, one forecast and one queue serve them all. Demand is the whole target's, never a mean over
pods. What can't be told yet is ``None`` and why.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tidegate_operator.decide.capacity import Book, Carried, capacity_of, learn
from tidegate_operator.decide.queueing import late_share, pods_needed
from tidegate_operator.decide.signals import CapacitySource, Signal, UsedCapacity
from tidegate_operator.decide.words import Demand, ScalingRules


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is to be carried, and by how much each replica."""

    rules: ScalingRules
    rps: float
    peak_rps: float
    """Highest of the last few minutes; at least ``rps``."""
    capacity_rps: float
    used: UsedCapacity
    """The same in the unit that it is known in."""
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

    def late_share(self, pods: int) -> float:
        """Share of the requests that wait too long on ``pods`` for as long as the load stays."""
        return late_share(
            self.rps,
            pods,
            capacity_rps=self.capacity_rps,
            service_s=self.service_s,
            wait_target_s=self.rules.wait_target_s,
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


def find_load(
    rules: ScalingRules, demand: Demand, books: Mapping[str, Book] | None = None
) -> tuple[Load | None, str]:
    """``demand`` must hold a rate. ``None``: what a replica carries can't be told, and why."""
    used = _used_capacity(rules, demand, books or {})
    if used is None:
        return (
            None,
            "capacityPerReplica is Auto, and what was seen does not tell it yet",
        )
    each, why = _requests_each(used.signal, demand)
    if each is None:
        return None, why
    rps = demand.rps or 0.0
    if used.signal is Signal.CONCURRENCY and demand.mean_in_flight is not None:
        # Requests that wait in a server's queue are in flight, and no arrival tells of them.
        rps = demand.mean_in_flight * each
    peak = demand.peak_rps
    known = peak is not None and 0 <= peak < math.inf
    return Load(
        rules=rules,
        rps=rps,
        peak_rps=max(rps, peak) if known and peak is not None else rps,
        capacity_rps=used.per_replica * each,
        used=used,
        service_s=demand.service_s,
        in_flight=demand.in_flight,
    ), ""


def learn_capacity(
    rules: ScalingRules, carried: Sequence[Carried], books: Mapping[str, Book]
) -> Mapping[str, Book]:
    """Take in what pods carried, where nobody declared what they can."""
    if declared_capacity(rules) is not None or not carried:
        return books
    late_share = 1.0 - rules.wait_percentile
    learned = dict(books)
    for signal in _learned_signals(rules):
        seen = [(_LOADS[signal](one), one) for one in carried]
        learned[signal] = learn(books.get(signal, Book()), seen, late_share)
    return learned


_LOADS: Mapping[Signal, Callable[[Carried], float]] = {
    Signal.REQUESTS: lambda one: one.rps,
    Signal.TOKENS: lambda one: one.tokens_per_s,
    Signal.CONCURRENCY: lambda one: one.in_flight,
}


def _learned_signals(rules: ScalingRules) -> tuple[Signal, ...]:
    """Best first: tokens tell long requests from short ones, where servers tell usage."""
    both = (Signal.TOKENS, Signal.REQUESTS)
    return both if rules.signal is Signal.AUTO else (rules.signal,)


def _used_capacity(
    rules: ScalingRules, demand: Demand, books: Mapping[str, Book]
) -> UsedCapacity | None:
    declared = declared_capacity(rules)
    if declared is not None:
        return declared
    found: list[UsedCapacity] = []
    for signal in _learned_signals(rules):
        capacity = capacity_of(books.get(signal, Book()), 1.0 - rules.wait_percentile)
        if capacity is None or _requests_each(signal, demand)[0] is None:
            continue
        source = CapacitySource.LEARNED if capacity.known else CapacitySource.LEARNING
        used = UsedCapacity(
            per_replica=capacity.value, signal=signal, source=source, answers=capacity.answers
        )
        if capacity.known:
            return used
        found.append(used)
    return found[0] if found else None


def declared_capacity(rules: ScalingRules) -> UsedCapacity | None:
    for value, signal in (
        (rules.capacity_rps, Signal.REQUESTS),
        (rules.capacity_tokens_per_s, Signal.TOKENS),
        (rules.capacity_in_flight, Signal.CONCURRENCY),
    ):
        if value is not None:
            return UsedCapacity(per_replica=value, signal=signal, source=CapacitySource.DECLARED)
    return None


def carries_rps(used: UsedCapacity, demand: Demand) -> float | None:
    """What one replica carries in requests per second; ``None``: ``demand`` does not tell it."""
    each, _ = _requests_each(used.signal, demand)
    return None if each is None else used.per_replica * each


def _requests_each(signal: Signal, demand: Demand) -> tuple[float | None, str]:
    """Requests per second that one unit of ``signal`` stands for; ``None``: not known yet."""
    if signal is Signal.TOKENS:
        if not demand.tokens_per_request:
            return None, "no request has told its tokens yet"
        return 1.0 / demand.tokens_per_request, ""
    if signal is Signal.CONCURRENCY:
        if not demand.service_s:
            return None, "no request has ended yet, so that none has told how long it takes"
        return 1.0 / demand.service_s, ""
    return 1.0, ""
