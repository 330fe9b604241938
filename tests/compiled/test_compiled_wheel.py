"""What these tests ran on is the compiled data path, whole, in this process and in its children.

Run by ``make test-compiled`` alone; without it the other tests of that run would say the same of
the pure source and nobody would know.
"""

import importlib
import subprocess
import sys
import tomllib
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
MODULES = SETTINGS["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["modules"]
PER_EVENT = ("h1", "body", "sse", "exchange", "proxy", "upstream", "measure", "meter", "admit")
"""What each request or chunk runs through."""


def test_what_each_request_runs_through_is_on_the_list() -> None:
    assert {f"tidegate_sidecar.{name}" for name in PER_EVENT} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_a_module_of_the_list_is_machine_code(name: str) -> None:
    file = importlib.import_module(name).__file__ or ""
    assert file.endswith(tuple(EXTENSION_SUFFIXES)), file


def test_nothing_of_the_sidecar_comes_from_the_checkout() -> None:
    import tidegate_sidecar.serve
    import tidegate_wire

    for module in (tidegate_sidecar.serve, tidegate_wire):
        assert not Path(module.__file__ or "").is_relative_to(ROOT / "sidecar")


def test_a_child_process_is_compiled_too_and_says_so() -> None:
    command = [sys.executable, "-m", "tidegate_sidecar", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.endswith(" (compiled)\n")
