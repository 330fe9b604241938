"""Knative's pod autoscaler, as a rival: concurrency over a stable and a panic window.

Law: ``Scale`` of knative.dev/serving/pkg/autoscaler/scaling/autoscaler.go with the defaults of
config-autoscaler: windows of 60 s and 6 s, panic at twice what the Ready pods are meant for, up by
at most 1000 times and down by at most half of them, 70 % of a pod's slots as the target. It ticks
each 2 s; here each step of 5 s, which is also the shortest panic window.
"""

import math
from dataclasses import dataclass, field

from tidegate_operator.replay.control import Hold, Seen
from tidegate_operator.replay.plant import STEP_S


@dataclass(frozen=True, slots=True, kw_only=True)
class KpaRules:
    """``config-autoscaler`` and a revision's annotations."""

    slots_per_pod: float
    """``containerConcurrency``."""
    target_utilization: float = 0.70
    stable_window_s: float = 60.0
    panic_window_s: float = 6.0
    panic_threshold: float = 2.0
    max_scale_up_rate: float = 1000.0
    max_scale_down_rate: float = 2.0
    scale_down_delay_s: float = 0.0
    """Its default; without a delay each ripple takes a pod away that needs a cold start to come
    back."""
    min_replicas: int = 1
    max_replicas: int = 100

    @property
    def target(self) -> float:
        """Requests in flight that a pod is meant for."""
        return self.slots_per_pod * self.target_utilization


@dataclass(slots=True)
class Kpa:
    """The controller with its memory."""

    rules: KpaRules
    period_s: float = STEP_S
    panic_at: float | None = None
    panic_pods: int = 0
    met: bool = False
    delay: Hold = field(init=False)

    def __post_init__(self) -> None:
        self.delay = Hold(self.rules.scale_down_delay_s)

    @property
    def name(self) -> str:
        return f"KPA at {self.rules.target_utilization:.0%} of concurrency"

    def wanted(self, seen: Seen) -> int:
        rules = self.rules
        if not self.met:  # with several pods it starts in panic, so as to keep them
            self.met = True
            if seen.ready > 1:
                self.panic_at, self.panic_pods = seen.now, seen.ready
        stable = seen.concurrency(rules.stable_window_s)
        panic = seen.concurrency(rules.panic_window_s)
        count = self.scale(seen.now, seen.ready, stable, panic)
        count = self.delay.highest(seen.now, count)
        return min(max(count, rules.min_replicas), rules.max_replicas)

    def scale(self, now: float, ready: int, stable: float, panic: float) -> int:
        """The desired count for the mean concurrency of either window."""
        rules, pods = self.rules, max(1, ready)
        most = math.ceil(rules.max_scale_up_rate * pods)
        least = math.floor(pods / rules.max_scale_down_rate)
        for_stable = math.ceil(stable / rules.target - 1e-9)
        for_panic = math.ceil(panic / rules.target - 1e-9)
        if for_panic / pods >= rules.panic_threshold:
            self.panic_at = now
        elif self.panic_at is not None and now - self.panic_at > rules.stable_window_s:
            self.panic_at, self.panic_pods = None, 0
        count = min(max(for_stable, least), most)
        if self.panic_at is None:
            return count
        self.panic_pods = max(self.panic_pods, count, min(max(for_panic, least), most))
        return self.panic_pods
