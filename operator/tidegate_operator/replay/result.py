"""What a replay measured.

Law: a request counts as a violation once, in the minute in which it came: dropped, or served after
a longer wait than the SLO allows. What still waits at the end is neither.
"""

from dataclasses import dataclass

from tidegate_operator.decide.words import ScalingDecision


@dataclass(frozen=True, slots=True)
class ScaleEvent:
    at: float
    before: int
    after: int
    in_time: bool | None = None
    """For a scale-up: the new pods were Ready before the load passed what those before could
    carry; ``None`` where it never did until the next change."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision whose count or reason differs from the one before."""

    at: float
    scaling: ScalingDecision


@dataclass(frozen=True, slots=True, kw_only=True)
class Minutes:
    """What pictures are drawn from: one value a minute, all of the same length."""

    start: float
    load: tuple[float, ...]
    """Requests that came."""
    ready: tuple[float, ...]
    """Pods that were Ready, the mean of the minute."""
    paid: tuple[float, ...]
    """Pods that were paid, the mean of the minute."""
    queue: tuple[float, ...]
    """Most requests that waited at the end of a step."""
    violations: tuple[float, ...]
    """Of ``load``, those that were dropped or late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Measured over one replay."""

    controller: str
    requests: float
    served: float
    dropped: float
    late: float
    waiting: float
    """Still in the queue at the end; these count as neither."""
    pod_minutes: float
    wait_p50_s: float
    wait_p95_s: float
    wait_p99_s: float
    """Of those served."""
    slo_minutes: int
    """Minutes in which more requests than the SLO allows were dropped or late."""
    starts_failed: int
    """Times that a pod failed to become Ready."""
    missing_minutes: int
    """Minutes that the trace does not know; the load of the minute before was played."""
    events: tuple[ScaleEvent, ...]
    decisions: tuple[Decided, ...]
    """Of a controller that gives reasons; else empty."""
    minutes: Minutes

    @property
    def pod_hours(self) -> float:
        return self.pod_minutes / 60

    @property
    def violations(self) -> float:
        """Share of requests that were dropped or waited longer than the SLO allows."""
        return (self.late + self.dropped) / self.requests if self.requests else 0.0

    @property
    def slo_attained(self) -> float:
        return 1.0 - self.violations

    @property
    def scale_ups(self) -> int:
        return sum(event.after > event.before for event in self.events)

    @property
    def scale_downs(self) -> int:
        return len(self.events) - self.scale_ups

    @property
    def scale_ups_ahead_of_load(self) -> int:
        """Those whose pods were Ready before the load needed them, and were then needed."""
        return sum(event.in_time is True for event in self.events)


def slo_minutes(minutes: Minutes, allowed_share: float) -> int:
    """Minutes in which more than ``allowed_share`` of the requests were violations."""
    pairs = zip(minutes.load, minutes.violations, strict=True)
    return sum(violated > allowed_share * load + 1e-9 for load, violated in pairs)
