"""Goals G1 to G8 on a folder of request traces: a table, pictures, and JSON.

Every trace is played against Tidegate at eight strictnesses, HPA at some twenty targets, KEDA,
Knative's KPA, as yesterday, static pods and an oracle, in simulated time: about three quarters of
an hour on two cores for the whole folder.

    make bench-forecast ARGS="[--traces FOLDER] [--only NAME ...] [--json F] [--pictures FOLDER]"
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

from rich.console import Console  # noqa: E402
from rich.progress import Progress  # noqa: E402
from rich.table import Table  # noqa: E402

from benchmarks.goals import score  # noqa: E402
from benchmarks.goals.field import (  # noqa: E402
    DAILY,
    LONG_START_S,
    START_S,
    Played,
    find_traces,
    jobs_of,
    play,
)
from benchmarks.goals.picture import draw  # noqa: E402
from benchmarks.goals.results import result_of  # noqa: E402
from benchmarks.goals.speed import forecast_speed  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--traces", type=Path, help="folder of *.csv.gz (default: what is there)")
    parser.add_argument("--only", nargs="+", default=[], help="parts of the traces' names")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--pictures", type=Path, help="folder for goals.svg")
    options = parser.parse_args()
    try:
        paths = find_traces(options.traces, options.only)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    played = _play_all(paths)
    goals = _goals(played)
    _show(played, goals)
    if options.json:
        options.json.write_text(json.dumps(_document(played, goals), indent=2))
    if options.pictures:
        draw(played, options.pictures)
    return 0


def _play_all(paths: Sequence[Path]) -> list[Played]:
    """The longest first, so that no core is left with one at the end."""
    jobs = sorted(jobs_of(paths), key=lambda job: -job[0].stat().st_size)
    done: dict[tuple[Path, float], Played] = {}
    with (
        ProcessPoolExecutor(os.cpu_count()) as pool,
        Progress(console=Console(stderr=True)) as bar,
    ):
        task = bar.add_task("traces", total=len(jobs))
        running = {pool.submit(play, *job): job for job in jobs}
        for future in as_completed(running):
            done[running[future]] = future.result()
            bar.console.print(f"{running[future][0].name}: played")
            bar.advance(task)
    return [done[job] for job in sorted(done)]


def _goals(played: Sequence[Played]) -> dict[str, score.Goal]:
    usual = [each for each in played if each.cold_start_s != LONG_START_S]
    long = [each for each in usual if each.trusted is not None]
    daily = {each.cold_start_s: each for each in played if each.trace == DAILY}
    return {
        "G1": score.g1(long),
        "G2": score.g2(long),
        "G3": score.g3(daily.get(START_S), daily.get(LONG_START_S)),
        "G4": score.g4([each for each in long if each.trace in score.BURSTY]),
        "G5": score.g5(usual),
        "G6": score.g6(long),
        "G7": score.g7(*forecast_speed()),
        "G8": score.g8([each for each in long if each.trace not in score.BURSTY]),
    }


def _show(played: Sequence[Played], goals: dict[str, score.Goal]) -> None:
    console = Console(width=max(110, Console().width))
    for each in played:
        trusted = (
            "too short for a forecast"
            if each.trusted is None
            else (f"forecast trusted {each.trusted:.0%} of the time")
        )
        table = Table(
            title=f"{each.trace}: {each.days:.1f} days, pods start in"
            f" {each.cold_start_s / 60:g} min, {trusted}",
            title_justify="left",
        )
        for name in ("controller", "setting", "pod-hours", "violations", "P99 wait, s"):
            table.add_column(
                name, justify="left" if name in {"controller", "setting"} else "right"
            )
        for row in each.rows:
            table.add_row(
                row.controller,
                row.setting,
                f"{row.pod_hours:.1f}",
                f"{row.violations:.2%}",
                f"{row.wait_p99_s:.1f}",
            )
        console.print(table)
    summary = Table(title="goals", title_justify="left")
    for name in ("goal", "value", "bar", "met", "of what"):
        summary.add_column(name, overflow="fold")
    for name, goal in goals.items():
        summary.add_row(name, _text(goal.value), goal.bar, "yes" if goal.met else "no", goal.note)
    console.print(summary)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(part)}" for name, part in value.items())
    return "-" if value is None else f"{value:g}"


def _document(played: Sequence[Played], goals: dict[str, score.Goal]) -> dict[str, Any]:
    return {
        "made_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "goals": {name: asdict(goal) for name, goal in goals.items()},
        "results": [result_of(row, each.cold_start_s) for each in played for row in each.rows],
        "coverage": {each.trace: each.coverage for each in played if each.coverage},
    }


if __name__ == "__main__":
    sys.exit(main())
