"""One writer at a time, by a Lease in a real (embedded) API server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from kubernetes.aio import config
from kubernetes.aio.client import Configuration

from reconcile_process import SYSTEM, eventually
from tidegate_operator.cluster.client import ApiError, KubernetesApi
from tidegate_operator.cluster.leader import LEASE, Leadership
from tidegate_operator.demo.kubeapi.server import KubeApi
from tidegate_wire.clock import Clock


@pytest.fixture
async def kube() -> AsyncIterator[KubeApi]:
    api = KubeApi(Clock())
    await api.start()
    api.store.create("namespaces", None, {"metadata": {"name": SYSTEM}})
    yield api
    await api.stop()


@asynccontextmanager
async def client(kube: KubeApi, folder: Path) -> AsyncIterator[KubernetesApi]:
    configuration = Configuration()
    path = kube.kubeconfig(folder / "kubeconfig")
    await config.load_kube_config(str(path), client_configuration=configuration)
    api = KubernetesApi(configuration)
    try:
        yield api
    finally:
        await api.close()


class Work:
    """Something that only the leader does."""

    def __init__(self) -> None:
        self.running = False

    async def __call__(self) -> None:
        self.running = True
        try:
            await asyncio.Event().wait()
        finally:
            self.running = False


def holder(kube: KubeApi) -> str:
    lease = kube.store.find("leases.coordination.k8s.io", SYSTEM, LEASE) or {"spec": {}}
    return str(lease["spec"].get("holderIdentity"))


async def test_the_lease_is_made_and_given_back_and_the_next_one_leads(
    kube: KubeApi, tmp_path: Path
) -> None:
    async with client(kube, tmp_path) as api:
        first, second = (Leadership(api.client, SYSTEM, n, (5, 2, 1)) for n in ("one", "two"))
        works = Work(), Work()
        running = asyncio.create_task(first.run(works[0]))
        await eventually(lambda: works[0].running)
        waiting = asyncio.create_task(second.run(works[1]))
        await asyncio.sleep(0.3)
        assert (holder(kube), works[1].running, second.leads) == ("one", False, False)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert not works[0].running
        await first.release(api)
        await eventually(lambda: works[1].running)
        assert holder(kube) == "two"
        await first.release(api)
        assert holder(kube) == "two", "who does not lead gives nothing back"
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def test_work_that_fails_ends_the_leadership_with_its_error(
    kube: KubeApi, tmp_path: Path
) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    async with client(kube, tmp_path) as api:
        leadership = Leadership(api.client, SYSTEM, "one")
        with pytest.raises(ZeroDivisionError):
            await leadership.run(fail)


async def test_a_lease_that_somebody_took_ends_the_work(kube: KubeApi, tmp_path: Path) -> None:
    async with client(kube, tmp_path) as api:
        leadership, work = Leadership(api.client, SYSTEM, "one", (5, 2, 1)), Work()
        running = asyncio.create_task(leadership.run(work))
        await eventually(lambda: work.running)
        kube.store.patch(
            "leases.coordination.k8s.io", SYSTEM, LEASE, {"spec": {"holderIdentity": "thief"}}
        )
        await asyncio.wait_for(running, 30)
        assert not work.running
        assert not leadership.leads
        assert holder(kube) == "thief"


async def test_an_api_server_that_is_away_is_an_error_with_its_words(tmp_path: Path) -> None:
    kube = KubeApi(Clock())
    await kube.start()
    async with client(kube, tmp_path) as api:
        await kube.stop()
        with pytest.raises(ApiError, match=r"GET /api/v1/pods: ClientConnectorError"):
            await api.get("/api/v1/pods")
