"""Makes quantiles honest: what was forecast is kept until it can be compared, and the errors of
the last days move what is forecast next (conformalised quantile regression, additive in log
space).

Law: an error counts once its whole window has been counted, never before; the state is plain JSON,
so that a restart forgets nothing.

Two things keep coverage where the load changes its ways: newer errors weigh more (Barber et al.
2023), and a level that has held too seldom is asked for a little higher (Gibbs and Candes 2021).
Both together hold 0.9, 0.95 and 0.98 to half a point on all traces, at less pinball loss than
equal weights (``benchmarks/forecast_models.py``). Unbounded, the second one ran away.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from tidegate_operator.forecast.arrays import DAY, Floats
from tidegate_operator.forecast.quantiles import QUANTILES
from tidegate_operator.forecast.series import Series

STATE_VERSION = 2
WINDOW_MINUTES = 4 * DAY
HALF_LIFE_MINUTES = 2 * DAY
"""An error this old counts half as much as one of now."""
SAMPLE_EVERY = 7
"""Minutes between two kept forecasts: their windows overlap, so every seventh says nearly all, in
a seventh of the state. 7 shares no factor with 60, so that every minute of the hour has its turn:
with 5, what recurs by the clock was missed and coverage was off by up to two points."""
REFRESH_MINUTES = 60
MIN_ERRORS = 60
"""Before seven hours of errors a 0.95 quantile of them means nothing."""
SHIFT_RATE = 0.05 * SAMPLE_EVERY / REFRESH_MINUTES
"""How far one error shifts the level that is asked for, per unit of coverage amiss."""
SHIFT_LIMIT = 0.3
"""Farthest shift, as a share of what the level leaves uncovered: 0.95 is asked for as 0.935 to
0.965."""
RIVALS = ("last value", "last hour")
"""The last minute (best on a random walk), the mean of the last hour (best on noise)."""
YESTERDAY = "yesterday"
"""The highest minute of yesterday's same window (best on a clean daily pattern)."""
NAIVE = (*RIVALS, YESTERDAY)
SCORED_QUANTILE = 0.95
"""The naive ones are points; calibrated to this quantile they are worth beating."""
LEVELS = (*QUANTILES, *(SCORED_QUANTILE for _ in NAIVE))
"""What each of ``Raw.all()`` is calibrated to."""


@dataclass(frozen=True, slots=True)
class Raw:
    """What the forecasters say before calibration, in requests per minute."""

    model: tuple[float, ...]
    """One per ``QUANTILES``."""
    naive: tuple[float, ...]
    """What anyone could say without a model, one per ``NAIVE``."""

    def all(self) -> tuple[float, ...]:
        return (*self.model, *self.naive)


@dataclass(slots=True)
class Sample:
    """One forecast that was made, and what came."""

    minute: int
    """Unix minute of the last count it knew."""
    raw: Raw
    issued: tuple[float, ...] | None
    """``raw.all()`` as calibrated at that time; ``None`` while there was no calibration yet."""
    peak: float | None = None
    """What came: requests of the highest minute; ``None`` until then."""


