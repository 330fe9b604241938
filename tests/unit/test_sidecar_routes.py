"""A request goes where the config in force sends it."""

import asyncio

import pytest
import uvloop

from asked import PLAIN
from production_loop import Story, name_of, stories
from proxied import post, proxied
from tidegate_wire.config import Do, Model, Order, SidecarConfig
from upstream import Call, chat_reply, chat_stream, like_a_server, serving

FAR = 4e9


async def test_a_switch_rewrites_the_model_and_goes_elsewhere() -> None:
    async with serving(like_a_server) as cheap, proxied(like_a_server) as stand:
        models = (
            Model(name="big", input_price_per_mtok=100.0),
            Model(name="small", upstream=cheap.url, input_price_per_mtok=1.0),
        )
        order = Order(do=Do.SWITCH, model="small", reason="ErrorRateHigh", expires_at=FAR)
        stand.proxy.configure(SidecarConfig(models=models, order=order))
        body = b'{ "stream" : true ,"model": "big","x":1.50}'
        answer = await stand.ask(post(body))
        assert answer.body == chat_stream(3, usage=False, null_usage=True)
        assert not stand.upstream.calls
        (call,) = cheap.calls
        assert call.body == (
            b'{"stream_options":{"include_usage":true},'
            b' "stream" : true ,"model": "small","x":1.50}'
        )
        assert call.headers["host"] == f"127.0.0.1:{cheap.port}"
        await stand.settled()
        assert (stand.series.model, stand.series.cost) == ("small", pytest.approx(7e-6))


async def test_probes_go_to_the_first_model_and_are_counted_there() -> None:
    async with serving(like_a_server) as cheap, proxied(like_a_server) as stand:
        models = (Model(name="big"), Model(name="small", upstream=cheap.url))
        client = await stand.connect()
        for renewal in range(4):
            order = Order(
                do=Do.SWITCH,
                model="small",
                reason="ProbeStarted",
                expires_at=FAR + renewal,
                probe_share=0.05,
            )
            stand.proxy.configure(SidecarConfig(models=models, order=order))
            for _ in range(10):  # fewer than one probe's turn between two renewals of the order
                await client.send(post(PLAIN))
                await client.answer()
        stats = await stand.settled()
        assert {series.model: series.ended for series in stats.series} == {"big": 2, "small": 38}


async def test_a_new_config_holds_for_the_next_request() -> None:
    release = asyncio.Event()

    async def slow(call: Call) -> None:
        await release.wait()
        await call.answer(chat_reply())

    async with proxied(slow) as stand, asyncio.timeout(10):
        running = asyncio.create_task(stand.ask(post(PLAIN)))
        while not stand.upstream.calls:
            await asyncio.sleep(0.002)
        order = Order(do=Do.BLOCK, reason="ErrorRateHigh", expires_at=FAR)
        stand.proxy.configure(SidecarConfig(order=order))
        assert (await stand.ask(post(PLAIN))).status == 429
        release.set()
        assert (await running).status == 200


async def test_an_upstream_that_cant_be_understood_replaces_nothing() -> None:
    async with proxied(like_a_server, SidecarConfig(models=(Model(name="big"),))) as stand:
        with pytest.raises(ValueError, match="upstream must be like http:"):
            stand.proxy.configure(SidecarConfig(models=(Model(name="x", upstream="http://"),)))
        assert stand.proxy.config.models[0].name == "big"


@pytest.mark.parametrize("story", stories(globals()), ids=name_of)
def test_it_is_the_same_on_the_event_loop_of_production(story: Story) -> None:
    uvloop.run(story())
