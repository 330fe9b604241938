"""``results`` of the JSON that ``make bench-forecast`` writes: one entry for each replay.

Law: the keys are those of ``tidegate backtest -o json``; whoever adds rows to a run's replaces its
own only.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.goals.field import Row


def result_of(row: Row, cold_start_s: float) -> dict[str, Any]:
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


def with_results(
    told: Mapping[str, Any], controller: str, results: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """A run's JSON with these as the only results of ``controller``."""
    others = [result for result in told["results"] if result["controller"] != controller]
    return {**told, "results": [*others, *results]}
