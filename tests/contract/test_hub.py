"""The hub as a process against the embedded Kubernetes API."""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from hub import eventually
from hub_process import NAMESPACE, HubProcess, cluster, config_map, trusting
from hub_samples import NOW, history, policy, recent
from tidegate_operator.demo.kubeapi.server import KubeApi
from tidegate_wire.config import Model, SidecarConfig
from tidegate_wire.names import CONTAINER, INJECT, INJECTED

CRDS = Path(__file__).parents[2] / "crds" / "llmqualitypolicies.yaml"
POD: dict[str, Any] = {
    "spec": {"containers": [{"name": "a", "image": "a", "ports": [{"containerPort": 8000}]}]}
}


def pod(name: str, **metadata: Any) -> dict[str, Any]:
    return {**POD, "metadata": {"name": name, **metadata}}


def deployment(name: str, **annotations: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "annotations": annotations},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, **POD},
        },
    }


async def test_pods_and_workloads_that_ask_get_what_they_asked_for(tmp_path: Path) -> None:
    async with cluster(tmp_path, "shop", "all") as (api, kubeconfig):
        labels = {"metadata": {"labels": {INJECT: "true"}}}
        api.store.patch("namespaces", None, "all", labels)
        async with HubProcess(kubeconfig) as hub:
            await hub.ready()
            await registered(api)
            asked = await api.store.admit("pods", "shop", pod("asked", labels={INJECT: "true"}))
            noted = await api.store.admit("pods", "shop", pod("n", annotations={INJECT: "true"}))
            inside = await api.store.admit("pods", "all", pod("inside"))
            for injected in (asked, noted, inside):
                assert [c["name"] for c in injected["spec"]["initContainers"]] == [CONTAINER]
                assert injected["metadata"]["labels"][INJECTED] == "true"
            for namespace, bystander in (
                ("shop", pod("plain")),
                ("all", pod("out", labels={INJECT: "false"})),
                (NAMESPACE, pod("ours", labels={INJECT: "true"})),
            ):
                made = await api.store.admit("pods", namespace, bystander)
                assert "initContainers" not in made["spec"], bystander
            marked = await api.store.admit(
                "deployments", "shop", deployment("llama", **{INJECT: "true"})
            )
            assert marked["spec"]["template"]["metadata"]["labels"][INJECT] == "true"
            plain = await api.store.admit("deployments", "shop", deployment("plain"))
            assert INJECT not in plain["spec"]["template"]["metadata"]["labels"]
            assert await hub.stop() == 0


async def registered(api: KubeApi) -> None:
    await eventually(
        lambda: api.store.find("mutatingwebhookconfigurations", None, "tidegate"), within_s=20
    )


async def test_a_token_reads_its_own_namespace_only_and_a_change_reaches_who_waits(
    tmp_path: Path,
) -> None:
    """P20, and the long poll."""
    async with cluster(tmp_path, "a", "b") as (api, kubeconfig):
        ours = SidecarConfig(policy="a/chat", models=(Model(name="m"),))
        theirs = SidecarConfig(policy="b/chat", models=(Model(name="theirs"),))
        api.store.create("configmaps", "a", config_map("chat", "a", ours, "Deployment/llama"))
        api.store.create("configmaps", "b", config_map("chat", "b", theirs, "Deployment/theirs"))
        token = token_in(api, "a")
        async with HubProcess(kubeconfig) as hub, aiohttp.ClientSession() as session:
            await hub.ready()
            door = Door(session, hub.url, trusting(api), token)
            status, body, etag = await door.config("Deployment/llama")
            assert (status, body, etag) == (200, ours.to_json(), ours.hash)
            status, body, _ = await door.config("Deployment/theirs")
            assert (status, SidecarConfig.from_json(body)) == (200, SidecarConfig())
            changed = SidecarConfig(policy="a/chat", models=(Model(name="m"), Model(name="n")))
            waiting = asyncio.create_task(door.config("Deployment/llama", known=etag))
            await asyncio.sleep(0.3)
            assert not waiting.done()
            body_of = config_map("chat", "a", changed, "Deployment/llama")
            api.store.patch("configmaps", "a", "tidegate-config-chat", {"data": body_of["data"]})
            async with asyncio.timeout(5.0):
                assert await waiting == (200, changed.to_json(), changed.hash)
            assert (await Door(session, hub.url, door.tls, "junk").config("Deployment/llama"))[
                0
            ] == 401
            admin = Door(session, hub.url, door.tls, api.admin_token)
            assert (await admin.config("Deployment/llama"))[0] in (401, 403)


