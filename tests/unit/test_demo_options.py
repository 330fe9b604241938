"""What a person may ask of the demo, and the one line that says what is wrong with it."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tidegate_operator.demo import options
from tidegate_operator.demo.options import DemoError, Options, choose_slice, read_time_of_day
from tidegate_operator.demo.run import run, write_script

DAY = 1440


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"speed": 500.0}, "--speed must be from 1 to 120, was: 500"),
        ({"speed": 0.5}, "--speed must be from 1 to 120, was: 0.5"),
        ({"hours": 0.1}, "--hours must be from 0.25 to 24, was: 0.1"),
        ({"day": -1}, "--day must be at least 0, was: -1"),
        ({"port": 70000}, "--port must be from 1 to 65535, was: 70000"),
        ({"json_path": Path("/no/such/x.json")}, "--json must be in a folder that exists"),
        ({"report_path": Path("/no/such/x.html")}, "--report must be in a folder that exists"),
        ({"json_path": Path("/tmp")}, "--json must be a file that can be written, was: /tmp"),
    ],
)
def test_options_out_of_range_say_rule_and_value(change: dict[str, Any], says: str) -> None:
    with pytest.raises(DemoError, match=says):
        Options(**change).checked()


@pytest.mark.parametrize(("text", "minute"), [("06:00", 360), ("0:05", 5), ("23:59", 1439)])
def test_times_of_day(text: str, minute: int) -> None:
    assert read_time_of_day(text) == minute


@pytest.mark.parametrize("text", ["24:00", "6", "06:60", "six", ""])
def test_what_is_no_time_of_day_is_refused(text: str) -> None:
    with pytest.raises(DemoError, match=r"--from must be a time of day such as 06:00, was"):
        read_time_of_day(text)


@pytest.mark.parametrize(
    ("total", "from_minute", "hours", "first"),
    [
        pytest.param(18 * DAY, 300, 4.0, 17 * DAY + 300, id="the shipped trace's last day"),
        pytest.param(20 * DAY, 360, 4.0, 17 * DAY + 360, id="a longer trace: the same day"),
        pytest.param(3 * DAY, 360, 4.0, 2 * DAY + 360, id="a shorter trace: its last day"),
        pytest.param(2 * DAY + 400, 360, 4.0, DAY + 360, id="a cut last day: the one before"),
        pytest.param(DAY, 0, 24.0, 0, id="all of a single day"),
    ],
)
def test_which_minutes_are_played(total: int, from_minute: int, hours: float, first: int) -> None:
    chosen = choose_slice(total, Options(from_minute=from_minute, hours=hours))
    assert (chosen.first, chosen.minutes) == (first, round(hours * 60))
    assert chosen.first + chosen.minutes <= total
    # the clock's time of day is the trace's
    assert chosen.start % 86400 == from_minute * 60


def test_another_day_can_be_asked_for() -> None:
    assert choose_slice(14 * DAY, Options(day=10)).first == 10 * DAY + 300
    assert choose_slice(3 * DAY, Options(day=10)).first == 2 * DAY + 300


def test_a_trace_that_is_too_short_says_how_long_it_is() -> None:
    with pytest.raises(DemoError, match=r"--hours must be at most the trace's length \(2.0 h\)"):
        choose_slice(120, Options(hours=4.0))
    with pytest.raises(DemoError, match=r"--from must leave 4 h of the trace's 5.0 h, was: 05:00"):
        choose_slice(300, Options(hours=4.0))


def test_the_shipped_trace_is_scaled_to_what_two_cores_carry() -> None:
    script = write_script(Options())
    played = script.counts[script.slice.first :]
    assert len(played) == 240
    busiest = sorted(count or 0 for count in played)[-3]
    assert 3.2 <= busiest / 60 <= 4.0
    assert script.minutes_from(script.slice.start) == played
    assert len(script.minutes_from(script.slice.start - 600)) == 250


def test_a_taken_port_is_said_before_anything_starts(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert run(Options(port=port, browser=False)) == 1
    said = capsys.readouterr().err
    assert said == f"tidegate demo: port {port} is taken; choose another with --port\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(None, "cannot be read", id="no such file"),
        pytest.param("timestamp,requests\n0,many\n60,1\n", "must be a number", id="text"),
        pytest.param("timestamp,requests\n0,-1\n60,1\n", "must be at least 0", id="negative"),
        pytest.param("a,b\n", "must have the columns", id="other columns"),
        pytest.param(
            "timestamp,requests\n" + "".join(f"{m * 60},0\n" for m in range(2 * DAY)),
            "no requests in the chosen hours",
            id="nobody calls",
        ),
    ],
)
def test_a_trace_that_cannot_be_played_is_one_line(
    text: str | None, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "trace.csv"
    if text is not None:
        path.write_text(text)
    assert run(Options(trace=path, port=options.free_port(), browser=False)) == 1
    said = capsys.readouterr().err
    assert said.startswith("tidegate demo: ") and says in said and said.count("\n") == 1


def test_a_missing_package_is_one_line(tmp_path: Path) -> None:
    blocker = tmp_path / "jsonpatch.py"
    blocker.write_text(
        "raise ModuleNotFoundError(\"No module named 'jsonpatch'\", name='jsonpatch')"
    )
    done = subprocess.run(
        [sys.executable, "-m", "tidegate_operator.cli", "demo"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert 'needs the package jsonpatch: pip install "tidegate[demo]"' in done.stderr
    assert done.stderr.count("\n") == 1