@dataclass(slots=True)
class Track:
    """The record of one workload's forecasts for one horizon."""

    horizon: int
    samples: list[Sample] = field(default_factory=list)
    offsets: tuple[float, ...] | None = None
    """Log-space corrections for ``Raw.all()``; ``None`` before ``MIN_ERRORS``."""
    shifts: tuple[float, ...] = (0.0,) * len(LEVELS)
    """What is added to ``LEVELS`` before they are looked up among the errors."""
    refreshed_minute: int = 0
    trusted: bool = False

    def observe(self, series: Series, c: float) -> None:
        """Compare what has matured with the end of ``series``, drop what is old, refresh the
        offsets when due."""
        now = series.end_minute - 1
        oldest = now - WINDOW_MINUTES - self.horizon
        del self.samples[: bisect_left(self.samples, oldest, key=lambda sample: sample.minute)]
        scored = len(self.samples)
        while scored and self.samples[scored - 1].peak is None:
            scored -= 1
        awaited = self.samples[scored:]
        del self.samples[scored:]
        for sample in awaited:
            if sample.minute + self.horizon <= now:
                sample.peak = peak_after(series, sample.minute, self.horizon)
                if sample.peak is None:
                    continue  # a minute of its window was never counted: not scored
                self._shift(sample)
            self.samples.append(sample)
        if self.offsets is None or now - self.refreshed_minute >= REFRESH_MINUTES:
            self._refresh(now, c)

    def issue(self, minute: int, raw: Raw, c: float) -> tuple[float, ...]:
        """Calibrate the model's quantiles, sorted; remember them and the naive ones."""
        model, issued = raw.model, None
        if self.offsets is not None:
            moved = (np.array(raw.all()) + c) * np.exp(np.array(self.offsets)) - c
            moved = np.maximum(moved, 0.0)
            moved[: len(QUANTILES)].sort()
            issued = tuple(moved.tolist())
            model = issued[: len(QUANTILES)]
        if not self.samples or minute - self.samples[-1].minute >= SAMPLE_EVERY:
            self.samples.append(Sample(minute, raw, issued))
        return model

    def matured(self) -> list[Sample]:
        return [sample for sample in self.samples if sample.peak is not None]

    def _shift(self, sample: Sample) -> None:
        if sample.issued is None or sample.peak is None:
            return
        shifts = []
        for level, said, shift in zip(LEVELS, sample.issued, self.shifts, strict=True):
            most = SHIFT_LIMIT * (1 - level)
            moved = shift + SHIFT_RATE * (level - (sample.peak <= said))
            shifts.append(max(-most, min(most, moved)))
        self.shifts = tuple(shifts)

    def _refresh(self, now: int, c: float) -> None:
        matured = self.matured()
        if len(matured) < MIN_ERRORS:
            return
        said = np.array([sample.raw.all() for sample in matured])
        came = np.array([sample.peak for sample in matured], dtype=np.float64)
        errors = np.log(came + c)[:, None] - np.log(np.maximum(said, 0.0) + c)
        ages = np.array([now - sample.minute for sample in matured])
        levels = np.add(LEVELS, self.shifts).tolist()
        self.offsets = weighted_quantiles(errors, 0.5 ** (ages / HALF_LIFE_MINUTES), levels)
        self.refreshed_minute = now

    def to_state(self) -> dict[str, Any]:
        """About 90 KB of JSON for four days, 30 KB compressed."""
        return {
            "v": STATE_VERSION,
            "horizon": self.horizon,
            "offsets": None if self.offsets is None else [round(o, 5) for o in self.offsets],
            "shifts": [round(shift, 6) for shift in self.shifts],
            "refreshed": self.refreshed_minute,
            "trusted": self.trusted,
            "samples": [_packed(sample) for sample in self.samples],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any] | None, horizon: int) -> Self | None:
        """``None`` where the state is absent, of another version or horizon, or not readable: then
        a new one is seeded from history."""
        if not state or state.get("v") != STATE_VERSION or state.get("horizon") != horizon:
            return None
        try:
            offsets = state["offsets"]
            return cls(
                horizon,
                [_unpacked(entry) for entry in state["samples"]],
                None if offsets is None else _numbers(offsets, len(LEVELS)),
                _numbers(state["shifts"], len(LEVELS)),
                int(state["refreshed"]),
                bool(state["trusted"]),
            )
        except (KeyError, TypeError, ValueError):
            return None


def weighted_quantiles(
    errors: Floats, weights: Floats, levels: Sequence[float]
) -> tuple[float, ...]:
    """Per column the smallest error that its level's share of the weights does not exceed."""
    found = []
    for column, level in enumerate(levels):
        order = np.argsort(errors[:, column])
        reached = np.cumsum(weights[order])
        at = int(np.searchsorted(reached, level * reached[-1] * (1 - 1e-12)))
        found.append(float(errors[order[at], column]))
    return tuple(found)


def peak_after(series: Series, minute: int, horizon: int) -> float | None:
    """Highest of the ``horizon`` minutes after ``minute``; ``None`` if one of them was not
    counted."""
    begin = minute + 1 - series.start_minute
    if begin < 0 or begin + horizon > len(series):
        return None
    if not series.known[begin : begin + horizon].all():
        return None
    return float(series.values[begin : begin + horizon].max())


def _packed(sample: Sample) -> list[Any]:
    """``[minute, base, peak, raw..., issued...]``: thousandths of a natural logarithm, all but the
    base relative to it: a third of the size of plain figures, at 0.1 % precision."""
    base = _milli(sample.raw.naive[0])
    return [
        sample.minute,
        base,
        None if sample.peak is None else _milli(sample.peak) - base,
        [_milli(v) - base for v in sample.raw.all()],
        None if sample.issued is None else [_milli(v) - base for v in sample.issued],
    ]


def _milli(requests: float) -> int:
    return round(1000 * math.log1p(requests))


def _unpacked(entry: Sequence[Any]) -> Sample:
    minute, base, peak, raw, issued = entry

    def requests(milli: float) -> float:
        return math.expm1((base + milli) / 1000)

    values = tuple(requests(v) for v in _numbers(raw, len(LEVELS)))
    return Sample(
        int(minute),
        Raw(values[: len(QUANTILES)], values[len(QUANTILES) :]),
        None if issued is None else tuple(map(requests, _numbers(issued, len(LEVELS)))),
        None if peak is None else requests(float(peak)),
    )


def _numbers(values: Sequence[Any], size: int) -> tuple[float, ...]:
    if len(values) != size:
        raise ValueError(f"{size} numbers expected, was: {len(values)}")
    return tuple(float(v) for v in values)