async def test_a_restarted_hub_keeps_its_authority_and_its_registration(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (api, kubeconfig):
        async with HubProcess(kubeconfig) as hub:
            await hub.ready()
            await registered(api)
            assert await hub.stop() == 0
        secret = api.store.get("secrets", NAMESPACE, "tidegate-hub-tls")
        async with HubProcess(kubeconfig) as hub:
            await hub.ready()
            again = api.store.get("secrets", NAMESPACE, "tidegate-hub-tls")
            assert again["data"] == secret["data"]


async def test_two_hubs_that_start_at_once_agree_on_one_authority(tmp_path: Path) -> None:
    async with (
        cluster(tmp_path) as (api, kubeconfig),
        HubProcess(kubeconfig) as one,
        HubProcess(kubeconfig) as two,
        aiohttp.ClientSession() as session,
    ):
        await one.ready()
        await two.ready()
        for hub in (one, two):
            door = Door(session, hub.url, trusting(api), "junk")
            assert (await door.config("Deployment/llama"))[0] == 401


async def test_the_page_tells_what_the_policy_says(tmp_path: Path) -> None:
    async with (
        cluster(tmp_path, "shop") as (api, kubeconfig),
        HubProcess(kubeconfig) as hub,
        aiohttp.ClientSession() as session,
    ):
        # The CRD comes after the hub: the page must find it by itself.
        await eventually(lambda: any(line["event"] == "watch_lost" for line in hub.lines))
        assert "kubectl apply -f crds/" in (await get(session, hub.page))[1]
        for crd in yaml.safe_load_all(CRDS.read_text()):
            api.store.create("customresourcedefinitions", None, crd)
        lively = policy()
        created = {key: lively[key] for key in ("apiVersion", "kind", "spec")}
        created["metadata"] = {"name": "chat", "namespace": "shop"}
        api.store.create("llmqualitypolicies", "shop", created)
        api.store.patch(
            "llmqualitypolicies",
            "shop",
            "chat",
            {"status": lively["status"]},
            subresource="status",
        )
        await hub.ready()
        async with asyncio.timeout(20.0):
            while "Tenant research is blocked" not in (await get(session, hub.page))[1]:
                await asyncio.sleep(0.2)
        api.store.create("configmaps", "shop", {**history(), "metadata": labels_of(history())})
        async with asyncio.timeout(20.0):
            while "line-came" not in (await get(session, f"{hub.page}/p/shop/chat?h=24"))[1]:
                await asyncio.sleep(0.2)
                api.store.patch("configmaps", "shop", "tidegate-history-chat", shifted())
        code, text = await get(session, f"{hub.page}/api/policies/shop/chat")
        assert (code, json.loads(text)["status"]["phase"]) == (200, "Blocked")
        assert 'result="failed"} 0.0' in (await get(session, f"{hub.page}/metrics"))[1]


def labels_of(found: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in found["metadata"].items() if k != "resourceVersion"}


def shifted() -> dict[str, Any]:
    """The samples' day, moved to the hub's own."""
    ago = time.time() - NOW
    points = [{**point, "t": point["t"] + ago} for point in recent()]
    return {"binaryData": history(recent=points)["binaryData"]}


async def get(session: aiohttp.ClientSession, url: str) -> tuple[int, str]:
    async with session.get(url) as answer:
        return answer.status, await answer.text()


async def test_after_lost_watches_a_change_still_reaches_the_sidecars(tmp_path: Path) -> None:
    """P9, as far as the hub goes: reset, then 410."""
    async with (
        cluster(tmp_path, "a") as (api, kubeconfig),
        HubProcess(kubeconfig) as hub,
        aiohttp.ClientSession() as session,
    ):
        await hub.ready()
        door = Door(session, hub.url, trusting(api), token_in(api, "a"))
        for i in range(2):
            if i:
                api.forget_history("configmaps")
            api.drop_watches()
            name = f"chat{i}"
            config = SidecarConfig(policy=f"a/{name}", models=(Model(name="m"),))
            target = f"Deployment/llama{i}"
            api.store.create("configmaps", "a", config_map(name, "a", config, target))
            async with asyncio.timeout(20.0):
                while (await door.config(target))[2] != config.hash:
                    await asyncio.sleep(0.1)


async def test_without_an_api_server_the_hub_is_alive_and_says_what_it_waits_for(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path) as (api, kubeconfig):
        await api.stop()
        async with HubProcess(kubeconfig) as hub, aiohttp.ClientSession() as session:
            await eventually(lambda: any(li["event"] == "watch_lost" for li in hub.lines))
            async with session.get(f"{hub.page}/healthz") as answer:
                assert answer.status == 200
            async with session.get(f"{hub.page}/readyz") as answer:
                assert answer.status == 503
                assert await answer.text() == "waiting for: certificate, configs\n"
            async with session.get(hub.page) as answer:
                assert "the API server can&#x27;t be asked" in await answer.text()
            assert await hub.stop() == 0


@pytest.mark.parametrize(
    "variable", ["TIDEGATE_HUB_PORT", "TIDEGATE_PAGE_PORT", "TIDEGATE_KEDA_PORT"]
)
async def test_a_taken_port_ends_the_hub_with_a_line_that_says_so(
    variable: str, tmp_path: Path
) -> None:
    async with cluster(tmp_path) as (api, kubeconfig):
        taken = api.url.rpartition(":")[2]
        async with HubProcess(kubeconfig, **{variable: taken}) as hub:
            assert await hub.ended() == 1
            assert "in use" in hub.lines[-1]["message"]


def test_the_hub_loads_no_kopf_no_numerics_and_no_grpc_until_its_door_opens() -> None:
    heavy = ("kopf", "numpy", "sklearn", "scipy", "grpc", "google.protobuf")
    code = (
        "import sys, json, tidegate_operator.hub.main; "
        f"print(json.dumps([m for m in {heavy} if m in sys.modules]))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert json.loads(out.stdout) == []


class Door:
    """The sidecar's side of the config door."""

    def __init__(self, session: aiohttp.ClientSession, url: str, tls: Any, token: str) -> None:
        self.tls = tls
        self._session, self._url, self._token = session, url, token

    async def config(self, workload: str, known: str = "") -> tuple[int, bytes, str]:
        headers = {"Authorization": f"Bearer {self._token}"}
        if known:
            headers["If-None-Match"] = f'"{known}"'
        url = f"{self._url}/v1/config"
        async with self._session.get(
            url, params={"workload": workload}, headers=headers, ssl=self.tls
        ) as answer:
            body = await answer.read()
            return answer.status, body, answer.headers.get("ETag", "").strip('"')


def token_in(api: KubeApi, namespace: str) -> str:
    made = api.store.create("pods", namespace, pod("one"))
    if api.store.find("serviceaccounts", namespace, "default") is None:
        api.store.create("serviceaccounts", namespace, {"metadata": {"name": "default"}})
    return api.token_for(namespace, "default", "tidegate", "one", made["metadata"]["uid"])
