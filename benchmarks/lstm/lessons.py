"""What the network is taught each hour, and what it then foretells.

Law: a minute is foretold from minutes up to it alone, by a network that has learned from minutes
before that hour alone, the answers included. What was learned is kept only where it does better on
the newest fifth of them, held out: two days are soon known by heart. Pure: the network is an
argument.
"""

from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from tidegate_operator.forecast.arrays import DAY, Bools, Floats, Indices
from tidegate_operator.forecast.series import Series

AHEAD_MINUTES = 15
WINDOW_MINUTES = 60
HISTORY_MINUTES = 14 * DAY
HOUR = 60
BATCH = 128
ROUND_STEPS = 20
"""Batches between two looks at what is held out."""
FIRST_ROUNDS, HOURLY_ROUNDS = 100, 2
"""At most, before the first forecast and then each hour."""
PATIENCE = 5
"""Rounds without a gain that end a training."""
HELD_OUT_SHARE = 0.2
HELD_OUT_ROWS = 512
"""Spread evenly over it."""
QUARTER = 15
State = TypeVar("State")


class Network(Protocol[State]):
    """Foretells the load ``AHEAD_MINUTES`` after the hour that ends with a row of ``inputs``."""

    def fresh(self) -> State: ...

    def learn(self, state: State, inputs: Floats, batches: Indices) -> tuple[State, Floats]:
        """A step for each batch, (steps, batch) rows; the loss of each before its step."""
        ...

    def loss(self, state: State, inputs: Floats, rows: Indices) -> float: ...

    def foretell(self, state: State, inputs: Floats, rows: Indices) -> Floats: ...


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

    def split(self, origin: int) -> tuple[Indices, Indices]:
        """Rows to learn from and rows held out; their answers came before row ``origin``."""
        low = max(WINDOW_MINUTES - 1, origin - HISTORY_MINUTES)
        rows = np.arange(low, origin - AHEAD_MINUTES)
        rows = rows[self.known[rows + AHEAD_MINUTES]]
        held_out = rows[-max(1, int(HELD_OUT_SHARE * len(rows))) :]
        spread = np.linspace(0, len(held_out) - 1, HELD_OUT_ROWS).astype(np.int64)
        return rows[rows + AHEAD_MINUTES <= held_out[0]], held_out[spread]


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
    losses: tuple[Floats, ...] = ()
    """Of the batches of each training, the first and then hourly."""


def foretell(series: Series, begin: int, network: Network[State], seed: int = 0) -> Foretold:
    """Retrained each hour from row ``begin`` on."""
    lessons, random, state = (
        lessons_of(series, begin),
        np.random.default_rng(seed),
        network.fresh(),
    )
    said, losses = [], []
    for origin in range(begin, len(series), HOUR):
        rounds = FIRST_ROUNDS if origin == begin else HOURLY_ROUNDS
        state, lost = taught(network, state, lessons, origin, rounds, random)
        hour = np.arange(origin, min(origin + HOUR, len(series)))
        said.append(network.foretell(state, lessons.inputs, hour))
        losses.append(lost)
    points = np.maximum(0.0, np.concatenate(said)) * lessons.requests
    return Foretold(begin, points, tuple(losses))


def taught(
    network: Network[State],
    state: State,
    lessons: Lessons,
    origin: int,
    rounds: int,
    random: np.random.Generator,
) -> tuple[State, Floats]:
    """The state after the round that did best on what is held out, ``state`` itself if none did
    better; and the loss of each batch."""
    rows, held_out = lessons.split(origin)
    best, tried, missed, losses = network.loss(state, lessons.inputs, held_out), state, 0, []
    for _ in range(rounds):
        batches = random.choice(rows, (ROUND_STEPS, BATCH))
        tried, lost = network.learn(tried, lessons.inputs, batches)
        losses.append(lost)
        loss = network.loss(tried, lessons.inputs, held_out)
        if loss < best:
            state, best, missed = tried, loss, 0
        else:
            missed += 1
        if missed == PATIENCE:
            break
    return state, np.concatenate(losses)


@dataclass(frozen=True, slots=True)
class Skill:
    """Share by which mean absolute errors are lower; below 0: higher."""

    over_last_value: float
    over_last_quarter: float
    """Over the mean of the last 15 minutes, which is harder to beat where minutes are noisy."""


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
