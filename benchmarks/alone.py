"""A sidecar between a benchmark's own model server and its own clients, and how that is told.

Law: server and clients are the process that runs the benchmark; the sidecar is its one child.
"""

import argparse
import json
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from benchmarks.children import BenchError, child, free_port
from benchmarks.contestants import MissingError, child_env
from benchmarks.sidecars import COMPILED, PURE, Sidecar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Result = TypeVar("Result", bound=DataclassInstance)


@dataclass(frozen=True, slots=True)
class Alone:
    """Where it stands."""

    port: int
    """Where clients reach it."""
    upstream: socket.socket
    """Bound, not listening: what it takes for its model server."""
    pid: int


@contextmanager
def alone(sidecar: Sidecar, env: Mapping[str, str] = MappingProxyType({})) -> Iterator[Alone]:
    """Start it, for as long as the block lasts. Raises ``BenchError`` where that can't be."""
    with socket.socket() as upstream, tempfile.TemporaryDirectory() as folder:
        upstream.bind(("127.0.0.1", 0))
        port = free_port()
        command = sidecar.command(Path(folder), port, upstream.getsockname()[1])
        with child(sidecar.name, command, port, child_env(sidecar) | dict(env)) as pid:
            yield Alone(port, upstream, pid)


def parser(says: str | None) -> argparse.ArgumentParser:
    """With the options that all have; ``says`` is the docstring of the command."""
    options = argparse.ArgumentParser(description=(says or "").splitlines()[0])
    options.add_argument("--json", type=Path)
    options.add_argument("--pure", action="store_true", help="the sidecar as pip installs it")
    return options


def told(
    options: argparse.Namespace, measure: "Callable[[Sidecar], Result]", name: str
) -> "Result | None":
    """Measure and tell; None where it could not be measured, which is told, too."""
    sidecar = PURE if options.pure else COMPILED
    try:
        sidecar.version()
        result = measure(sidecar)
    except (BenchError, MissingError, TimeoutError) as error:
        print(f"benchmarks.{name}: {error}", file=sys.stderr)
        return None
    values = asdict(result)
    for key, value in values.items():
        print(f"{key:<18}{value:>12}")
    if options.json:
        options.json.write_text(json.dumps(values, indent=2) + "\n")
    return result
