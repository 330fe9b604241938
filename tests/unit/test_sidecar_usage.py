"""What an answer of each API says that it cost, in one measure for all; and what it is taken for
where it says nothing."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recorded import flat
from tidegate_sidecar.dialect import anthropic, openai, responses
from tidegate_sidecar.dialect.shape import Dialect
from tidegate_sidecar.dialect.usage import (
    CHARS_PER_TOKEN,
    END_BYTES,
    WHOLE_BYTES,
    PlainAnswer,
    Usage,
    UsageReader,
    request_tokens,
)

Flat = tuple[int, int, int, int, int]

TOLD: dict[str, tuple[UsageReader, bytes, Flat | None]] = {
    "chat: both counts": (
        openai.read_usage,
        b'{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}',
        (7, 3, 0, 0, 0),
    ),
    "chat: all the parts": (
        openai.read_usage,
        b'{"prompt_tokens":20,"completion_tokens":9,"total_tokens":29,"prompt_tokens_details":'
        b'{"cached_tokens":16,"cache_write_tokens":2,"audio_tokens":0},'
        b'"completion_tokens_details":{"reasoning_tokens":6}}',
        (20, 9, 16, 2, 6),
    ),
    "chat: parts that are null": (
        openai.read_usage,
        b'{"prompt_tokens":7,"completion_tokens":3,"prompt_tokens_details":null,'
        b'"completion_tokens_details":{"reasoning_tokens":null}}',
        (7, 3, 0, 0, 0),
    ),
    "chat: reasoning only in the total, as xAI has it": (
        openai.read_usage,
        b'{"prompt_tokens":32,"completion_tokens":9,"total_tokens":135,'
        b'"completion_tokens_details":{"reasoning_tokens":94}}',
        (32, 103, 0, 0, 94),
    ),
    "chat: a total that is too small": (
        openai.read_usage,
        b'{"prompt_tokens":7,"completion_tokens":3,"total_tokens":1}',
        (7, 3, 0, 0, 0),
    ),
    "embeddings have no output": (
        openai.read_usage,
        b'{"prompt_tokens":7,"total_tokens":7}',
        (7, 0, 0, 0, 0),
    ),
    "embeddings with a null for it": (
        openai.read_usage,
        b'{"prompt_tokens":7,"completion_tokens":null,"total_tokens":7}',
        (7, 0, 0, 0, 0),
    ),
    "response: all the parts": (
        responses.read_usage,
        b'{"input_tokens":36,"input_tokens_details":{"cached_tokens":12,"cache_write_tokens":4},'
        b'"output_tokens":87,"output_tokens_details":{"reasoning_tokens":64},"total_tokens":123}',
        (36, 87, 12, 4, 64),
    ),
    "response: without parts": (
        responses.read_usage,
        b'{"input_tokens":36,"output_tokens":87}',
        (36, 87, 0, 0, 0),
    ),
    "message: input beside what was cached": (
        anthropic.read_usage,
        b'{"input_tokens":12,"cache_creation_input_tokens":300,"cache_read_input_tokens":4000,'
        b'"output_tokens":15,"output_tokens_details":{"thinking_tokens":10}}',
        (4312, 15, 4000, 300, 10),
    ),
    "message: nulls for what was cached": (
        anthropic.read_usage,
        b'{"input_tokens":12,"cache_creation_input_tokens":null,"cache_read_input_tokens":null,'
        b'"output_tokens":15}',
        (12, 15, 0, 0, 0),
    ),
}
for api, reader in (
    ("chat", openai.read_usage),
    ("response", responses.read_usage),
    ("message", anthropic.read_usage),
):
    TOLD |= {
        f"{api}: null": (reader, b"null", None),
        f"{api}: nothing": (reader, b"", None),
        f"{api}: a number": (reader, b"5", None),
        f"{api}: counts that are text": (
            reader,
            b'{"prompt_tokens":"7","input_tokens":"7"}',
            None,
        ),
    }


@pytest.mark.parametrize(("read", "raw", "usage"), TOLD.values(), ids=TOLD)
def test_usage_in_one_measure(read: UsageReader, raw: bytes, usage: Flat | None) -> None:
    assert flat(read(raw)) == usage


@given(st.lists(st.integers(-5, 50), min_size=5, max_size=5))
def test_parts_are_never_more_than_the_whole_nor_less_than_nothing(counts: list[int]) -> None:
    incoming, outgoing, cached, created, reasoning = counts
    usage = Usage(
        incoming, outgoing, cached_input=cached, cache_creation=created, reasoning=reasoning
    )
    assert min(flat(usage) or ()) >= 0
    assert usage.cached_input + usage.cache_creation <= usage.incoming
    assert usage.reasoning <= usage.outgoing


# --- plain answers -------------------------------------------------------------------------------

CHAT_USAGE = b'{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}'
PLAIN_USAGE = b'{"input_tokens":7,"output_tokens":3}'
EXPECTED = (7, 3, 0, 0, 0)


def chat(text: bytes, usage: bytes) -> bytes:
    return b'{"choices":[{"message":{"content":"%b"},"finish_reason":"stop"}],"usage":%b}' % (
        text,
        usage,
    )


def response(text: bytes, usage: bytes) -> bytes:
    return (
        b'{"object":"response","output":[{"type":"message","id":"msg_123456789","status":'
        b'"completed","content":[{"type":"output_text","text":"%b","annotations":[]}]}],'
        b'"usage":%b,"user":null,"metadata":{}}'
    ) % (text, usage)


def message(text: bytes, usage: bytes) -> bytes:
    return (
        b'{"id":"msg_1","type":"message","content":[{"type":"text","text":"%b"}],'
        b'"stop_reason":"end_turn","usage":%b}'
    ) % (text, usage)


Build = Callable[[bytes, bytes], bytes]
APIS: list[tuple[Dialect, Build, bytes]] = [
    (openai.CHAT, chat, CHAT_USAGE),
    (responses.RESPONSES, response, PLAIN_USAGE),
    (anthropic.MESSAGES, message, PLAIN_USAGE),
]
each_api = pytest.mark.parametrize(
    ("dialect", "build", "usage"), APIS, ids=["chat", "response", "message"]
)


def answered(data: bytes, size: int = 1 << 16, *, told: bool = False) -> PlainAnswer:
    """``told``: its length was said beforehand."""
    answer = PlainAnswer(len(data) if told else -1)
    for i in range(0, len(data), size):
        answer.feed(data[i : i + size])
    return answer


@each_api
@pytest.mark.parametrize("length", [0, 10_000, WHOLE_BYTES - 100, WHOLE_BYTES + 10, 1_000_000])
@pytest.mark.parametrize("size", [1000, 65_536, 1 << 21])
@pytest.mark.parametrize("told", [True, False], ids=["length told", "length not told"])
def test_usage_of_an_answer_of_any_length_in_reads_of_any_size(
    dialect: Dialect, build: Build, usage: bytes, length: int, size: int, told: bool
) -> None:
    # What the model says of usage is no usage: its quotes are escaped.
    said = b'\\"usage\\":{\\"prompt_tokens\\":1,\\"input_tokens\\":1} '
    data = build(said * (length // len(said) + 1), usage)
    answer = answered(data, size, told=told)
    assert flat(dialect.usage(answer)) == EXPECTED
    assert answer.kept <= WHOLE_BYTES + END_BYTES
    assert answer.size == len(data)
    if len(data) <= WHOLE_BYTES:
        assert answer.whole == data
    else:
        assert answer.whole is None
        assert not told or answer.kept == 2 * END_BYTES, "nobody could read the rest"


@each_api
@pytest.mark.parametrize("told", [b"null", b"[]", b'{"prompt_tokens":"x","input_tokens":"x"}'])
def test_an_answer_that_does_not_tell_is_weighed_by_its_texts(
    dialect: Dialect, build: Build, usage: bytes, told: bytes
) -> None:
    answer = answered(build(b"x" * 400, told))
    assert (dialect.usage(answer), dialect.estimate(answer)) == (None, 100)


@each_api
@given(data=st.binary(max_size=200))
def test_any_answer_is_read(dialect: Dialect, build: Build, usage: bytes, data: bytes) -> None:
    for raw in (data, build(data, usage), build(b"", data)):
        answer = answered(raw)
        dialect.usage(answer)
        assert dialect.estimate(answer) >= 0


WEIGHED = {
    "reasoning counts": (
        openai.CHAT,
        {"choices": [{"message": {"role": "assistant", "reasoning_content": "x" * 40}}]},
        10,
    ),
    "the arguments of a tool count, and not its id": (
        openai.CHAT,
        {
            "choices": [
                {
                    "message": {
                        "content": None,
                        "tool_calls": [
                            {
                                "id": "i" * 99,
                                "type": "function",
                                "function": {"name": "find", "arguments": "x" * 36},
                            }
                        ],
                    }
                }
            ]
        },
        10,
    ),
    "all the choices count": (
        openai.COMPLETIONS,
        {"choices": [{"text": "x" * 20}, {"text": "x" * 20}]},
        10,
    ),
    "a response's reasoning and calls count": (
        responses.RESPONSES,
        {
            "output": [
                {"type": "reasoning", "id": "r", "summary": [{"type": "text", "text": "x" * 16}]},
                {"type": "function_call", "name": "find", "arguments": "x" * 20, "call_id": "c"},
            ]
        },
        10,
    ),
    "a message's thinking and calls count": (
        anthropic.MESSAGES,
        {
            "content": [
                {"type": "thinking", "thinking": "x" * 16, "signature": "s" * 999},
                {"type": "tool_use", "id": "i" * 99, "name": "find", "input": {"a": "x" * 20}},
            ]
        },
        10,
    ),
    "what can't be read has no weight": (openai.CHAT, ["x" * 400], 0),
    "what can't be read has no weight in a message": (anthropic.MESSAGES, ["x" * 400], 0),
    "what can't be read has no weight in a response": (responses.RESPONSES, ["x" * 400], 0),
}


@pytest.mark.parametrize(("dialect", "answer", "tokens"), WEIGHED.values(), ids=WEIGHED)
def test_what_an_answer_is_taken_for(dialect: Dialect, answer: object, tokens: int) -> None:
    assert dialect.estimate(answered(json.dumps(answer).encode())) == tokens


@each_api
def test_an_answer_too_long_to_be_read_is_not_free(
    dialect: Dialect, build: Build, usage: bytes
) -> None:
    """LLMKube#1852: what told nothing of usage was charged 0."""
    data = build(b"x" * WHOLE_BYTES, b"null")
    answer = answered(data)
    assert dialect.usage(answer) is None
    assert dialect.estimate(answer) == len(data) // CHARS_PER_TOKEN


