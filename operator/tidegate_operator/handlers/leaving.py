"""Marks the pods that a scale-down should take, right before it.

Law: a mark is advice. Where it can't be written the count is scaled all the same: a sidecar lets
no stream be cut, marked or not, as long as its pod's grace period allows.
"""

import asyncio
from collections.abc import Iterable

from tidegate_operator import logs
from tidegate_operator.cluster import paths
from tidegate_operator.cluster.client import Api, ApiError
from tidegate_operator.cluster.observe import DELETION_COST, Pod
from tidegate_operator.crd.spec import TargetRef
from tidegate_operator.decide.leaving import Candidate, mark_leaving
from tidegate_operator.handlers.look import Look

MAX_CONCURRENT = 8


def namespaces(text: str) -> frozenset[str]:
    """Of the setting ``pod_deletion_cost_in``: names with commas between."""
    return frozenset(name.strip() for name in text.split(",") if name.strip())


class Leaving:
    """Of one policy."""

    def __init__(self, api: Api, namespace: str, allowed: Iterable[str]) -> None:
        self._api = api
        self._namespace = namespace
        self._allowed = namespace in set(allowed)
        self._refused = False

    async def mark(self, target: TargetRef, look: Look, wanted: int) -> None:
        """Mark who should go if the target is to have ``wanted`` pods: at most one write a pod.

        A StatefulSet always removes its last pods, whatever their cost.
        """
        if not self._allowed or target.kind != "Deployment" or look.scale is None:
            return
        pods = {pod.uid: pod for pod in look.must_answer}
        # Those that are not Ready go before any mark.
        count = look.ready - max(0, wanted)
        changes = mark_leaving([_candidate(pod, look) for pod in pods.values()], count)
        slots = asyncio.Semaphore(MAX_CONCURRENT)

        async def write(uid: str, cost: int | None) -> ApiError | None:
            async with slots:
                return await self._write(pods[uid], cost)

        problems = await asyncio.gather(*(write(uid, cost) for uid, cost in changes.items()))
        self._tell(len(changes), [problem for problem in problems if problem is not None])

    async def _write(self, pod: Pod, cost: int | None) -> ApiError | None:
        value = None if cost is None else str(cost)
        body = {"metadata": {"uid": pod.uid, "annotations": {DELETION_COST: value}}}
        try:
            await self._api.merge(f"{paths.pods(pod.namespace)}/{pod.name}", body)
        except ApiError as error:
            # Gone, or another pod of that name: there is nobody left to mark.
            return None if error.status in (404, 409) else error
        return None

    def _tell(self, tried: int, problems: list[ApiError]) -> None:
        """Once, until it works again."""
        if problems and not self._refused:
            error = str(problems[0])[:300]
            logs.event("pods_unmarked", namespace=self._namespace, tried=tried, error=error)
        if tried:
            self._refused = bool(problems)


def _candidate(pod: Pod, look: Look) -> Candidate:
    stats = look.answers.get(pod.uid)
    in_flight = None if stats is None else stats.in_flight
    return Candidate(uid=pod.uid, in_flight=in_flight, cost=pod.deletion_cost)
