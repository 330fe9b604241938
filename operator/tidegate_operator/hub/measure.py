"""What the hub counts of itself.

Law: labels are bounded enums; names come from ``tidegate_wire.names``.
"""

from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from tidegate_wire.names import Metric


class Review(StrEnum):
    """What became of an admission review."""

    INJECTED = "injected"
    COPIED = "copied"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"
    REJECTED = "rejected"
    FAILED = "failed"


class Measures:
    """One registry for each process, so that tests can run several hubs."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._reviews = Counter(
            Metric.WEBHOOK_REVIEWS.removesuffix("_total"),
            "Admission reviews by what became of them; failed ones were let through.",
            ["result"],
            registry=self._registry,
        )
        for result in Review:
            self._reviews.labels(result)
        self.polls = Gauge(
            Metric.CONFIG_POLLS,
            "Sidecars that wait for a new config right now.",
            registry=self._registry,
        )

    def reviewed(self, result: Review) -> None:
        self._reviews.labels(result).inc()

    def render(self) -> bytes:
        return generate_latest(self._registry)
