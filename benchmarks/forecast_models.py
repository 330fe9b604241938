"""How good the quantile forecasts are, how honest, and what they cost: ours beside others.

Rolling origin: each model is refitted daily on what lies before, as in operation, and forecasts
the highest minute within the horizon from every minute after the first four days. Pinball losses
are of the calibrated quantiles, in thousandths of the trace's mean minute. Times are of this
process's CPU, the least of all fits and the median forecast with its features.

    python -m benchmarks.forecast_models [TRACE ...] [--horizon 5 17] [--models shipped linear ...]
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np  # noqa: E402

import tidegate_operator.demo  # noqa: E402
from tidegate_operator.forecast import features, quantiles  # noqa: E402
from tidegate_operator.forecast.arrays import DAY, Floats  # noqa: E402
from tidegate_operator.forecast.calibrate import Raw, Track, peak_after  # noqa: E402
from tidegate_operator.forecast.engine import raws  # noqa: E402
from tidegate_operator.forecast.quantiles import QUANTILES, lessons  # noqa: E402
from tidegate_operator.forecast.series import Series, clean  # noqa: E402
from tidegate_operator.replay.trace import read_trace  # noqa: E402

SHIPPED = Path(tidegate_operator.demo.__file__).parent / "data"
FIRST = 2 * DAY
"""History before the first fit."""
SCORED_FROM = 4 * DAY
"""Another two days go to calibration."""
HISTORY = 28 * DAY
GOAL_LEVELS = (0.9, 0.95, 0.98)


class Fitted(Protocol):
    @property
    def horizon(self) -> int: ...

    @property
    def c(self) -> float: ...

    @property
    def regressors(self) -> tuple[str, ...]: ...

    def counts(self, table: Floats) -> Floats: ...


Fit = Callable[[Series, int, int], Fitted]
"""Series, horizon, until which index."""


@dataclass(frozen=True)
class Mixed:
    """Predictors of ``QUANTILES`` in log space, averaged."""

    horizon: int
    c: float
    parts: tuple[Callable[[Floats], Floats], ...]
    regressors: tuple[str, ...] = ()

    def counts(self, table: Floats) -> Floats:
        level = table[:, features.COLUMNS.index("level")]
        said = np.mean([np.sort(part(table), axis=1) for part in self.parts], axis=0)
        out: Floats = np.exp(np.sort(said, axis=1) + level[:, None]) - self.c
        return out


def shipped(series: Series, horizon: int, until: int) -> Fitted:
    return quantiles.fit(series, horizon, until=until)


def forests(series: Series, horizon: int, until: int) -> Fitted:
    """The recipe's: a forest of 60 trees of 15 leaves for each quantile, and the linear model."""
    model = quantiles.fit(series, horizon, until=until)
    grown = _five_forests(series, horizon, until, model.columns)
    return Mixed(horizon, model.c, (grown, _linear_of(model)))


def linear(series: Series, horizon: int, until: int) -> Fitted:
    model = quantiles.fit(series, horizon, until=until)
    return Mixed(horizon, model.c, (_linear_of(model),))


def _linear_of(model: quantiles.Model) -> Callable[[Floats], Floats]:
    return lambda table: model.linear.predict(quantiles.for_linear(table))


def _five_forests(
    series: Series, horizon: int, until: int, columns: Any
) -> Callable[[Floats], Floats]:
    from sklearn.ensemble import HistGradientBoostingRegressor

    taught = lessons(series, horizon, until=until)
    x = taught.table[:, columns]
    made = [
        HistGradientBoostingRegressor(
            loss="quantile",
            quantile=quantile,
            max_iter=60,
            max_leaf_nodes=15,
            learning_rate=0.08,
            min_samples_leaf=30,
            max_bins=127,
            early_stopping=False,
        ).fit(x, taught.goal)
        for quantile in QUANTILES
    ]

    def predict(table: Floats) -> Floats:
        return np.column_stack([forest.predict(table[:, columns]) for forest in made])

    return predict


MODELS: dict[str, Fit] = {"shipped": shipped, "five forests": forests, "linear": linear}
EQUAL = "equal weights"
"""The shipped model, calibrated by plain conformal quantiles: of three days, each fifth error."""


@dataclass
class Outcome:
    """Of one model on one trace at one horizon."""

    pinball: Floats
    coverage: Floats
    fit_ms: float
    forecast_ms: float


@dataclass
class Run:
    """Uncalibrated and calibrated forecasts by index; NaN where there is none."""

    raw: Floats
    calibrated: Floats
    c: float = 1.0
    fit_s: list[float] = field(default_factory=list)
    forecast_s: list[float] = field(default_factory=list)


def run(series: Series, horizon: int, fit: Fit) -> Run:
    shape = (len(series), len(QUANTILES))
    made = Run(np.full(shape, np.nan), np.full(shape, np.nan))
    track = Track(horizon)
    for origin in range(FIRST, len(series), DAY):
        low = max(0, origin - HISTORY)
        part = series.part(low, origin + DAY)
        began = time.process_time()
        model = fit(part, horizon, origin - low)
        made.fit_s.append(time.process_time() - began)
        made.c = model.c
        rows = np.arange(origin, min(origin + DAY, len(series)))
        rows = rows[series.known[rows]]
        for t, raw in zip(rows.tolist(), _raws(part, model, rows - low), strict=True):
            track.observe(series.part(max(0, t - 2 * horizon), t + 1), model.c)
            made.raw[t] = raw.model
            made.calibrated[t] = track.issue(series.start_minute + t, raw, model.c)
        made.forecast_s += _timed(part, model, rows[:10] - low)
    return made


