"""Each API through the running proxy: what passes is the same byte for byte, and what is counted
is what the answer told."""

import asyncio
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from proxied import Answer, Stand, post, proxied
from recorded import Recorded
from recorded_chat import CHAT
from recorded_messages import MESSAGES
from recorded_responses import RESPONSES
from recorded_streams import STREAMS
from tidegate_sidecar.dialect import anthropic, openai, responses
from tidegate_sidecar.dialect.shape import Dialect, parse_call
from tidegate_sidecar.exposition import exposition
from tidegate_wire.config import Do, Model, Order, SidecarConfig, Timeouts
from tidegate_wire.names import Metric, Outcome, Refusal
from upstream import Call, like_a_server, serving

PATHS = {
    openai.CHAT: "/v1/chat/completions",
    openai.COMPLETIONS: "/v1/completions",
    openai.EMBEDDINGS: "/v1/embeddings",
    responses.RESPONSES: "/v1/responses",
    anthropic.MESSAGES: "/v1/messages",
    anthropic.COUNT_TOKENS: "/v1/messages/count_tokens",
}
ASK = b'{"model":"big","stream":true}'
ASK_USAGE = b'{"model":"big","stream":true,"stream_options":{"include_usage":true}}'
FAR = 4e9


def asked_of(dialect: Dialect) -> bytes:
    return ASK_USAGE if dialect in (openai.CHAT, openai.COMPLETIONS) else ASK


def outcome_of(recorded: Recorded) -> Outcome:
    if recorded.failed:
        return Outcome.SERVER_ERROR
    return Outcome.OK if recorded.last else Outcome.BROKEN


def tokens_of(stand: Stand) -> dict[tuple[str, str], float]:
    """By type and source, and by part, as Prometheus reads them."""
    told: dict[tuple[str, str], float] = {}
    text = "".join(exposition(stand.meter, openmetrics=False))
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == Metric.TOKENS:
                told[sample.labels["type"], sample.labels["source"]] = sample.value
            elif sample.name == Metric.TOKEN_PARTS:
                told[sample.labels["part"], "part"] = sample.value
    return told


@pytest.mark.parametrize("recorded", STREAMS.values(), ids=STREAMS)
async def test_every_stream_passes_and_is_counted(recorded: Recorded) -> None:
    async def script(call: Call) -> None:
        await call.stream(recorded.data, chunk=311)

    async with proxied(script) as stand:
        asked = asked_of(recorded.dialect)
        answer = await stand.ask(post(asked, PATHS[recorded.dialect]))
        assert answer.body == recorded.data
        assert stand.upstream.calls[0].body == asked
        await stand.settled()
        outcome = outcome_of(recorded)
        assert answer.whole is (outcome is not Outcome.BROKEN)
        assert stand.series.outcomes == {outcome: 1}
        assert stand.series.ttft_count == bool(recorded.first)
        assert tokens_of(stand) == expected_tokens(recorded, len(asked))


