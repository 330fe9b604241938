"""KEDA with a request-rate trigger, as a rival: an HPA on ``AverageValue`` between 1 and the
maximum, and an executor that goes to zero and back.

Law: its defaults. The executor looks each ``pollingInterval`` (30 s), starts one pod when the rate
passes ``activationThreshold``, and goes to zero after ``cooldownPeriod`` (300 s) without. Source:
keda.sh/docs/latest/reference/scaledobject-spec and pkg/scaling/executor/scale_scaledobjects.go.
"""

from dataclasses import dataclass, field

from tidegate_operator.replay.autoscaler import HpaRules
from tidegate_operator.replay.control import TICK_S, Seen
from tidegate_operator.replay.hpa import Hpa


@dataclass(frozen=True, slots=True, kw_only=True)
class KedaRules:
    """A ScaledObject with one Prometheus trigger."""

    threshold_rps: float
    """Requests per second and pod."""
    activation_rps: float = 0.0
    min_replicas: int = 0
    max_replicas: int = 100
    polling_interval_s: float = 30.0
    cooldown_s: float = 300.0


@dataclass(slots=True)
class Keda:
    """The controller with its memory."""

    rules: KedaRules
    period_s: float = TICK_S
    hpa: Hpa = field(init=False)
    looked_at: float | None = None
    active_at: float | None = None

    def __post_init__(self) -> None:
        rules = self.rules
        self.hpa = Hpa(
            HpaRules(
                target_rps=rules.threshold_rps,
                min_replicas=max(1, rules.min_replicas),
                max_replicas=rules.max_replicas,
            )
        )

    @property
    def name(self) -> str:
        return f"KEDA at {self.rules.threshold_rps:g} requests/s a pod"

    def wanted(self, seen: Seen) -> int:
        count = self._executed(seen)
        return self.hpa.wanted(seen) if count == seen.current else count

    def _executed(self, seen: Seen) -> int:
        """What the executor sets: only from zero and to zero."""
        rules, now = self.rules, seen.now
        if self.looked_at is not None and now - self.looked_at < rules.polling_interval_s:
            return seen.current
        self.looked_at = now
        if self.active_at is None:  # what runs as it is met has been in use
            self.active_at = now
        metric = self.hpa.rules
        if seen.rps(metric.window_s, metric.lag_s) > rules.activation_rps:
            self.active_at = now
            return seen.current or max(1, rules.min_replicas)
        cooled = now - self.active_at > rules.cooldown_s
        return 0 if rules.min_replicas == 0 and cooled else seen.current
