"""A hub whose registration is kept by something else, as under Helm or Argo CD."""

import asyncio
from pathlib import Path
from typing import Any

from hub import eventually
from hub_process import HubProcess, cluster
from tidegate_operator.demo.kubeapi.server import KubeApi
from tidegate_operator.hub.registration import webhook_configuration
from tidegate_operator.settings import Settings
from tidegate_wire.names import CONTAINER, INJECT

KIND = "mutatingwebhookconfigurations"
POD: dict[str, Any] = {
    "metadata": {"name": "asked", "labels": {INJECT: "true"}},
    "spec": {"containers": [{"name": "a", "image": "a", "ports": [{"containerPort": 8000}]}]},
}


def cas(api: KubeApi) -> list[str | None]:
    found = api.store.get(KIND, None, "tidegate")
    return [entry["clientConfig"].get("caBundle") for entry in found["webhooks"]]


async def test_it_serves_without_a_registration_tells_it_once_and_fills_in_the_one_that_comes(
    tmp_path: Path,
) -> None:
    async with (
        cluster(tmp_path, "shop") as (api, kubeconfig),
        HubProcess(kubeconfig, TIDEGATE_WEBHOOK_CREATE="false") as hub,
    ):
        await hub.ready()
        await asyncio.sleep(5)
        missing = [line for line in hub.lines if line["event"] == "registration_failed"]
        assert len(missing) == 1
        assert "does not exist" in missing[0]["message"]
        assert api.store.find(KIND, None, "tidegate") is None

        made = webhook_configuration(Settings(webhook_url=hub.url), "")
        api.store.create(KIND, None, made)
        await eventually(lambda: all(cas(api)), within_s=20)
        await eventually(lambda: hub.lines[-1]["event"] == "registration_back", within_s=20)
        pod = await api.store.admit("pods", "shop", POD)
        assert [c["name"] for c in pod["spec"]["initContainers"]] == [CONTAINER]
