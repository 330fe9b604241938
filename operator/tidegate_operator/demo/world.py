"""The demo's cluster: API, operator, hub, node and workloads, brought up in order and taken down.

Law: it starts the product's own processes as a cluster would, and puts objects there as their
owner would; it decides nothing. Patience is real seconds: processes start in real time. A process
of the product that ends is started again, as the kubelet does.
"""

import asyncio
import contextlib
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tidegate_operator.cluster.history import Checkpoint, encode_history
from tidegate_operator.demo.api import ApiCallError, ApiClient, Object
from tidegate_operator.demo.kubeapi.deployments import WorkloadController
from tidegate_operator.demo.kubeapi.server import KubeApi
from tidegate_operator.demo.node import Node
from tidegate_operator.demo.options import DemoError, free_port
from tidegate_operator.demo.pod_plan import PodPlan, Token
from tidegate_operator.demo.pod_run import Status
from tidegate_operator.demo.pods_view import FAULT_PORT, PodsView
from tidegate_operator.demo.processes import Child, Children
from tidegate_wire.clock import Clock
from tidegate_wire.names import GROUP, PATH_MUTATE, PLURAL, VERSION, Metric

HERE = Path(__file__).parent
NAMESPACE = "shop"
SYSTEM_NAMESPACE = "tidegate-system"
TARGET = "llama"
FALLBACK = "llama-8b"
POLICY = "chat"
IMAGES = {
    "tidegate-sidecar": (sys.executable, "-m", "tidegate_sidecar"),
    "model-server": (sys.executable, "-m", "tidegate_operator.demo.model_main"),
}
PATIENCE_S = 60.0
"""For each thing that has to come up; ten times what it takes on two idle cores."""
RESTART_PAUSE_S = 0.25
RESTART_MAX_S = 8.0
"""Crash back-off of the product's own processes."""
STOP_PATIENCE_S = 4.0
_PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
_POLICIES = f"/apis/{GROUP}/{VERSION}/namespaces/{NAMESPACE}/{PLURAL}"
_DEPLOYMENTS = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments"
_WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"

Note = Callable[[str], None]


class Doors:
    """What the node asks of the API, over HTTP as a kubelet; tokens come from the server
    itself."""

    def __init__(self, api: ApiClient, server: KubeApi) -> None:
        self._api = api
        self._server = server

    async def watch_pods(self) -> AsyncIterator[Mapping[str, Any]]:
        async for kind, pod in self._api.watch("/api/v1/pods"):
            if kind != "DELETED":
                yield pod

    async def write_status(self, plan: PodPlan, status: Status) -> None:
        with contextlib.suppress(ApiCallError):  # the pod is gone, or its next status will do
            await self._api.merge(f"{_pod(plan)}/status", {"status": status})

    async def remove(self, plan: PodPlan) -> None:
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": plan.uid}}
        with contextlib.suppress(ApiCallError):  # gone already
            await self._api.delete(_pod(plan), options)

    async def token(self, plan: PodPlan, token: Token) -> str:
        return self._server.token_for(
            plan.namespace,
            plan.service_account,
            token.audience,
            plan.name,
            plan.uid,
            expiry_s=token.expires_s,
        )


def _pod(plan: PodPlan) -> str:
    return f"/api/v1/namespaces/{plan.namespace}/pods/{plan.name}"


