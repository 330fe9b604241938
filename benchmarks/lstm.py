"""The design that articles on this subject praise: an LSTM foretells the load 15 minutes ahead,
is retrained hourly, and replicas follow that point. On a trace, in the closed loop, beside an HPA.

The network (one layer of 32 units over the last hour of log counts and the time of day, then a
line) is trained from scratch on up to two weeks before the days that are replayed, and goes on
learning each hour from the last two weeks: ``STEPS_PER_HOUR`` batches of Adam, as many as time
allows (15 s of CPU a day). Replicas are the load foretold over a share of the
pods' capacity; the share is swept as the HPA's target is, and the best of each, known only in
hindsight, are told. JAX instead of torch, since torch's packages for Linux bring 3 GB of CUDA.

    .lstm/bin/python -m benchmarks.lstm [TRACE ...] [--cold-start 180] [--days 5] [--json FILE]

The environment ``.lstm`` comes from ``scripts/setup .lstm lstm python3``.
"""

import argparse
import json
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax.example_libraries import optimizers  # noqa: E402

from benchmarks.goals.field import (  # noqa: E402
    ALLOWED,
    HPA_SHARES,
    PEAK_PODS,
    PEAK_UTILIZATION,
    SHIPPED,
)
from tidegate_operator.decide.words import Forecast, Reason  # noqa: E402
from tidegate_operator.forecast.arrays import DAY, Floats  # noqa: E402
from tidegate_operator.forecast.quantiles import QUANTILES  # noqa: E402
from tidegate_operator.forecast.series import clean  # noqa: E402
from tidegate_operator.replay.ahead import ForecastSource, Rolled  # noqa: E402
from tidegate_operator.replay.autoscaler import HpaRules  # noqa: E402
from tidegate_operator.replay.control import TICK_S, Controller, Hold, Seen  # noqa: E402
from tidegate_operator.replay.hpa import Hpa  # noqa: E402
from tidegate_operator.replay.loop import replay  # noqa: E402
from tidegate_operator.replay.plant import PlantRules  # noqa: E402
from tidegate_operator.replay.result import Result  # noqa: E402
from tidegate_operator.replay.trace import DAY_S, MINUTE_S, Trace, read_trace  # noqa: E402

AHEAD_MINUTES = 15
WINDOW_MINUTES = 60
UNITS = 32
BATCH = 128
FIRST_STEPS = 2000
STEPS_PER_HOUR = 20
HISTORY_MINUTES = 14 * DAY
RATE = 3e-3
HOLD_S = 300.0
"""Scale-down stabilisation, as an HPA has it."""

Parameters = dict[str, Any]


def fresh(seed: int = 0) -> Parameters:
    inputs = 3
    keys = jax.random.split(jax.random.key(seed), 3)
    return {
        "in": jax.random.normal(keys[0], (inputs, 4 * UNITS)) / math.sqrt(inputs),
        "again": jax.random.normal(keys[1], (UNITS, 4 * UNITS)) / math.sqrt(UNITS),
        "bias": jnp.concatenate((jnp.ones(UNITS), jnp.zeros(3 * UNITS))),  # remembers at first
        "out": jax.random.normal(keys[2], (UNITS,)) / math.sqrt(UNITS),
        "level": jnp.zeros(()),
    }


def foretell(parameters: Parameters, windows: jax.Array) -> jax.Array:
    """(batch, minutes, inputs) -> the scaled load ``AHEAD_MINUTES`` after each window."""

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


def loss(parameters: Parameters, windows: jax.Array, came: jax.Array) -> jax.Array:
    return jnp.mean((foretell(parameters, windows) - came) ** 2)


_start, _update, _parameters = optimizers.adam(RATE)


@partial(jax.jit, donate_argnums=1)
def learn(number: int, state: Any, windows: jax.Array, came: jax.Array) -> Any:
    return _update(number, jax.grad(loss)(_parameters(state), windows, came), state)


told = jax.jit(foretell)


@dataclass(frozen=True)
class Lessons:
    """A trace as the network sees it."""

    inputs: Floats
    """(minutes, 3): scaled load, and the time of day as a wave."""
    mean: float
    spread: float
    """Of the log counts before the first training."""

    def windows(self, rows: np.ndarray[Any, Any]) -> Floats:
        """The hour up to and with each row."""
        return self.inputs[rows[:, None] + np.arange(1 - WINDOW_MINUTES, 1)]

    def came(self, rows: np.ndarray[Any, Any]) -> Floats:
        return np.asarray(self.inputs[rows + AHEAD_MINUTES, 0])

    def requests(self, scaled: Floats) -> Floats:
        """Per minute."""
        return np.expm1(np.clip(scaled, -10, 10) * self.spread + self.mean)


def lessons(start_minute: int, values: Floats, begin: int) -> Lessons:
    """``begin``: index at which forecasts begin."""
    logs = np.log1p(values)
    first = logs[:begin]
    mean, spread = float(first.mean()), max(float(first.std()), 1e-6)
    angle = 2 * np.pi * (start_minute + np.arange(len(values))) / DAY
    return Lessons(
        np.column_stack(((logs - mean) / spread, np.sin(angle), np.cos(angle))), mean, spread
    )


