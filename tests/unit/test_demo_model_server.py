"""The simulated model server, over real loopback sockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from openai import AsyncOpenAI

import model_servers
from model_servers import Serving
from tidegate_operator.demo.model_engine import Engine, Fault, Knobs, count_prompt_tokens
from tidegate_operator.demo.model_server import apply_control, read_arguments
from tidegate_wire.clock import Clock

MODEL = "llama-70b"


class Running:
    def __init__(self, server: Serving, http: aiohttp.ClientSession) -> None:
        self.url, self.admin, self.engine, self.http = (
            server.url,
            server.admin,
            server.engine,
            http,
        )

    async def chat(self, **fields: Any) -> tuple[int, bytes]:
        body = {"model": MODEL, "messages": [{"role": "user", "content": "hello there"}], **fields}
        async with self.http.post(f"{self.url}/v1/chat/completions", json=body) as answer:
            return answer.status, await answer.read()


@asynccontextmanager
async def serving(**knobs: Any) -> AsyncIterator[Running]:
    async with model_servers.serving(**knobs) as server, aiohttp.ClientSession() as http:
        yield Running(server, http)


def events(raw: bytes) -> list[Any]:
    lines = [line[6:] for line in raw.decode().split("\n") if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


async def test_the_openai_client_reads_whole_and_streamed_answers() -> None:
    async with serving(output_tokens=40) as server:
        client = AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none")
        whole = await client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "hello"}]
        )
        assert whole.usage is not None and whole.usage.completion_tokens == 40
        assert len((whole.choices[0].message.content or "").split()) == 40
        stream = await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "hello"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
        assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 40
        assert chunks[-2].choices[0].finish_reason == "stop"
        assert (await client.models.list()).data[0].id == MODEL
        vectors = await client.embeddings.create(model=MODEL, input=["a", "b"])
        assert len(vectors.data) == 2 and vectors.usage.prompt_tokens == 1
        await client.close()


async def test_an_answer_comes_in_few_events_and_usage_only_when_asked_for() -> None:
    async with serving(output_tokens=100, tokens_per_chunk=16) as server:
        status, raw = await server.chat(stream=True)
        chunks = events(raw)
        assert status == 200 and len(chunks) == 7
        assert not any(chunk.get("usage") for chunk in chunks)


async def test_max_tokens_cuts_the_answer_and_says_length() -> None:
    async with serving(output_tokens=100) as server:
        _, raw = await server.chat(max_tokens=7)
        body = json.loads(raw)
        assert body["usage"]["completion_tokens"] == 7
        assert body["choices"][0]["finish_reason"] == "length"


async def test_streaming_requests_queue_for_the_slots_too() -> None:
    async with serving(
        max_num_seqs=2, time_to_first_token=10.0, inter_token_latency=0.0, output_tokens=1
    ) as server:
        tasks = [asyncio.ensure_future(server.chat(stream=True)) for _ in range(4)]
        await asyncio.sleep(0.05)
        assert (server.engine.slots.running, server.engine.slots.waiting) == (2, 2)
        async with server.http.get(f"{server.url}/metrics") as answer:
            text = await answer.text()
        assert f'vllm:num_requests_waiting{{model_name="{MODEL}"}} 2' in text
        assert [status for status, _ in await asyncio.gather(*tasks)] == [200] * 4
        # those that had to wait came a moment after those that they waited for
        assert server.engine.totals.ttft.total >= 0.8 * (10 + 10 + 20 + 20)
        assert server.engine.slots.running == 0


async def test_a_full_queue_refuses_with_429() -> None:
    async with serving(
        max_num_seqs=1, max_waiting_queue_length=1, time_to_first_token=20.0
    ) as server:
        answers = await asyncio.gather(*(server.chat(stream=True) for _ in range(3)))
        assert sorted(status for status, _ in answers) == [200, 200, 429]
        assert server.engine.totals.refused == 1


async def test_a_client_that_leaves_frees_its_slot_and_its_place_in_the_queue() -> None:
    async with serving(max_num_seqs=1, time_to_first_token=1000.0) as server:
        tasks = [asyncio.ensure_future(server.chat()) for _ in range(2)]
        await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.05)
        assert (server.engine.slots.running, server.engine.slots.waiting) == (0, 0)


async def test_it_is_not_ready_and_refuses_until_the_model_is_loaded() -> None:
    async with serving(speed=10.0, startup_delay=3.0) as server:
        async with server.http.get(f"{server.url}/health") as answer:
            assert answer.status == 503
        assert (await server.chat())[0] == 503
        await asyncio.sleep(0.35)
        async with server.http.get(f"{server.url}/ready") as answer:
            assert answer.status == 200
        assert (await server.chat())[0] == 200


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault.RATE_LIMIT, 429),
        (Fault.SERVER_ERROR, 500),
        (Fault.CONTEXT_LENGTH, 400),
        (Fault.MODEL_NOT_FOUND, 404),
        (Fault.INVALID_API_KEY, 401),
        (Fault.GARBAGE, 200),
    ],
)
async def test_each_fault_looks_as_it_is_called(fault: Fault, status: int) -> None:
    async with serving(failure_injection_rate=1.0, failure_types=(fault,)) as server:
        got, raw = await server.chat()
        assert got == status
        if fault is Fault.GARBAGE:
            with pytest.raises(ValueError):
                json.loads(raw)
        else:
            assert json.loads(raw)["error"]["code"]
        assert server.engine.totals.to_value()["prompt_tokens"] == 0


async def test_a_cut_answer_ends_the_connection_and_a_hang_never_answers() -> None:
    async with serving(failure_injection_rate=1.0, failure_types=(Fault.CUT,)) as server:
        with pytest.raises(aiohttp.ClientError):
            await server.chat(stream=True)
        server.engine.knobs.failure_types = (Fault.HANG,)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(server.chat(), 0.1)


async def test_the_admin_door_changes_faults_and_shows_totals() -> None:
    async with serving(output_tokens=10) as server:
        control = f"{server.admin}/control"
        async with server.http.post(control, json={"failure_rate": 1}) as answer:
            assert answer.status == 200
        assert (await server.chat())[0] == 500
        async with server.http.post(control, json={"failure_rate": 0}) as answer:
            assert answer.status == 200
        assert (await server.chat())[0] == 200
        async with server.http.get(f"{server.admin}/totals") as answer:
            totals = await answer.json()
        assert totals["requests"] == 1 and totals["generation_tokens"] == 10
        async with server.http.get(f"{server.url}/totals") as answer:
            assert answer.status == 404


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"failure_rate": 2}, "failure_rate must be between 0 and 1, was: 2"),
        ({"failure_rate": "x"}, "failure_rate must be between 0 and 1"),
        ({"failure_types": ["fire"]}, "failure type must be one of"),
        ({"speed": 1}, "control takes failure_rate and failure_types"),
        ([], "control takes"),
    ],
)
def test_control_says_what_is_wrong(body: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        apply_control(Knobs(), body)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"model": "gpt-x"}, 404),
        ({"max_tokens": 0}, 400),
        ({"max_tokens": "many"}, 400),
        ({"max_tokens": 9000}, 400),
    ],
)
async def test_requests_it_cannot_run_are_refused(fields: Any, status: int) -> None:
    async with serving() as server:
        assert (await server.chat(**fields))[0] == status


async def test_bytes_that_are_no_http_or_no_json_get_400() -> None:
    async with serving() as server:
        async with server.http.post(f"{server.url}/v1/completions", data=b"{") as answer:
            assert answer.status == 400
        port = int(server.url.rsplit(":", 1)[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"what is this\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 400")
        writer.close()


async def test_a_chunked_body_is_read() -> None:
    async def body() -> AsyncIterator[bytes]:
        raw = json.dumps({"model": MODEL, "prompt": "hello"}).encode()
        for i in range(0, len(raw), 7):
            yield raw[i : i + 7]

    async with (
        serving(output_tokens=3) as server,
        server.http.post(f"{server.url}/v1/completions", data=body()) as answer,
    ):
        assert (await answer.json())["usage"]["completion_tokens"] == 3


async def test_load_slows_it_down_by_the_factor_asked_for() -> None:
    async with serving(
        max_num_seqs=2, time_to_first_token=10.0, time_factor_under_load=3.0, output_tokens=1
    ) as server:
        await server.chat()
        alone = server.engine.totals.e2e.total
        await asyncio.gather(server.chat(), server.chat())
        assert alone < 15
        assert server.engine.totals.e2e.total - alone > 35  # 10 and 30 seconds, or more


def test_equal_seeds_draw_equal_answers() -> None:
    def lengths(seed: int) -> list[int]:
        engine = Engine(Knobs(output_tokens_std=30.0, seed=seed), Clock())
        return [engine.plan(10, None).output_tokens for _ in range(20)]

    assert lengths(1) == lengths(1) != lengths(2)


def test_prompt_tokens_count_text_wherever_it_stands() -> None:
    parts = [{"type": "text", "text": "x" * 8}]
    assert count_prompt_tokens({"messages": [{"content": "x" * 40}, {"content": parts}]}) == 12
    assert count_prompt_tokens({"prompt": ["x" * 4, "x" * 4]}) == 2
    assert count_prompt_tokens({}) == 1


def test_options_bear_the_names_of_the_knobs() -> None:
    read = read_arguments(
        ["--max-num-seqs", "3", "--failure-types", "cut,hang", "--failure-injection-rate", "0.5"]
    )
    assert read.max_num_seqs == 3
    assert read.failure_types == (Fault.CUT, Fault.HANG)
    assert read.failure_injection_rate == 0.5