def expected_tokens(recorded: Recorded, asked_bytes: int) -> dict[tuple[str, str], float]:
    estimated = {("output", "estimated"): recorded.events}
    if recorded.usage is None:
        return estimated | {("input", "estimated"): asked_bytes // 4} if recorded.events else {}
    incoming, outgoing, cached, created, reasoning = recorded.usage
    counts = {
        ("input", "reported"): incoming,
        ("cached_input", "part"): cached,
        ("cache_creation", "part"): created,
        ("reasoning", "part"): reasoning,
    }
    output = estimated if recorded.partial else {("output", "reported"): outgoing}
    return {name: count for name, count in (counts | output).items() if count}


USAGE_TAKEN = [name for name, one in CHAT.items() if b'"choices":[],"usage"' in one.data]


@pytest.mark.parametrize("name", USAGE_TAKEN)
async def test_usage_that_was_not_asked_for_is_counted_and_taken_out(name: str) -> None:
    recorded = CHAT[name]
    start = recorded.data.index(b'"choices":[],"usage"')
    start = recorded.data.rindex(b"data: ", 0, start)
    left = recorded.data[:start] + b"data: [DONE]\n\n"

    async def script(call: Call) -> None:
        assert json.loads(call.body)["stream_options"] == {"include_usage": True}
        await call.stream(recorded.data, chunk=97)

    async with proxied(script) as stand:
        answer = await stand.ask(post(ASK))
        assert (answer.body, answer.whole) == (left, True)
        await stand.settled()
        assert tokens_of(stand) == expected_tokens(recorded, 0)


PLAIN: dict[str, tuple[Dialect, bytes, tuple[int, int, int]]] = {
    "chat": (
        openai.CHAT,
        b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop","logprobs":{"content":[]}'
        b'}],"usage":{"prompt_tokens":7,"completion_tokens":3}}',
        (7, 3, 0),
    ),
    "a response": (
        responses.RESPONSES,
        b'{"object":"response","status":"completed","output":[],"usage":{"input_tokens":7,'
        b'"output_tokens":3}}',
        (7, 3, 0),
    ),
    "a response that is made in the background": (
        responses.RESPONSES,
        b'{"object":"response","status":"queued","output":[],"usage":null}',
        (7, 0, 7),
    ),
    "a message": (
        anthropic.MESSAGES,
        b'{"type":"message","content":[],"usage":{"input_tokens":2,"cache_read_input_tokens":5,'
        b'"output_tokens":3}}',
        (7, 3, 0),
    ),
    "a count of tokens": (anthropic.COUNT_TOKENS, b'{"input_tokens":2095}', (0, 0, 0)),
}


@pytest.mark.parametrize(("dialect", "body", "tokens"), PLAIN.values(), ids=PLAIN)
async def test_plain_answers_pass_and_are_counted(
    dialect: Dialect, body: bytes, tokens: tuple[int, int, int]
) -> None:

    async def script(call: Call) -> None:
        await call.answer(body)

    async with proxied(script) as stand:
        answer = await stand.ask(post(b'{"model":"big","max_tokens":1}', PATHS[dialect]))
        assert (answer.status, answer.body) == (200, body)
        await stand.settled()
        series = stand.series
        assert (series.model, series.outcomes) == ("big", {Outcome.OK: 1})
        assert (series.tokens_in, series.tokens_out, series.tokens_estimated) == tokens


# --- where output begins -------------------------------------------------------------------------


@pytest.mark.parametrize("recorded", [MESSAGES["text, with a cache"], RESPONSES["text"]])
async def test_what_opens_a_stream_is_no_first_token(recorded: Recorded) -> None:
    """livekit/agents#6171: what keeps a stream alive must not count as its first token."""
    opening = recorded.data[: recorded.data.rindex(b"event:", 0, recorded.data.index(b"Hel"))]

    async def script(call: Call) -> None:
        await call.begin_stream()
        await call.chunk(opening)
        while not call.writer.transport.is_closing():
            await call.chunk(b'event: ping\ndata: {"type": "ping"}\n\n')
            await asyncio.sleep(0.01)

    config = SidecarConfig(timeouts=Timeouts(first_token_s=6, connect_s=60))
    async with proxied(script, config, speed=60) as stand:
        answer = await stand.ask(post(ASK, PATHS[recorded.dialect]))
        assert answer.body.startswith(opening)
        assert not answer.whole
        assert (stand.series.outcomes, stand.series.ttft_count) == ({Outcome.TIMEOUT: 1}, 0)


async def test_a_client_that_leaves_is_charged_what_it_got() -> None:
    recorded = MESSAGES["cut in the middle"]

    async def script(call: Call) -> None:
        await call.begin_stream()
        await call.chunk(recorded.data)
        await call.gone()

    async with proxied(script) as stand:
        client = await stand.connect()
        await client.send(post(ASK, "/v1/messages"))
        await client.reader.readuntil(b'"text":"!"}}\n\n')
        client.leave()
        await stand.settled()
        assert stand.series.outcomes == {Outcome.CANCELLED: 1}
        assert tokens_of(stand) == expected_tokens(recorded, 0)


LEFT = {
    "after the last word": (CHAT["OpenAI, usage asked for"], Outcome.OK),
    "after the last word of a response": (RESPONSES["text"], Outcome.OK),
    "after the last word of a message": (MESSAGES["text, with a cache"], Outcome.OK),
    "because of an error": (MESSAGES["overloaded in the middle"], Outcome.SERVER_ERROR),
    "one word too early": (MESSAGES["cut before its last word"], Outcome.CANCELLED),
    "in the middle": (CHAT["cut before its end"], Outcome.CANCELLED),
}


@pytest.mark.parametrize(("recorded", "outcome"), LEFT.values(), ids=LEFT)
async def test_how_a_request_ends_that_its_client_leaves(
    recorded: Recorded, outcome: Outcome
) -> None:
    """Clients close the connection as soon as they have read the last event, or an error."""

    async def script(call: Call) -> None:
        await call.begin_stream()
        await call.chunk(recorded.data)
        await call.gone()

    async with proxied(script) as stand:
        client = await stand.connect()
        await client.send(post(asked_of(recorded.dialect), PATHS[recorded.dialect]))
        await client.reader.readuntil(recorded.data[-40:])
        client.leave()
        await stand.settled()
        assert stand.series.outcomes == {outcome: 1}
        assert tokens_of(stand) == expected_tokens(recorded, len(asked_of(recorded.dialect)))


# --- errors of ours ------------------------------------------------------------------------------


def error_of(answer: Answer) -> dict[str, object]:
    body = json.loads(answer.body)
    assert isinstance(body, dict)
    return body


def blocked() -> SidecarConfig:
    order = Order(do=Do.BLOCK, reason="BudgetExhausted", expires_at=FAR, retry_after_s=30)
    return SidecarConfig(order=order)


ANTHROPIC_PATHS = ("/v1/messages", "/v1/messages/count_tokens", "/v1/messages/batches")


@pytest.mark.parametrize("path", ANTHROPIC_PATHS)
async def test_a_block_in_anthropics_shape(path: str) -> None:
    async with proxied(like_a_server, blocked()) as stand:
        answer = await stand.ask(post(ASK, path))
        assert (answer.status, answer.headers["retry-after"]) == (429, "30")
        error = error_of(answer)
        assert (error["type"], set(error)) == ("error", {"type", "error"})
        assert error["error"]["type"] == "rate_limit_error"  # type: ignore[index]


async def test_refusals_and_failures_in_anthropics_shape() -> None:
    async def script(call: Call) -> None:
        call.cut()

    async with proxied(script, SidecarConfig(max_request_bytes=1000)) as stand:
        for body, status, kind in (
            (ASK, 502, "api_error"),
            (b"x" * 2000, 413, "request_too_large"),
        ):
            answer = await stand.ask(post(body, "/v1/messages"))
            assert answer.status == status
            assert error_of(answer)["error"]["type"] == kind  # type: ignore[index]


async def test_a_time_out_in_anthropics_shape() -> None:
    async def script(call: Call) -> None:
        await call.gone()

    config = SidecarConfig(timeouts=Timeouts(first_token_s=6, connect_s=60))
    async with proxied(script, config, speed=60) as stand:
        answer = await stand.ask(post(ASK, "/v1/messages"))
        assert answer.status == 504
        assert error_of(answer)["error"]["type"] == "timeout_error"  # type: ignore[index]


async def test_other_apis_get_openais_shape() -> None:
    async with proxied(like_a_server, blocked()) as stand:
        for path in ("/v1/responses", "/v1/score"):
            error = error_of(await stand.ask(post(ASK, path)))["error"]
            assert error["code"] == Refusal.BLOCKED_BUDGET  # type: ignore[index]


# --- another model -------------------------------------------------------------------------------

SWITCHED = SidecarConfig(
    models=(Model(name="big"), Model(name="small")),
    order=Order(do=Do.SWITCH, model="small", reason="ErrorRateHigh", expires_at=FAR),
)


@pytest.mark.parametrize("path", PATHS.values(), ids=[path[4:] for path in PATHS.values()])
async def test_a_switch_changes_the_model_in_every_api(path: str) -> None:
    body = b'{ "input" : {"model":"big"}, "model": "big" , "x": 1.50}'

    async with proxied(like_as_may_be, SWITCHED) as stand:
        await stand.ask(post(body, path))
        assert stand.upstream.calls[0].body == body.replace(b'"model": "big"', b'"model": "small"')
        await stand.settled()
        assert stand.series.model == "small"


async def like_as_may_be(call: Call) -> None:
    await call.answer(b"{}")


async def test_on_azure_the_path_names_the_model() -> None:
    path = "/openai/deployments/{}/chat/completions?api-version=2024-10-21"
    async with serving(like_as_may_be) as elsewhere, proxied(like_as_may_be) as stand:
        models = (Model(name="big"), Model(name="small one", upstream=elsewhere.url))
        stand.proxy.configure(replace(SWITCHED, models=models, order=None))
        await stand.ask(post(b'{"messages":[]}', path.format("big")))
        assert stand.upstream.calls[0].target == path.format("big")
        order = Order(do=Do.SWITCH, model="small one", reason="ErrorRateHigh", expires_at=FAR)
        stand.proxy.configure(SidecarConfig(models=models, order=order))
        await stand.ask(post(b'{"model":"big","messages":[]}', path.format("big")))
        (call,) = elsewhere.calls
        assert call.target == path.format("small%20one")
        assert call.body == b'{"model":"small one","messages":[]}'
        stats = await stand.settled()
        assert {one.model: one.ended for one in stats.series} == {"big": 1, "small one": 1}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(st.text(max_size=6), JSON, max_size=5),
    st.sampled_from([None, 1]),
    st.sampled_from(sorted(PATHS, key=lambda dialect: PATHS[dialect])),
)
def test_a_rewritten_body_differs_in_its_model_alone(
    rest: dict[str, object], indent: int | None, dialect: Dialect
) -> None:
    value = {**rest, "model": "big"}
    value.pop("stream", None)
    value.pop("stream_options", None)
    body = json.dumps(value, indent=indent).encode()
    call = parse_call(body)
    assert call is not None
    changed = dialect.rewrite(body, call, "small", ask_usage=False)
    assert json.loads(changed) == {**value, "model": "small"}
    assert dialect.rewrite(body, call, "big", ask_usage=False) is body
    assert dialect.rewrite(body, call, None, ask_usage=False) is body


def test_only_chat_has_to_be_asked_for_usage() -> None:
    call = parse_call(ASK)
    assert call is not None
    asks = {
        PATHS[dialect] for dialect in PATHS if dialect.streamed and dialect.must_ask_usage(call)
    }
    assert asks == {"/v1/chat/completions", "/v1/completions"}
