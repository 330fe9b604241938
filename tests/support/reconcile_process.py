"""A reconciler as a process, a workload's pods as servers, and the embedded Kubernetes API."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from aiohttp import web

from tidegate_operator.cluster.history import Checkpoint, decode_history
from tidegate_operator.demo.kubeapi.server import KubeApi
from tidegate_wire.clock import Clock
from tidegate_wire.config import SidecarConfig
from tidegate_wire.names import CONFIG_KEY, INJECTED, STATUS, ConfigState, Outcome
from tidegate_wire.stats import Series, SidecarStats

SPEED = 30.0
PATIENCE_S = 30.0
"""Real seconds; a machine under load is slow, not wrong."""
CRD = Path(__file__).parents[2] / "crds" / "llmqualitypolicies.yaml"
POLICIES = "llmqualitypolicies.tidegate.io"
SYSTEM = "tidegate-system"


class Sidecar:
    """Answers ``/stats`` with counters that grow with the clock."""

    def __init__(self, uid: str, clock: Clock) -> None:
        self.uid = uid
        self._clock = clock
        self._rps = 0.0
        self._since = clock.now()
        self._arrived = 0.0
        self._errors = 0.0
        self.error_share = 0.0
        self.config_hash = ""
        self.broken = False
        self.in_flight = 0
        self.looks = 0
        self.port = 0
        self._runner: web.AppRunner | None = None

    def load(self, rps: float, error_share: float = 0.0) -> None:
        self._count()
        self._rps, self.error_share = rps, error_share

    def _count(self) -> None:
        now = self._clock.now()
        came = self._rps * (now - self._since)
        self._arrived += came
        self._errors += came * self.error_share
        self._since = now

    def stats(self) -> SidecarStats:
        self._count()
        ok, bad = int(self._arrived) - int(self._errors), int(self._errors)
        outcomes = {str(Outcome.OK): ok, str(Outcome.SERVER_ERROR): bad}
        series = Series(
            model="llama-70b",
            tenant="acme",
            outcomes=outcomes,
            tokens_in=10 * (ok + bad),
            duration_s=0.4 * (ok + bad),
        )
        return SidecarStats(
            pod_uid=self.uid,
            boot="life-1",
            arrived=ok + bad,
            in_flight=self.in_flight,
            config_hash=self.config_hash,
            config_state=ConfigState.APPLIED if self.config_hash else ConfigState.NONE,
            series=(series,),
        )

    async def open(self) -> int:
        app = web.Application()
        app.router.add_get("/stats", self._answer)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        return self.port

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, _: web.Request) -> web.Response:
        self.looks += 1
        if self.broken:
            return web.Response(status=500)
        return web.Response(body=self.stats().to_json(), content_type="application/json")


class Cluster:
    """The embedded API with the CRD, and the workloads of one test after another."""

    def __init__(self, folder: Path, *, crd: bool = True) -> None:
        self._crd = crd
        self.clock = Clock(SPEED)
        self.kube = KubeApi(self.clock)
        self.kubeconfig = folder / "kubeconfig"
        self.sidecars: list[Sidecar] = []

    async def __aenter__(self) -> Self:
        await self.kube.start()
        self.kube.kubeconfig(self.kubeconfig)
        store = self.kube.store
        if self._crd:
            self.install_crd()
        store.create("namespaces", None, {"metadata": {"name": SYSTEM}})
        return self

    async def __aexit__(self, *_: object) -> None:
        for sidecar in self.sidecars:
            await sidecar.close()
        await self.kube.stop()

    def install_crd(self) -> None:
        crd = yaml.safe_load(CRD.read_text())
        self.kube.store.create("customresourcedefinitions", None, crd)

    async def workload(self, namespace: str, replicas: int = 2) -> "Workload":
        self.kube.store.create("namespaces", None, {"metadata": {"name": namespace}})
        workload = Workload(self, namespace)
        workload.deploy(replicas)
        for _ in range(replicas):
            await workload.add_pod()
        return workload


class Workload:
    """Deployment/llama in a namespace of its own."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.store = cluster.kube.store
        self.sidecars: list[Sidecar] = []

    def deploy(self, replicas: int) -> None:
        self.store.create(
            "deployments.apps",
            self.namespace,
            {
                "metadata": {"name": "llama"},
                "spec": {
                    "replicas": replicas,
                    "selector": {"matchLabels": {"app": "llama"}},
                    "template": {
                        "metadata": {"labels": {"app": "llama"}},
                        "spec": {"containers": [{"name": "server", "image": "llama"}]},
                    },
                },
            },
        )
        status = {"status": {"replicas": replicas}}
        self.store.patch("deployments.apps", self.namespace, "llama", status, subresource="status")

    async def add_pod(self) -> Sidecar:
        name = f"llama-{len(self.sidecars)}"
        sidecar = Sidecar("", self.cluster.clock)
        port = await sidecar.open()
        created = self.store.create(
            "pods",
            self.namespace,
            {
                "metadata": {
                    "name": name,
                    "labels": {"app": "llama", INJECTED: "true"},
                    "annotations": {STATUS: json.dumps({"ports": {"admin": port}})},
                },
                "spec": {"containers": [{"name": "server", "image": "llama"}]},
            },
        )
        sidecar.uid = created["metadata"]["uid"]
        ready = {
            "type": "Ready",
            "status": "True",
            "lastTransitionTime": created["metadata"]["creationTimestamp"],
        }
        status = {"status": {"phase": "Running", "podIP": "127.0.0.1", "conditions": [ready]}}
        self.store.patch("pods", self.namespace, name, status, subresource="status")
        self.sidecars.append(sidecar)
        self.cluster.sidecars.append(sidecar)
        return sidecar

    def load(self, rps: float, error_share: float = 0.0) -> None:
        """Demand on all pods together."""
        for sidecar in self.sidecars:
            sidecar.load(rps / len(self.sidecars), error_share)

    def policy(self, name: str = "chat", **spec: Any) -> dict[str, Any]:
        body = {
            "apiVersion": "tidegate.io/v1alpha1",
            "kind": "LLMQualityPolicy",
            "metadata": {"name": name},
            "spec": {
                "mode": "Enforce",
                "targetRef": {"name": "llama"},
                "models": [
                    {"name": "llama-70b"},
                    {"name": "llama-8b", "upstream": "http://llama-8b:8000"},
                ],
                "scaling": {"minReplicas": 1, "maxReplicas": 10, "capacityPerReplica": "2.5"},
            }
            | spec,
        }
        return self.store.create(POLICIES, self.namespace, body)

    # --- what stands there --------------------------------------------------------------------

    @property
    def replicas(self) -> int:
        found = self.store.get("deployments.apps", self.namespace, "llama")
        return int(found["spec"]["replicas"])

    def status(self, name: str = "chat") -> dict[str, Any]:
        found = self.store.find(POLICIES, self.namespace, name) or {}
        return dict(found.get("status") or {})

    def condition(self, kind: str, name: str = "chat") -> tuple[str, str]:
        for condition in self.status(name).get("conditions", ()):
            if condition["type"] == kind:
                return condition["status"], condition["reason"]
        return "", ""

    def config(self, name: str = "chat") -> SidecarConfig | None:
        found = self.store.find("configmaps", self.namespace, f"tidegate-config-{name}")
        return None if found is None else SidecarConfig.from_json(found["data"][CONFIG_KEY])

    def history(self, name: str = "chat") -> Checkpoint | None:
        found = self.store.find("configmaps", self.namespace, f"tidegate-history-{name}")
        return None if found is None else decode_history(found)[0]

    def events(self) -> list[tuple[str, str]]:
        return [(e["action"], e["reason"]) for e in self.store.list("events", self.namespace)]


