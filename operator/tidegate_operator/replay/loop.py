"""A trace, a plant and a controller in; what users felt and what it cost out.

Law: the same seed gives the same arrivals, service times and cold starts to every controller, and
every controller starts with the same pods.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from tidegate_operator.decide.words import Decision
from tidegate_operator.replay.control import Controller, GivesReasons, Seen
from tidegate_operator.replay.load import Ints, Load, load_of
from tidegate_operator.replay.plant import MINUTE_STEPS, STEP_S, Plant, PlantRules
from tidegate_operator.replay.result import (
    Decided,
    Minutes,
    Result,
    ScaleEvent,
    slo_minutes,
)
from tidegate_operator.replay.trace import MINUTE_S, Trace
from tidegate_operator.replay.waits import percentile

START_UTILIZATION = 0.7
"""The workload is found with pods that its first load fills so far."""
NEEDED_UTILIZATION = 0.8
"""Load has reached what the pods carry when a reactive scaler (ours: at 0.8) asks for more."""


@dataclass(slots=True)
class _Story:
    """What is written down on the way."""

    changes: list[tuple[int, int, int]] = field(default_factory=list)
    """(step, pods before, pods after)"""
    decisions: list[Decided] = field(default_factory=list)
    ready: list[int] = field(default_factory=list)
    """Per step, as the two below."""
    paid_s: list[float] = field(default_factory=list)
    """Sum from the beginning."""
    queue: list[int] = field(default_factory=list)


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
        seed: for how requests fall into steps, how long they take, and how pods start.
        start_pods: Ready at the beginning; ``None``: ``usual_pods``.
    """
    load = load_of(trace, plant, seed)
    state = Plant(plant, load.start, seed=seed)
    state.start_with(usual_pods(load, plant) if start_pods is None else start_pods)
    seen = Seen(state.now, state.current, state.ready)
    story = _Story()
    reasoned = controller if isinstance(controller, GivesReasons) else None
    every = max(1, round(controller.period_s / STEP_S))
    steps = zip(load.requests, load.work_s, load.tokens, strict=True)
    for step, (requests, work_s, tokens) in enumerate(steps):
        if step and step % every == 0:
            seen.look(state)
            _control(controller, seen, state, step, story)
            if reasoned is not None:
                _reasoned(reasoned.last, seen.now, story)
        state.step(requests, work_s, tokens)
        seen.note(requests, state.busy_share, state.waiting + state.busy_slots, state.ready)
        story.ready.append(state.ready)
        story.paid_s.append(state.paid_s)
        story.queue.append(state.waiting)
    return _result(controller.name, load, state, story)


def usual_pods(load: Load, plant: PlantRules) -> int:
    """Enough for the busier of the first two minutes at 70 %: a trace may begin within one."""
    works = (load.work_s[:MINUTE_STEPS], load.work_s[MINUTE_STEPS : 2 * MINUTE_STEPS])
    busy = max(map(sum, works)) / MINUTE_S
    return max(1, math.ceil(busy / (plant.slots_per_pod * START_UTILIZATION) - 1e-9))


def _control(controller: Controller, seen: Seen, state: Plant, step: int, story: _Story) -> None:
    wanted = max(0, controller.wanted(seen))
    if wanted != seen.current:
        story.changes.append((step, seen.current, wanted))
        state.scale(wanted)


def _reasoned(decision: Decision | None, now: float, story: _Story) -> None:
    """Keep a decision that says something else than the one before."""
    if decision is None:
        return
    scaling = decision.scaling
    before = story.decisions[-1].scaling if story.decisions else None
    if (
        before is None
        or before.replicas != scaling.replicas
        or before.reason is not scaling.reason
    ):
        story.decisions.append(Decided(now, scaling))


def _result(name: str, load: Load, state: Plant, story: _Story) -> Result:
    minutes = _minutes(load, state, story)
    return Result(
        controller=name,
        requests=state.arrived,
        served=state.served,
        dropped=state.dropped,
        late=state.late,
        waiting=state.waiting,
        pod_minutes=state.paid_s / MINUTE_S,
        wait_p50_s=percentile(state.waits.counts, 0.50),
        wait_p95_s=percentile(state.waits.counts, 0.95),
        wait_p99_s=percentile(state.waits.counts, 0.99),
        slo_minutes=slo_minutes(minutes, 1.0 - state.rules.slo_percentile),
        starts_failed=state.starts_failed,
        missing_minutes=load.missing_minutes,
        events=_events(story.changes, load, state.rules),
        decisions=tuple(story.decisions),
        minutes=minutes,
    )


def _minutes(load: Load, state: Plant, story: _Story) -> Minutes:
    begins = range(0, len(load.requests), MINUTE_STEPS)
    paid_s = [0.0, *story.paid_s]
    last = len(story.paid_s)
    ends = [min(begin + MINUTE_STEPS, last) for begin in begins]
    spans = list(zip(begins, ends, strict=True))
    return Minutes(
        start=load.start,
        load=tuple(sum(load.requests[a:b]) for a, b in spans),
        ready=tuple(sum(story.ready[a:b]) / (b - a) for a, b in spans),
        paid=tuple((paid_s[b] - paid_s[a]) / ((b - a) * STEP_S) for a, b in spans),
        queue=tuple(max(story.queue[a:b]) for a, b in spans),
        violations=tuple(state.violated.get(minute, 0) for minute in range(len(spans))),
    )


def _events(
    changes: list[tuple[int, int, int]], load: Load, plant: PlantRules
) -> tuple[ScaleEvent, ...]:
    """Whether in time is a matter of the load as it came and of the median cold start."""
    sums = np.concatenate((np.zeros(MINUTE_STEPS, np.int64), np.cumsum(load.requests)))
    of_minute = sums[MINUTE_STEPS:] - sums[:-MINUTE_STEPS]
    cold = math.ceil(plant.cold_start_s / STEP_S)
    out = []
    for number, (step, before, after) in enumerate(changes):
        at = load.start + step * STEP_S
        if after < before:
            out.append(ScaleEvent(at, before, after))
            continue
        until = changes[number + 1][0] if number + 1 < len(changes) else len(load.requests)
        carried = before * plant.pod_rps * NEEDED_UTILIZATION * MINUTE_S
        passed = _first_above(of_minute, step, max(until, step + cold) + 2 * MINUTE_STEPS, carried)
        in_time = None if passed is None else passed - step >= cold
        out.append(ScaleEvent(at, before, after, in_time))
    return tuple(out)


def _first_above(of_minute: Ints, begin: int, end: int, per_minute: float) -> int | None:
    """First step in [begin, end) that ends a minute of more than ``per_minute`` requests."""
    above = np.flatnonzero(of_minute[begin:end] > per_minute)
    return begin + int(above[0]) if above.size else None