class World:
    """Everything that runs, and the ways to ask it."""

    def __init__(self, clock: Clock, page_port: int, note: Note) -> None:
        self.clock = clock
        self.page_port = page_port
        self.children = Children()
        self.run_dir = Path(tempfile.mkdtemp(prefix="tidegate-demo-"))
        self.view = PodsView()
        self.status: Mapping[str, Any] = {}
        self.policy: Object = {}
        self.pods_changed = asyncio.Event()
        self.policy_changed = asyncio.Event()
        self._note = note
        self._server = KubeApi(clock)
        self._api: ApiClient | None = None
        self._node: Node | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._services: dict[str, Child] = {}
        self._operator_port = free_port()
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2.0))

    @property
    def api(self) -> ApiClient:
        assert self._api is not None
        return self._api

    @property
    def page(self) -> str:
        return f"http://127.0.0.1:{self.page_port}/p/{NAMESPACE}/{POLICY}"

    # --- up -----------------------------------------------------------------------------------

    async def start_cluster(self) -> None:
        """API server, CRD, namespaces, controllers, node."""
        (self.run_dir / "logs").mkdir()
        await self._server.start("127.0.0.1", 0)
        kubeconfig = self.run_dir / "kubeconfig"
        self._server.kubeconfig(kubeconfig)
        self._api = ApiClient.from_kubeconfig(kubeconfig)
        crd = files("tidegate_operator.crd").joinpath("llmqualitypolicies.yaml")
        definition = yaml.safe_load(_crd_text(Path(str(crd))))
        await self.api.create(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition
        )
        for namespace in (SYSTEM_NAMESPACE, NAMESPACE):
            await self.api.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
            await self._ensure_account(namespace)
        controller = WorkloadController(self._server.store, self.clock)
        self._node = Node(
            Doors(self.api, self._server), self.clock, self.children, self.run_dir, IMAGES
        )
        for work in (controller.run(), self._node.run(), self._follow_pods()):
            self._background(work)

    async def _ensure_account(self, namespace: str) -> None:
        """What the ServiceAccount controller does for each namespace."""
        try:
            await self.api.create(
                f"/api/v1/namespaces/{namespace}/serviceaccounts",
                {"metadata": {"name": "default"}},
            )
        except ApiCallError as error:
            if error.status != 409:
                raise

    def _background(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        task.add_done_callback(self._lost)
        self._tasks.append(task)

    def _lost(self, task: "asyncio.Future[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._note(f"a part of the demo has failed: {type(error).__name__}: {error}")

    async def start_operator(self) -> None:
        """Hub and reconciler, kept running; returns once the webhook is registered."""
        hub_port = free_port()
        url = f"https://127.0.0.1:{hub_port}"
        env = {
            "KUBECONFIG": str(self.run_dir / "kubeconfig"),
            "TIDEGATE_HOST": "127.0.0.1",
            "TIDEGATE_NAMESPACE": SYSTEM_NAMESPACE,
            "TIDEGATE_HUB_PORT": str(hub_port),
            "TIDEGATE_HUB_URL": url,
            "TIDEGATE_WEBHOOK_URL": url + PATH_MUTATE,
            "TIDEGATE_PAGE_PORT": str(self.page_port),
            "TIDEGATE_KEDA_PORT": "0",
            "TIDEGATE_OPERATOR_PORT": str(self._operator_port),
            # One process, nobody to take over: a restart need not wait for an old Lease to end.
            "TIDEGATE_LEADER_ELECTION": "false",
            **self.clock.to_env(),
        }
        for role in ("hub", "reconcile"):
            self._background(self._keep_running(role, env))
        await self._until(self._webhook_there, "the hub's webhook", "hub")
        await self._until(self._operator_there, "the operator", "reconcile")

    async def _keep_running(self, role: str, env: Mapping[str, str]) -> None:
        argv = (sys.executable, "-m", "tidegate_operator", role)
        log = self.run_dir / "logs" / f"{role}.log"
        pause_s = RESTART_PAUSE_S
        while True:
            began = time.monotonic()
            child = await self.children.start(role, argv, env, log)
            self._services[role] = child
            code = await child.wait()
            self._note(f"the {role} process ended ({code}) and is started again")
            brief = time.monotonic() - began < RESTART_MAX_S
            pause_s = min(pause_s * 2, RESTART_MAX_S) if brief else RESTART_PAUSE_S
            await asyncio.sleep(pause_s)

    async def _webhook_there(self) -> bool:
        found = await self.api.get(_WEBHOOKS)
        return bool(found.get("items"))

    async def _operator_there(self) -> bool:
        return await self._text(f"http://127.0.0.1:{self._operator_port}/metrics") is not None

    async def start_workloads(self, pods: int) -> None:
        """The two Deployments, the target with ``pods``; returns once every pod is Ready."""
        manifests = list(yaml.safe_load_all((HERE / "deployment.yaml").read_text()))
        deployments = [m for m in manifests if m["kind"] == "Deployment"]
        for deployment in deployments:
            if deployment["metadata"]["name"] == TARGET:
                deployment["spec"]["replicas"] = pods
            await self.api.create(_DEPLOYMENTS, deployment)
        for deployment in deployments:
            app, wanted = deployment["metadata"]["name"], deployment["spec"]["replicas"]
            await self._until(self._enough(app, wanted), f"{wanted} ready pods of {app}", app)

    def _enough(self, app: str, wanted: int) -> Callable[[], Awaitable[bool]]:
        async def enough() -> bool:
            return len(self.view.ready_urls(app)) >= wanted

        return enough

    async def start_policy(self, history: Checkpoint | None) -> Object:
        """The policy, and before it the history that an earlier policy would have left."""
        policy = load_policy(self.view.ready_urls(FALLBACK)[0])
        if history is not None:
            meta = {"name": POLICY, "namespace": NAMESPACE, "uid": ""}
            config_map = encode_history(meta, history)
            config_map["metadata"].pop("ownerReferences", None)  # the policy takes it over
            await self.api.create(f"/api/v1/namespaces/{NAMESPACE}/configmaps", config_map)
        self.policy = await self.api.create(_POLICIES, policy)
        self._background(self._follow_policy())
        return self.policy

    # --- what is seen -------------------------------------------------------------------------

    async def _follow_pods(self) -> None:
        async for kind, pod in self.api.watch(_PODS):
            self.view.take(kind, pod, self.clock.now())
            self.pods_changed.set()

    async def _follow_policy(self) -> None:
        async for kind, policy in self.api.watch(_POLICIES):
            if kind != "DELETED" and policy["metadata"]["name"] == POLICY:
                self.policy = policy
                self.status = policy.get("status") or {}
                self.policy_changed.set()

    def fault_doors(self) -> list[str]:
        return self.view.all_urls(TARGET, FAULT_PORT)

    async def operator_tokens(self) -> tuple[int, int] | None:
        """Tokens in and out by the operator's own count; ``None`` while it can't be asked."""
        text = await self._text(f"http://127.0.0.1:{self._operator_port}/metrics")
        if text is None:
            return None
        totals = read_tokens(text)
        return totals.get("input", 0), totals.get("output", 0)

    async def server_totals(self) -> list[Mapping[str, int]]:
        """Of every model server that ever ran: asked where it runs, else by its last words."""
        assert self._node is not None
        found: list[Mapping[str, int]] = []
        for run in self._node.runs():
            live = await self._json(f"http://{run.plan.ip}:8001/totals")
            if live is None:
                message = run.messages().get("model-server")
                live = yaml.safe_load(message) if message else None
            if live is not None:
                found.append(live)
        return found

    async def _text(self, url: str) -> str | None:
        try:
            async with self._http.get(url) as answer:
                return await answer.text() if answer.status == 200 else None
        except (aiohttp.ClientError, TimeoutError):
            return None

    async def _json(self, url: str) -> Any:
        text = await self._text(url)
        return None if text is None else yaml.safe_load(text)

    async def _until(self, holds: Callable[[], Awaitable[bool]], what: str, who: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                if await holds():
                    return
            except ApiCallError as error:
                if error.status in (401, 403):
                    raise
            if time.monotonic() > deadline:
                raise DemoError(
                    f"{what} did not come up within {PATIENCE_S:.0f} s; "
                    f"logs in {self.run_dir / 'logs'}{self._last_words(who)}"
                )
            await asyncio.sleep(0.05)

    def _last_words(self, who: str) -> str:
        logs = sorted((self.run_dir / "logs").glob(f"{who}*.log"))
        words = [text for log in logs if (text := log.read_text(errors="replace").strip())]
        return f"; the last line there: {words[-1].splitlines()[-1][:300]}" if words else ""

    # --- down ---------------------------------------------------------------------------------

    async def stop(self, *, keep: bool) -> None:
        """End everything; nothing of it is left behind, but for the folder if ``keep``."""
        for child in self._services.values():
            child.send(signal.SIGTERM)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.children.stop_all(STOP_PATIENCE_S)
        await self._http.close()
        if self._api is not None:
            await self._api.close()
        await self._server.stop()
        if not keep:
            shutil.rmtree(self.run_dir, ignore_errors=True)


def _crd_text(packaged: Path) -> str:
    """From the installed package; from the source tree where that is what runs."""
    source = HERE.parents[2] / "crds" / packaged.name
    return (packaged if packaged.exists() else source).read_text()


def load_policy(fallback_url: str) -> Object:
    """The demo's policy with the fallback's address in the place of its DNS name."""
    policy: Object = yaml.safe_load((HERE / "policy.yaml").read_text())
    for model in policy["spec"]["models"]:
        if model.get("upstream"):
            model["upstream"] = fallback_url
    return policy


def read_tokens(metrics: str) -> dict[str, int]:
    """Token totals by type, of all policies."""
    totals: dict[str, int] = {}
    pattern = rf'^{Metric.POLICY_TOKENS}{{[^}}]*type="(\w+)"[^}}]*}} (\S+)$'
    for kind, value in re.findall(pattern, metrics, re.MULTILINE):
        totals[kind] = totals.get(kind, 0) + int(float(value))
    return totals
