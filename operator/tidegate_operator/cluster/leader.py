"""One writer at a time: the reconciler's Lease.

Law: real time throughout, since other processes check a Lease against their own clocks. Who loses
it writes nothing more: the process ends, and starts anew as a follower.
"""

import asyncio
import os
import socket
import uuid
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient, V1Lease, V1ObjectMeta
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection import electionconfig, leaderelection
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

from tidegate_operator import logs
from tidegate_operator.cluster import paths
from tidegate_operator.cluster.client import Api, ApiError, describe

LEASE = "tidegate-reconcile"
LEASE_S, RENEW_S, RETRY_S = 15, 10, 2
"""kube-controller-manager's figures: a new leader within 20 s, one write every two seconds."""


def own_identity() -> str:
    """Distinct for each life of a process."""
    return f"{socket.gethostname()}_{os.getpid()}_{uuid.uuid4().hex[:8]}"


class TidegateLock(LeaseLock):  # type: ignore[misc]  # the library has no types
    """``LeaseLock`` that can create its Lease, and that outlives an unreachable API server.

    kubernetes 37 passes ``pretty=True`` to ``create_namespaced_lease``, which its own models
    refuse; and it lets connection errors out of ``get`` and ``update``, which would end the
    election.
    """

    _faulty = False
    """Whether the last try failed: a fault that lasts is told once."""

    async def get(self, name: str, namespace: str) -> tuple[bool, Any]:
        try:
            found: tuple[bool, Any] = await super().get(name, namespace)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._tell(describe(error))
            return False, ApiException(status=0, reason=describe(error))
        return found

    async def create(self, name: str, namespace: str, election_record: Any) -> bool:
        body = V1Lease(metadata=V1ObjectMeta(name=name), spec=self.update_lease(election_record))
        try:
            await self.api_instance.create_namespaced_lease(namespace, body)
        except (ApiException, aiohttp.ClientError, TimeoutError, OSError) as error:
            self._tell(f"{namespace}/{name} can't be made: {getattr(error, 'reason', error)}")
            return False
        self._faulty = False
        return True

    async def update(self, name: str, namespace: str, updated_record: Any) -> bool:
        try:
            updated: bool = await super().update(name, namespace, updated_record)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._tell(describe(error))
            return False
        if updated:
            self._faulty = False
        else:
            self._tell(f"{namespace}/{name} was not renewed")
        return updated

    def _tell(self, error: str) -> None:
        if not self._faulty:
            self._faulty = True
            logs.event("lease_failed", error=error)


class Leadership:
    """Runs something while, and only while, the Lease is ours."""

    def __init__(
        self,
        client: ApiClient,
        namespace: str,
        identity: str,
        times_s: tuple[int, int, int] = (LEASE_S, RENEW_S, RETRY_S),
    ) -> None:
        """``times_s``: how long a Lease holds, how long its holder tries to renew it, and the
        pause between two tries."""
        self._client = client
        self._namespace = namespace
        self._times_s = times_s
        self.identity = identity
        self.leads = False
        """Whether the Lease is ours, to our knowledge: who does not lead does not write."""

    async def run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Wait for the Lease, then do ``work``; returns when the Lease is lost or ``work`` ends.

        ``work`` is cancelled when the Lease is lost. What it raises is raised here.
        """
        begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def started() -> None:
            if not begun.done():
                begun.set_result(None)
            await asyncio.Event().wait()

        async def stopped() -> None:
            logs.event("leader_lost", identity=self.identity)

        lease_s, renew_s, retry_s = self._times_s
        election = asyncio.create_task(
            leaderelection.LeaderElection(
                electionconfig.Config(
                    TidegateLock(LEASE, self._namespace, self.identity, self._client),
                    lease_duration=lease_s,
                    renew_deadline=renew_s,
                    retry_period=retry_s,
                    onstarted_leading=started,
                    onstopped_leading=stopped,
                )
            ).run(),
            name="leader election",
        )
        tasks: set[asyncio.Future[None]] = {election}
        try:
            await asyncio.wait([election, begun], return_when=asyncio.FIRST_COMPLETED)
            if begun.done():
                self.leads = True
                logs.event("leader_elected", identity=self.identity)
                doing = asyncio.create_task(work(), name="leader's work")
                tasks.add(doing)
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.leads = self.leads and not election.done()
            for task in tasks:
                task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
        for result in done:
            if isinstance(result, Exception):
                raise result

    async def release(self, api: Api) -> None:
        """Let a successor in at once."""
        if not self.leads:
            return
        path = paths.lease(self._namespace, LEASE)
        try:
            lease = await api.get(path)
            if (lease.get("spec") or {}).get("holderIdentity") == self.identity:
                lease["spec"] = {
                    "holderIdentity": "",
                    "leaseDurationSeconds": 1,
                    "renewTime": datetime.now().isoformat() + "Z",
                }
                await api.replace(path, lease)
        except ApiError as error:
            logs.event("lease_failed", error=str(error))
        self.leads = False
