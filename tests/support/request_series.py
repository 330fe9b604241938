"""Request counts for forecasting tests: made by rule and seed, never read from a file."""

import math
import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    # As in the worker, and before numpy loads: two threads on two busy cores spin for a minute.
    os.environ.setdefault(_variable, "1")

import numpy as np  # noqa: E402

DAY = 1440


def daily(days: float, *, mean: float = 300.0, seed: int = 0) -> list[int]:
    """A workload with a clear day: quiet nights, a ramp in the morning, Poisson noise."""
    random = np.random.default_rng(seed)
    minutes = np.arange(round(days * DAY))
    wave = 1 - 0.8 * np.cos(2 * math.pi * minutes / DAY)
    return [int(n) for n in random.poisson(mean * wave)]


def rushes(days: float, *, seed: int = 6) -> list[int]:
    """Three times the load from 06:02 to noon, each day alike: yesterday tells all of it."""
    random = np.random.default_rng(seed)
    minute = np.arange(round(days * DAY)) % DAY
    mean = np.where((minute >= 362) & (minute < 720), 1200, 400)
    return [int(n) for n in mean * random.uniform(0.94, 1.06, len(mean))]


def white_noise(days: float, *, seed: int = 1) -> list[int]:
    random = np.random.default_rng(seed)
    return [int(n) for n in random.poisson(300.0, round(days * DAY))]


def random_walk(days: float, *, seed: int = 2) -> list[int]:
    random = np.random.default_rng(seed)
    return [int(max(1, n)) for n in np.cumsum(random.normal(0, 3, round(days * DAY))) + 800]
