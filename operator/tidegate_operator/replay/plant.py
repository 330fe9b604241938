"""A workload in simulated time: pods with slots, a cold start, one bounded queue, and a bill.

Law: requests are conserved (arrived = served + dropped + waiting) and a pod is paid from its
creation to its end. All slots are one pool, and within a step requests share the time that is free
in it: what is measured is the queueing that missing pods cause, which is what a scaler answers
for. The n-th pod that is created has the same cold start for every controller.
"""

import math
from bisect import insort
from collections import deque
from dataclasses import dataclass

import numpy as np

from tidegate_operator.replay.waits import Waits, mean_wait_s, share_above

STEP_S = 5.0
MINUTE_STEPS = 12
COLD_STARTS = 2
"""Stream of chance that a seed gives (``load`` has the others)."""
Z90 = 1.2815515655446004
"""Standard deviations above the median of a normal distribution at its p90."""
BACKOFF_S, BACKOFF_MAX_S = 10.0, 300.0
"""Kubelet's CrashLoopBackOff and ImagePullBackOff: 10 s, doubled each time, at most 5 minutes
(kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle)."""
MAX_FAILURES = 20
_HAIR = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class PlantRules:
    """The figures of the closed loop that forecasting was measured on, by default."""

    slots_per_pod: int = 8
    service_s: float = 4.0
    """Mean time that a request holds a slot, where the trace has no tokens."""
    service_cv: float = 0.0
    """Standard deviation over mean of single service times, which are gamma distributed."""
    by_tokens: bool = True
    """Whether service times come from a trace's tokens, where it has them."""
    prompt_token_s: float = 0.00015
    output_token_s: float = 0.040
    """Both: Llama-2 70B on two H100 with 8 requests in a batch, as measured for Splitwise
    (ISCA'24; github.com/Mutinifni/splitwise-sim, data/perf_model.csv: 606 ms for 8 x 512 tokens,
    then 40 ms a token)."""
    cold_start_s: float = 180.0
    """From a pod's creation to its Ready: the median."""
    cold_start_sigma: float = 0.0
    """Standard deviation of its natural logarithm; 0.3 makes p90 half as long again as the
    median."""
    start_failure_share: float = 0.0
    """Of attempts to start that crash after a cold start and are tried again after a back-off."""
    never_ready_share: float = 0.0
    """Of pods that never become Ready: an image that can't be pulled, a broken node."""
    queue_cap_s: float = 30.0
    """Seconds of work of the Ready pods that may wait; what comes beyond is dropped."""
    slo_wait_s: float = 4.0
    """A request that waits longer, or is dropped, violates the SLO."""
    slo_percentile: float = 0.95
    """Share of a minute's requests that must not violate it."""
    drain_s: float = 4.0
    """How long a removed pod finishes what it has at least, and is paid."""

    @property
    def pod_rps(self) -> float:
        """Most requests per second that one pod serves."""
        return self.slots_per_pod / self.service_s

    @property
    def cold_start_p90_s(self) -> float:
        """What a forecast has to look ahead, but for its margin."""
        return self.cold_start_s * math.exp(Z90 * self.cold_start_sigma)


@dataclass(slots=True, order=True)
class Pod:
    created: float
    ready: float
    """Infinite: never."""
    fails: tuple[float, ...] = ()
    """When attempts to start fail."""
    ends: float = math.inf
    """Known once it is told to go."""


@dataclass(slots=True)
class _Batch:
    """Requests that came in one step and wait."""

    step: int
    came: int
    left: int
    each_s: float
    """Slot-seconds of one."""
    tokens: float
    """Of one."""


@dataclass(slots=True)
class _Taken:
    """What is already known of a coming step."""

    slot_s: float = 0.0
    """Slot-seconds that requests hold."""
    ended: int = 0
    """Requests that end in it; their durations and tokens in all."""
    duration_s: float = 0.0
    tokens: float = 0.0


