"""Where a sidecar's CPU goes, by library: ``python -m benchmarks.shares --load sse_chunk``.

Law: ``perf`` looks at the sidecar's process alone, while one load is on it. On virtual machines it
samples by a timer, so that a share is good to a percent or two.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.bench import started
from benchmarks.children import BenchError, Tools, child, free_port
from benchmarks.contestants import MissingError
from benchmarks.loads import LOADS, Load, burst, warm_up
from benchmarks.proxies import BENCH, OWN
from benchmarks.sidecars import COMPILED, PURE, Sidecar

HERTZ = 2000
LOWEST_PERCENT = 1.0
_SHARE = re.compile(r"^\s*([0-9.]+)%\s+(\S+)")


def shares(tools: Tools, sidecar: Sidecar, load: Load, seconds: float) -> dict[str, float]:
    """Percent of the samples by what ``perf`` calls the library, largest first. Raises
    ``BenchError``."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tidegate-bench-")))
        port = free_port()
        server = [str(tools.server), str(port)]
        env = dict(os.environ)
        server_pid = stack.enter_context(child("the fake server", server, port, env, last=True))
        target = started(stack, sidecar, folder, port)
        assert target.pid is not None
        warm_up(tools, target)
        with _recorded(target.pid, folder / "perf.data"):
            burst(tools, target, load, 1, seconds, server_pid)
        return _read(folder / "perf.data")


@contextmanager
def _recorded(pid: int, file: Path) -> Iterator[None]:
    perf = shutil.which("perf")
    if not perf:
        raise BenchError("perf is not on PATH; on Debian: apt-get install linux-perf")
    command = [perf, "record", "-q", "-F", str(HERTZ), "-p", str(pid), "-o", str(file)]
    process = subprocess.Popen(command)
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)


def _read(file: Path) -> dict[str, float]:
    command = ["perf", "report", "-i", str(file), "--sort", "dso", "--stdio"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    found = [match.groups() for line in told.stdout.splitlines() if (match := _SHARE.match(line))]
    if not found:
        raise BenchError(f"perf saw nothing: {told.stderr.strip()[-300:]}")
    return {name: float(percent) for percent, name in found}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and tell; returns the exit code."""
    by_name = {load.name: load for load in LOADS}
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--load", choices=by_name, default=LOADS[0].name)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--pure", action="store_true", help="the sidecar as pip installs it")
    parser.add_argument("--bench", type=Path, default=BENCH, help="where up.c and lg.c are")
    options = parser.parse_args(argv)
    sidecar = PURE if options.pure else COMPILED
    try:
        sidecar.version()
        tools = Tools(options.bench, OWN)
        found = shares(tools, sidecar, by_name[options.load], options.seconds)
    except (BenchError, MissingError) as error:
        print(f"benchmarks.shares: {error}", file=sys.stderr)
        return 1
    for name, percent in found.items():
        if percent >= LOWEST_PERCENT:
            print(f"{percent:5.1f} %  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