def test_embeddings_are_no_output_however_long() -> None:
    assert openai.EMBEDDINGS.estimate(answered(b'{"data":[' + b"0.1," * WHOLE_BYTES)) == 0


def test_what_is_kept_of_an_answer_has_a_bound() -> None:
    answer = answered(b"x" * 5_000_000, 10_000)
    assert answer.size == 5_000_000
    assert len(answer._head) + len(answer._tail) <= WHOLE_BYTES + 10_000 + END_BYTES


# --- requests ------------------------------------------------------------------------------------

TEXT = b'{"role":"user","content":"The quick brown fox jumps over the lazy dog."},' * 100
PICTURE = b'{"type":"image_url","image_url":{"url":"data:image/png;base64,%b"}}' % (
    b"iVBORw0KG" * 99_999
)
REQUESTS = {
    "a short one": (TEXT[:400], 100, 100),
    "a long text": (TEXT * 30, len(TEXT) * 30 // 4, len(TEXT) * 30 // 4),
    "a long text in Chinese": ("\u85cf\u5b9d".encode() * 40_000, 60_000, 60_000),
    "a picture of 900 KB": (PICTURE, 850, 8_000),
    "a picture, and as much text": (PICTURE + TEXT * 119, 210_000, 240_000),
}


@pytest.mark.parametrize(("body", "least", "most"), REQUESTS.values(), ids=REQUESTS)
def test_what_a_request_is_taken_for(body: bytes, least: int, most: int) -> None:
    assert least <= request_tokens(body) <= most


# --- errors of ours ------------------------------------------------------------------------------

ERRORS = {
    400: ("invalid_request_error", "invalid_request_error"),
    413: ("invalid_request_error", "request_too_large"),
    417: ("invalid_request_error", "invalid_request_error"),
    429: ("insufficient_quota", "rate_limit_error"),
    500: ("server_error", "api_error"),
    502: ("server_error", "api_error"),
    503: ("server_error", "overloaded_error"),
    504: ("server_error", "timeout_error"),
}


@pytest.mark.parametrize(("status", "kinds"), ERRORS.items(), ids=map(str, ERRORS))
def test_errors_in_the_shape_of_each_api(status: int, kinds: tuple[str, str]) -> None:
    """https://platform.openai.com/docs/guides/error-codes, https://docs.claude.com/en/api/errors"""
    text = 'no "x"\u2028'
    for dialect in (openai.CHAT, openai.MODELS, responses.RESPONSES):
        assert json.loads(dialect.error_body(status, text, "c")) == {
            "error": {"message": text, "type": kinds[0], "param": None, "code": "c"}
        }
    for dialect in (anthropic.MESSAGES, anthropic.COUNT_TOKENS, anthropic.OTHER_CALL):
        assert json.loads(dialect.error_body(status, text, "c")) == {
            "type": "error",
            "error": {"type": kinds[1], "message": text},
        }
