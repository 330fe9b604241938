"""``tidegate demo`` from the first line to the last.

Law: it plays traffic and faults, watches, and sums up; whatever is decided is decided by the
product's own processes. However it ends, nothing of it is left running.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
import webbrowser
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from tidegate_operator.cluster.history import Checkpoint
from tidegate_operator.demo import faults
from tidegate_operator.demo.arrivals import Callers, scale_counts, scale_factor
from tidegate_operator.demo.options import (
    LEAST_HISTORY_DAYS,
    DemoError,
    Options,
    Slice,
    choose_slice,
    claim_port,
)
from tidegate_operator.demo.pods_view import seconds
from tidegate_operator.demo.processes import Child
from tidegate_operator.demo.report import Report, headline, render
from tidegate_operator.demo.rival import COLD_START_S, replay_hpa, usual_pods
from tidegate_operator.demo.story import Figures, Hpa, Measured, Story, figures, tokens_of
from tidegate_operator.demo.terminal import Terminal, View, open_terminal
from tidegate_operator.demo.traffic import Plan
from tidegate_operator.demo.world import TARGET, World, load_policy
from tidegate_operator.hub.telling import duration_s
from tidegate_operator.ledger.usage import Ledger
from tidegate_operator.replay.trace import TraceError, read_trace
from tidegate_wire.clock import Clock

PEAK_RPS = 3.6
"""Requests per second of the clock in the busiest minute: some 110 a real second at speed 60,
which two cores carry through client, sidecar and model server."""
LEAD_REAL_S = 20.0
"""What the world takes to come up and the forecast to be trained, on two idle cores; the clock
starts that much before the first minute that was asked for."""
SHOW_EVERY_S = 0.25
TRAFFIC_START_S = 1.0
"""Real time for the callers' process to start."""
SETTLE_S = 10.0
"""Real time, at most, for the operator's last look after the last answer."""
SEED = 20260504
CALLERS = Callers(
    # acme calls far more than its budget of tokens allows, the others keep to it
    tenants={
        "acme": 6,
        "bravo": 2,
        "cargo": 2,
        "delta": 2,
        "ember": 2,
        "fjord": 2,
        "gulf": 2,
        "heron": 2,
        "isle": 2,
        "jetty": 2,
    }
)
INTERRUPTED = 130


class InterruptedDemoError(Exception):
    """Somebody pressed Ctrl-C, or sent SIGTERM."""


def run(options: Options, console: Console | None = None) -> int:
    """Play the demo; 0 when it played to its end, 1 where it could not, 130 when interrupted."""
    out = console or Console()
    try:
        asyncio.run(_Demo(options.checked(), out).play())
    except (DemoError, TraceError) as error:
        print(f"tidegate demo: {error}", file=sys.stderr)
        return 1
    except (InterruptedDemoError, KeyboardInterrupt):
        print("tidegate demo: stopped; nothing is left running", file=sys.stderr)
        return INTERRUPTED
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What is played."""

    name: str
    slice: Slice
    counts: tuple[int | None, ...]
    """Scaled, from the trace's first minute to the end of the slice."""

    @property
    def end(self) -> float:
        return self.slice.start + self.slice.minutes * 60.0

    def minutes_from(self, at: float) -> tuple[int | None, ...]:
        """Counts from the minute that begins at clock time ``at``."""
        return self.counts[self.index(at) :]

    def index(self, at: float) -> int:
        return self.slice.first + round((at - self.slice.start) / 60.0)


def write_script(options: Options) -> Script:
    """Read and scale the trace; raises ``TraceError`` or ``DemoError``."""
    trace = read_trace(options.trace).minutes()
    chosen = choose_slice(len(trace), options)
    last = chosen.first + chosen.minutes
    try:
        factor = scale_factor(trace.requests[chosen.first : last], PEAK_RPS)
    except ValueError as error:
        raise DemoError(f"{options.trace}: {error}") from error
    counts = scale_counts(trace.requests[:last], factor, SEED)
    return Script(name=options.trace.name, slice=chosen, counts=tuple(counts))


