"""The loop over all policies.

Law: each policy ticks on its own; one that fails is logged, counted and shown, and holds up no
other. A tick that would begin before the last one of its policy is done is left out, not queued.
"""

import asyncio
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from tidegate_operator import logs
from tidegate_operator.cluster.client import NAMESPACE_ENDS, ApiError, describe
from tidegate_operator.crd.spec import read_target
from tidegate_operator.handlers.policy import PolicyLoop, Surroundings

MAX_CONCURRENT = 64
"""Ticks at one time: each holds one or two requests open."""
END_S = 2.0
"""Real seconds that ticks under way are given at the end."""


class Loop:
    """Ticks every policy of the world."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._policies: dict[str, PolicyLoop] = {}
        self._ticking: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(MAX_CONCURRENT)
        self._failing: set[str] = set()
        self.ticked_at: float | None = None
        """``time.monotonic()`` of the last round; real, since liveness is judged by it."""

    async def run(self) -> None:
        """Tick until cancelled."""
        clock, tick_s = self._around.clock, self._around.settings.tick_s
        due = clock.monotonic()
        while True:
            self.begin_round()
            now = clock.monotonic()
            due += tick_s
            if due <= now:
                due = now + tick_s
            await clock.sleep(due - now)

    def begin_round(self) -> None:
        """Begin a tick of each policy that is not still in one."""
        self.ticked_at = time.monotonic()
        manifests = dict(self._around.world.policies)
        for uid in set(self._policies) - set(manifests):
            self._drop(uid)
        takers = find_takers(manifests)
        for uid, manifest in manifests.items():
            if uid in self._ticking:
                self._around.metrics.skipped.inc()
                continue
            policy = self._policies.get(uid)
            if policy is None:
                policy = self._policies[uid] = PolicyLoop(self._around, manifest)
            task = asyncio.create_task(self._tick(policy, manifest, takers.get(uid, "")))
            self._ticking[uid] = task
            task.add_done_callback(partial(self._done, uid))

    async def round(self) -> None:
        """One round, waited for to its end with what it asked of the forecaster."""
        self.begin_round()
        await asyncio.gather(*self._ticking.values())
        await asyncio.gather(*(policy.settled() for policy in self._policies.values()))

    async def end(self) -> None:
        """Let ticks under way finish, then save what a restart needs."""
        if self._ticking:
            await asyncio.wait(list(self._ticking.values()), timeout=END_S)
        for task in list(self._ticking.values()):
            task.cancel()
        results = await asyncio.gather(
            *(self._checkpoint(policy) for policy in self._policies.values())
        )
        logs.event("checkpointed", policies=len(results), saved=sum(results))

    async def _tick(self, policy: PolicyLoop, manifest: Mapping[str, Any], taken_by: str) -> None:
        async with self._slots:
            begun, result = time.monotonic(), "ok"
            try:
                await policy.tick(manifest, taken_by)
                self._failing.discard(policy.uid)
            except Exception as error:  # noqa: BLE001  # one policy's fault is not another's
                if not (isinstance(error, ApiError) and error.reason == NAMESPACE_ENDS):
                    result = "failed"
                    await self._failed(policy, error)
            self._around.metrics.ticks.labels(result).observe(time.monotonic() - begun)

    async def _failed(self, policy: PolicyLoop, error: Exception) -> None:
        where = {"namespace": policy.namespace, "policy": policy.name}
        if policy.uid not in self._failing:
            self._failing.add(policy.uid)
            if isinstance(error, ApiError):
                logs.event("tick_failed", **where, status=error.status, error=str(error)[:300])
            else:
                logs.failure("tick_failed", **where, error=describe(error))
        try:
            await policy.fail(error)
        except Exception as second:  # noqa: BLE001  # told above; the next tick looks again
            logs.failure("tick_failed", **where, error=describe(second))

    async def _checkpoint(self, policy: PolicyLoop) -> bool:
        async with self._slots:
            try:
                await policy.checkpoint()
            except Exception as error:  # noqa: BLE001  # the others are still to be saved
                logs.event("checkpoint_failed", policy=policy.name, error=describe(error))
                return False
        return True

    def _drop(self, uid: str) -> None:
        """A policy is gone; its objects in the cluster go with it."""
        policy = self._policies.pop(uid)
        self._failing.discard(uid)
        if (ticking := self._ticking.get(uid)) is not None:
            ticking.cancel()
        logs.event("policy_gone", namespace=policy.namespace, policy=policy.name)
        closing = asyncio.create_task(policy.close())
        self._ticking[f"closing {uid}"] = closing
        closing.add_done_callback(partial(self._done, f"closing {uid}"))

    def _done(self, key: str, _: asyncio.Task[None]) -> None:
        self._ticking.pop(key, None)


def find_takers(manifests: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """By UID of each policy whose target an older one has: the older one's name.

    The oldest by creationTimestamp has it, then the first by name. A policy that can't be read
    keeps what it points at, so that a typo doesn't hand its target over.
    """
    by_target: dict[tuple[str, str], list[tuple[str, str, str]]] = {}
    for uid, manifest in manifests.items():
        target, meta = read_target(manifest), manifest["metadata"]
        if target is not None and meta.get("deletionTimestamp") is None:
            key = (str(meta["namespace"]), str(target))
            order = (str(meta.get("creationTimestamp", "")), str(meta["name"]), uid)
            by_target.setdefault(key, []).append(order)
    taken: dict[str, str] = {}
    for claims in by_target.values():
        first, *others = sorted(claims)
        taken |= {uid: first[1] for _, _, uid in others}
    return taken
