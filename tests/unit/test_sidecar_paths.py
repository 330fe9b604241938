"""A request's method and path tell its API and operation, however the path is spelt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate_sidecar.dialect import anthropic, openai, responses
from tidegate_sidecar.dialect.paths import (
    OTHER,
    OTHER_CALL,
    dialect_of,
    model_in_path,
    with_model_in_path,
)
from tidegate_sidecar.dialect.shape import Dialect

PATHS: list[tuple[bytes, bytes, Dialect]] = [
    (b"POST", b"/v1/chat/completions", openai.CHAT),
    (b"POST", b"/v1/chat/completions/?a=b", openai.CHAT),
    (b"POST", b"/v1//chat//completions//", openai.CHAT),
    (b"POST", b"/v1/chat/completion%73", openai.CHAT),
    (b"POST", b"/v1%2Fchat%2fcompletions", openai.CHAT),
    (b"POST", b"/openai/v1/chat/completions", openai.CHAT),
    (b"POST", b"/v1beta/openai/chat/completions", openai.CHAT),
    (b"POST", b"/openai/deployments/d/chat/completions?api-version=2024-10-21", openai.CHAT),
    (b"POST", b"/openai/deployments/d/images/generations?api-version=1", OTHER_CALL),
    (b"GET", b"/v1/chat/completions", OTHER),
    (b"POST", b"/v1/chat/completions/c-1", OTHER_CALL),
    (b"POST", b"/health?x=/v1/chat/completions", OTHER),
    (b"POST", b"/v1/completions", openai.COMPLETIONS),
    (b"POST", b"/v1/embeddings", openai.EMBEDDINGS),
    (b"POST", b"/v1/responses", responses.RESPONSES),
    (b"POST", b"/openai/responses?api-version=preview", responses.RESPONSES),
    (b"GET", b"/v1/responses/resp_1", OTHER),
    (b"POST", b"/v1/responses/resp_1/cancel", OTHER_CALL),
    (b"POST", b"/v1/messages", anthropic.MESSAGES),
    (b"POST", b"/anthropic/v1/messages?beta=true", anthropic.MESSAGES),
    (b"POST", b"/v1/messages/count_tokens", anthropic.COUNT_TOKENS),
    (b"POST", b"/v1/messages/batches", anthropic.OTHER_CALL),
    (b"POST", b"/v1/threads/t-1/messages", OTHER_CALL),
    (b"GET", b"/v1/models", openai.MODELS),
    (b"HEAD", b"/v1/models/a/b", openai.MODELS),
    (b"POST", b"/v1/score", OTHER_CALL),
    (b"POST", b"/%761/score", OTHER_CALL),
    (b"GET", b"/health", OTHER),
    (b"POST", b"/tokenize", OTHER),
]


@pytest.mark.parametrize(("method", "target", "dialect"), PATHS)
def test_what_a_request_asks_for(method: bytes, target: bytes, dialect: Dialect) -> None:
    assert dialect_of(method, target) is dialect


@pytest.mark.parametrize(
    ("dialect", "asks"),
    [
        (openai.CHAT, True),
        (openai.EMBEDDINGS, True),
        (responses.RESPONSES, True),
        (anthropic.MESSAGES, True),
        (anthropic.COUNT_TOKENS, True),
        (OTHER_CALL, True),
        (openai.MODELS, False),
        (OTHER, False),
    ],
)
def test_which_requests_may_make_a_model_work(dialect: Dialect, asks: bool) -> None:
    assert dialect.asks_model is asks


@given(st.binary(max_size=60), st.sampled_from([b"GET", b"POST", b"OPTIONS"]))
def test_any_path_is_something(target: bytes, method: bytes) -> None:
    assert dialect_of(method, b"/" + target).operation


@given(st.data())
def test_percent_signs_and_doubled_slashes_hide_nothing(data: st.DataObject) -> None:
    spelt = b"".join(
        data.draw(st.sampled_from([bytes([c]), b"%%%02x" % c, b"%%%02X" % c]))
        if c != ord("/")
        else data.draw(st.sampled_from([b"/", b"//", b"%2f", b"///"]))
        for c in b"/v1/chat/completions"
    )
    assert dialect_of(b"POST", spelt) is openai.CHAT


DEPLOYMENTS = {
    "Azure's": (b"/openai/deployments/big/chat/completions?api-version=1", "big"),
    "behind a prefix": (b"/x/openai/deployments/big/embeddings", "big"),
    "in percent signs": (b"/openai/deployments/b%20g%2F1/completions", "b g/1"),
    "in what is no UTF-8": (b"/openai/deployments/b%ff/completions", "b\ufffd"),
    "none": (b"/v1/chat/completions", ""),
    "none, but in the query": (b"/v1/chat/completions?x=/deployments/big/", ""),
    "none, at the path's end": (b"/openai/deployments/big", ""),
}


@pytest.mark.parametrize(("target", "model"), DEPLOYMENTS.values(), ids=DEPLOYMENTS)
def test_the_model_that_a_path_names(target: bytes, model: str) -> None:
    assert model_in_path(target) == model


@given(st.sampled_from([*DEPLOYMENTS.values()]), st.text(min_size=1, max_size=20))
def test_another_model_changes_the_path_there_and_nowhere_else(
    case: tuple[bytes, str], model: str
) -> None:
    target, named = case
    changed = with_model_in_path(target, model)
    if named:
        assert model_in_path(changed) == model
        before, after = target.split(b"/deployments/", 1)
        rest = after.partition(b"/")[2]
        assert changed.startswith(before + b"/deployments/")
        assert changed.endswith(b"/" + rest)
        assert changed.translate(None, bytes(range(0x21, 0x7F))) == b""
    else:
        assert changed == target
