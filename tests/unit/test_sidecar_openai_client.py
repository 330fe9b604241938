"""The real OpenAI client sees through the proxy what it sees without."""

from collections.abc import Awaitable, Callable

import openai
import pytest
from openai import AsyncOpenAI

from proxied import proxied
from tidegate_wire.config import Do, Order, SidecarConfig
from tidegate_wire.names import Outcome
from upstream import Call, chat_stream, like_a_server

ASK = [{"role": "user", "content": "hi"}]


async def plain(client: AsyncOpenAI) -> object:
    return await client.chat.completions.create(model="m", messages=ASK)  # type: ignore[arg-type]


async def stream(client: AsyncOpenAI) -> object:
    answer = await client.chat.completions.create(model="m", messages=ASK, stream=True)  # type: ignore[arg-type]
    return [event async for event in answer]


async def stream_with_usage(client: AsyncOpenAI) -> object:
    answer = await client.chat.completions.create(
        model="m",
        messages=ASK,  # type: ignore[arg-type]
        stream=True,
        stream_options={"include_usage": True},
    )
    return [event async for event in answer]


async def embeddings(client: AsyncOpenAI) -> object:
    return await client.embeddings.create(model="m", input="x", encoding_format="float")


async def models(client: AsyncOpenAI) -> object:
    return [model async for model in client.models.list()]


def client_of(port: int) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="k", max_retries=0)


async def as_a_plain_server(call: Call) -> None:
    """Sends no null usage: then the stream is the same, whether usage was asked for or not."""
    if b'"stream"' in call.body:
        await call.stream(chat_stream(3, usage=b"include_usage" in call.body), chunk=71, cut=13)
    else:
        await like_a_server(call)


@pytest.mark.parametrize("ask", [plain, stream, stream_with_usage, embeddings, models])
async def test_the_client_sees_the_same_with_and_without(
    ask: Callable[[AsyncOpenAI], Awaitable[object]],
) -> None:
    async with proxied(as_a_plain_server) as stand:
        async with client_of(stand.upstream.port) as direct, client_of(stand.port) as through:
            seen = [await ask(direct), await ask(through), await ask(through)]
        assert seen[0] == seen[1] == seen[2]
        stats = await stand.settled()
        if ask is not models:
            assert stats.series[0].outcomes == {Outcome.OK: 2}
            assert stats.series[0].tokens_in > 0


async def test_the_client_raises_its_own_error_for_a_block() -> None:
    order = Order(do=Do.BLOCK, reason="BudgetExhausted", expires_at=4e9, retry_after_s=30)
    async with proxied(like_a_server, SidecarConfig(order=order)) as stand:
        async with client_of(stand.port) as client:
            with pytest.raises(openai.RateLimitError) as error:
                await plain(client)
        assert (error.value.code, error.value.type) == (
            "token_budget_exhausted",
            "insufficient_quota",
        )
        assert "used up its token budget" in error.value.message
        assert error.value.response.headers["retry-after"] == "30"


async def test_the_client_notices_a_stream_that_was_cut() -> None:
    """Cut on its own, the client ends such a stream without a word."""

    async def script(call: Call) -> None:
        await call.stream(chat_stream(3, usage=False)[:200])

    async with proxied(script) as stand:
        async with client_of(stand.upstream.port) as direct:
            await stream(direct)
        async with client_of(stand.port) as through:
            with pytest.raises(openai.APIConnectionError):
                await stream(through)
