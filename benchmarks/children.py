"""The processes of a benchmark: built, kept on their core, waited for, ended by their id.

Law: proxies live on the first core, what drives them on the last; whoever starts a child ends it.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

READY_WITHIN_S = 240.0
"""LiteLLM takes 40 s to come up, and more on its one core of a busy machine."""
_ASKS_USAGE = r"\"stream_options\":{\"include_usage\":true},"
"""In ``lg.c``, as C spells it: what a client sends that wants the usage chunk."""


class BenchError(Exception):
    """The benchmark cannot be run, or a figure of it would not be one."""


class Tools:
    """The fake model server and the load generator, compiled from C."""

    def __init__(self, source: Path, into: Path) -> None:
        """Raises ``BenchError`` where they can't be built."""
        gcc = shutil.which("gcc")
        if not gcc:
            raise BenchError("gcc is not on PATH; on Debian: apt-get install gcc libc6-dev")
        into.mkdir(parents=True, exist_ok=True)
        for name in ("up", "lg"):
            if not (source / f"{name}.c").is_file():
                raise BenchError(f"--bench must be a folder with up.c and lg.c, was: {source}")
        self.server = _compiled(gcc, source / "up.c", into / "up")
        self.generator = _compiled(gcc, source / "lg.c", into / "lg")
        self.quiet_generator = _compiled(gcc, _without_usage(source, into), into / "lg_quiet")
        """Streams without asking for usage, as most clients do."""


def _compiled(gcc: str, file: Path, to: Path) -> Path:
    command = [gcc, "-O2", "-w", "-o", str(to), str(file), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise BenchError(f"{file} does not compile: {done.stderr.strip()[:500]}")
    return to


def _without_usage(source: Path, into: Path) -> Path:
    text = (source / "lg.c").read_text()
    if text.count(_ASKS_USAGE) != 1:
        raise BenchError(f"{source}/lg.c must hold {_ASKS_USAGE} once")
    file = into / "lg_quiet.c"
    file.write_text(text.replace(_ASKS_USAGE, ""))
    return file


def pin(*, last: bool) -> Callable[[], None]:
    """For ``preexec_fn``: keeps a child on the first or the last core."""
    cores = sorted(os.sched_getaffinity(0))
    core = cores[-1] if last else cores[0]
    return lambda: os.sched_setaffinity(0, {core})


@contextmanager
def child(
    name: str, command: Sequence[str], port: int, env: Mapping[str, str], *, last: bool = False
) -> Iterator[int]:
    """A process that answers on ``port``, by its id; ended on the way out."""
    process = subprocess.Popen(
        command,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        preexec_fn=pin(last=last),
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


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
