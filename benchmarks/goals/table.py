"""The tables of ``docs/forecasting.md``, from what ``make bench-forecast ARGS="--json F"`` wrote.

Law: nothing is rounded here that the run had not measured; a row that is not there is a dash.

    python -m benchmarks.goals.table F
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Result = Mapping[str, Any]
ALLOWED = 0.005
HEAD = (
    "trace",
    "Tidegate, default",
    "its late requests",
    "Tidegate at <= 0.5 %",
    "best HPA at <= 0.5 %",
    "first margin for ever",
    "oracle",
)


def main() -> int:
    told = json.loads(Path(sys.argv[1]).read_text())
    print("\n".join(lines_of(told)))
    return 0


def lines_of(told: Mapping[str, Any]) -> Iterator[str]:
    """Markdown: goals first, then a line for each trace and cold start."""
    yield "| goal | value | bar | met |"
    yield "|---|---|---|---|"
    for name, goal in told["goals"].items():
        yield f"| {name} | {_text(goal['value'])} | {goal['bar']} | {_yes(goal['met'])} |"
    yield ""
    yield "| " + " | ".join(HEAD) + " |"
    yield "|---|" + "--:|" * (len(HEAD) - 1)
    groups: dict[tuple[str, float], list[Result]] = {}
    for result in told["results"]:
        groups.setdefault((result["trace"], result["cold_start_s"]), []).append(result)
    for (trace, cold_start_s), results in groups.items():
        yield _line(f"{trace}, {cold_start_s / 60:g} min", results)


def _line(name: str, results: Sequence[Result]) -> str:
    default = _one(results, "tidegate", "balanced")
    cells = [
        name,
        _hours(default),
        "-" if default is None else f"{default['violations']:.2%}",
        _hours(_best(results, "tidegate")),
        _hours(_best(results, "hpa")),
        _with_late(_one(results, "tidegate-fixed", "q0.95")),
        _hours(_best(results, "oracle")),
    ]
    return "| " + " | ".join(cells) + " |"


def _one(results: Sequence[Result], controller: str, setting: str) -> Result | None:
    fit = [r for r in results if (r["controller"], r["setting"]) == (controller, setting)]
    return fit[0] if fit else None


def _best(results: Sequence[Result], controller: str) -> Result | None:
    fit = [r for r in results if r["controller"] == controller and r["violations"] <= ALLOWED]
    return min(fit, key=lambda result: result["pod_hours"], default=None)


def _hours(result: Result | None) -> str:
    return "-" if result is None else f"{result['pod_hours']:,.0f}"


def _with_late(result: Result | None) -> str:
    return "-" if result is None else f"{_hours(result)} ({result['violations']:.2%} late)"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(part)}" for name, part in value.items())
    return "-" if value is None else f"{value:g}"


def _yes(met: bool) -> str:
    return "yes" if met else "no"


if __name__ == "__main__":
    sys.exit(main())
