"""What the reconciler counts, for Prometheus.

Law: labels are policies, models of a policy, budgets and reason codes: sets that people bound by
what they write. A policy that is gone takes its series with it.
"""

import math
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from tidegate_operator.crd.seen import Seen, Told, share_used
from tidegate_operator.decide.signals import UsedCapacity
from tidegate_wire.names import Metric

_POLICY = ("namespace", "policy")


class Metrics:
    """A registry of its own, so that two loops in one process don't share figures."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.desired = self._gauge(Metric.DESIRED_REPLICAS, "Replicas the last decision wants.")
        self.ready = self._gauge(Metric.READY_REPLICAS, "Pods of the target that are Ready.")
        self.demand = self._gauge(Metric.DEMAND, "Demand on the whole target; NaN: not known.")
        self.littles_law = self._gauge(
            Metric.LITTLES_LAW_GAP,
            "Requests at once over rate x service time, less one; NaN: too few requests to say.",
        )
        self.capacity = self._gauge(
            Metric.CAPACITY, "What one replica is taken to carry.", "signal", "source"
        )
        self.forecast = self._gauge(
            Metric.FORECAST_DEMAND, "Highest demand within the horizon.", "forecast_quantile"
        )
        self.budget = self._gauge(
            Metric.BUDGET_USED_RATIO, "Fullest share of a budget's limit.", "budget"
        )
        self.without_sidecar = self._gauge(
            Metric.PODS_WITHOUT_SIDECAR, "Pods that asked for a sidecar and run without one."
        )
        self.tokens = self._counter(
            Metric.POLICY_TOKENS, "Tokens of all requests of a policy.", *_POLICY, "type"
        )
        self.decisions = self._counter(
            Metric.DECISIONS, "Changes told.", *_POLICY, "action", "reason", "applied"
        )
        self.skipped = self._counter(
            Metric.RECONCILE_SKIPPED, "Ticks left out because the one before was not done."
        )
        self.ticks = Histogram(
            Metric.RECONCILE_DURATION,
            "Real seconds that one tick of one policy took.",
            ("result",),
            registry=self.registry,
            buckets=(0.005, 0.02, 0.1, 0.5, 1, 2, 5, 15),
        )
        self._tokens: dict[tuple[str, str, str], float] = {}

    def _gauge(self, name: Metric, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, (*_POLICY, *labels), registry=self.registry)

    def _counter(self, name: Metric, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def count_decision(self, where: Mapping[str, str], told: Told) -> None:
        self.decisions.labels(
            **where,
            action=told.change.action,
            reason=str(told.change.reason),
            applied="true" if told.applied else "false",
        ).inc()

    def show(self, where: Mapping[str, str], seen: Seen) -> None:
        """The figures of one tick."""
        if seen.inputs is None or seen.spec is None:
            return
        inputs, labels = seen.inputs, tuple(where[name] for name in _POLICY)
        self.ready.labels(**where).set(inputs.ready)
        rps = math.nan if inputs.demand.rps is None else inputs.demand.rps
        self.demand.labels(**where).set(rps)
        if seen.injection is not None and seen.injection.healthy is not None:
            self.without_sidecar.labels(**where).set(seen.injection.without)
        if seen.decision is not None:
            self.desired.labels(**where).set(seen.decision.scaling.replicas)
            law = seen.decision.littles_law
            self.littles_law.labels(**where).set(math.nan if law is None else law.gap)
            self._show_capacity(where, seen.decision.scaling.capacity)
        if inputs.forecast is not None:
            for quantile, rps in inputs.forecast.quantiles.items():
                self.forecast.labels(*labels, f"{quantile:g}").set(rps)
        for budget in seen.spec.rules.budgets:
            shares = [share_used(budget, u) for u in inputs.budgets if u.budget == budget.name]
            self.budget.labels(*labels, budget.name).set(max(shares, default=0.0))

    def _show_capacity(self, where: Mapping[str, str], used: UsedCapacity | None) -> None:
        """One series a policy: that of another signal or source goes."""
        self.capacity.remove_by_labels(dict(where))
        if used is not None:
            labels = {"signal": str(used.signal), "source": str(used.source)}
            self.capacity.labels(**where, **labels).set(used.per_replica)

    def show_tokens(self, where: Mapping[str, str], tokens: Mapping[str, float]) -> None:
        """Totals since the policy was first seen, by type; they only grow."""
        for kind, total in tokens.items():
            key = (where["namespace"], where["policy"], kind)
            self.tokens.labels(*key).inc(max(0.0, total - self._tokens.get(key, 0.0)))
            self._tokens[key] = max(total, self._tokens.get(key, 0.0))

    def forget(self, where: Mapping[str, str]) -> None:
        """A policy is gone."""
        labels = tuple(where[name] for name in _POLICY)
        gauges = (self.desired, self.ready, self.demand, self.forecast, self.budget)
        more = (self.littles_law, self.capacity)
        for metric in (*gauges, *more, self.without_sidecar, self.tokens, self.decisions):
            metric.remove_by_labels(dict(where))
        for key in [key for key in self._tokens if key[:2] == labels]:
            del self._tokens[key]

    def render(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)
