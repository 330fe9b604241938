"""An application calls models elsewhere by its SDK's variable alone, and each call is measured."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest
from openai import AsyncOpenAI

from proxied import Answer, Stand, post, proxied
from tidegate_sidecar import h1
from tidegate_sidecar.ways import Way, speaks_anthropic
from tidegate_wire.config import Do, Model, Order, SidecarConfig
from tidegate_wire.names import Outcome
from upstream import Upstream, chat_reply, like_a_server, serving

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
KEYS = "Authorization: Bearer sk-app\r\nOpenAI-Organization: org\r\nX-Api-Key: sk-other\r\n"


def asking(model: str) -> bytes:
    return json.dumps({"model": model, "messages": []}).encode()


@dataclass
class World:
    """A sidecar of a pod, and the providers that its app may mean."""

    stand: Stand
    openai: Upstream
    anthropic: Upstream
    third: Upstream

    async def call(self, data: bytes, method: str = "POST") -> Answer:
        return await self.stand.ask(data, method, port=self.stand.outbound)

    @property
    def asked(self) -> list[str]:
        """Which of them were asked, and for what."""
        places = {
            "openai": self.openai,
            "anthropic": self.anthropic,
            "third": self.third,
            "pod": self.stand.upstream,
        }
        return [f"{name} {c.target}" for name, place in places.items() for c in place.calls]


@asynccontextmanager
async def world(*models: Model, order: Order | None = None) -> AsyncIterator[World]:
    """``models`` may say ``third`` for an upstream."""
    async with AsyncExitStack() as stack:
        openai, anthropic, third = [
            await stack.enter_async_context(serving(like_a_server)) for _ in range(3)
        ]
        placed = tuple(
            Model(name=m.name, upstream=m.upstream and f"{third.url}/api/v4") for m in models
        )
        stand = await stack.enter_async_context(
            proxied(
                like_a_server,
                SidecarConfig(models=placed, order=order),
                outbound=Way(openai.url, anthropic.url),
            )
        )
        yield World(stand, openai, anthropic, third)


async def test_the_openai_client_needs_its_variable_only(monkeypatch: pytest.MonkeyPatch) -> None:
    async with world() as there:
        base = f"http://127.0.0.1:{there.stand.outbound}/v1"
        monkeypatch.setenv("OPENAI_BASE_URL", base)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-app")
        async with AsyncOpenAI() as client:
            told = await client.chat.completions.create(model="m", messages=[])
            assert told.model_dump(exclude_unset=True) == json.loads(chat_reply())
            stream = await client.chat.completions.create(model="m", messages=[], stream=True)
            text = [e.choices[0].delta.content async for e in stream if e.choices]
            assert text == ["t0\u2028", "t1\u2028", "t2\u2028", None]
            assert [m.id async for m in client.models.list()] == ["m"]
        assert there.asked == [f"openai {CHAT}"] * 2 + ["openai /v1/models"]
        first = there.openai.calls[0].headers
        assert first["authorization"] == "Bearer sk-app"
        assert first["host"] == there.openai.url.removeprefix("http://")
        series = (await there.stand.settled()).series[0]
        assert (series.model, series.outcomes) == ("m", {Outcome.OK: 2})
        assert (series.tokens_in, series.tokens_out, series.ttft_count) == (14, 6, 1)


BY_API = {
    "OpenAI's": (post(asking("m")), f"openai {CHAT}"),
    "Anthropic's": (post(asking("m"), MESSAGES), f"anthropic {MESSAGES}"),
    "Anthropic's, with a query": (post(b"{}", f"{MESSAGES}?beta=true"), "anthropic /v1/messages?"),
    "a path of both, by Anthropic's header": (
        b"GET /v1/models HTTP/1.1\r\nHost: a\r\nAnthropic-Version: 2023-06-01\r\n\r\n",
        "anthropic /v1/models",
    ),
    "a path of both, without": (
        b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n",
        "openai /v1/models",
    ),
    "messages of a thread": (post(b"{}", "/v1/threads/t/messages"), "openai /v1/threads"),
}


@pytest.mark.parametrize(("request_", "wanted"), BY_API.values(), ids=BY_API)
async def test_a_request_goes_to_the_provider_whose_api_it_speaks(
    request_: bytes, wanted: str
) -> None:
    async with world() as there:
        assert (await there.call(request_)).status == 200
        (asked,) = there.asked
        assert asked.startswith(wanted)


async def test_the_policy_sends_models_to_their_own_upstreams() -> None:
    async with world(Model(name="near"), Model(name="far", upstream="third")) as there:
        for model in ("far", "near", "unheard-of"):
            assert (await there.call(post(asking(model)))).status == 200
        assert there.asked == [f"openai {CHAT}"] * 2 + ["third /api/v4/chat/completions"]
        assert [json.loads(c.body)["model"] for c in there.openai.calls] == ["near", "unheard-of"]
        host = there.third.url.removeprefix("http://")
        assert there.third.calls[0].headers["host"] == host


async def test_both_ways_of_one_pod_are_kept_apart_and_counted_as_one() -> None:
    async with world(Model(name="m")) as there:
        await there.call(post(asking("m")))
        await there.stand.ask(post(asking("m")))
        assert there.asked == [f"openai {CHAT}", f"pod {CHAT}"]
        assert there.stand.upstream.calls[0].headers["host"] == "a", "its client's own word"
        assert (await there.stand.settled()).series[0].outcomes == {Outcome.OK: 2}
        assert there.stand.stats.arrived == 2


ORDERS = {
    "Switch": (Do.SWITCH, "far", 200, ["third /api/v4/chat/completions"]),
    "Block": (Do.BLOCK, "", 429, []),
}


@pytest.mark.parametrize(("do", "model", "status", "asked"), ORDERS.values(), ids=ORDERS)
async def test_an_order_holds_for_calls_out_too(
    do: Do, model: str, status: int, asked: list[str]
) -> None:
    order = Order(do=do, model=model, reason="ErrorRateHigh", expires_at=4e9)
    models = (Model(name="near"), Model(name="far", upstream="third"))
    async with world(*models, order=order) as there:
        assert (await there.call(post(asking("near")))).status == status
        assert there.asked == asked


async def test_keys_pass_untouched_and_are_told_nowhere() -> None:
    async with world() as there:
        await there.call(post(asking("m"), more=KEYS))
        sent = there.openai.calls[0].head
        assert all(line.encode() in sent for line in KEYS.split("\r\n"))
        assert "sk-" not in "\n".join(there.stand.told) + repr(await there.stand.settled())


def test_a_way_in_has_one_upstream_whatever_is_spoken() -> None:
    head = h1.parse_request(b"POST /v1/messages HTTP/1.1\r\nhost: a\r\nanthropic-version: 1")
    assert speaks_anthropic(head)
    assert Way("http://pod").url_for(head) == "http://pod"
