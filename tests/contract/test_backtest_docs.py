"""The commands of a backtest that README.md and docs/backtest.md show run as they stand there,
on a short history."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from backtest_runs import POLICY

ROOT = Path(__file__).parents[2]
HISTORY = "\n".join(["timestamp,requests", *(f"{60 * m},{60 + m % 60}" for m in range(180))])


def commands(page: str) -> list[str]:
    """Those that begin with ``tidegate backtest``, continued lines joined."""
    blocks = re.findall(r"```\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if "tidegate backtest" in line]


SHOWN = [*commands("README.md"), *commands("docs/backtest.md")]


def test_both_pages_show_one() -> None:
    assert len(SHOWN) >= 3
    assert SHOWN[0].startswith(".venv/bin/tidegate backtest")


@pytest.mark.parametrize("shown", SHOWN)
def test_a_command_that_is_shown_runs(shown: str, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(POLICY))
    (tmp_path / "requests.csv").write_text(HISTORY)
    _, _, *arguments = shlex.split(shown)
    trace = arguments[arguments.index("--trace") + 1]
    if trace != "requests.csv":
        assert (ROOT / trace).exists(), "the trace that comes along is where the page says"
        arguments[arguments.index(trace)] = "requests.csv"
    done = subprocess.run(
        [sys.executable, "-m", "tidegate_operator.cli", "backtest", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    expected = (0, 1) if "--min-saving" in arguments else (0,)
    assert done.returncode in expected, done.stderr
    assert "CONTROLLER" in done.stdout
    if "--html" in arguments:
        page = (tmp_path / arguments[arguments.index("--html") + 1]).read_text(encoding="utf-8")
        assert page.startswith("<!doctype html>")
