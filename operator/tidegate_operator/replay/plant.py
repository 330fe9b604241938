"""A workload in simulated time: pods with slots, a cold start, one bounded queue, and a bill.

Law: requests are conserved (arrived = served + dropped + waiting) and a pod is paid from its
creation to its end. Demand is a fluid within a step: what is measured is the queueing that missing
pods cause, which is what a scaler answers for.
"""

from collections import deque
from dataclasses import dataclass, field

STEP_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantRules:
    """The figures of the closed loop that forecasting was measured on, by default."""

    slots_per_pod: int = 8
    service_s: float = 4.0
    cold_start_s: float = 180.0
    """From a pod's creation to its Ready."""
    queue_cap_s: float = 30.0
    """Seconds of work of the Ready pods that may wait; what comes beyond is dropped."""
    slo_wait_s: float = 4.0
    """A request that waits longer, or is dropped, violates the SLO."""
    drain_s: float = 4.0
    """How long a removed pod finishes what it has, and is paid."""

    @property
    def pod_rps(self) -> float:
        """Most requests per second that one pod serves."""
        return self.slots_per_pod / self.service_s


@dataclass(slots=True)
class Pod:
    created: float
    ready: float
    ends: float | None = None
    """Set once it is told to go."""


@dataclass(slots=True)
class Plant:
    """The state; ``step`` moves it on."""

    rules: PlantRules
    now: float
    pods: list[Pod] = field(default_factory=list)
    queue: deque[list[float]] = field(default_factory=deque)
    """[arrived at, how many], oldest first."""
    arrived: float = 0.0
    served: float = 0.0
    dropped: float = 0.0
    late: float = 0.0
    """Served, but after a longer wait than the SLO allows."""
    waits: dict[float, float] = field(default_factory=dict)
    """Wait in seconds -> requests."""
    paid_s: float = 0.0
    """Lives of the pods that have ended."""
    busy_share: float = 0.0
    """Of the Ready pods' slots, in the last step."""

    @property
    def waiting(self) -> float:
        return sum(batch[1] for batch in self.queue)

    @property
    def current(self) -> int:
        """Pods that nobody told to go: ``spec.replicas``."""
        return sum(pod.ends is None for pod in self.pods)

    @property
    def ready(self) -> int:
        return sum(pod.ends is None and pod.ready <= self.now for pod in self.pods)

    def pod_minutes(self) -> float:
        """Paid so far, living pods included."""
        return (self.paid_s + sum(self.now - pod.created for pod in self.pods)) / 60

    def start_with(self, count: int) -> None:
        """Pods that are Ready at once: the workload as it is found."""
        self.pods += [Pod(self.now, self.now) for _ in range(count)]

    def scale(self, count: int) -> None:
        """Make it ``count`` pods: new ones start cold; those go first that are not Ready yet, then
        the youngest."""
        staying = [pod for pod in self.pods if pod.ends is None]
        for _ in range(count - len(staying)):
            self.pods.append(Pod(self.now, self.now + self.rules.cold_start_s))
        staying.sort(key=lambda pod: (pod.ready <= self.now, -pod.created))
        for pod in staying[: max(0, len(staying) - count)]:
            pod.ends = self.now + (self.rules.drain_s if pod.ready <= self.now else 0.0)

    def step(self, arrivals: float) -> None:
        """Let ``STEP_S`` pass in which ``arrivals`` requests come."""
        began, self.now = self.now, self.now + STEP_S
        capacity = self._ready_s(began) * self.rules.pod_rps
        self.arrived += arrivals
        # A queue of nothing would drop what the very next pod could serve: it holds at least one
        # pod's.
        room = max(self.ready, 1) * self.rules.pod_rps * self.rules.queue_cap_s + capacity
        taken = min(arrivals, max(0.0, room - self.waiting))
        self.dropped += arrivals - taken
        if taken > 0:
            self.queue.append([began, taken])
        started = self._serve(began, capacity)
        self.busy_share = started / capacity if capacity else 0.0
        self._bury()

    def _ready_s(self, began: float) -> float:
        """Pod-seconds in which pods could start requests in the step that just ended."""
        return sum(
            max(0.0, self.now - max(began, pod.ready)) for pod in self.pods if pod.ends is None
        )

    def _serve(self, began: float, capacity: float) -> float:
        left = capacity
        while self.queue and left > 1e-12:
            batch = self.queue[0]
            count = min(batch[1], left)
            wait = began - batch[0]
            self.waits[wait] = self.waits.get(wait, 0.0) + count
            self.served += count
            if wait > self.rules.slo_wait_s:
                self.late += count
            left -= count
            batch[1] -= count
            if batch[1] <= 1e-9:
                self.served += batch[1]
                self.queue.popleft()
        return capacity - left

    def _bury(self) -> None:
        for pod in self.pods:
            if pod.ends is not None and pod.ends <= self.now:
                self.paid_s += pod.ends - pod.created
        self.pods = [pod for pod in self.pods if pod.ends is None or pod.ends > self.now]
