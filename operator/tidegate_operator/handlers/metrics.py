"""What the reconciler counts, for Prometheus.

Law: labels are policies, models of a policy, budgets and reason codes: sets that people bound by
what they write. A policy that is gone takes its series with it.
"""

import math
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from tidegate_operator.crd.seen import Seen, Told, share_used
from tidegate_wire.names import Metric

_POLICY = ("namespace", "policy")


class Metrics:
    """A registry of its own, so that two loops in one process don't share figures."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.desired = Gauge(
            Metric.DESIRED_REPLICAS, "Replicas that the last decision wants.", _POLICY,
            registry=registry,
        )  # fmt: skip
        self.ready = Gauge(
            Metric.READY_REPLICAS, "Pods of the target that are Ready.", _POLICY, registry=registry
        )
        self.demand = Gauge(
            Metric.DEMAND, "Demand on the whole target; no series while unknown.", _POLICY,
            registry=registry,
        )  # fmt: skip
        self.forecast = Gauge(
            Metric.FORECAST_DEMAND, "Highest demand within the horizon, by quantile.",
            (*_POLICY, "quantile"), registry=registry,
        )  # fmt: skip
        self.budget = Gauge(
            Metric.BUDGET_USED_RATIO, "Fullest share of a budget's limit.", (*_POLICY, "budget"),
            registry=registry,
        )  # fmt: skip
        self.tokens = Counter(
            Metric.POLICY_TOKENS, "Tokens of all requests of a policy.", (*_POLICY, "type"),
            registry=registry,
        )  # fmt: skip
        self.decisions = Counter(
            Metric.DECISIONS, "Changes, by action and reason code.",
            (*_POLICY, "action", "reason", "applied"), registry=registry,
        )  # fmt: skip
        self.ticks = Histogram(
            Metric.RECONCILE_DURATION, "Real seconds that one tick of one policy took.",
            ("result",), registry=registry, buckets=(0.005, 0.02, 0.1, 0.5, 1, 2, 5, 15),
        )  # fmt: skip
        self.skipped = Counter(
            Metric.RECONCILE_SKIPPED, "Ticks left out because the one before was not done.",
            registry=registry,
        )  # fmt: skip
        self._tokens: dict[tuple[str, str, str], float] = {}

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
        if inputs.demand.rps is not None:
            self.demand.labels(**where).set(inputs.demand.rps)
        else:
            self.demand.labels(**where).set(math.nan)
        if seen.decision is not None:
            self.desired.labels(**where).set(seen.decision.scaling.replicas)
        if inputs.forecast is not None:
            for quantile, rps in inputs.forecast.quantiles.items():
                self.forecast.labels(*labels, f"{quantile:g}").set(rps)
        for budget in seen.spec.rules.budgets:
            shares = [share_used(budget, u) for u in inputs.budgets if u.budget == budget.name]
            self.budget.labels(*labels, budget.name).set(max(shares, default=0.0))

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
        for metric in (*gauges, self.tokens, self.decisions):
            metric.remove_by_labels(dict(where))
        for key in [key for key in self._tokens if key[:2] == labels]:
            del self._tokens[key]

    def render(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)