class Plant:
    """The state; ``step`` moves it on."""

    def __init__(self, rules: PlantRules, now: float, *, seed: int = 0) -> None:
        self.rules = rules
        self.now = now
        self.arrived = self.served = self.dropped = self.waiting = 0
        self.late = 0.0
        self.ended = 0
        """Requests whose service has ended."""
        self.duration_s = 0.0
        """Waits and services of those that ended, as a sidecar in the pods would add them up."""
        self.tokens = 0.0
        """Input and output, of those that ended."""
        self.waits = Waits()
        self.violated: dict[int, float] = {}
        """Minute (from the start) in which they came -> requests that were dropped or late."""
        self.paid_s = 0.0
        self.busy_slots = 0.0
        """Mean over the last step."""
        self.busy_share = 0.0
        """The same as a share of the Ready pods' slots."""
        self._steps = 0
        self._ready: list[Pod] = []
        self._starting: list[Pod] = []
        self._leaving: list[Pod] = []
        self._next_ready = math.inf
        self._failed = 0
        self._queue: deque[_Batch] = deque()
        """Oldest first."""
        self._queued_s = 0.0
        self._taken: deque[_Taken] = deque()
        """For each coming step."""
        self._chance = np.random.default_rng([seed, COLD_STARTS])

    # --- pods -------------------------------------------------------------------------------

    @property
    def current(self) -> int:
        """Pods that nobody told to go: ``spec.replicas``."""
        return len(self._ready) + len(self._starting)

    @property
    def ready(self) -> int:
        return len(self._ready)

    @property
    def paid(self) -> int:
        """Pods that are paid at this moment."""
        return self.current + len(self._leaving)

    @property
    def starts_failed(self) -> int:
        still = sum(fail <= self.now for pod in self._starting for fail in pod.fails)
        return self._failed + still

    def pods(self) -> list[Pod]:
        """All that are paid, oldest first."""
        return sorted(self._ready + self._starting + self._leaving)

    def start_with(self, count: int) -> None:
        """Pods that are Ready at once: the workload as it is found."""
        self._ready += [Pod(self.now, self.now) for _ in range(count)]

    def scale(self, count: int) -> None:
        """Make it ``count`` pods: new ones start cold; those go first that are not Ready yet, then
        the youngest, as a ReplicaSet chooses."""
        more = count - self.current
        self._starting += [self._created() for _ in range(more)]
        self._starting.sort()
        for _ in range(-more):
            if self._starting:
                pod = self._starting.pop()
                pod.ends = self.now
                self._failed += sum(fail <= self.now for fail in pod.fails)
            else:
                self._drain()
        self._next_ready = min((pod.ready for pod in self._starting), default=math.inf)

    def _created(self) -> Pod:
        rules = self.rules
        deviation, lucky, tries = self._chance.normal(), *self._chance.random(2)
        cold_s = rules.cold_start_s * math.exp(rules.cold_start_sigma * deviation)
        if lucky < rules.never_ready_share:
            return Pod(self.now, math.inf, (self.now + cold_s,))
        at = self.now + cold_s
        fails: list[float] = []
        left = rules.start_failure_share
        while tries < left and len(fails) < MAX_FAILURES:
            fails.append(at)
            at += min(BACKOFF_MAX_S, BACKOFF_S * 2.0 ** (len(fails) - 1)) + cold_s
            left *= rules.start_failure_share
        return Pod(self.now, at, tuple(fails))

    def _drain(self) -> None:
        """The youngest Ready pod goes, with its share of what runs."""
        pod = self._ready.pop()
        pod.ends = self.now + max(self.rules.drain_s, STEP_S * len(self._taken))
        self._leaving.append(pod)
        stays = len(self._ready) / (len(self._ready) + 1)
        for taken in self._taken:
            taken.slot_s *= stays

    def _pass_time(self, began: float) -> float:
        """Pay, and let pods become Ready and end; slot-seconds of the Ready ones in the step."""
        ready_s = len(self._ready) * STEP_S
        self.paid_s += self.current * STEP_S
        if self._next_ready <= self.now:
            for pod in [pod for pod in self._starting if pod.ready <= self.now]:
                self._starting.remove(pod)
                insort(self._ready, pod)
                self._failed += len(pod.fails)
                ready_s += self.now - max(began, pod.ready)
            self._next_ready = min((pod.ready for pod in self._starting), default=math.inf)
        if self._leaving:
            self.paid_s += sum(min(pod.ends, self.now) - began for pod in self._leaving)
            self._leaving = [pod for pod in self._leaving if pod.ends > self.now]
        return ready_s * self.rules.slots_per_pod

    # --- requests ---------------------------------------------------------------------------

    def step(self, requests: int, work_s: float, tokens: float = 0.0) -> None:
        """Let ``STEP_S`` pass in which ``requests`` come that will hold slots for ``work_s`` and
        have so many ``tokens`` in all."""
        began, self.now = self.now, self.now + STEP_S
        slot_s = self._pass_time(began)
        free_s = slot_s
        if self._taken:
            taken = self._taken.popleft()
            free_s = max(0.0, slot_s - taken.slot_s)
            self._end(taken.ended, taken.duration_s, taken.tokens)
        if requests:
            self._let_in(requests, work_s / requests, tokens / requests, free_s)
        left_s = self._serve(free_s) if self._queue else free_s
        self.busy_slots = (slot_s - left_s) / STEP_S
        self.busy_share = (slot_s - left_s) / slot_s if slot_s else 0.0
        self._steps += 1

    def _let_in(self, requests: int, each_s: float, tokens: float, free_s: float) -> None:
        self.arrived += requests
        # A queue of nothing would drop what the very next pod could serve: it holds at least one
        # pod's.
        room_s = max(self.ready, 1) * self.rules.slots_per_pod * self.rules.queue_cap_s
        room_s += free_s - self._queued_s
        taken = requests
        if requests * each_s > room_s:
            taken = min(requests, max(0, int(room_s / each_s + _HAIR)))
            self.dropped += requests - taken
            self._violate(self._steps, requests - taken)
        if taken:
            self._queue.append(_Batch(self._steps, taken, taken, each_s, tokens))
            self.waiting += taken
            self._queued_s += taken * each_s

    def _serve(self, free_s: float) -> float:
        """Start what fits, oldest first; slot-seconds that stay free.

        Requests come evenly over their step, and so do starts over the time that is free in one.
        """
        queue, whole_s = self._queue, free_s
        while queue and free_s > _HAIR:
            batch = queue[0]
            left, each_s, age = batch.left, batch.each_s, self._steps - batch.step
            first_s = STEP_S * (age + left / batch.came - free_s / whole_s)
            number, begun_s, free_s = _fitting(left, each_s, free_s)
            batch.left = left - number - (begun_s > 0)
            last_s = STEP_S * (age + batch.left / batch.came - free_s / whole_s)
            self._note(batch.step, left - batch.left, first_s, last_s)
            wait_s = mean_wait_s(first_s, last_s)
            if number:
                self._hold(batch, number, min(each_s, STEP_S), wait_s)
            if begun_s:
                self._hold(batch, 1, begun_s, wait_s)
            self._queued_s -= (left - batch.left) * each_s
            if not batch.left:
                queue.popleft()
        if not queue:
            self._queued_s = 0.0  # whatever rounding left
        return free_s

    def _hold(self, batch: _Batch, number: int, now_s: float, wait_s: float) -> None:
        """``number`` requests take a slot each: ``now_s`` of it in this step, the rest in those to
        come."""
        duration_s, tokens = number * (wait_s + batch.each_s), number * batch.tokens
        rest_s, ahead = batch.each_s - now_s, 0
        while rest_s > _HAIR:
            if ahead == len(self._taken):
                self._taken.append(_Taken())
            self._taken[ahead].slot_s += number * min(rest_s, STEP_S)
            rest_s -= STEP_S
            ahead += 1
        if not ahead:
            self._end(number, duration_s, tokens)
            return
        taken = self._taken[ahead - 1]
        taken.ended += number
        taken.duration_s += duration_s
        taken.tokens += tokens

    def _end(self, number: int, duration_s: float, tokens: float) -> None:
        self.ended += number
        self.duration_s += duration_s
        self.tokens += tokens

    def _note(self, step: int, number: int, first_s: float, last_s: float) -> None:
        """``number`` requests began whose waits lie evenly between the two."""
        self.served += number
        self.waiting -= number
        self.waits.note(number, first_s, last_s)
        late = number * share_above(first_s, last_s, self.rules.slo_wait_s)
        if late:
            self.late += late
            self._violate(step, late)

    def _violate(self, step: int, number: float) -> None:
        minute = step // MINUTE_STEPS
        self.violated[minute] = self.violated.get(minute, 0.0) + number


def _fitting(count: int, each_s: float, free_s: float) -> tuple[int, float, float]:
    """How many of ``count`` requests can hold a slot for all of their time or for the whole step;
    what is left of the step for one more to begin in, or 0; and what stays free."""
    now_s = min(each_s, STEP_S)
    number = int(min(count, free_s / now_s + _HAIR))
    free_s = max(0.0, free_s - number * now_s)
    if number < count and free_s > _HAIR:
        return number, free_s, 0.0
    return number, 0.0, free_s
