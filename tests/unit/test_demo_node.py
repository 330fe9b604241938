"""The demo's node: pods become processes, and nothing of them stays behind."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from tidegate_operator.demo.node import Network, Node
from tidegate_operator.demo.pod_plan import PodPlan, Token, UnrunnablePodError, plan_pod
from tidegate_operator.demo.pod_run import http_get
from tidegate_operator.demo.processes import Children
from tidegate_wire.clock import Clock

PYTHON_SERVER = (sys.executable, "-m", "tidegate_operator.demo.model_main")
IMAGES = {"model-server": PYTHON_SERVER, "crasher": (sys.executable, "-c", "raise SystemExit(3)")}


def server(name: str, port: int, **more: Any) -> dict[str, Any]:
    get = {"httpGet": {"path": "/health", "port": port}, "periodSeconds": 1}
    return {
        "name": name,
        "image": "registry.example/demo/model-server:1.0",
        "args": ["--host=$(POD_IP)", f"--port={port}", "--totals-file", "/dev/termination-log"],
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "ports": [{"name": name, "containerPort": port}],
        "readinessProbe": get,
        **more,
    }


def pod(name: str = "a", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "shop", "name": name, "uid": f"uid-{name}", "labels": {}},
        "spec": {"containers": [server("app", 8000)], **spec},
    }


class Store:
    """The API as the node sees it, with a memory."""

    def __init__(self) -> None:
        self.pods: dict[str, dict[str, Any]] = {}
        self.removed: list[str] = []
        self.tokens: list[str] = []
        self._changes: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def put(self, pod: dict[str, Any]) -> None:
        self.pods[pod["metadata"]["uid"]] = pod
        self._changes.put_nowait(deepcopy(pod))

    async def watch_pods(self) -> AsyncIterator[dict[str, Any]]:
        while True:
            yield await self._changes.get()

    async def write_status(self, plan: PodPlan, status: dict[str, Any]) -> None:
        self.pods[plan.uid]["status"] = status
        self._changes.put_nowait(deepcopy(self.pods[plan.uid]))

    async def remove(self, plan: PodPlan) -> None:
        self.removed.append(plan.name)

    async def token(self, plan: PodPlan, token: Token) -> str:
        self.tokens.append(token.audience)
        return f"token-{len(self.tokens)}"

    def delete(self, uid: str, grace_s: float | None = None) -> None:
        self.pods[uid]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        if grace_s is not None:
            self.pods[uid]["metadata"]["deletionGracePeriodSeconds"] = grace_s
        self.put(self.pods[uid])

    def ready(self, uid: str) -> bool:
        conditions = self.pods[uid].get("status", {}).get("conditions", [])
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


@asynccontextmanager
async def running(
    tmp_path: Path, speed: float = 20.0
) -> AsyncIterator[tuple[Store, Node, Children]]:
    store, children = Store(), Children()
    node = Node(store, Clock(speed), children, tmp_path, IMAGES)
    task = asyncio.create_task(node.run())
    try:
        yield store, node, children
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await children.stop_all()
        assert children.running() == []


async def until(holds: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.02)


async def test_a_pod_becomes_ready_at_an_address_of_its_own_and_leaves_its_totals(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as (store, node, children):
        store.put(pod("a"))
        store.put(pod("b"))
        await until(lambda: store.ready("uid-a") and store.ready("uid-b"))
        ips = [store.pods[uid]["status"]["podIP"] for uid in ("uid-a", "uid-b")]
        assert len(set(ips)) == 2 and all(ip.startswith("127.") for ip in ips)
        assert await http_get(ips[0], 8000, "/health", 5.0) == 200
        store.delete("uid-a")
        await until(lambda: store.removed == ["a"])
        end = store.pods["uid-a"]["status"]["containerStatuses"][0]["state"]["terminated"]
        assert end["exitCode"] == 0
        assert json.loads(end["message"])["requests"] == 0
        assert len(children.running()) == 1
        assert [json.loads(run.messages()["app"])["requests"] for run in node.runs()] == [0, 0]


async def test_a_native_sidecar_starts_before_the_app_and_ends_after_it(tmp_path: Path) -> None:
    sidecar = server("side", 9000, restartPolicy="Always")
    sidecar["startupProbe"] = sidecar["readinessProbe"]
    sidecar["args"] += ["--startup-delay=5"]
    async with running(tmp_path) as (store, node, children):
        store.put(pod("a", initContainers=[sidecar]))
        await until(lambda: len(children.running()) == 1)
        assert children.running()[0].name == "side"
        assert not store.ready("uid-a")
        await until(lambda: store.ready("uid-a"))
        run = node.runs()[0]
        store.delete("uid-a")
        await until(lambda: store.removed == ["a"])
        side, app = run.sidecars[0].last_end, run.apps[0].last_end
        assert side is not None and app is not None
        assert side["finishedAt"] >= app["finishedAt"]


async def test_a_container_that_crashes_is_restarted_after_a_pause(tmp_path: Path) -> None:
    crasher = {"name": "app", "image": "crasher"}
    async with running(tmp_path, speed=100.0) as (store, node, _):
        store.put(pod("a", containers=[crasher]))
        await until(lambda: bool(node.runs()) and node.runs()[0].apps[0].restarts >= 2)
        state = store.pods["uid-a"]["status"]["containerStatuses"][0]
        assert not store.ready("uid-a") or state["restartCount"] >= 1
        assert node.runs()[0].apps[0].last_end["exitCode"] == 3  # type: ignore[index]


async def test_a_process_that_does_not_listen_to_sigterm_is_ended_past_its_grace(
    tmp_path: Path,
) -> None:
    code = "import signal,time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
    deaf = {"deaf": (sys.executable, "-c", code)}
    store, children = Store(), Children()
    node = Node(store, Clock(20.0), children, tmp_path, deaf)
    task = asyncio.create_task(node.run())
    store.put(pod("a", containers=[{"name": "app", "image": "deaf"}]))
    await until(lambda: len(children.running()) == 1)
    await asyncio.sleep(0.3)
    store.delete("uid-a", grace_s=10.0)
    await until(lambda: store.removed == ["a"], 5.0)
    assert node.runs()[0].apps[0].last_end["exitCode"] == 137  # type: ignore[index]
    task.cancel()


async def test_projected_tokens_are_written_and_renewed_and_paths_moved(tmp_path: Path) -> None:
    source = {
        "serviceAccountToken": {"audience": "tidegate", "expirationSeconds": 10, "path": "t"}
    }
    volumes = [{"name": "token", "projected": {"sources": [source]}}]
    app = server("app", 8000, volumeMounts=[{"name": "token", "mountPath": "/var/run/x"}])
    app["env"].append({"name": "FILE", "value": "/var/run/x/t"})
    async with running(tmp_path, speed=50.0) as (store, node, _):
        store.put(pod("a", containers=[app], volumes=volumes))
        await until(lambda: len(store.tokens) >= 3)
        path = Path(node.runs()[0].plan.apps[0].env["FILE"])
        assert path.read_text().startswith("token-")
        assert store.tokens[0] == "tidegate"


async def test_a_pod_that_cannot_run_here_fails_and_says_why(tmp_path: Path) -> None:
    async with running(tmp_path) as (store, _, children):
        store.put(pod("a", containers=[{"name": "app", "image": "nginx:1"}]))
        await until(lambda: "status" in store.pods["uid-a"])
        status = store.pods["uid-a"]["status"]
        assert status["phase"] == "Failed"
        assert "container app: image must be one of" in status["message"]
        assert children.running() == []


async def test_children_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import asyncio,sys,pathlib\n"
        "from tidegate_operator.demo.processes import Children\n"
        "async def main():\n"
        "    c = Children()\n"
        "    log = pathlib.Path(sys.argv[1])\n"
        "    child = await c.start('x', [sys.executable, '-c', 'import time; time.sleep(60)'],"
        " {}, log)\n"
        "    print(child.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(tmp_path / "log"), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    os.kill(pid, 0)
    parent.kill()
    await parent.wait()
    deadline = time.monotonic() + 5
    while _alive(pid):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_two_nodes_on_one_machine_never_share_an_address() -> None:
    one, two = Network(), Network()
    try:
        given = [network.next_address() for network in (one, two) for _ in range(600)]
        assert len(set(given)) == 1200
        assert not set(given) & {"127.0.0.1"}
    finally:
        one.close()
        two.close()
    again = Network()
    again.close()


# --- the plan, pure ----------------------------------------------------------------------------


def test_addresses_within_the_pod_become_the_pods_own_and_others_stay(tmp_path: Path) -> None:
    app = server("app", 8000)
    app["env"] += [
        {"name": "UPSTREAM", "value": "http://127.0.0.1:8000/v1"},
        {"name": "LISTEN", "value": "0.0.0.0:8000"},
        {"name": "HUB", "value": "https://127.0.0.1:14130"},
        {"name": "UNKNOWN", "value": "$(NOPE)"},
    ]
    app["args"].append("--also=/dev/termination-log")
    args = plan_pod(pod("a", containers=[app]), "127.0.1.9", tmp_path, IMAGES).apps[0].argv
    assert args[-1] == f"--also={tmp_path}/app.termination"
    assert args[-2] == f"{tmp_path}/app.termination"
    env = plan_pod(pod("a", containers=[app]), "127.0.1.9", tmp_path, IMAGES).apps[0].env
    assert env["UPSTREAM"] == "http://127.0.1.9:8000/v1"
    assert env["LISTEN"] == "127.0.1.9:8000"
    assert env["HUB"] == "https://127.0.0.1:14130"
    assert env["UNKNOWN"] == "$(NOPE)"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"initContainers": [{"name": "i", "image": "model-server"}]}, "restartPolicy must be"),
        ({"containers": [server("a", 1, command=["sh"])]}, "command can't be replaced"),
        ({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, "only emptyDir"),
        ({"containers": [server("a", 1, readinessProbe={"exec": {}})]}, "must be httpGet"),
        (
            {"containers": [server("a", 1, readinessProbe={"httpGet": {"port": "web"}})]},
            "no port is called web",
        ),
        (
            {"containers": [server("a", 1, env=[{"name": "E", "valueFrom": {}}])]},
            "valueFrom must be a fieldRef",
        ),
    ],
)
def test_what_it_cannot_do_is_refused_in_words(
    change: dict[str, Any], says: str, tmp_path: Path
) -> None:
    with pytest.raises(UnrunnablePodError, match=says):
        plan_pod(pod("a", **change), "127.0.1.9", tmp_path, IMAGES)
