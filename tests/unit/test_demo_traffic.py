"""The demo's clients: who calls when, and what they make of the answers."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_servers import serving
from tidegate_operator.demo import faults
from tidegate_operator.demo.arrivals import Callers, arrivals, scale_counts, scale_factor
from tidegate_operator.demo.http1 import Reply, Request, listen
from tidegate_operator.demo.model_engine import Fault as Failure
from tidegate_operator.demo.traffic import Client, Plan, Pods
from tidegate_wire.clock import Clock

CALLERS = Callers(tenants={"acme": 3.0, "bravo": 1.0}, streaming_share=0.5)


def plan(clock: Clock, *counts: int | None, **more: Any) -> Plan:
    values: dict[str, Any] = {"model": "llama-70b", "ttft_target_s": 4.0} | more
    return Plan(
        start=clock.now(), counts=counts, callers=CALLERS, tenant_header="x-tenant-id", **values
    )


@asynccontextmanager
async def client(speed: float, *counts: int | None, **more: Any) -> AsyncIterator[Client]:
    clock = Clock(speed)
    async with aiohttp.ClientSession() as http:
        yield Client(plan(clock, *counts, **more), clock, http)


@given(st.lists(st.none() | st.integers(0, 60), max_size=20), st.integers(0, 5))
def test_every_minute_has_the_requests_that_the_trace_says(
    counts: list[int | None], seed: int
) -> None:
    came = list(arrivals(counts, CALLERS, seed))
    assert [sum(a.at_s // 60 == m for a in came) for m in range(len(counts))] == [
        count or 0 for count in counts
    ]
    assert came == sorted(came, key=lambda a: a.at_s)
    assert came == list(arrivals(counts, CALLERS, seed))


@given(st.lists(st.none() | st.floats(0, 1e5), max_size=50), st.floats(0.0001, 1.0))
def test_scaling_keeps_gaps_and_rounds_by_less_than_one(
    counts: list[float | None], factor: float
) -> None:
    for before, after in zip(counts, scale_counts(counts, factor, 1), strict=True):
        assert (before is None) == (after is None)
        assert before is None or after is None or abs(before * factor - after) <= 1


def test_tenants_call_by_their_weight() -> None:
    came = list(arrivals([4000], CALLERS, 1))
    assert 0.7 < sum(a.tenant == "acme" for a in came) / len(came) < 0.8


def test_a_trace_is_scaled_by_its_busiest_minute() -> None:
    assert scale_factor([600.0, None, 1200.0], 2.0) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="no requests"):
        scale_factor([0.0, None], 2.0)


async def test_callers_see_good_answers_from_every_ready_pod() -> None:
    async with serving(speed=200.0) as one, serving(speed=200.0) as two:
        async with client(200.0, 60, None, 60) as caller:
            caller.pods.ready = (one.url, two.url)
            await caller.play()
        total = caller.total
        assert (total.sent, total.ok, total.failed) == (120, 120, 0)
        assert total.models == {"llama-70b": 120}
        assert 30 < total.timed < 90 and total.in_time <= total.timed
        assert one.engine.totals.requests > 20 and two.engine.totals.requests > 20
        assert set(caller.minutes) == {0, 2}


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (Failure.SERVER_ERROR, {"status_500"}),
        (Failure.RATE_LIMIT, {"status_429"}),
        (Failure.GARBAGE, {"garbage_answer", "unfinished_stream"}),
        (Failure.CUT, {"broken_answer"}),
    ],
)
async def test_what_a_caller_would_call_a_failure_is_one(
    failure: Failure, error: set[str]
) -> None:
    knobs = {"failure_injection_rate": 1.0, "failure_types": (failure,)}
    async with serving(**knobs) as server, client(200.0, 20) as caller:
        caller.pods.ready = (server.url,)
        await caller.play()
    assert caller.total.failed == 20
    assert set(caller.total.errors) <= error


async def test_a_deliberate_429_of_the_gate_is_no_failure() -> None:
    async def gate(_: Request, reply: Reply) -> None:
        reply.send_json(429, {"error": {"code": "token_budget_exhausted"}})

    listener = await listen(gate, "127.0.0.1", 0)
    async with client(200.0, 10) as caller:
        caller.pods.ready = (f"http://127.0.0.1:{listener.port}",)
        await caller.play()
    listener.close()
    assert (caller.total.failed, caller.total.blocked) == (0, 10)
    assert sum(caller.total.blocked_tenants.values()) == 10


async def test_a_pod_that_is_gone_is_tried_once_and_then_another() -> None:
    async with serving(speed=200.0) as server, client(200.0, 20) as caller:
        caller.pods.ready = ("http://127.0.0.1:9", server.url)
        await caller.play()
    assert caller.total.ok == 20
    assert caller.total.retried > 0


async def test_no_ready_pod_is_a_failure_that_says_so() -> None:
    async with client(200.0, 3) as caller:
        await caller.play()
    assert caller.total.errors == {"no_ready_pod": 3}


def test_the_least_busy_pod_is_picked_and_equals_take_turns() -> None:
    pods = Pods(ready=("a", "b", "c"))
    pods.in_flight["a"] = 1
    assert {pods.pick() for _ in range(6)} == {"b", "c"}
    assert pods.pick(but="b") in "ac"


async def test_as_a_process_it_takes_pods_by_lines_and_ends_with_all_figures(
    tmp_path: Path,
) -> None:
    clock = Clock(100.0)
    path = tmp_path / "plan.json"
    async with serving(speed=100.0) as server:
        path.write_text(plan(Clock(100.0, origin=clock.now() + 60), 30).to_json())
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tidegate_operator.demo.traffic",
            str(path),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=clock.to_env(),
        )
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps({"ready": [server.url]}).encode() + b"\n")
        lines = [json.loads(line) async for line in process.stdout]
        assert await process.wait() == 0
    assert lines[0]["event"] == "figures"
    assert lines[-1]["event"] == "end"
    assert lines[-1]["ok"] == 30 == lines[-1]["minutes"]["0"]["ok"]


async def test_a_fault_reaches_the_servers_of_its_time_and_ends() -> None:
    clock = Clock(60.0)
    async with serving() as server:
        fault = faults.Fault(begin_s=6.0, end_s=30.0, rate=0.5)
        playing = asyncio.create_task(
            faults.play([fault], clock, clock.now(), lambda: [server.admin, "http://127.0.0.1:9"])
        )
        await asyncio.sleep(0.3)
        assert server.engine.knobs.failure_injection_rate == 0.5
        await asyncio.wait_for(playing, 10)
        assert server.engine.knobs.failure_injection_rate == 0.0


def test_faults_lie_within_the_run() -> None:
    for hours in (0.25, 1.0, 4.0):
        (burst,) = faults.plan_faults(hours)
        assert 0 < burst.begin_s < burst.end_s < hours * 3600
