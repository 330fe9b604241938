"""The OpenAI API as the sidecar understands it: what is read, and what is changed in a body."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate_sidecar.dialect.openai import CHAT, is_usage_only
from tidegate_sidecar.dialect.shape import parse_call
from tidegate_sidecar.dialect.usage import WHOLE_BYTES, PlainAnswer


def rewritten(body: bytes, model: str | None, ask_usage: bool = False) -> bytes:
    call = parse_call(body)
    assert call is not None
    return CHAT.rewrite(body, call, model, ask_usage)


REWRITES = {
    "the model alone": (
        b' {"a" : [1.0,{"model":"in"}] ,\t"model" : "big" , "z":"\\u0041"}\n',
        "small",
        False,
        b' {"a" : [1.0,{"model":"in"}] ,\t"model" : "small" , "z":"\\u0041"}\n',
    ),
    "a model named twice, since servers take the last": (
        b'{"model":"x","b":1,"model":"big"}',
        "small",
        False,
        b'{"model":"small","b":1,"model":"small"}',
    ),
    "a key in escapes": (b'{"mod\\u0065l":"big"}', "small", False, b'{"mod\\u0065l":"small"}'),
    "a value that looks like a key": (
        b'{"user":"model","model":"big","x":"\\"model\\":1,}"}',
        "small",
        False,
        b'{"user":"model","model":"small","x":"\\"model\\":1,}"}',
    ),
    "a model with quotes in its name": (b'{"model":"big"}', 'a"b', False, b'{"model":"a\\"b"}'),
    "usage where nothing is said of it": (
        b'{"model":"big","stream":true}',
        None,
        True,
        b'{"stream_options":{"include_usage":true},"model":"big","stream":true}',
    ),
    "usage where it is null": (
        b'{"stream_options": null ,"stream":true}',
        None,
        True,
        b'{"stream_options": {"include_usage":true} ,"stream":true}',
    ),
    "usage where it is refused, beside other options": (
        b'{"stream_options":{"x":1.50,"include_usage":false}}',
        None,
        True,
        b'{"stream_options":{"x":1.50,"include_usage":true}}',
    ),
    "both": (
        b'{"model":"big","stream_options":{}}',
        "small",
        True,
        b'{"model":"small","stream_options":{"include_usage":true}}',
    ),
}


@pytest.mark.parametrize(("body", "model", "ask", "left"), REWRITES.values(), ids=REWRITES)
def test_rewriting_touches_nothing_else(
    body: bytes, model: str | None, ask: bool, left: bytes
) -> None:
    assert rewritten(body, model, ask) == left


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.text(max_size=6).filter(lambda key: key != "stream_options"), JSON, max_size=5
    ),
    st.sampled_from([None, 1]),
    st.booleans(),
)
def test_rewriting_any_body_changes_only_what_it_should(
    rest: dict[str, object], indent: int | None, ascii_only: bool
) -> None:
    value = {**rest, "model": "big", "stream": True}
    body = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    expected = {**value, "model": "small", "stream_options": {"include_usage": True}}
    assert json.loads(rewritten(body, "small", True)) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        b"[]",
        b"null",
        b'{"model":5}',
        b'{"stream":"yes"}',
        b'{"model":"a"',
        b'{"stream_options":5}',
        b"\xff\xfe",
        b'{"a":' + b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:20]),
)
def test_a_body_that_cant_be_understood_is_none(body: bytes) -> None:
    assert parse_call(body) is None


@pytest.mark.parametrize(
    ("body", "wants"),
    [
        (b"{}", False),
        (b'{"stream_options":null}', False),
        (b'{"stream_options":{"include_usage":false}}', False),
        (b'{"stream_options":{"include_usage": true}}', True),
    ],
)
def test_whether_the_client_asked_for_usage(body: bytes, wants: bool) -> None:
    call = parse_call(body)
    assert call is not None
    assert CHAT.must_ask_usage(call) is not wants


@pytest.mark.parametrize(
    ("event", "only"),
    [
        (b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}', True),
        (b'{"choices": [ ], "usage": {"prompt_tokens":1}}', True),
        (b'{"choices":[],"usage":null}', False),
        (b'{"choices":[{"delta":{}}],"usage":{"prompt_tokens":1}}', False),
        (b'{"usage":{"prompt_tokens":1}}', False),
        (b'[DONE] "usage"', False),
    ],
)
def test_only_the_extra_chunk_is_the_extra_chunk(event: bytes, only: bool) -> None:
    assert is_usage_only(event) is only


REPLY = b'{"choices":[{"message":{"content":"%b"},"finish_reason":"stop"}],"usage":%b}'
REPLIES = {
    "a chat answer": (REPLY % (b"hi", b'{"prompt_tokens":7,"completion_tokens":3}'), (7, 3)),
    "embeddings": (b'{"data":[],"usage":{"prompt_tokens":7,"total_tokens":7}}', (7, 0)),
    "long embeddings, usage last": (
        b'{"data":[' + b"0.25," * 99_999 + b'1],"usage":{"prompt_tokens":9,"total_tokens":9}}',
        (9, 0),
    ),
    "long embeddings, usage first": (
        b'{"usage":{"prompt_tokens":9,"x":{"y":"}"}},"data":[' + b"0.25," * 99_999 + b"1]}",
        (9, 0),
    ),
    "a long answer that speaks of usage": (
        REPLY % (b'\\"usage\\":{\\"prompt_tokens\\":1}' * 20_000, b'{"prompt_tokens":7}'),
        (7, 0),
    ),
    "an answer whose length just passes the bound": (
        REPLY % (b"x" * (WHOLE_BYTES + 10), b'{"prompt_tokens":7}'),
        (7, 0),
    ),
    "no usage": (b'{"choices":[]}', None),
    "no JSON": (b"hello", None),
}


@pytest.mark.parametrize(("reply", "usage"), REPLIES.values(), ids=REPLIES)
@pytest.mark.parametrize("size", [1 << 20, 65536, 1000])
def test_usage_of_a_plain_answer(reply: bytes, usage: tuple[int, int] | None, size: int) -> None:
    answer = PlainAnswer()
    for i in range(0, len(reply), size):
        answer.feed(reply[i : i + size])
    found = CHAT.usage(answer)
    assert usage == (found and (found.incoming, found.outgoing))


def test_an_answer_without_usage_is_weighed_by_its_text() -> None:
    answer = PlainAnswer()
    answer.feed(b'{"choices":[{"message":{"content":"' + b"x" * 40 + b'"}},{"text":"12345678"}]}')
    assert (CHAT.usage(answer), CHAT.estimate(answer)) == (None, 12)