def _raws(series: Series, model: Fitted, rows: np.ndarray[Any, Any]) -> list[Raw]:
    return raws(series, model, rows)  # type: ignore[arg-type]  # asks for no more than Fitted has


def _timed(series: Series, model: Fitted, rows: np.ndarray[Any, Any]) -> list[float]:
    taken = []
    for row in rows:
        began = time.process_time()
        _raws(series, model, np.array([row]))
        taken.append(time.process_time() - began)
    return taken


def peaks(series: Series, horizon: int) -> Floats:
    found = (peak_after(series, series.start_minute + t, horizon) for t in range(len(series)))
    return np.array([np.nan if peak is None else peak for peak in found])


def equal_weights(raw: Floats, came: Floats, horizon: int, c: float) -> Floats:
    """Rank ceil((n + 1) q) of the last three days' errors (Romano et al. 2019), hourly."""
    errors = np.log(came + c)[:, None] - np.log(raw + c)
    kept = ~np.isnan(errors[:, 0]) & (np.arange(len(raw)) % 5 == 0)
    out = np.full_like(raw, np.nan)
    for now in range(0, len(raw), 60):
        window = slice(max(0, now - 3 * DAY - horizon), max(0, now - horizon))
        ordered = np.sort(errors[window][kept[window]], axis=0)
        if len(ordered) >= 60:
            ranks = np.ceil((len(ordered) + 1) * np.array(QUANTILES)).astype(int)
            offset = ordered[np.minimum(ranks, len(ordered)) - 1, np.arange(len(QUANTILES))]
            out[now : now + 60] = np.sort((raw[now : now + 60] + c) * np.exp(offset) - c, axis=1)
    return np.maximum(out, 0.0)


def judge(series: Series, came: Floats, said: Floats, made: Run) -> Outcome:
    scored = ~np.isnan(came) & ~np.isnan(said[:, 0])
    scored[:SCORED_FROM] = False
    off = came[scored][:, None] - said[scored]
    levels = np.array(QUANTILES)
    loss = np.maximum(levels * off, (levels - 1) * off).mean(axis=0)
    return Outcome(
        1000 * loss / series.values.mean(),
        np.asarray((off <= 0).mean(axis=0)),
        1000 * min(made.fit_s),
        1000 * float(np.median(made.forecast_s)),
    )


def compare(path: Path, horizon: int, names: Sequence[str]) -> dict[str, Outcome]:
    trace = read_trace(path).minutes()
    series = clean(int(trace.start // 60), trace.requests)
    came = peaks(series, horizon)
    outcomes = {}
    for name in names:
        made = run(series, horizon, MODELS[name])
        outcomes[name] = judge(series, came, made.calibrated, made)
        if name == "shipped":
            plain = equal_weights(made.raw, came, horizon, made.c)
            outcomes[EQUAL] = judge(series, came, plain, made)
    return outcomes


def show(title: str, outcomes: dict[str, Outcome]) -> None:
    print(title)
    heads = "".join(f"{q:>8}" for q in QUANTILES)
    print(f"  {'':<16}{'pinball loss at':>40}   {'coverage':>40}")
    print(f"  {'':<16}{heads}   {heads}  fit ms  forecast ms")
    for name, made in outcomes.items():
        losses = "".join(f"{loss:8.2f}" for loss in made.pinball)
        shares = "".join(f"{share:8.2%}" for share in made.coverage)
        print(f"  {name:<16}{losses}   {shares}{made.fit_ms:8.0f}{made.forecast_ms:10.1f}")
    sys.stdout.flush()


def summarise(all_outcomes: Sequence[dict[str, Outcome]]) -> None:
    print(
        "all together: pinball loss over the shipped model's (geometric mean); farthest coverage"
    )
    for name in all_outcomes[0]:
        ratios = [np.log(made[name].pinball / made["shipped"].pinball) for made in all_outcomes]
        losses = "".join(f"{ratio:8.3f}" for ratio in np.exp(np.mean(ratios, axis=0)))
        columns = [QUANTILES.index(level) for level in GOAL_LEVELS]
        amiss = [np.abs(made[name].coverage[columns] - GOAL_LEVELS) for made in all_outcomes]
        worst = ", ".join(
            f"{100 * most:.2f} points at {level}"
            for level, most in zip(GOAL_LEVELS, np.max(amiss, axis=0), strict=True)
        )
        print(f"  {name:<16}{losses}   {worst}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("traces", nargs="*", type=Path, default=sorted(SHIPPED.glob("*.csv.gz")))
    parser.add_argument("--horizon", type=int, nargs="+", default=[5, 17], help="minutes")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    options = parser.parse_args()
    outcomes = []
    for path in options.traces:
        for horizon in options.horizon:
            outcomes.append(compare(path, horizon, options.models))
            show(f"{path.name}, {horizon} min ahead", outcomes[-1])
    if "shipped" in options.models:
        summarise(outcomes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
