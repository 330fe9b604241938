"""Controllers: Deployments become ReplicaSets, ReplicaSets and StatefulSets become pods.

Law: level-triggered: an event only says which object to look at again. Pods are created through
the webhooks, all else straight in the store. ``minReadySeconds`` is not waited for: ready counts
as available.
"""

import asyncio
import contextlib
import logging
from collections import defaultdict

from tidegate_operator.demo.kubeapi import rollouts
from tidegate_operator.demo.kubeapi.direct import DirectAccess
from tidegate_operator.demo.kubeapi.errors import ApiError, Object
from tidegate_operator.demo.kubeapi.rollouts import Fleet
from tidegate_operator.demo.kubeapi.store import timestamp
from tidegate_wire.clock import Clock

RETRY_S = 5.0
"""After a pod or a write was refused."""
_WATCHED = ("deployments", "replicasets", "statefulsets", "pods")
_PLURAL = {
    "Deployment": "deployments",
    "ReplicaSet": "replicasets",
    "StatefulSet": "statefulsets",
}
_log = logging.getLogger(__name__)
Place = tuple[str, str, str]
"""(plural, namespace, name)."""


class WorkloadController:
    """Runs until cancelled."""

    def __init__(self, store: DirectAccess, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._due: dict[Place, None] = {}
        self._wake = asyncio.Event()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for plural in _WATCHED:
                tasks.create_task(self._follow(plural))
            tasks.create_task(self._work(tasks))

    async def _follow(self, plural: str) -> None:
        async for _, obj in self._store.watch(plural):
            metadata = obj["metadata"]
            if plural != "pods":
                self._look_at((plural, metadata["namespace"], metadata["name"]))
            for owner in metadata.get("ownerReferences") or ():
                if owner.get("controller") and owner["kind"] in _PLURAL:
                    place = (_PLURAL[owner["kind"]], metadata["namespace"], owner["name"])
                    self._look_at(place)

    def _look_at(self, place: Place) -> None:
        self._due[place] = None
        self._wake.set()

    async def _work(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._due:
                place = next(iter(self._due))
                del self._due[place]
                try:
                    await self._reconcile(place)
                except ApiError as error:
                    _log.warning("%s %s/%s: %s", *place, error.message)
                    tasks.create_task(self._later(place))

    async def _later(self, place: Place) -> None:
        await self._clock.sleep(RETRY_S)
        self._look_at(place)

    async def _reconcile(self, place: Place) -> None:
        plural, namespace, name = place
        obj = self._store.find(plural, namespace, name)
        if obj is None or "deletionTimestamp" in obj["metadata"]:
            return
        match plural:
            case "deployments":
                self._roll(obj)
            case "replicasets":
                await self._fill(obj)
            case "statefulsets":
                await self._step(obj)

    def _roll(self, deployment: Object) -> None:
        namespace = deployment["metadata"]["namespace"]
        owned = rollouts.owned_by(deployment, self._store.list("replicasets", namespace))
        current = self._current(deployment, owned)
        older = [each for each in owned if each["metadata"]["uid"] != current["metadata"]["uid"]]
        pods = self._store.list("pods", namespace)
        mine = {
            each["metadata"]["name"]: rollouts.owned_by(each, pods) for each in (*older, current)
        }
        active = {
            name: [pod for pod in each if rollouts.is_active(pod)] for name, each in mine.items()
        }
        fleet = Fleet(
            current,
            tuple(sorted(older, key=_revision)),
            {name: sum(map(rollouts.is_ready, each)) for name, each in active.items()},
            {name: len(each) for name, each in mine.items()},
        )
        plan = rollouts.plan_rollout(deployment, fleet)
        for each in owned if current in owned else [*owned, current]:
            name = each["metadata"]["name"]
            if each["spec"]["replicas"] != plan[name]:
                self._store.patch(
                    "replicasets", namespace, name, {"spec": {"replicas": plan[name]}}
                )
        status = rollouts.deployment_status(
            deployment, fleet, active, timestamp(self._clock.now())
        )
        self._tell("deployments", deployment, status)
        self._forget_old(deployment, fleet)

    def _current(self, deployment: Object, owned: list[Object]) -> Object:
        """The ReplicaSet of the template as it is now, made if need be."""
        namespace = deployment["metadata"]["namespace"]
        newest = max((_revision(each) for each in owned), default=0)
        wanted = rollouts.replicaset_of(deployment, newest + 1)
        name = wanted["metadata"]["name"]
        for each in owned:
            if each["metadata"]["name"] == name:
                if _revision(each) == newest:
                    return each
                # A template that was rolled back to is the newest revision again.
                note = {"metadata": {"annotations": {rollouts.REVISION: str(newest + 1)}}}
                return self._store.patch("replicasets", namespace, name, note)
        return self._store.create("replicasets", namespace, wanted)

    def _forget_old(self, deployment: Object, fleet: Fleet) -> None:
        """Keeps as many empty ReplicaSets as the Deployment asks for."""
        empty = [
            each
            for each in fleet.older
            if not each["spec"]["replicas"] and not fleet.existing[each["metadata"]["name"]]
        ]
        kept = int(deployment["spec"]["revisionHistoryLimit"])
        for each in empty[: max(0, len(empty) - kept)]:
            metadata = each["metadata"]
            self._store.delete("replicasets", metadata["namespace"], metadata["name"])

    async def _fill(self, replicaset: Object) -> None:
        namespace = replicaset["metadata"]["namespace"]
        pods = rollouts.owned_by(replicaset, self._store.list("pods", namespace))
        active = [pod for pod in pods if rollouts.is_active(pod)]
        missing = int(replicaset["spec"]["replicas"]) - len(active)
        for pod in rollouts.choose_victims(active, -missing):
            self._store.delete("pods", namespace, pod["metadata"]["name"])
        for _ in range(missing):
            await self._store.admit("pods", namespace, rollouts.pod_of(replicaset))
        pods = rollouts.owned_by(replicaset, self._store.list("pods", namespace))
        self._tell("replicasets", replicaset, rollouts.replica_status(replicaset, pods))

    async def _step(self, statefulset: Object) -> None:
        namespace, name = (statefulset["metadata"][field] for field in ("namespace", "name"))
        pods = rollouts.owned_by(statefulset, self._store.list("pods", namespace))
        ordinal, leaving = rollouts.next_ordinal_step(statefulset, pods)
        if leaving is not None:
            self._store.delete("pods", namespace, leaving["metadata"]["name"])
        if ordinal is not None:
            labels = {
                "controller-revision-hash": rollouts.template_hash(
                    statefulset["spec"]["template"]
                ),
                "statefulset.kubernetes.io/pod-name": f"{name}-{ordinal}",
                "apps.kubernetes.io/pod-index": str(ordinal),
            }
            body = rollouts.pod_of(statefulset, f"{name}-{ordinal}", labels)
            await self._store.admit("pods", namespace, body)
        status = rollouts.replica_status(statefulset, pods)
        status.pop("fullyLabeledReplicas")
        self._tell("statefulsets", statefulset, status)

    def _tell(self, plural: str, obj: Object, status: Object) -> None:
        """Writes the status if it changed; an object that went meanwhile needs none."""
        if status == obj.get("status"):
            return
        metadata = obj["metadata"]
        body = {**obj, "status": status, "metadata": {**metadata, "resourceVersion": ""}}
        with contextlib.suppress(ApiError):
            self._store.update(
                plural, metadata["namespace"], metadata["name"], body, subresource="status"
            )


def _revision(replicaset: Object) -> int:
    annotations = defaultdict(lambda: "0", replicaset["metadata"].get("annotations") or {})
    return int(annotations[rollouts.REVISION])