class _Demo:
    """One run."""

    def __init__(self, options: Options, console: Console) -> None:
        self._options = options
        self._console = console
        self._script = write_script(options)
        claim_port(options.port)
        lead_s = LEAD_REAL_S * options.speed
        self._clock = Clock(options.speed, origin=self._script.slice.start - lead_s)
        self._story = Story()
        self._traffic: Mapping[str, Any] = {}
        self._began = self._script.slice.start
        self._view = View(
            now=self._clock.now(), speed=options.speed, page="", end=self._script.end
        )

    async def play(self) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        work = asyncio.create_task(self._run())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not work.done():
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            raise InterruptedDemoError
        await work

    async def _run(self) -> None:
        world = World(self._clock, self._options.port, self._view.notes.append)
        self._view.page = world.page
        terminal = open_terminal(self._console)
        showing = asyncio.create_task(self._show(world, terminal))
        done = False
        try:
            result = await self._play_in(world)
            done = True
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)
            terminal.close()
            await world.stop(keep=self._options.keep or not done)
        self._hand_over(*result)

    async def _play_in(self, world: World) -> tuple[Figures, str]:
        say = _say(self._console)
        say(f"Status page: {world.page}")
        say(f"Beside it:   export KUBECONFIG={world.run_dir / 'kubeconfig'}")
        program = sys.argv[0] if Path(sys.argv[0]).name == "tidegate" else "tidegate"
        say(f"             {program} explain chat -n shop")
        await self._bring_up(world)
        script, clock = self._script, self._clock
        soon = clock.now() + TRAFFIC_START_S * clock.speed
        self._began = (soon // 60 + 1) * 60.0
        child = await self._start_traffic(world)
        feeding = asyncio.create_task(self._feed(world, child))
        following = asyncio.create_task(self._follow(world))
        playing = asyncio.create_task(self._play_faults(world))
        try:
            await clock.sleep(max(0.0, self._began - clock.now()))
            history = self._history()
            await world.start_policy(history)
            self._view.stage = ""
            self._open_browser(world.page)
            await self._read_traffic(child)
            end = min(clock.now(), script.end)
            await self._settle(world)
        finally:
            for task in (feeding, following, playing):
                task.cancel()
            await asyncio.gather(feeding, following, playing, return_exceptions=True)
        return await self._sum_up(world, end)

    async def _bring_up(self, world: World) -> None:
        for stage, step in (
            ("starting the Kubernetes API", world.start_cluster),
            ("starting hub and operator", world.start_operator),
            (
                "starting the model servers (their cold start)",
                lambda: world.start_workloads(self._first_pods()),
            ),
        ):
            self._view.stage = stage
            await step()
        self._view.stage = "starting the traffic"

    def _first_pods(self) -> int:
        """What an HPA would have left behind at this hour, for both sides to begin with."""
        return usual_pods(self._script.minutes_from(self._began)[:10], load_policy(""))

    def _history(self) -> Checkpoint | None:
        """The minutes before this one, as an operator that had run all along would know them."""
        days = self._script.slice.history_days
        if days < LEAST_HISTORY_DAYS:
            self._view.notes.append(
                f"the trace has {days:.1f} days before this hour, a forecast needs "
                f"{LEAST_HISTORY_DAYS}: scaling will be reactive only"
            )
        last = self._script.index(self._began)
        if last <= 0:
            return None
        start_minute = round(self._began / 60) - last
        ledger = Ledger()
        ledger.budget_uses((), self._began)  # its first look: pods that are new to it count whole
        return Checkpoint(
            start_minute=start_minute,
            counts=self._script.counts[:last],
            ledger=ledger.to_state(),
        )

    def _open_browser(self, url: str) -> None:
        shown = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
        if self._options.browser and (shown or sys.platform == "darwin"):
            webbrowser.open(url)

    # --- traffic and faults -------------------------------------------------------------------

    async def _start_traffic(self, world: World) -> Child:
        plan = Plan(
            start=self._began,
            counts=self._script.minutes_from(self._began),
            callers=CALLERS,
            model="llama-70b",
            tenant_header="x-tenant-id",
            ttft_target_s=ttft_target_s(load_policy("")),
            seed=SEED,
        )
        path = world.run_dir / "traffic.json"
        path.write_text(plan.to_json())
        argv = (sys.executable, "-m", "tidegate_operator.demo.traffic", str(path))
        log = world.run_dir / "logs" / "traffic.log"
        return await world.children.start("traffic", argv, self._clock.to_env(), log, piped=True)

    async def _feed(self, world: World, child: Child) -> None:
        """Tell the callers which pods are ready, as a Service's endpoints would."""
        told: list[str] | None = None
        while True:
            world.pods_changed.clear()
            ready = world.view.ready_urls(TARGET)
            if ready != told:
                child.pipe_in.write(json.dumps({"ready": ready}).encode() + b"\n")
                await child.pipe_in.drain()
                told = ready
            await world.pods_changed.wait()

    async def _read_traffic(self, child: Child) -> None:
        """Take the callers' figures until they have played everything."""
        async for raw in child.pipe_out:
            self._traffic = json.loads(raw)
            if self._traffic["event"] == "end":
                await child.wait()
                return
        code = await child.wait()
        raise DemoError(f"the traffic process ended early ({code}): {child.last_words(3)}")

    async def _play_faults(self, world: World) -> None:
        if not self._options.faults:
            return
        length_s = self._script.slice.minutes * 60.0
        planned = faults.plan_faults(length_s / 3600)
        start = self._script.slice.start
        watching = asyncio.create_task(self._name_faults(planned, start))
        try:
            await faults.play(planned, self._clock, start, world.fault_doors)
        finally:
            watching.cancel()

    async def _name_faults(self, planned: tuple[faults.Fault, ...], start: float) -> None:
        for fault in planned:
            await self._clock.sleep(max(0.0, start + fault.begin_s - self._clock.now()))
            self._view.fault = f"{fault.rate:.0%} of llama-70b's answers are errors"
            self._view.notes.append(f"fault begins: {self._view.fault}")
            await self._clock.sleep(max(0.0, start + fault.end_s - self._clock.now()))
            self._view.fault = ""
            self._view.notes.append("fault ends")

    # --- what is seen -------------------------------------------------------------------------

    async def _follow(self, world: World) -> None:
        while True:
            await world.policy_changed.wait()
            world.policy_changed.clear()
            self._story.take(world.status, self._clock.now())

    async def _show(self, world: World, terminal: Terminal) -> None:
        view = self._view
        while True:
            view.now = self._clock.now()
            view.status, view.traffic = world.status, self._traffic
            view.decisions = self._story.decisions
            terminal.show(view)
            await asyncio.sleep(SHOW_EVERY_S)

    async def _settle(self, world: World) -> None:
        """Until the operator has seen every token that was handed out, or patience ends."""
        self._view.stage = "waiting for the operator's last look"
        deadline = time.monotonic() + SETTLE_S
        while time.monotonic() < deadline:
            counted = await world.operator_tokens()
            if counted is not None and sum(counted) == tokens_of(await world.server_totals()):
                return
            await asyncio.sleep(0.25)

    # --- the end ------------------------------------------------------------------------------

    async def _sum_up(self, world: World, end: float) -> tuple[Figures, str]:
        self._view.stage = "summing up"
        counted = await world.operator_tokens() or (0, 0)
        hpa = await asyncio.to_thread(self._rival, world.policy)
        total = figures(
            self._story,
            Measured(
                traffic=self._traffic,
                pod_minutes=world.view.pod_minutes(TARGET, self._began, end),
                tokens_in=counted[0],
                tokens_out=counted[1],
                model_servers=await world.server_totals(),
                hpa=hpa,
                history_days=self._script.slice.history_days,
                minutes=round((end - self._began) / 60),
                speed=self._options.speed,
                capacity_rps=float(world.policy["spec"]["scaling"]["capacityPerReplica"]),
            ),
        )
        report = Report(
            figures=total,
            policy=world.policy,
            points=[p for p in self._story.points if p.t <= end + 60],
            decisions=[d for d in self._story.decisions if seconds(str(d["time"])) <= end + 60],
            budgets=self._story.budgets,
            hpa=hpa,
            minutes=self._traffic.get("minutes") or {},
            start=self._began,
            end=end,
            trace=self._script.name,
        )
        return total, render(report)

    def _rival(self, policy: Mapping[str, Any]) -> Hpa:
        minutes = self._script.minutes_from(self._began)
        cold = (policy.get("status") or {}).get("coldStart") or {}
        cold_start_s = duration_s(str(cold.get("p50") or "")) or COLD_START_S
        return replay_hpa(
            minutes,
            self._began,
            policy,
            CALLERS,
            ttft_target_s=ttft_target_s(policy),
            cold_start_s=cold_start_s,
            seed=SEED,
        )

    def _hand_over(self, total: Figures, report: str) -> None:
        options, say = self._options, _say(self._console)
        path = options.report_path
        path.write_text(report, encoding="utf-8")
        if options.json_path is not None:
            options.json_path.write_text(json.dumps(total.to_json(), indent=2) + "\n")
        say("")
        say(headline(total))
        say(
            f"Tidegate used {total.pod_minutes:.0f} pod-minutes; a plain HPA, replayed on the "
            f"same minutes, {total.hpa_pod_minutes:.0f} with {total.hpa_slo_attained:.1%} in time."
        )
        say(
            f"Errors: switched {total.switches}x, recovered {total.recoveries}x. Budgets: warned "
            f"{total.budget_warnings}x, switched {total.budget_switches}x, blocked "
            f"{total.budget_blocks}x ({total.blocked_requests:,} requests turned away)."
        )
        tokens = total.tokens_in + total.tokens_out
        same = tokens == total.tokens_reported_by_model_server
        say(
            f"Tokens: {tokens:,} counted by the sidecars, "
            f"{total.tokens_reported_by_model_server:,} by the model servers"
            f"{' (equal)' if same else ' (they differ)'}."
        )
        say(f"Report: {path.resolve()}")


def ttft_target_s(policy: Mapping[str, Any]) -> float:
    """``spec.slo.ttft.target`` in seconds."""
    found = duration_s(str(policy["spec"]["slo"]["ttft"]["target"]))
    assert found is not None
    return found


def _say(console: Console) -> Callable[[str], None]:
    def say(line: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    return say