class ReconcileProcess:
    """``tidegate-operator reconcile`` on a free port."""

    def __init__(self, cluster: Cluster, **env: str) -> None:
        self._env = {
            **os.environ,
            **cluster.clock.to_env(),
            "KUBECONFIG": str(cluster.kubeconfig),
            "TIDEGATE_HOST": "127.0.0.1",
            "TIDEGATE_OPERATOR_PORT": "0",
            **env,
        }
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self.lines: list[dict[str, Any]] = []

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tidegate_operator",
            "reconcile",
            env=self._env,
            stdout=asyncio.subprocess.PIPE,
        )
        self._reader = asyncio.create_task(self._read())
        return self

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.lines.append(json.loads(line))

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None and self._process.returncode is None:
            self.kill()
        await self.ended()

    def terminate(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()

    async def ended(self) -> int:
        """The exit code, once it is there."""
        assert self._process is not None
        assert self._reader is not None
        async with asyncio.timeout(PATIENCE_S):
            code = await self._process.wait()
            await self._reader
        return code

    def said(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]

    @property
    def port(self) -> int:
        return int(self.said("started")[0]["port"])


async def eventually(holds: Callable[[], object], within_s: float = PATIENCE_S) -> None:
    """Wait until something holds; fails with the last answer where it never does."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within_s
    while not holds():
        if loop.time() > end:
            raise AssertionError(f"still not after {within_s:.0f} s")
        await asyncio.sleep(0.02)
