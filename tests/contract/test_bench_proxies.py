"""The proxy benchmark tells a person what it lacks, in one line."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*words: str, path: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.proxies", *words],
        cwd=ROOT,
        env={"PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def with_gcc(tmp_path: Path) -> str:
    """A PATH on which there is a compiler that fails, and nothing else."""
    gcc = tmp_path / "bin" / "gcc"
    gcc.parent.mkdir()
    gcc.write_text("#!/bin/sh\necho 'up.c: no good' >&2; exit 1\n")
    gcc.chmod(0o755)
    return str(gcc.parent)


def test_without_a_compiler_it_says_so(tmp_path: Path) -> None:
    done = run("--bench", str(tmp_path), path=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == (
        "benchmarks.proxies: gcc is not on PATH; on Debian: apt-get install gcc libc6-dev\n"
    )


def test_without_its_tools_it_says_where_it_looked(tmp_path: Path, with_gcc: str) -> None:
    done = run("--bench", str(tmp_path), path=with_gcc)
    assert done.returncode == 1
    assert done.stderr == (
        f"benchmarks.proxies: --bench must be a folder with up.c and lg.c, was: {tmp_path}\n"
    )


def test_tools_that_do_not_compile_are_told_of_with_the_compilers_word(
    tmp_path: Path, with_gcc: str
) -> None:
    for name in ("up.c", "lg.c"):
        (tmp_path / name).touch()
    done = run("--bench", str(tmp_path), path=with_gcc)
    assert done.returncode == 1
    assert done.stderr == (
        f"benchmarks.proxies: {tmp_path}/up.c does not compile: up.c: no good\n"
    )


def test_a_missing_contestant_is_said_loudly_and_how_it_would_come(
    tmp_path: Path, with_gcc: str
) -> None:
    done = run("--bench", str(tmp_path), "--envoy", "/no/envoy", path=with_gcc)
    assert "MISSING: Envoy: " in done.stdout
