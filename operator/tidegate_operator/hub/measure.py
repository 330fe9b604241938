"""What the hub counts of itself.

Law: labels are bounded enums; names come from ``tidegate_wire.names``.
"""

from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from tidegate_operator.decide.words import Actuator
from tidegate_operator.hub.wanted import Why
from tidegate_wire.names import Metric

REVIEW_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Up to the API server's patience; 25 ms is what 99 % of reviews should stay under."""
GIVEN = "Given"
"""The result of a question that was answered with a count."""


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
        self._review_s = Histogram(
            Metric.WEBHOOK_REVIEW_DURATION,
            "Real time from a review's head to its answer, its body's arrival included.",
            buckets=REVIEW_BOUNDS_S,
            registry=self._registry,
        )
        self.polls = Gauge(
            Metric.CONFIG_POLLS,
            "Sidecars that wait for a new config right now.",
            registry=self._registry,
        )

        self._asked = Counter(
            Metric.COUNTS_ASKED.removesuffix("_total"),
            "Questions of autoscalers for a policy's replicas by what was answered.",
            ["actuator", "result"],
            registry=self._registry,
        )

    def asked(self, actuator: Actuator, refusal: Why | None) -> None:
        self._asked.labels(actuator, refusal or GIVEN).inc()

    def reviewed(self, result: Review, took_s: float) -> None:
        self._reviews.labels(result).inc()
        self._review_s.observe(took_s)

    def render(self) -> bytes:
        return generate_latest(self._registry)
