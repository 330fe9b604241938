"""What the sidecar says of itself, and what it never says."""

import asyncio
import io
import json
from typing import Any

import pytest

from tidegate_sidecar.logs import MAX_FAULTS, LineLog, Uncaught
from tidegate_wire.clock import Clock


class Gone(io.StringIO):
    """A pipe whose reader has left."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


class Memory:
    def __init__(self) -> None:
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self.failures: list[str] = []

    def log(self, event: str, /, **fields: str | float | bool) -> None:
        self.lines.append((event, fields))


def test_an_event_is_one_json_line_with_time_process_and_name() -> None:
    out = io.StringIO()
    LineLog(Clock(1.0, real=0.0, origin=0.0), out)("config_applied", hash="a\nb", policy="ns/p")
    (line,) = out.getvalue().splitlines()
    told = json.loads(line)
    assert told.pop("ts") > 0
    assert told == {
        "process": "tidegate-sidecar",
        "event": "config_applied",
        "hash": "a\nb",
        "policy": "ns/p",
    }


def test_a_log_that_nobody_reads_stops_nothing() -> None:
    LineLog(Clock(), Gone())("started")


@pytest.fixture
def loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def failing(text: str) -> Exception:
    try:
        raise LookupError(text)
    except LookupError as error:
        return error


def test_an_uncaught_error_is_counted_each_time_and_told_once_without_its_text(
    loop: asyncio.AbstractEventLoop,
) -> None:
    memory = Memory()
    uncaught = Uncaught(memory.log, memory.failures.append)
    for n in range(3):
        uncaught(loop, {"message": "planted", "exception": failing(f"planted prompt {n}")})
    assert memory.failures == ["internal"] * 3
    ((event, fields),) = memory.lines
    assert (event, fields["kind"]) == ("internal_error", "LookupError")
    assert str(fields["place"]).startswith("failing:")
    assert "planted" not in str(memory.lines)


def test_an_error_without_a_trace_is_told_too(loop: asyncio.AbstractEventLoop) -> None:
    memory = Memory()
    Uncaught(memory.log, memory.failures.append)(loop, {"message": "planted"})
    assert memory.lines == [("internal_error", {"kind": "NoneType", "place": "unknown"})]


def test_a_process_that_fails_everywhere_does_not_fill_the_log(
    loop: asyncio.AbstractEventLoop,
) -> None:
    memory = Memory()
    uncaught = Uncaught(memory.log, memory.failures.append)
    for n in range(2 * MAX_FAULTS):
        uncaught(loop, {"exception": type(f"Fault{n}", (Exception,), {})()})
    assert len(memory.lines) == MAX_FAULTS
    assert len(memory.failures) == 2 * MAX_FAULTS
