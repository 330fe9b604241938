"""The requests of a trace, as they fall into the steps of a replay, and the work they bring.

Law: the same trace, plant and seed give every controller the same requests and the same work; none
is lost by rounding or by the trace's step, and what comes later changes nothing of what came
before.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidegate_operator.replay.plant import STEP_S, PlantRules
from tidegate_operator.replay.trace import MINUTE_S, Trace

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAST_SHARE = 1e-3
"""No service takes less than so much of the mean, which a wide distribution might draw."""
ARRIVALS, SERVICES = 0, 1
"""Streams of chance that a seed gives; ``plant`` has the third."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What comes in each step."""

    start: float
    requests: list[int]
    work_s: list[float]
    """Slot-seconds that the requests of the step will take."""
    tokens: list[float]
    """Input and output; 0 where the trace has none."""
    missing_minutes: int
    """Of which the trace says nothing: the step before is played once more."""


def load_of(trace: Trace, plant: PlantRules, seed: int) -> Load:
    """Steps of 1 s are added up and those of 5 s are taken as they are; of coarser ones the
    requests fall into the replay's steps at random."""
    grid = _grid(trace)
    whole = _whole(_held(grid.requests))
    share = np.full(max(1, round(grid.step_s / STEP_S)), 1.0)
    random = np.random.default_rng([seed, ARRIVALS])
    drawn = random.multinomial(whole, share / share.size).reshape(-1)
    requests = _padded(drawn, grid)
    means = _padded(np.repeat(_service_s(grid, plant), share.size), grid)
    tokens = _padded(np.repeat(_tokens(grid), share.size), grid) * requests
    return Load(
        start=grid.start - grid.start % MINUTE_S,
        requests=[int(count) for count in requests],
        work_s=[float(work) for work in _work_s(requests, means, plant.service_cv, seed)],
        tokens=[float(count) for count in tokens],
        missing_minutes=round(
            sum(count is None for count in trace.requests) * trace.step_s / MINUTE_S
        ),
    )


def busy_slots(trace: Trace, plant: PlantRules) -> Floats:
    """Slots that the requests of each step of ``trace`` keep busy (Little's law)."""
    return np.asarray(_held(trace.requests) * _service_s(trace, plant) / trace.step_s)


def mean_service_s(trace: Trace, plant: PlantRules) -> float:
    """Of all requests of ``trace``, by their tokens; the plant's own where it has none."""
    means, known = _service_s(trace, plant), _held(trace.requests)
    total = float(known.sum())
    return float((means * known).sum()) / total if total else plant.service_s


def _grid(trace: Trace) -> Trace:
    """In steps that are a multiple of the replay's."""
    step_s = round(STEP_S)
    if MINUTE_S % trace.step_s or (trace.step_s % step_s and step_s % trace.step_s):
        return trace.minutes()
    return trace.gathered(step_s) if trace.step_s < step_s else trace


def _held(counts: tuple[float | None, ...]) -> Floats:
    """What is missing is as the step before; at the very start, as the first that is known."""
    values = _counted(counts)
    known = ~np.isnan(values)
    if not known.any():
        return np.zeros(len(values))
    last = np.maximum.accumulate(np.where(known, np.arange(len(values)), -1))
    return np.asarray(values[np.where(last < 0, int(np.argmax(known)), last)])


def _whole(counts: Floats) -> Ints:
    """Whole requests whose sum never strays from that of ``counts`` by more than a half."""
    return np.diff(np.rint(np.cumsum(counts)), prepend=0.0).astype(np.int64)


def _padded(values: NDArray[Any], grid: Trace) -> NDArray[Any]:
    """From the beginning of a minute on; before the trace began nothing came."""
    return np.concatenate((np.zeros(round(grid.start % MINUTE_S / STEP_S), values.dtype), values))


def _service_s(trace: Trace, plant: PlantRules) -> Floats:
    """Mean time of one request in each step: by its tokens where the trace has them."""
    if not (plant.by_tokens and trace.output_tokens and trace.prompt_tokens):
        return np.full(len(trace), plant.service_s)
    prompt, output = (_counted(n) for n in (trace.prompt_tokens, trace.output_tokens))
    return _each(
        trace, prompt * plant.prompt_token_s + output * plant.output_token_s, plant.service_s
    )


def _tokens(trace: Trace) -> Floats:
    """Mean of one request in each step; 0 where the trace has none."""
    if not (trace.output_tokens and trace.prompt_tokens):
        return np.zeros(len(trace))
    return _each(trace, _counted(trace.prompt_tokens) + _counted(trace.output_tokens), 0.0)


def _counted(counts: tuple[float | None, ...]) -> Floats:
    return np.array([np.nan if n is None else n for n in counts], dtype=np.float64)


def _each(trace: Trace, totals: Floats, otherwise: float) -> Floats:
    """``totals`` by request; where a step says nothing, as the step before."""
    count = _counted(trace.requests)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(count > 0, totals / count, np.nan)
    known = np.isfinite(means) & (means > 0)
    if not known.any():
        return np.full(len(trace), otherwise)
    return _held(tuple(float(m) if k else None for m, k in zip(means, known, strict=True)))


def _work_s(requests: Ints, means: Floats, cv: float, seed: int) -> Floats:
    """Work of each step: the sum of that many gamma-distributed service times, which is gamma
    again."""
    if cv == 0:
        return np.asarray(requests * means)
    random = np.random.default_rng([seed, SERVICES])
    drawn = random.gamma(requests / cv**2, means * cv**2)
    return np.maximum(drawn, requests * means * LEAST_SHARE)
