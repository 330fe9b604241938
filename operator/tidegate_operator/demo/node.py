"""A node that runs pods as processes on this machine.

Law: it knows pods and nothing of policies. It takes every pod that it is shown, gives it a
loopback address of its own, and writes back only ``status``; a pod marked for deletion is ended in
order, and only then taken out of the store.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tidegate_operator.demo.pod_plan import PodPlan, Token, UnrunnablePodError, plan_pod
from tidegate_operator.demo.pod_run import PodRun, Status, timestamp
from tidegate_operator.demo.processes import Children
from tidegate_wire.clock import Clock

Pod = Mapping[str, Any]

NETWORKS = range(10, 250)
"""Second numbers of the loopback networks 127.N.0.0/16 that a node may claim."""
CLAIM_PORT = 14199
PODS_A_BLOCK = 250
TOKEN_RENEWAL = 0.8
"""Share of a token's life after which the kubelet writes a new one."""


class PodDoor(Protocol):
    """What the node needs of the API."""

    def watch_pods(self) -> AsyncIterator[Pod]:
        """Every pod that there is, then each again whenever it changes."""
        ...

    async def write_status(self, plan: PodPlan, status: Status) -> None:
        """Merge ``status`` into the pod; nothing happens where it is gone."""
        ...

    async def remove(self, plan: PodPlan) -> None:
        """Take a terminated pod out of the store."""
        ...

    async def token(self, plan: PodPlan, token: Token) -> str:
        """A token for the pod's service account."""
        ...


class Network:
    """A loopback network that no other node on this machine uses.

    Two nodes with the same addresses would not fail but mix: a pod of one would answer for a pod
    of the other. The claim is a bound socket, so that it ends with the process, whatever ends it.
    """

    def __init__(self) -> None:
        self._claim, self._number = _claim_network()
        self._given = 0

    def next_address(self) -> str:
        block, place = divmod(self._given, PODS_A_BLOCK)
        self._given += 1
        return f"127.{self._number}.{block}.{place + 2}"

    def close(self) -> None:
        self._claim.close()


def _claim_network() -> tuple[socket.socket, int]:
    for number in NETWORKS:
        claim = socket.socket()
        try:
            claim.bind((f"127.{number}.0.1", CLAIM_PORT))
            claim.listen(1)
        except OSError:
            claim.close()
            continue
        return claim, number
    raise OSError("no loopback network is left for this node")


class Node:
    """Turns pods into processes."""

    def __init__(
        self,
        door: PodDoor,
        clock: Clock,
        children: Children,
        run_dir: Path,
        images: Mapping[str, Sequence[str]],
    ) -> None:
        self._door = door
        self._clock = clock
        self._children = children
        self._run_dir = run_dir
        self._images = images
        self._runs: dict[str, PodRun] = {}
        self._refused: set[str] = set()
        self._ending: dict[str, asyncio.Task[None]] = {}
        self._renewals: dict[str, list[asyncio.Task[None]]] = {}
        self._ended: list[PodRun] = []
        self._network = Network()

    async def run(self) -> None:
        """Follow the store until cancelled; ends what still runs at once when it is."""
        try:
            async for pod in self._door.watch_pods():
                await self._take(pod)
        finally:
            renewals = [task for tasks in self._renewals.values() for task in tasks]
            for task in [*self._ending.values(), *renewals]:
                task.cancel()
            for run in self._runs.values():
                run.kill()
            self._network.close()

    def runs(self) -> Sequence[PodRun]:
        """Every pod that this node has ever run."""
        return [*self._ended, *self._runs.values()]

    async def _take(self, pod: Pod) -> None:
        uid = pod["metadata"]["uid"]
        deleting = pod["metadata"].get("deletionTimestamp") is not None
        if uid in self._runs:
            if deleting and uid not in self._ending:
                grace_s = pod["metadata"].get("deletionGracePeriodSeconds")
                self._ending[uid] = asyncio.create_task(self._end(uid, grace_s))
        elif uid not in self._refused and not any(run.plan.uid == uid for run in self._ended):
            await self._admit(pod)

    async def _admit(self, pod: Pod) -> None:
        uid = pod["metadata"]["uid"]
        root = self._run_dir / "pods" / uid
        ip = self._network.next_address()
        try:
            plan = plan_pod(pod, ip, root, self._images)
        except UnrunnablePodError as error:
            self._refused.add(uid)
            await self._door.write_status(_stub(pod, ip), self._failed(str(error)))
            return
        await self._lay_out(plan, root)

        async def write(status: Status) -> None:
            await self._door.write_status(plan, status)

        logs = self._run_dir / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        run = PodRun(plan, self._clock, self._children, logs, write)
        self._runs[uid] = run
        await run.start()

    def _failed(self, message: str) -> Status:
        return {
            "phase": "Failed",
            "reason": "Unrunnable",
            "message": message,
            "startTime": timestamp(self._clock),
        }

    async def _lay_out(self, plan: PodPlan, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        for folder in plan.folders:
            folder.mkdir(parents=True, exist_ok=True)
        for token in plan.tokens:
            await self._write_token(plan, token)
            renewal = asyncio.create_task(self._renew(plan, token))
            self._renewals.setdefault(plan.uid, []).append(renewal)

    async def _write_token(self, plan: PodPlan, token: Token) -> None:
        token.path.parent.mkdir(parents=True, exist_ok=True)
        draft = token.path.with_name(token.path.name + ".new")
        draft.touch(mode=0o600)
        draft.write_text(await self._door.token(plan, token))
        draft.replace(token.path)

    async def _renew(self, plan: PodPlan, token: Token) -> None:
        while True:
            await self._clock.sleep(token.expires_s * TOKEN_RENEWAL)
            await self._write_token(plan, token)

    async def _end(self, uid: str, grace_s: float | None) -> None:
        run = self._runs[uid]
        await run.stop(run.plan.grace_s if grace_s is None else float(grace_s))
        for renewal in self._renewals.pop(uid, []):
            renewal.cancel()
        del self._runs[uid]
        self._ended.append(run)
        await self._door.write_status(run.plan, run.to_status())
        await self._door.remove(run.plan)
        del self._ending[uid]


def _stub(pod: Pod, ip: str) -> PodPlan:
    """Just enough of a plan to write a status by."""
    metadata = pod["metadata"]
    return PodPlan(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        service_account="default",
        ip=ip,
        grace_s=0.0,
        sidecars=(),
        apps=(),
    )