def points(taught: Lessons, begin: int, seed: int = 0) -> Iterator[tuple[int, float]]:
    """Index and requests per minute foretold for ``AHEAD_MINUTES`` later, from ``begin`` on;
    nothing that comes after an index is used for it."""
    random = np.random.default_rng(seed)
    state, number = _start(fresh(seed)), 0
    size = len(taught.inputs)
    for origin in range(begin, size, 60):
        low = max(WINDOW_MINUTES, origin - HISTORY_MINUTES)
        for _ in range(STEPS_PER_HOUR if number else FIRST_STEPS):
            rows = random.integers(low, origin - AHEAD_MINUTES, BATCH)
            state = learn(number, state, taught.windows(rows), taught.came(rows))
            number += 1
        rows = np.minimum(np.arange(origin, origin + 60), size - 1)
        said = taught.requests(np.asarray(told(_parameters(state), taught.windows(rows))))
        yield from zip(rows.tolist(), said.tolist(), strict=True)


def lstm_forecasts(trace: Trace, begin_minute: int) -> ForecastSource:
    """What the network foretells in each minute from ``begin_minute`` on, as every quantile: it
    knows no other. What the trace has before it, a day at least, is learned from."""
    minutes = trace.minutes()
    series = clean(int(minutes.start // MINUTE_S), minutes.requests)
    begin = max(DAY, begin_minute - series.start_minute)
    made: dict[int, Forecast] = {}
    for t, requests in points(lessons(series.start_minute, series.values, begin), begin):
        minute = series.start_minute + t + 1
        made[minute] = Forecast(
            made_at=float(MINUTE_S * minute),
            horizon_s=float(MINUTE_S * AHEAD_MINUTES),
            quantiles=dict.fromkeys(QUANTILES, max(0.0, requests) / MINUTE_S),
            reliable=True,
            reason=Reason.FORECAST_GOOD,
            message=f"the point {AHEAD_MINUTES} minutes ahead",
        )
    end = int(minutes.end // MINUTE_S)
    return Rolled(begin_minute, tuple(made.get(m) for m in range(begin_minute, end)))


@dataclass
class PointAhead:
    """Replicas for the load foretold, and for nothing else."""

    forecast: ForecastSource
    target_rps: float
    """Requests per second that a replica shall have."""
    hold: Hold
    period_s: float = TICK_S

    @property
    def name(self) -> str:
        return f"LSTM at {self.target_rps:g} requests/s a pod"

    def wanted(self, seen: Seen) -> int:
        made = self.forecast(seen.now)
        rps = seen.rps(60.0) if made is None else made.quantiles[0.5]
        return self.hold.highest(seen.now, max(1, math.ceil(rps / self.target_rps)))


def compare(path: Path, cold_start_s: float, days: float) -> list[tuple[str, Result]]:
    """The LSTM's results and the HPA's, one for each target."""
    plant = PlantRules(cold_start_s=cold_start_s)
    whole = read_trace(path).minutes().scale_to(PEAK_PODS * PEAK_UTILIZATION * plant.pod_rps)
    begin = whole.end - days * DAY_S
    ahead = lstm_forecasts(whole, int(begin // MINUTE_S))
    part = whole.between(begin, whole.end)
    rows: list[tuple[str, Controller]] = []
    for share in HPA_SHARES:
        target_rps = share * plant.pod_rps
        rows.append(("lstm", PointAhead(ahead, target_rps, Hold(HOLD_S))))
        rows.append(("hpa", Hpa(HpaRules(target_rps=target_rps))))
    return [(kind, replay(part, plant, controller)) for kind, controller in rows]


def best(results: list[tuple[str, Result]], kind: str, allowed: float) -> Result | None:
    """The cheapest of a kind that keeps within the share of violations."""
    good = [made for of, made in results if of == kind and made.violations <= allowed]
    return min(good, key=lambda made: made.pod_hours, default=None)


def show(path: Path, days: float, results: list[tuple[str, Result]]) -> None:
    print(f"{path.name}: last {days:g} days")
    print(f"  {'controller':<36}{'pod-hours':>10}{'violations':>12}{'p99 wait':>10}")
    for kind in ("lstm", "hpa"):
        for made in (made for of, made in results if of == kind):
            print(
                f"  {made.controller:<36}{made.pod_hours:>10.1f}{made.violations:>12.2%}"
                f"{made.wait_p99_s:>9.0f}s"
            )
    for allowed in ALLOWED:
        said = [_hours(best(results, kind, allowed)) for kind in ("lstm", "hpa")]
        print(f"  best at <= {allowed:.1%} violations: LSTM {said[0]}, HPA {said[1]}")
    sys.stdout.flush()


def _hours(made: Result | None) -> str:
    return "none" if made is None else f"{made.pod_hours:.1f} pod-hours"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("traces", nargs="*", type=Path, default=sorted(SHIPPED.glob("*.csv.gz")))
    parser.add_argument("--cold-start", type=float, default=180.0, help="seconds")
    parser.add_argument("--days", type=float, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    for path in options.traces:
        results = compare(path, options.cold_start, options.days)
        show(path, options.days, results)
        rows += [
            {
                "trace": path.name,
                "kind": kind,
                "controller": made.controller,
                "pod_hours": round(made.pod_hours, 1),
                "violations": round(made.violations, 5),
                "wait_p99_s": made.wait_p99_s,
            }
            for kind, made in results
        ]
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
