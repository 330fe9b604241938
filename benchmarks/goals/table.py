"""The tables of ``docs/forecasting.md``, from what ``make bench-forecast ARGS="--json F"`` wrote.

Law: nothing is rounded here that the run had not measured; a row that is not there is a dash.

    python -m benchmarks.goals.table F
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.goals.results import Result, read_run

ALLOWED = 0.005


def main() -> int:
    print("\n".join(lines_of(read_run(Path(sys.argv[1])))))
    return 0


def lines_of(told: Mapping[str, Any]) -> Iterator[str]:
    """Markdown: goals first, then a line for each trace and cold start."""
    yield "| goal | value | bar | met |"
    yield "|---|---|---|---|"
    for name, goal in told["goals"].items():
        yield f"| {name} | {_text(goal['value'])} | {goal['bar']} | {_yes(goal['met'])} |"
    yield ""
    groups: dict[tuple[str, float], list[Result]] = {}
    for result in told["results"]:
        groups.setdefault((result["trace"], result["cold_start_s"]), []).append(result)
    with_lstm = any(result["controller"] == "lstm" for result in told["results"])
    columns = [name for name in COLUMNS if with_lstm or name != LSTM]
    yield "| " + " | ".join(("trace", *columns)) + " |"
    yield "|---|" + "--:|" * len(columns)
    for (trace, cold_start_s), results in groups.items():
        cells = [COLUMNS[name](results) for name in columns]
        yield "| " + " | ".join((f"{trace}, {cold_start_s / 60:g} min", *cells)) + " |"


def _one(results: Sequence[Result], controller: str, setting: str) -> Result | None:
    fit = [r for r in results if (r["controller"], r["setting"]) == (controller, setting)]
    return fit[0] if fit else None


def _best(results: Sequence[Result], controller: str) -> Result | None:
    fit = [r for r in results if r["controller"] == controller and r["violations"] <= ALLOWED]
    return min(fit, key=lambda result: result["pod_hours"], default=None)


def _hours(result: Result | None) -> str:
    return "-" if result is None else f"{result['pod_hours']:,.0f}"


def _late(result: Result | None) -> str:
    return "-" if result is None else f"{result['violations']:.2%}"


def _with_late(result: Result | None) -> str:
    return "-" if result is None else f"{_hours(result)} ({_late(result)} late)"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(part)}" for name, part in value.items())
    return "-" if value is None else f"{value:g}"


def _yes(met: bool) -> str:
    return "yes" if met else "no"


LSTM = "best LSTM at <= 0.5 %"
"""Shown only where ``benchmarks.lstm`` has added its rows."""
COLUMNS: Mapping[str, Callable[[Sequence[Result]], str]] = {
    "Tidegate, default": lambda of: _hours(_one(of, "tidegate", "balanced")),
    "its late requests": lambda of: _late(_one(of, "tidegate", "balanced")),
    "Tidegate at <= 0.5 %": lambda of: _hours(_best(of, "tidegate")),
    "best HPA at <= 0.5 %": lambda of: _hours(_best(of, "hpa")),
    LSTM: lambda of: _hours(_best(of, "lstm")),
    "first margin for ever": lambda of: _with_late(_one(of, "tidegate-fixed", "q0.95")),
    "oracle": lambda of: _hours(_best(of, "oracle")),
}

if __name__ == "__main__":
    sys.exit(main())
