"""``results`` of the JSON that ``make bench-forecast`` writes: one entry for each replay.

Law: the keys are those of ``tidegate backtest -o json``; whoever adds rows to a run's replaces its
own only.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.goals.field import Row

Result = Mapping[str, Any]


def result_of(row: Row, cold_start_s: float) -> Result:
    return {
        "trace": row.trace,
        "cold_start_s": cold_start_s,
        "controller": row.controller,
        "setting": row.setting,
        "pod_hours": round(row.pod_hours, 2),
        "violations": round(row.violations, 6),
        "slo_attained": round(1 - row.violations, 6),
        "wait_p99_s": round(row.wait_p99_s, 2),
    }


def read_run(path: Path) -> dict[str, Any]:
    """The JSON of a run.

    Raises:
        OSError: it can't be read.
        ValueError: it is something else than a run's JSON.
    """
    try:
        told = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: must be JSON: {error}") from error
    if not isinstance(told, dict) or "results" not in told:
        raise ValueError(f"{path}: must be what make bench-forecast wrote, has no results")
    return told


def with_results(told: Mapping[str, Any], results: Sequence[Result]) -> dict[str, Any]:
    """A run's JSON with these added, in place of what it had of the same controllers on the same
    traces."""
    new = {_of_whom(result) for result in results}
    others = [result for result in told["results"] if _of_whom(result) not in new]
    return {**told, "results": [*others, *results]}


def _of_whom(result: Result) -> tuple[Any, ...]:
    return tuple(result[key] for key in ("controller", "trace", "cold_start_s"))
