"""The two clients that Tidegate's operator is made of, as they are, on the embedded API."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from kubernetes.aio import client, config
from kubernetes.aio.leaderelection import electionconfig, leaderelection
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

from kube_contract import GROUP, WIDGETS, widget
from tidegate_operator.demo.kubeapi.server import KubeApi
from tidegate_wire.clock import Clock

SUPPORT = Path(__file__).parents[1] / "support"
PATIENCE_S = 40.0


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[KubeApi]:
    server = KubeApi(Clock(), seed=1)
    await server.start(tls=True)
    server.store.create("customresourcedefinitions", None, WIDGETS)
    server.kubeconfig(tmp_path / "kubeconfig")
    yield server
    await server.stop()


@asynccontextmanager
async def kopf_process(kubeconfig: Path, *scope: str) -> AsyncIterator[asyncio.StreamReader]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kopf", "run", "-m", "kopf_probe", *scope),
        env={**os.environ, "KUBECONFIG": str(kubeconfig), "PYTHONPATH": str(SUPPORT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        assert process.stdout is not None
        yield process.stdout
        assert process.returncode is None, "kopf has exited"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def next_seen(lines: asyncio.StreamReader) -> tuple[str, str, str]:
    """(event type, name, size) of the next event that the operator tells of."""
    said: list[str] = []
    async with asyncio.timeout(PATIENCE_S):
        while line := (await lines.readline()).decode():
            said.append(line)
            if line.startswith("SEEN "):
                _, kind, name, size = line.split()
                return kind, name, size
    raise AssertionError("kopf has ended:\n" + "".join(said))


@pytest.mark.parametrize("scope", [["-A"], ["-n", "default"]], ids=["cluster-wide", "namespace"])
async def test_kopf_sees_what_happens_and_survives_dropped_watches(
    api: KubeApi, tmp_path: Path, scope: list[str]
) -> None:
    store, plural = api.store, f"widgets.{GROUP}"
    store.create(plural, "default", widget("old"))
    async with kopf_process(tmp_path / "kubeconfig", *scope) as lines:
        assert await next_seen(lines) == ("None", "old", "1")
        store.create(plural, "default", widget("new", size=2))
        assert await next_seen(lines) == ("ADDED", "new", "2")
        assert api.drop_watches() >= 1
        store.patch(plural, "default", "new", {"spec": {"size": 3}})
        assert await next_seen(lines) == ("MODIFIED", "new", "3")
        store.delete(plural, "default", "new")
        assert await next_seen(lines) == ("DELETED", "new", "3")


async def test_kopf_lists_anew_when_its_version_is_forgotten(api: KubeApi, tmp_path: Path) -> None:
    store, plural = api.store, f"widgets.{GROUP}"
    store.create(plural, "default", widget("w"))
    async with kopf_process(tmp_path / "kubeconfig", "-n", "default") as lines:
        assert await next_seen(lines) == ("None", "w", "1")
        # Between the drop and the next watch something happens that nobody remembers.
        api.drop_watches()
        store.patch(plural, "default", "w", {"spec": {"size": 5}})
        api.forget_history(plural)
        assert await next_seen(lines) == ("None", "w", "5")


class StartingLeaseLock(LeaseLock):  # type: ignore[misc]
    """``LeaseLock.create`` passes an argument that its own client rejects (kubernetes 37)."""

    async def create(self, name: str, namespace: str, election_record: Any) -> bool:
        body = client.V1Lease(
            metadata=client.V1ObjectMeta(name=name), spec=self.update_lease(election_record)
        )
        await self.api_instance.create_namespaced_lease(namespace, body)
        return True


async def test_one_of_two_candidates_leads_and_the_other_takes_over(
    api: KubeApi, tmp_path: Path
) -> None:
    settings = client.Configuration()
    await config.load_kube_config(
        config_file=str(tmp_path / "kubeconfig"), client_configuration=settings
    )
    led: asyncio.Queue[str] = asyncio.Queue()

    def candidate(name: str, session: client.ApiClient) -> asyncio.Task[None]:
        async def lead() -> None:
            await led.put(name)

        async def stop() -> None:
            pass

        lock = StartingLeaseLock("leader", "default", name, session)
        terms = electionconfig.Config(
            lock,
            lease_duration=3,
            renew_deadline=2,
            retry_period=1,
            onstarted_leading=lead,
            onstopped_leading=stop,
        )
        return asyncio.create_task(leaderelection.LeaderElection(terms).run())

    async with client.ApiClient(settings) as session, asyncio.timeout(PATIENCE_S):
        first = candidate("first", session)
        assert await led.get() == "first"
        second = candidate("second", session)
        lease = api.store.get("leases", "default", "leader")
        assert lease["spec"]["holderIdentity"] == "first"
        first.cancel()
        assert await led.get() == "second"
        lease = api.store.get("leases", "default", "leader")
        assert lease["spec"]["holderIdentity"] == "second"
        second.cancel()


async def test_the_generated_client_reads_what_it_wrote(api: KubeApi, tmp_path: Path) -> None:
    settings = client.Configuration()
    await config.load_kube_config(
        config_file=str(tmp_path / "kubeconfig"), client_configuration=settings
    )
    async with client.ApiClient(settings) as session:
        core, apps = client.CoreV1Api(session), client.AppsV1Api(session)
        body = client.V1ConfigMap(
            metadata=client.V1ObjectMeta(name="c"), data={"a": "b"}, binary_data={"h": "AQI="}
        )
        await core.create_namespaced_config_map("default", body)
        read = await core.read_namespaced_config_map("c", "default")
        assert (read.data, read.binary_data) == ({"a": "b"}, {"h": "AQI="})
        api.store.create(
            "deployments",
            "default",
            {
                "metadata": {"name": "d"},
                "spec": {
                    "selector": {"matchLabels": {"app": "d"}},
                    "template": {
                        "metadata": {"labels": {"app": "d"}},
                        "spec": {"containers": [{"name": "c", "image": "c:1"}]},
                    },
                },
            },
        )
        scale = await apps.read_namespaced_deployment_scale("d", "default")
        scale.spec.replicas = 3
        await apps.replace_namespaced_deployment_scale("d", "default", scale)
        deployment = await apps.read_namespaced_deployment("d", "default")
        assert (deployment.spec.replicas, deployment.metadata.generation) == (3, 2)
        with pytest.raises(client.ApiException) as refused:
            await apps.replace_namespaced_deployment_scale("d", "default", scale)
        assert (refused.value.status, refused.value.reason) == (409, "Conflict")
