"""The doors for autoscalers open when they are wanted and not before, serve the newest
certificate, and are registered once they answer."""

import base64
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import grpc.aio
import pytest
from aiohttp import web

from fake_cluster import FakeApi, FakeClock
from hub_process import free_port
from keda_client import KedaClient
from selfmade_ca import SelfMade, make
from tidegate_operator.cluster.client import ApiError
from tidegate_operator.cluster.lists import Kube
from tidegate_operator.cluster.mirror import Mirror
from tidegate_operator.hub.autoscalers import AutoscalerDoors
from tidegate_operator.hub.certs import issue
from tidegate_operator.hub.front_proxy import CONFIG_MAP
from tidegate_operator.hub.measure import Measures
from tidegate_operator.settings import Settings
from tidegate_wire.clock import Clock

SERVICE = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io"
NOW = datetime.now(UTC)


class Stage:
    """The doors of a hub on a cluster that has what they need."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.api = FakeApi()
        self.front = make(folder, "front", common_name="front-proxy")
        data = {"requestheader-client-ca-file": self.front.ca_pem}
        self.api.put(CONFIG_MAP, {"metadata": {}, "data": data})
        service = {"namespace": "tidegate-system", "name": "tidegate-hub"}
        self.api.put(SERVICE, {"metadata": {}, "spec": {"service": service}})
        self.opened: list[tuple[int, ssl.SSLContext]] = []
        self.runners: list[web.AppRunner] = []
        clock = cast(Clock, FakeClock())
        kube = cast(Kube, self.api)
        made = Settings(host="127.0.0.1", **({"keda_port": 0} | settings))
        self.doors = AutoscalerDoors(
            kube, made, clock, Mirror(kube, "/", clock), Measures(), self.serve
        )

    async def serve(self, app: web.Application, port: int, context: ssl.SSLContext) -> None:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        self.opened.append((port, context))
        self.runners.append(runner)

    async def close(self) -> None:
        await self.doors.close(0)
        for runner in self.runners:
            await runner.cleanup()

    def ca(self) -> str:
        """In the APIService."""
        return base64.b64decode(self.api.objects[SERVICE]["spec"]["caBundle"]).decode()


async def test_where_nobody_is_to_ask_nothing_is_opened_or_asked(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    bundle = issue(NOW, ["127.0.0.1"])
    await stage.doors.open(bundle)
    await stage.doors.ensure(bundle)
    assert (stage.opened, stage.api.reads, stage.api.writes) == ([], 0, [])
    await stage.close()


async def test_keda_is_answered_at_its_port_from_the_first_certificate_on(tmp_path: Path) -> None:
    port = free_port()
    stage = Stage(tmp_path, keda_port=port)
    for _ in range(2):
        await stage.doors.open(issue(NOW, ["127.0.0.1"]))
    async with KedaClient(port) as keda:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await keda.is_active(policy="chat")
        assert caught.value.details() == "the policies of the cluster are still being read"
    await stage.close()


async def test_hpas_are_answered_once_and_then_the_api_server_is_told_whom_to_trust(
    tmp_path: Path,
) -> None:
    stage = Stage(tmp_path, external_metrics=True)
    bundle = issue(NOW, ["127.0.0.1"])
    for _ in range(2):
        await stage.doors.ensure(bundle)
    assert [port for port, _ in stage.opened] == [14133]
    assert stage.ca() == bundle.ca_pem
    assert stage.api.writes == [("PUT", SERVICE)]
    await stage.close()


async def test_a_renewed_certificate_is_served_by_the_door_that_is_open(tmp_path: Path) -> None:
    stage = Stage(tmp_path, external_metrics=True)
    first, second = (issue(NOW, ["127.0.0.1"]) for _ in range(2))
    await stage.doors.ensure(first)
    await stage.doors.ensure(second)
    context = stage.opened[0][1]
    assert len(stage.opened) == 1
    assert stage.ca() == second.ca_pem
    assert serves(context, second.ca_pem, stage.front)
    assert not serves(context, first.ca_pem, stage.front)
    await stage.close()


@pytest.mark.parametrize("missing", [CONFIG_MAP, SERVICE])
async def test_what_the_cluster_lacks_is_an_error_that_names_it(
    tmp_path: Path, missing: str
) -> None:
    stage = Stage(tmp_path, external_metrics=True)
    del stage.api.objects[missing]
    with pytest.raises(ApiError) as caught:
        await stage.doors.ensure(issue(NOW, ["127.0.0.1"]))
    assert caught.value.status == 404
    await stage.close()


def serves(context: ssl.SSLContext, ca_pem: str, proves: SelfMade) -> bool:
    """Whether a client with this CA takes the certificate, by handshake in memory."""
    client_context = ssl.create_default_context(cadata=ca_pem)
    client_context.load_cert_chain(proves.file)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(to_server, to_client, server_side=True)
    client = client_context.wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError:
                return False
    return client.version() is not None
