"""A trace, a plant and a controller in; what users felt and what it cost out.

Law: the same seed gives the same arrivals to every controller, and every controller starts with
the same pods.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from tidegate_operator.replay.control import Controller, Seen
from tidegate_operator.replay.plant import STEP_S, Plant, PlantRules
from tidegate_operator.replay.trace import MINUTE_S, Trace

TICK_S = 15.0
"""Between two decisions: HPA's sync period, and ours."""
START_UTILIZATION = 0.7
"""The workload is found with pods for this share of the first minute's load."""
NEEDED_UTILIZATION = 0.8
"""Load has reached what the pods carry when a reactive scaler (ours: at 0.8) asks for more."""
STEPS = round(MINUTE_S / STEP_S)


@dataclass(frozen=True, slots=True)
class ScaleEvent:
    at: float
    before: int
    after: int
    in_time: bool | None = None
    """For a scale-up: the new pods were Ready before the load passed what those before could
    carry; ``None`` where it never did until the next change."""


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
    missing_minutes: int
    """Minutes that the trace does not know; the load of the minute before was played."""
    events: tuple[ScaleEvent, ...]

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


def replay(
    trace: Trace,
    plant: PlantRules,
    controller: Controller,
    *,
    seed: int = 0,
    start_pods: int | None = None,
) -> Result:
    """Play ``trace`` (its own scale, in requests) against ``controller``.

    Args:
        seed: for how the requests of a minute fall into its steps.
        start_pods: Ready at the beginning; ``None``: enough for the first minute at 70 %.
    """
    minutes = trace.minutes()
    state = Plant(plant, minutes.start)
    loads = list(_arrivals(minutes, seed))
    if start_pods is None:
        rps = sum(loads[:STEPS]) / MINUTE_S
        start_pods = max(1, math.ceil(rps / (plant.pod_rps * START_UTILIZATION)))
    state.start_with(start_pods)
    seen = Seen(state.now, state.current, state.ready, 0)
    changes: list[tuple[int, int, int]] = []
    for index, load in enumerate(loads):
        if index and index % round(TICK_S / STEP_S) == 0:
            _look(seen, state)
            wanted = max(0, controller.wanted(seen))
            if wanted != seen.current:
                changes.append((index, seen.current, wanted))
                state.scale(wanted)
        state.step(load)
        seen.arrivals.append(load)
        seen.busy.append(state.busy_share)
    missing = sum(count is None for count in minutes.requests)
    return _result(state, controller.name, missing, _events(changes, loads, minutes.start, plant))


def _arrivals(minutes: Trace, seed: int) -> Iterator[float]:
    """Requests per step: each minute's requests fall into its steps at random."""
    random = np.random.default_rng(seed)
    share = np.full(STEPS, 1 / STEPS)
    count = next((known for known in minutes.requests if known is not None), 0.0)
    for known in minutes.requests:
        count = count if known is None else known
        yield from (float(n) for n in random.multinomial(round(count), share))


def _look(seen: Seen, state: Plant) -> None:
    seen.now, seen.current, seen.ready = state.now, state.current, state.ready
    seen.in_flight = round(
        state.waiting + state.busy_share * state.ready * state.rules.slots_per_pod
    )


def _events(
    changes: list[tuple[int, int, int]], loads: list[float], start: float, plant: PlantRules
) -> tuple[ScaleEvent, ...]:
    cold = math.ceil(plant.cold_start_s / STEP_S)
    out = []
    for number, (index, before, after) in enumerate(changes):
        at = start + index * STEP_S
        if after < before:
            out.append(ScaleEvent(at, before, after))
            continue
        until = changes[number + 1][0] if number + 1 < len(changes) else len(loads)
        carried = before * plant.pod_rps * NEEDED_UTILIZATION * MINUTE_S
        passed = _first_above(loads, index, max(until, index + cold) + 2 * STEPS, carried)
        out.append(
            ScaleEvent(at, before, after, None if passed is None else passed - index >= cold)
        )
    return tuple(out)


def _first_above(loads: list[float], begin: int, end: int, per_minute: float) -> int | None:
    """First step in [begin, end) that ends a minute of more than ``per_minute`` requests."""
    for at in range(begin, min(end, len(loads))):
        if sum(loads[max(0, at - STEPS + 1) : at + 1]) > per_minute:
            return at
    return None


def _result(state: Plant, name: str, missing: int, events: tuple[ScaleEvent, ...]) -> Result:
    waits = dict(sorted(state.waits.items()))
    return Result(
        controller=name,
        requests=state.arrived,
        served=state.served,
        dropped=state.dropped,
        late=state.late,
        waiting=state.waiting,
        pod_minutes=state.pod_minutes(),
        wait_p50_s=percentile(waits, 0.50),
        wait_p95_s=percentile(waits, 0.95),
        wait_p99_s=percentile(waits, 0.99),
        missing_minutes=missing,
        events=events,
    )


def percentile(waits: Mapping[float, float], share: float) -> float:
    """The wait, in seconds, that ``share`` of the requests did not exceed; 0 where there were
    none."""
    left = share * sum(waits.values())
    for wait, count in waits.items():
        left -= count
        if left <= 1e-9:
            return wait
    return 0.0
