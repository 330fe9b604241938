"""An LSTM that foretells the load 15 minutes ahead, retrained each hour, replicas following that
point: the design that articles on this subject praise, on the traces of ``make bench-forecast``.

It plays what all play there: the same minutes, the same days of history, the same plant. It learns
from up to two weeks before each hour; how full pods may be is swept as HPA's target is, and the
best is known in hindsight only. JAX instead of torch, whose packages for Linux bring 3 GB of CUDA.

    make bench-lstm ARGS="[--traces FOLDER] [--only NAME ...] [--goals F] [--json F]"
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np  # noqa: E402

from benchmarks.goals.field import (  # noqa: E402
    ALLOWED,
    START_S,
    Row,
    find_traces,
    jobs_of,
    part_of,
)
from benchmarks.goals.results import result_of, with_results  # noqa: E402
from benchmarks.goals.score import best  # noqa: E402
from benchmarks.lstm.lessons import (  # noqa: E402
    AHEAD_MINUTES,
    ROUND_STEPS,
    Foretold,
    Skill,
    foretell,
    skill_of,
)
from benchmarks.lstm.network import Lstm  # noqa: E402
from benchmarks.lstm.played import CONTROLLER, points_of, swept, unfit  # noqa: E402
from tidegate_operator.forecast.arrays import DAY  # noqa: E402
from tidegate_operator.forecast.series import clean  # noqa: E402
from tidegate_operator.replay.trace import MINUTE_S, read_trace  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--traces", type=Path, help="folder of *.csv.gz (default: what is there)")
    parser.add_argument("--only", nargs="+", default=[], help="parts of the traces' names")
    parser.add_argument(
        "--goals", type=Path, help="what make bench-forecast wrote: add these rows to it"
    )
    parser.add_argument("--json", type=Path, help="write these rows alone")
    options = parser.parse_args()
    try:
        paths = find_traces(options.traces, options.only)
        told = json.loads(options.goals.read_text()) if options.goals else None
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    results = [result for path in paths for result in _play(path)]
    if told is not None:
        both = with_results(told, CONTROLLER, results)
        options.goals.write_text(json.dumps(both, indent=2))
    if options.json:
        options.json.write_text(json.dumps({"results": results}, indent=2))
    return 0


def _play(path: Path) -> list[dict[str, Any]]:
    """All of one trace, at each cold start; the network needs no more than one training."""
    name = path.name.removesuffix(".csv.gz")
    minutes, judged, _ = part_of(path, START_S)
    why_not = unfit(read_trace(path).step_s, minutes, judged)
    if why_not:
        print(f"{name}: {why_not}")
        return []
    series = clean(int(minutes.start // MINUTE_S), minutes.requests)
    began = time.process_time()
    begin = max(DAY, int(judged.start // MINUTE_S) - series.start_minute)
    foretold = foretell(series, begin, Lstm())
    _tell_training(name, foretold, skill_of(series, foretold), time.process_time() - began)
    results = []
    for _, cold_start_s in jobs_of([path]):
        _, judged, plant = part_of(path, cold_start_s)
        rows = list(swept(name, judged, plant, points_of(series, foretold)))
        _tell_played(rows, cold_start_s)
        results += [result_of(row, cold_start_s) for row in rows]
    return results


def _tell_training(name: str, foretold: Foretold, skill: Skill, took_s: float) -> None:
    first, last_day = foretold.losses[0], np.concatenate(foretold.losses[-24:])
    print(
        f"{name}: learned in {took_s:.0f} s of CPU; loss {first[:ROUND_STEPS].mean():.3f} at"
        f" first, {first[-ROUND_STEPS:].mean():.3f} before the first forecast,"
        f" {last_day.mean():.3f} on the last day"
    )
    print(
        f"  mean absolute error {AHEAD_MINUTES} minutes ahead:"
        f" {_beside(skill.over_last_value)} that of the last value,"
        f" {_beside(skill.over_last_quarter)} that of the last quarter hour's mean"
    )
    sys.stdout.flush()


def _beside(skill: float) -> str:
    return f"{abs(skill):.1%} {'below' if skill >= 0 else 'above'}"


def _tell_played(rows: Sequence[Row], cold_start_s: float) -> None:
    print(f"  pods start in {cold_start_s / 60:g} min")
    print(f"  {'share':>7}{'pod-hours':>12}{'violations':>12}{'P99 wait, s':>13}")
    for row in sorted(rows, key=lambda row: row.pod_hours, reverse=True):
        print(
            f"  {row.setting:>7}{row.pod_hours:>12,.1f}{row.violations:>12.2%}"
            f"{row.wait_p99_s:>13.1f}"
        )
    for allowed in ALLOWED:
        found = best(rows, CONTROLLER, allowed)
        said = "none" if found is None else f"{found.pod_hours:,.1f} pod-hours at {found.setting}"
        print(f"  best at <= {allowed:.1%} late: {said}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
