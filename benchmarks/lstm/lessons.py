"""What the network is taught each hour, and what it then foretells.

Law: a minute is foretold from minutes up to it alone, by a network that has learned from minutes
before that hour alone, the answers included. Pure: the network is an argument.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tidegate_operator.forecast.arrays import DAY, Bools, Floats, Indices
from tidegate_operator.forecast.series import Series

AHEAD_MINUTES = 15
WINDOW_MINUTES = 60
HISTORY_MINUTES = 14 * DAY
HOUR = 60
BATCH = 128
FIRST_STEPS = 600
"""Batches before the first forecast, from two days. Many more learn those two days by heart."""
STEPS_PER_HOUR = 20
QUARTER = 15


class Network(Protocol):
    """A load ``AHEAD_MINUTES`` after the window that ends with a row."""

    def learn(self, inputs: Floats, rows: Indices) -> Floats:
        """Take a step for each batch, (steps, batch) rows of ``inputs``; the loss of each."""
        ...

    def foretell(self, inputs: Floats, rows: Indices) -> Floats: ...


@dataclass(frozen=True, slots=True)
class Lessons:
    """A series as a network sees it."""

    inputs: Floats
    """(minutes, 3): load, 1 on the mean before the first forecast; and the time of day as a
    wave."""
    known: Bools
    """Where the load was counted: what was filled in is never an answer."""
    requests: float
    """Per minute, that are a load of 1."""

    def rows(self, origin: int) -> Indices:
        """Whose windows and answers are from the days before row ``origin``."""
        low = max(WINDOW_MINUTES - 1, origin - HISTORY_MINUTES)
        rows = np.arange(low, origin - AHEAD_MINUTES)
        return rows[self.known[rows + AHEAD_MINUTES]]


def lessons_of(series: Series, begin: int) -> Lessons:
    """``begin``: row from which on is foretold."""
    requests = max(float(series.values[:begin].mean()), 1e-9)
    angle = 2 * np.pi * (series.start_minute + np.arange(len(series))) / DAY
    inputs = np.column_stack((series.values / requests, np.sin(angle), np.cos(angle)))
    return Lessons(inputs, series.known, requests)


@dataclass(frozen=True, slots=True)
class Foretold:
    """What a network said of a series, and how it learned."""

    begin: int
    points: Floats
    """Requests per minute ``AHEAD_MINUTES`` after row ``begin``, and after each that follows."""
    losses: Floats
    """Of each batch, in their order."""


def foretell(series: Series, begin: int, network: Network, seed: int = 0) -> Foretold:
    """Retrained each hour from row ``begin`` on."""
    lessons, random = lessons_of(series, begin), np.random.default_rng(seed)
    said, losses = [], []
    for origin in range(begin, len(series), HOUR):
        steps = FIRST_STEPS if origin == begin else STEPS_PER_HOUR
        batches = random.choice(lessons.rows(origin), (steps, BATCH))
        losses.append(network.learn(lessons.inputs, batches))
        hour = np.arange(origin, min(origin + HOUR, len(series)))
        said.append(network.foretell(lessons.inputs, hour))
    points = np.maximum(0.0, np.concatenate(said)) * lessons.requests
    return Foretold(begin, points, np.concatenate(losses))


@dataclass(frozen=True, slots=True)
class Skill:
    """Share by which mean absolute errors are lower; below 0: higher."""

    over_last_value: float
    over_last_quarter: float
    """Over the mean of the last 15 minutes, which is harder to beat."""


def skill_of(series: Series, foretold: Foretold) -> Skill:
    """On all minutes whose answer was counted."""
    rows = np.arange(foretold.begin, len(series) - AHEAD_MINUTES)
    rows = rows[series.known[rows + AHEAD_MINUTES]]
    came = series.values[rows + AHEAD_MINUTES]
    sums = np.concatenate(([0.0], np.cumsum(series.values)))
    quarter = (sums[rows + 1] - sums[rows + 1 - QUARTER]) / QUARTER
    error = _error(foretold.points[rows - foretold.begin], came)
    return Skill(
        1 - error / _error(series.values[rows], came),
        1 - error / _error(quarter, came),
    )


def _error(said: Floats, came: Floats) -> float:
    return float(np.mean(np.abs(said - came)))
