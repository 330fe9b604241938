"""The network, in JAX: one layer of LSTM units over the last hour, then a line.

Law: what a window says is a multiple of its own mean, so that a level never seen before is no
stranger (reversible instance normalisation: Kim et al., ICLR 2022), and what is learned is what
will differ from the last quarter of an hour. Trained by Adam on squared errors, each over its
window's mean, since counts vary so (Poisson); what foretells is a running mean of the parameters,
which is calmer than the last batch's.
"""

import math
import os
from typing import Any

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")  # one core, as the rest

import jax
import jax.numpy as jnp
import numpy as np
from jax.example_libraries import optimizers

from benchmarks.lstm.lessons import AHEAD_MINUTES, QUARTER, WINDOW_MINUTES
from tidegate_operator.forecast.arrays import Floats, Indices

UNITS = 32
INPUTS = 3
RATE = 1e-3
AVERAGED = 0.98
"""Of the running mean is kept with each batch."""
LEAST_MEAN = 0.05
"""Windows with less load, in means of the first days, are seen as if they had this."""

Parameters = dict[str, jax.Array]


def fresh(seed: int) -> Parameters:
    keys = jax.random.split(jax.random.key(seed))
    return {
        "in": jax.random.normal(keys[0], (INPUTS, 4 * UNITS)) / math.sqrt(INPUTS),
        "again": jax.random.normal(keys[1], (UNITS, 4 * UNITS)) / math.sqrt(UNITS),
        "bias": jnp.concatenate((jnp.ones(UNITS), jnp.zeros(3 * UNITS))),  # remembers at first
        "out": jnp.zeros(UNITS),  # the last quarter of an hour at first
        "level": jnp.zeros(()),
    }


def _read(parameters: Parameters, windows: jax.Array) -> jax.Array:
    """(batch, minutes, inputs) -> one number for each window."""

    def step(
        state: tuple[jax.Array, jax.Array], seen: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        hidden, cell = state
        gates = seen @ parameters["in"] + hidden @ parameters["again"] + parameters["bias"]
        forget, take, give, new = jnp.split(gates, 4, axis=1)
        cell = jax.nn.sigmoid(forget) * cell + jax.nn.sigmoid(take) * jnp.tanh(new)
        return (jax.nn.sigmoid(give) * jnp.tanh(cell), cell), None

    nothing = jnp.zeros((windows.shape[0], UNITS))
    (hidden, _), _ = jax.lax.scan(step, (nothing, nothing), windows.transpose(1, 0, 2))
    return hidden @ parameters["out"] + parameters["level"]


def _point(parameters: Parameters, inputs: jax.Array, rows: jax.Array) -> tuple[jax.Array, ...]:
    """The load after the window that ends with each row, and the window's mean."""
    windows = inputs[rows[:, None] + jnp.arange(1 - WINDOW_MINUTES, 1)]
    mean = jnp.mean(windows[:, :, 0], axis=1) + LEAST_MEAN
    windows = windows.at[:, :, 0].set(windows[:, :, 0] / mean[:, None] - 1)
    quarter = jnp.mean(windows[:, -QUARTER:, 0], axis=1)
    return (1 + quarter + _read(parameters, windows)) * mean, mean


def _loss(parameters: Parameters, inputs: jax.Array, rows: jax.Array) -> jax.Array:
    said, mean = _point(parameters, inputs, rows)
    return jnp.mean((said - inputs[rows + AHEAD_MINUTES, 0]) ** 2 / mean)


_start, _update, _parameters = optimizers.adam(RATE)


@jax.jit
def _learn(taught: Any, inputs: jax.Array, batches: jax.Array) -> tuple[Any, jax.Array]:
    def step(taught: Any, rows: jax.Array) -> tuple[Any, jax.Array]:
        number, state, averaged = taught
        loss, slope = jax.value_and_grad(_loss)(_parameters(state), inputs, rows)
        state = _update(number, slope, state)
        averaged = jax.tree.map(
            lambda mean, new: AVERAGED * mean + (1 - AVERAGED) * new, averaged, _parameters(state)
        )
        return (number + 1, state, averaged), loss

    return jax.lax.scan(step, taught, batches)


_foretell = jax.jit(lambda *given: _point(*given)[0])
_lost = jax.jit(_loss)


class Lstm:
    """A ``lessons.Network`` whose state is the number of steps, Adam's state, and the running
    mean of the parameters."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def fresh(self) -> Any:
        parameters = fresh(self._seed)
        return 0, _start(parameters), parameters

    def learn(self, state: Any, inputs: Floats, batches: Indices) -> tuple[Any, Floats]:
        state, losses = _learn(state, jnp.asarray(inputs, jnp.float32), batches)
        return state, np.asarray(losses, np.float64)

    def loss(self, state: Any, inputs: Floats, rows: Indices) -> float:
        _, _, averaged = state
        return float(_lost(averaged, jnp.asarray(inputs, jnp.float32), rows))

    def foretell(self, state: Any, inputs: Floats, rows: Indices) -> Floats:
        _, _, averaged = state
        said = _foretell(averaged, jnp.asarray(inputs, jnp.float32), rows)
        return np.asarray(said, np.float64)
