"""The demo as a whole, as a person starts it: real processes, a real trace, nothing left."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from request_series import rushes

HOURS = 1.5
DAYS = 11
SPEED = 60.0
LEAD_S = 20.0
SETUP_S = 90.0
"""Real time that the page may take to come up."""
RUN_S = HOURS * 3600 / SPEED + LEAD_S


class Demo:
    """A running demo in a session of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.port = _free_port()
        self.json = folder / "figures.json"
        self.report = folder / "report.html"
        self.out = folder / "out.txt"
        with self.out.open("wb") as out:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tidegate_operator.cli",
                    "demo",
                    "--no-browser",
                    "--speed",
                    f"{SPEED:g}",
                    "--port",
                    str(self.port),
                    "--json",
                    str(self.json),
                    "--report",
                    str(self.report),
                    *options,
                ],
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**os.environ, "TMPDIR": str(folder)},
                start_new_session=True,
            )

    @property
    def page(self) -> str:
        return f"http://127.0.0.1:{self.port}/p/shop/chat"

    @property
    def twin(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/policies/shop/chat"

    def members(self) -> dict[int, str]:
        """Every live process of the demo's session: pid -> command line."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if int(fields[3]) == self.process.pid and fields[0] != "Z":
                found[int(entry.name)] = command
        return found

    def pid_of(self, words: str) -> int:
        return next(pid for pid, command in self.members().items() if words in command)

    def said(self) -> str:
        return self.out.read_text(errors="replace")

    def last_lines(self) -> str:
        """What the operator and each sidecar said last; of a run with ``--keep-logs``."""
        logs = sorted(self.folder.glob("tidegate-demo-*/logs/*.log"))
        return "\n".join(
            f"{log.name}: " + " | ".join(log.read_text(errors="replace").splitlines()[-3:])
            for log in logs
            if log.name.endswith(".tidegate.log") or log.name == "reconcile.log"
        )

    async def ended(self, timeout_s: float) -> int:
        deadline = time.monotonic() + timeout_s
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"still running; it said:\n{self.said()[-3000:]}"
            await asyncio.sleep(0.1)
        return int(self.process.returncode)

    def figures(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.json.read_text())
        return found


def write_rushes(path: Path) -> Path:
    """A trace in steps of a minute, whose next rush is as plain to see as it can be: what is
    tested is that it is acted upon, on a machine of any speed."""
    lines = (f"{60 * minute},{count}\n" for minute, count in enumerate(rushes(DAYS)))
    path.write_text("timestamp,requests\n" + "".join(lines))
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    started: list[Demo] = []
    trace = write_rushes(tmp_path / "rushes.csv")
    day = ("--trace", str(trace), "--day", f"{DAYS - 1}", "--from", "05:45")

    def start(*options: str) -> Demo:
        started.append(Demo(tmp_path, *day, *options))
        return started[-1]

    yield start
    for each in started:
        for pid in each.members():
            os.kill(pid, signal.SIGKILL)
        each.process.wait()


async def fetch(url: str) -> tuple[int, str]:
    """Status and body; 0 where nothing answers."""
    timeout = aiohttp.ClientTimeout(total=5)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as http, http.get(url) as answer:
            return answer.status, await answer.text()
    except (aiohttp.ClientError, TimeoutError):
        return 0, ""


async def status_of(demo: Demo) -> dict[str, Any]:
    code, body = await fetch(demo.twin)
    found: dict[str, Any] = json.loads(body).get("status") or {} if code == 200 else {}
    return found


async def until_status(
    demo: Demo, holds: Callable[[dict[str, Any]], bool], timeout_s: float
) -> dict[str, Any]:
    deadline = time.monotonic() + timeout_s
    while True:
        status = await status_of(demo)
        if status and holds(status):
            return status
        assert demo.process.poll() is None, demo.said()[-3000:]
        assert time.monotonic() < deadline, f"waited in vain; last status {status}"
        await asyncio.sleep(0.1)


def acme_is_blocked(status: dict[str, Any]) -> bool:
    tenants = status.get("tenants") or []
    return any(t["name"] == "acme" and t["rung"] == "Block" for t in tenants)


def scaled_up(status: dict[str, Any]) -> bool:
    return int((status.get("replicas") or {}).get("current") or 0) > 2


@pytest.mark.timeout(400)
async def test_a_short_day_from_start_to_end(demo: Callable[..., Demo]) -> None:
    run = demo("--hours", f"{HOURS:g}")
    await until_status(run, lambda s: bool(s.get("replicas")), SETUP_S)
    code, page = await fetch(run.page)
    assert code == 200 and "<svg" in page and "llama-70b" in page
    assert any("tidegate_sidecar" in command for command in run.members().values())

    assert await run.ended(RUN_S + SETUP_S) == 0, run.said()[-3000:]
    assert run.members() == {}
    assert not list(run.folder.glob("tidegate-demo-*")), "the run's folder is left behind"

    found = run.figures()
    assert found["requests"] > 3000
    assert found["failed_requests"] <= 0.03 * found["requests"], found["errors"]
    assert found["tokens_in"] + found["tokens_out"] == found["tokens_reported_by_model_server"] > 0
    assert found["switches"] >= 1 and found["recoveries"] >= 1
    assert found["budget_warnings"] >= 1 and found["budget_blocks"] >= 1
    assert found["blocked_requests"] >= 1
    assert found["scale_ups"] >= 1 and found["scale_ups_ahead_of_load"] >= 1
    assert found["pod_minutes"] >= 2 * found["minutes"]
    assert 0 < found["slo_attained"] <= 1 and 0 < found["hpa_slo_attained"] <= 1
    report = run.report.read_text()
    assert "Beside a plain HPA" in report and "http://" not in report.replace(
        "http://www.w3.org", ""
    ).replace("http://127.0", "")


@pytest.mark.timeout(200)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_however_it_is_ended_nothing_is_left_running(
    demo: Callable[..., Demo], number: signal.Signals
) -> None:
    run = demo("--hours", "0.5")
    await until_status(run, lambda s: bool(s.get("replicas")), SETUP_S)
    assert len(run.members()) > 5
    os.kill(run.process.pid, number)
    code = await run.ended(20.0)
    # a training that has begun ends first, and then finds that nobody listens any more
    deadline = time.monotonic() + 30.0
    while run.members() and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    assert run.members() == {}
    if number is not signal.SIGKILL:
        assert code == 130
        assert "stopped; nothing is left running" in run.said()


@pytest.mark.timeout(400)
async def test_the_operator_killed_in_the_middle_forgets_nothing_and_writes_nothing_wrong(
    demo: Callable[..., Demo],
) -> None:
    run = demo("--hours", f"{HOURS:g}", "--no-faults", "--keep-logs")
    before = await until_status(run, acme_is_blocked, SETUP_S + RUN_S)
    assert scaled_up(before)
    used = max(int(b["used"]) for b in before["budgets"])
    told = {(d["time"], d["action"], d.get("subject")) for d in before["decisions"]}
    os.kill(run.pid_of("tidegate_operator reconcile"), signal.SIGKILL)

    deadline = time.monotonic() + 12.0
    seen: list[dict[str, Any]] = []
    while time.monotonic() < deadline:
        status = await status_of(run)
        if status:
            seen.append(status)
        await asyncio.sleep(0.1)
    assert "the reconcile process ended (-9) and is started again" in run.said()
    down = [
        decision
        for status in seen
        for decision in status["decisions"]
        if decision["action"] == "ScaleDown"
        and (decision["time"], decision["action"], decision.get("subject")) not in told
    ]
    wrong = [d for d in down if int(d["to"]) < int((d.get("inputs") or {}).get("reactive") or 2)]
    assert wrong == [], "pods were taken away that the demand called for"
    forecasts = [s.get("forecast", {}).get("reason") for s in seen]
    assert "HistoryTooShort" not in forecasts, "the history is gone"
    within = [s for s in seen if s["budgets"][0]["windowEnd"] == before["budgets"][0]["windowEnd"]]
    assert len(within) > 10
    for status in within:
        assert acme_is_blocked(status), "the ladder is forgotten"
        assert max(int(b["used"]) for b in status["budgets"]) >= used, "usage is forgotten"

    assert await run.ended(RUN_S + SETUP_S) == 0, run.said()[-3000:]
    assert run.members() == {}
    found = run.figures()
    counted = found["tokens_in"] + found["tokens_out"]
    assert counted == found["tokens_reported_by_model_server"] > 0, run.last_lines()
    assert found["switches"] == 0
