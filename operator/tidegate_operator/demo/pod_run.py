"""One pod's life on the node: sidecars first, then the app, probes, restarts, and an orderly end.

Law: what the kubelet does, in its order. Durations of the manifest are seconds of the injected
clock; processes and sockets take the real time that they take.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tidegate_operator.demo.pod_plan import ContainerPlan, PodPlan, Probe
from tidegate_operator.demo.processes import Child, Children
from tidegate_wire.clock import Clock

Status = dict[str, Any]
WriteStatus = Callable[[Status], Awaitable[None]]

RESTART_INITIAL_S = 10.0
RESTART_MAX_S = 300.0
"""Crash back-off of the kubelet: 10 s, doubled, up to 5 min."""
PROBE_FLOOR_S = 0.1
PROBE_FLOOR_READY_S = 1.0
"""Real seconds between two probes, at least: a fast clock shall not turn probes into the load."""
PROBE_TIMEOUT_S = 2.0
"""Real: it waits for a process on loopback."""
LAST_WAIT_S = 2.0
"""The kubelet's extra grace for sidecars once the pod's own is used up."""


def timestamp(clock: Clock, at: float | None = None) -> str:
    moment = datetime.fromtimestamp(clock.now() if at is None else at, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


async def http_get(host: str, port: int, path: str, timeout_s: float) -> int:
    """Status code of a GET, 0 where there was none; ``timeout_s`` is real."""
    writer = None
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(host, port)
            request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
            writer.write(request.encode())
            line = await reader.readline()
            return int(line.split(b" ")[1])
    except (OSError, TimeoutError, ValueError, IndexError):
        return 0
    finally:
        if writer is not None:
            writer.close()


class Container:
    """One container: its process, whether it has started, whether it is ready."""

    def __init__(self, plan: ContainerPlan, ip: str) -> None:
        self.plan = plan
        self.ip = ip
        self.child: Child | None = None
        self.started = asyncio.Event()
        self.ready = False
        self.restarts = 0
        self.running_since = ""
        self.last_end: Status | None = None

    def to_status(self) -> Status:
        plan = self.plan
        running = self.child is not None and self.child.returncode is None
        state: Status = {"waiting": {"reason": "ContainerCreating"}}
        if running:
            state = {"running": {"startedAt": self.running_since}}
        elif self.last_end is not None:
            state = {"terminated": self.last_end}
        return {
            "name": plan.name,
            "image": plan.image,
            "imageID": "",
            "ready": self.ready and running,
            "started": self.started.is_set() and running,
            "restartCount": self.restarts,
            "state": state,
            "lastState": {"terminated": self.last_end} if running and self.last_end else {},
        }


class PodRun:
    """Runs a plan until ``stop``."""

    def __init__(
        self,
        plan: PodPlan,
        clock: Clock,
        children: Children,
        logs: Path,
        write_status: WriteStatus,
    ) -> None:
        self.plan = plan
        self.sidecars = [Container(c, plan.ip) for c in plan.sidecars]
        self.apps = [Container(c, plan.ip) for c in plan.apps]
        self._clock = clock
        self._children = children
        self._logs = logs
        self._write_status = write_status
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self._dirty = asyncio.Event()
        self._since: dict[str, tuple[str, str]] = {}
        self._started_at = timestamp(clock)

    @property
    def containers(self) -> list[Container]:
        return self.sidecars + self.apps

    async def start(self) -> None:
        """Begin; returns at once."""
        self._starting = asyncio.create_task(self._start_in_order())
        self._tasks = [asyncio.create_task(self._tell_changes()), self._starting]
        self._dirty.set()

    async def _start_in_order(self) -> None:
        for container in self.sidecars:
            self._tasks.append(asyncio.create_task(self._keep_running(container)))
            await container.started.wait()
        for container in self.apps:
            self._tasks.append(asyncio.create_task(self._keep_running(container)))

    async def _keep_running(self, container: Container) -> None:
        pause_s = RESTART_INITIAL_S
        while not self._stopping:
            await self._run_once(container)
            if self._stopping:
                return
            container.restarts += 1
            self._dirty.set()
            await self._clock.sleep(pause_s)
            pause_s = min(pause_s * 2, RESTART_MAX_S)

    async def _run_once(self, container: Container) -> None:
        plan = container.plan
        log = self._logs / f"{self.plan.name}.{plan.name}.log"
        env = {**plan.env, **self._clock.to_env()}
        plan.termination_log.unlink(missing_ok=True)
        container.child = await self._children.start(plan.name, plan.argv, env, log)
        container.running_since = timestamp(self._clock)
        if plan.startup is None:
            container.started.set()
        self._dirty.set()
        probing = asyncio.create_task(self._probe(container))
        code = await container.child.wait()
        probing.cancel()
        self._record_end(container, code)

    def _record_end(self, container: Container, code: int) -> None:
        try:
            message = container.plan.termination_log.read_text()
        except OSError:
            message = ""
        container.ready = False
        container.last_end = {
            "exitCode": code if code >= 0 else 128 - code,
            "reason": "Completed" if code == 0 else "Error",
            "message": message,
            "startedAt": container.running_since,
            "finishedAt": timestamp(self._clock),
        }
        self._dirty.set()

    async def _probe(self, container: Container) -> None:
        plan = container.plan
        if plan.startup is not None and not container.started.is_set():
            await self._until_success(container, plan.startup)
            container.started.set()
            self._dirty.set()
        if plan.readiness is None:
            container.ready = True
            self._dirty.set()
            return
        await self._clock.sleep(plan.readiness.delay_s)
        failed = 0
        while True:
            good = await self._succeeds(container, plan.readiness)
            failed = 0 if good else failed + 1
            ready = good or (container.ready and failed < plan.readiness.failures)
            if ready != container.ready:
                container.ready = ready
                self._dirty.set()
            floor_s = PROBE_FLOOR_READY_S if ready else PROBE_FLOOR_S
            await asyncio.sleep(max(floor_s, self._clock.real_s(plan.readiness.period_s)))

    async def _until_success(self, container: Container, probe: Probe) -> None:
        await self._clock.sleep(probe.delay_s)
        while not await self._succeeds(container, probe):
            await asyncio.sleep(max(PROBE_FLOOR_S / 2, self._clock.real_s(probe.period_s)))

    async def _succeeds(self, container: Container, probe: Probe) -> bool:
        code = await http_get(container.ip, probe.port, probe.path, PROBE_TIMEOUT_S)
        return 200 <= code < 400

    async def _tell_changes(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            await self._write_status(self.to_status())

    def to_status(self) -> Status:
        started = all(c.started.is_set() for c in self.sidecars)
        ready = started and all(c.ready for c in self.containers)
        conditions = [
            self._condition("PodScheduled", True),
            self._condition("Initialized", started),
            self._condition("ContainersReady", ready),
            self._condition("Ready", ready),
        ]
        running = any(c.child is not None for c in self.apps)
        return {
            "phase": "Running" if running else "Pending",
            "podIP": self.plan.ip,
            "podIPs": [{"ip": self.plan.ip}],
            "hostIP": "127.0.0.1",
            "startTime": self._started_at,
            "conditions": conditions,
            "initContainerStatuses": [c.to_status() for c in self.sidecars],
            "containerStatuses": [c.to_status() for c in self.apps],
        }

    def _condition(self, kind: str, holds: bool) -> Status:
        value = "True" if holds else "False"
        before, since = self._since.get(kind, ("", ""))
        if before != value:
            since = timestamp(self._clock)
            self._since[kind] = (value, since)
        return {"type": kind, "status": value, "lastTransitionTime": since}

    async def stop(self, grace_s: float) -> None:
        """preStop hooks, SIGTERM to the app, then to the sidecars, SIGKILL past ``grace_s``."""
        self._stopping = True
        self._starting.cancel()
        deadline = self._clock.monotonic() + grace_s
        hooks = [self._pre_stop(c, deadline) for c in self.containers]
        await asyncio.gather(*hooks)
        await asyncio.gather(*(self._end(c, deadline) for c in self.apps))
        deadline = max(deadline, self._clock.monotonic() + LAST_WAIT_S)
        await asyncio.gather(*(self._end(c, deadline) for c in self.sidecars))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.kill()  # whatever was being started at that moment

    async def _pre_stop(self, container: Container, deadline: float) -> None:
        hook = container.plan.pre_stop
        if hook is None or container.child is None or container.child.returncode is not None:
            return
        rest_s = self._clock.real_s(max(0.0, deadline - self._clock.monotonic()))
        await http_get(container.ip, hook.port, hook.path, rest_s)

    async def _end(self, container: Container, deadline: float) -> None:
        child = container.child
        if child is None or child.returncode is not None:
            return
        rest_s = self._clock.real_s(max(0.0, deadline - self._clock.monotonic()))
        self._record_end(container, await child.stop(rest_s))

    def kill(self) -> None:
        """At once."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        for container in self.containers:
            if container.child is not None:
                container.child.send(signal.SIGKILL)

    def messages(self) -> Mapping[str, str]:
        """What each container left in its termination log, or has written there so far."""
        found = {}
        for container in self.containers:
            try:
                found[container.plan.name] = container.plan.termination_log.read_text()
            except OSError:
                continue
        return found
