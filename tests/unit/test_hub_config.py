"""The sidecars' door: who is let in, what they see, and how long they wait."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st

from hub import eventually
from small_api import SmallApi, status
from tidegate_operator.cluster.lists import Kube
from tidegate_operator.hub.config import (
    MAX_REVIEWS,
    ConfigIndex,
    Gatekeeper,
    SidecarDoor,
)
from tidegate_operator.hub.measure import Measures
from tidegate_wire.clock import Clock
from tidegate_wire.config import Model, SidecarConfig

REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
ACCOUNT = "system:serviceaccount:{}:default"


def config_map(config: SidecarConfig | str, target: str = "Deployment/llama") -> dict[str, Any]:
    text = config if isinstance(config, str) else config.to_json().decode()
    return {"data": {"config.json": text, "target": target}}


class Tokens:
    """A TokenReview that knows ``good-<namespace>`` and counts."""

    def __init__(self) -> None:
        self.reviews = 0
        self.answer: dict[str, Any] | None = None
        self.code = 201

    async def review(self, request: web.Request) -> web.StreamResponse:
        self.reviews += 1
        if self.code >= 400:
            return web.json_response(status(self.code, "Away"), status=self.code)
        spec = (await request.json())["spec"]
        assert spec["audiences"] == ["tidegate"]
        token = spec["token"]
        if self.answer is not None:
            return web.json_response({"status": self.answer}, status=201)
        if not token.startswith("good-"):
            return web.json_response({"status": {"authenticated": False}}, status=201)
        user = {
            "username": ACCOUNT.format(token.removeprefix("good-")),
            "extra": {"authentication.kubernetes.io/pod-name": ["pod-1"]},
        }
        known = {"authenticated": True, "audiences": ["tidegate"], "user": user}
        return web.json_response({"status": known}, status=201)


class Hub:
    def __init__(self, client: TestClient[Any, Any], index: ConfigIndex, tokens: Tokens) -> None:
        self.client, self.index, self.tokens = client, index, tokens
        self.synced = asyncio.Event()
        self.door: SidecarDoor

    async def config(
        self, namespace: str = "shop", workload: str = "Deployment/llama", **headers: str
    ) -> tuple[int, bytes, str]:
        answer = await self.client.get(
            "/v1/config",
            params={"workload": workload},
            headers={"Authorization": f"Bearer good-{namespace}", **headers},
        )
        return answer.status, await answer.read(), answer.headers.get("ETag", "")


@asynccontextmanager
async def hub(speed: float = 1.0) -> AsyncIterator[Hub]:
    async with SmallApi() as api:
        tokens, index, clock = Tokens(), ConfigIndex(), Clock(speed)
        api.handlers[REVIEWS] = tokens.review
        kube = Kube(api.configuration())
        synced = asyncio.Event()
        door = SidecarDoor(index, Gatekeeper(kube, clock), synced, clock, Measures())
        app = web.Application()
        door.add_routes(app)
        async with TestClient(TestServer(app)) as client:
            made = Hub(client, index, tokens)
            made.synced, made.door = synced, door
            synced.set()
            yield made
        await kube.close()


CONFIG = SidecarConfig(policy="shop/chat", models=(Model(name="m"),))


async def test_a_config_goes_out_as_written_with_its_hash_as_etag() -> None:
    async with hub() as made:
        made.index.on_change(("shop", "c"), config_map(CONFIG))
        assert await made.config() == (200, CONFIG.to_json(), f'"{CONFIG.hash}"')


async def test_without_a_policy_the_empty_config_lets_everything_pass() -> None:
    async with hub() as made:
        code, body, etag = await made.config()
        assert (code, SidecarConfig.from_json(body)) == (200, SidecarConfig())
        assert etag == f'"{SidecarConfig().hash}"'


async def test_a_namespace_never_reads_anothers_config() -> None:
    """P20."""
    async with hub() as made:
        made.index.on_change(("shop", "c"), config_map(CONFIG))
        code, body, _ = await made.config("lab")
        assert (code, SidecarConfig.from_json(body)) == (200, SidecarConfig())
        for trick in ("shop/Deployment/llama", "../shop/Deployment/llama", "Deployment/../shop"):
            assert (await made.config("lab", trick))[0] == 400


async def test_a_poll_without_news_is_held_and_then_304() -> None:
    async with hub(speed=200.0) as made:
        clock = Clock(200.0)
        start = clock.monotonic()
        code, body, _ = await made.config(**{"If-None-Match": f'"{SidecarConfig().hash}"'})
        assert (code, body) == (304, b"")
        assert clock.monotonic() - start >= 50


@pytest.mark.parametrize("prefer", ["wait=0", "respond-async, wait=0", "wait=0; foo"])
async def test_a_caller_may_ask_to_wait_less(prefer: str) -> None:
    async with hub() as made:
        known = {"If-None-Match": f'"{SidecarConfig().hash}"', "Prefer": prefer}
        async with asyncio.timeout(5.0):
            assert (await made.config(**known))[0] == 304


async def test_a_change_reaches_who_waits_and_nobody_else() -> None:
    async with hub() as made:
        known = {"If-None-Match": f'"{SidecarConfig().hash}"'}
        waiting = asyncio.create_task(made.config(**known))
        other = asyncio.create_task(made.config("lab", **known))
        await asyncio.sleep(0.1)
        made.index.on_change(("shop", "c"), config_map(CONFIG))
        async with asyncio.timeout(5.0):
            assert (await waiting)[1] == CONFIG.to_json()
        await asyncio.sleep(0.05)
        assert not other.done()
        made.door.leave()
        async with asyncio.timeout(5.0):
            assert (await other)[0] == 304


async def test_a_touch_that_changes_no_config_wakes_nobody() -> None:
    async with hub() as made:
        made.index.on_change(("shop", "c"), config_map(CONFIG))
        waiting = asyncio.create_task(made.config(**{"If-None-Match": f'"{CONFIG.hash}"'}))
        await asyncio.sleep(0.1)
        made.index.on_change(("shop", "c"), {**config_map(CONFIG), "metadata": {"x": "y"}})
        await asyncio.sleep(0.1)
        assert not waiting.done()
        made.index.on_change(("shop", "c"), None)
        async with asyncio.timeout(5.0):
            assert SidecarConfig.from_json((await waiting)[1]) == SidecarConfig()


async def test_a_poison_config_is_handed_on_for_the_sidecar_to_refuse() -> None:
    """P8: the sidecar reports FAILED; a hub that hid it would hide the fault."""
    async with hub() as made:
        made.index.on_change(("shop", "c"), config_map("{poison"))
        assert (await made.config())[1] == b"{poison"


async def test_before_the_cluster_is_read_nobody_is_told_that_there_is_no_policy() -> None:
    async with hub() as made:
        made.synced.clear()
        code, body, _ = await made.config()
        assert (code, json.loads(body)) == (503, {"error": "the hub has not read the cluster yet"})


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Basic good-shop", "Bearer bad", "Bearer " + "x" * 20_000],
    ids=["none", "no token", "blank", "another scheme", "a bad token", "a huge token"],
)
async def test_who_proves_nothing_gets_401(authorization: str) -> None:
    async with hub() as made:
        headers = {"Authorization": authorization} if authorization else {}
        answer = await made.client.get(
            "/v1/config", params={"workload": "Deployment/x"}, headers=headers
        )
        if len(authorization) < 8190:  # aiohttp refuses longer header lines by itself, with 400
            assert answer.status == 401
            assert "error" in await answer.json()
        else:
            assert answer.status in (400, 401)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        pytest.param({"authenticated": True, "audiences": ["other"]}, 401, id="another audience"),
        pytest.param({"authenticated": True}, 401, id="a server that knows no audiences"),
        pytest.param(
            {"authenticated": True, "audiences": ["tidegate"], "user": {"username": "admin"}},
            403,
            id="a person",
        ),
        pytest.param(
            {
                "authenticated": True,
                "audiences": ["tidegate"],
                "user": {"username": "system:serviceaccount:a:b:c"},
            },
            403,
            id="a name that only begins like an account",
        ),
        pytest.param({}, 401, id="an empty answer"),
    ],
)
async def test_tokens_that_do_not_count(answer: dict[str, Any], code: int) -> None:
    async with hub() as made:
        made.tokens.answer = answer
        assert (await made.config())[0] == code


async def test_an_api_server_that_is_away_is_no_refusal() -> None:
    async with hub() as made:
        made.tokens.code = 500
        code, body, _ = await made.config()
        assert code == 503
        assert "could not check the token" in json.loads(body)["error"]
        made.tokens.code = 201
        assert (await made.config())[0] == 200


async def test_a_token_is_reviewed_once_a_minute() -> None:
    async with hub() as made:
        for _ in range(3):
            await made.config()
        assert made.tokens.reviews == 1
    async with hub(speed=1000.0) as made:
        await made.config()
        await asyncio.sleep(0.1)
        await made.config()
        assert made.tokens.reviews == 2


def test_the_memory_of_tokens_is_bounded() -> None:
    assert MAX_REVIEWS <= 100_000


@pytest.mark.parametrize(
    "workload", ["", "llama", "deployment/llama", "A/b/c", "A/B", "A/" + "b" * 300]
)
async def test_a_workload_that_is_none_is_a_bad_request(workload: str) -> None:
    async with hub() as made:
        code, body, _ = await made.config(workload=workload)
        assert code == 400
        assert "workload must be Kind/name" in json.loads(body)["error"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(b'{"hash":"a","state":"APPLIED","error":""}', 204, id="applied"),
        pytest.param(b'{"hash":"a","state":"FAILED","error":"x","new":1}', 204, id="newer"),
        pytest.param(b'{"hash":"a","state":"MAYBE"}', 400, id="an unknown state"),
        pytest.param(b'{"hash":1,"state":"FAILED"}', 400, id="a hash that is none"),
        pytest.param(b"", 400, id="nothing"),
        pytest.param(b"\xff", 400, id="no UTF-8"),
        pytest.param(b'{"hash":"' + b"a" * 20_000 + b'","state":"FAILED"}', 400, id="too long"),
    ],
)
async def test_reports(body: bytes, code: int) -> None:
    async with hub() as made:
        headers = {"Authorization": "Bearer good-shop"}
        answer = await made.client.post("/v1/report", data=body, headers=headers)
        assert answer.status == code
        assert (await made.client.post("/v1/report", data=body)).status == 401


async def test_a_caller_that_leaves_leaves_nothing_behind() -> None:
    async with hub() as made:
        waiting = asyncio.create_task(
            made.config(**{"If-None-Match": f'"{SidecarConfig().hash}"'})
        )
        await eventually(lambda: made.index.waiting == 1)
        made.index.on_change(("shop", "c"), config_map(CONFIG))
        await waiting
        assert made.index.waiting == 0


steps = st.lists(
    st.tuples(
        st.sampled_from(["c1", "c2"]),
        st.sampled_from(["Deployment/a", "Deployment/b", None]),
        st.integers(0, 3),
    ),
    max_size=20,
)


@given(steps)
def test_the_index_is_what_the_last_state_of_each_config_map_says(
    story: list[tuple[str, str | None, int]],
) -> None:
    index, last = ConfigIndex(), {}
    for name, target, body in story:
        index.on_change(("shop", name), config_map(str(body), target) if target else None)
        last[name] = (target, str(body).encode())
    for workload in ("Deployment/a", "Deployment/b"):
        there = {name: body for name, (target, body) in last.items() if target == workload}
        expected = there[min(there)] if there else SidecarConfig().to_json()
        assert index.get("shop", workload).body == expected
