"""What takes too long ends, on a clock that runs 60 times as fast."""

import asyncio
import json
import time

import pytest
import uvloop

from asked import PLAIN, STREAM
from production_loop import Story, name_of, stories
from proxied import post, proxied, refused_with
from tidegate_wire.config import Model, SidecarConfig, Timeouts
from tidegate_wire.names import Outcome, Refusal
from upstream import TOKEN, Call, chat_reply, deaf, hang, like_a_server, stall


async def only_comments(call: Call) -> None:
    """livekit/agents#6171: keep-alives must not reset the clock of the first token."""
    await call.begin_stream()
    while not call.writer.transport.is_closing():
        await call.chunk(b": keep-alive\n\n")
        await asyncio.sleep(0.01)


async def drip(call: Call) -> None:
    await call.begin_stream()
    while not call.writer.transport.is_closing():
        await call.chunk(TOKEN)
        await asyncio.sleep(0.01)


TIMEOUTS = {
    "no first token, litellm#19909": (hang, STREAM, Timeouts(first_token_s=6, connect_s=60), 504),
    "nothing but comments": (only_comments, STREAM, Timeouts(first_token_s=6, connect_s=60), 200),
    "no answer, production-stack#749": (hang, PLAIN, Timeouts(total_s=6, connect_s=60), 504),
    "a stream that stalls": (stall, STREAM, Timeouts(idle_s=6, connect_s=60), 200),
    "a stream without end": (drip, STREAM, Timeouts(total_s=12, idle_s=30, connect_s=60), 200),
}


@pytest.mark.parametrize(("script", "body", "limits", "status"), TIMEOUTS.values(), ids=TIMEOUTS)
async def test_what_takes_too_long_is_ended(
    script: object, body: bytes, limits: Timeouts, status: int
) -> None:
    config = SidecarConfig(timeouts=limits)
    async with proxied(script, config, speed=60) as stand, asyncio.timeout(10):  # type: ignore[arg-type]
        answer = await stand.ask(post(body))
        assert answer.status == status
        if status == 504:
            assert refused_with(answer) == (504, "server_error", Refusal.TIMEOUT)
        else:
            assert not answer.whole
        assert stand.series.outcomes == {Outcome.TIMEOUT: 1}
        await stand.upstream.calls[0].over.wait()


async def test_a_plain_call_may_take_longer_than_a_first_token() -> None:
    async def script(call: Call) -> None:
        await asyncio.sleep(0.2)
        await call.answer(chat_reply())

    config = SidecarConfig(timeouts=Timeouts(first_token_s=3, idle_s=3, connect_s=60))
    async with proxied(script, config, speed=60) as stand:
        assert (await stand.ask(post(PLAIN))).status == 200


async def test_a_stream_may_last_longer_than_its_pauses() -> None:
    async def script(call: Call) -> None:
        await call.begin_stream()
        for _ in range(60):
            await call.chunk(TOKEN)
            await asyncio.sleep(0.02)
        await call.chunk(b"data: [DONE]\n\n")
        await call.send(b"0\r\n\r\n")

    config = SidecarConfig(timeouts=Timeouts(idle_s=45, connect_s=60))
    async with proxied(script, config, speed=60) as stand:
        assert (await stand.ask(post(STREAM))).whole


async def test_a_connection_that_is_not_accepted_times_out() -> None:
    with deaf() as url:
        models = (Model(name="big", upstream=url),)
        config = SidecarConfig(models=models, timeouts=Timeouts(connect_s=6))
        async with proxied(like_a_server, config, speed=60) as stand, asyncio.timeout(10):
            answer = await stand.ask(post(PLAIN))
            assert refused_with(answer) == (504, "server_error", Refusal.CONNECT)
            assert stand.series.outcomes == {Outcome.CONNECT_ERROR: 1}
            assert "accept a connection" in json.loads(answer.body)["error"]["message"]


async def test_a_loop_that_is_always_behind_ends_it_all_the_same() -> None:
    async def is_behind() -> None:
        while True:
            time.sleep(0.1)  # in which five sweeps are due
            await asyncio.sleep(0)

    config = SidecarConfig(timeouts=Timeouts(first_token_s=90, connect_s=600))
    async with proxied(hang, config, speed=60) as stand, asyncio.timeout(20):
        busy = asyncio.create_task(is_behind())
        answer = await stand.ask(post(STREAM))
        busy.cancel()
        assert refused_with(answer) == (504, "server_error", Refusal.TIMEOUT)


@pytest.mark.parametrize("begun", [b"", b"POST /v1/chat", post(PLAIN)[:-5]])
async def test_a_client_that_stands_still_is_let_go(begun: bytes) -> None:
    async with proxied(like_a_server, speed=600 if begun else 36_000) as stand:
        client = await stand.connect()
        await client.send(begun)
        async with asyncio.timeout(10):
            if begun:
                answer = await client.answer()
                assert refused_with(answer) == (408, "invalid_request_error", Refusal.TOO_SLOW)
            assert await client.closed()
            client.leave()
            while stand.proxy.clients:
                await asyncio.sleep(0.002)


@pytest.mark.parametrize("story", stories(globals()), ids=name_of)
def test_it_is_the_same_on_the_event_loop_of_production(story: Story) -> None:
    uvloop.run(story())
