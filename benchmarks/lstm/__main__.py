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

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

from benchmarks.goals.field import START_S, find_traces, jobs_of, part_of  # noqa: E402
from benchmarks.goals.results import Result, read_run, result_of, with_results  # noqa: E402
from benchmarks.lstm.lessons import foretell, skill_of  # noqa: E402
from benchmarks.lstm.network import Lstm  # noqa: E402
from benchmarks.lstm.played import points_of, swept, unfit  # noqa: E402
from benchmarks.lstm.told import played_lines, training_lines  # noqa: E402
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
        if options.goals:
            read_run(options.goals)  # before the half-hour, not after it
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    results: list[Result] = []
    for path in paths:
        results += _play(path)
        _write(results, options.goals, options.json)  # after each, since all take half an hour
    return 0


def _write(results: Sequence[Result], goals: Path | None, alone: Path | None) -> None:
    if goals:
        goals.write_text(json.dumps(with_results(read_run(goals), results), indent=2))
    if alone:
        alone.write_text(json.dumps({"results": results}, indent=2))


def _play(path: Path) -> list[Result]:
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
    took_s = time.process_time() - began
    skill = skill_of(series, foretold)
    print("\n".join(training_lines(name, foretold, skill, took_s)), flush=True)
    results = []
    for _, cold_start_s in jobs_of([path]):
        _, judged, plant = part_of(path, cold_start_s)
        rows = list(swept(name, judged, plant, points_of(series, foretold)))
        print("\n".join(played_lines(rows, cold_start_s)), flush=True)
        results += [result_of(row, cold_start_s) for row in rows]
    return results


if __name__ == "__main__":
    sys.exit(main())
