"""A request's method and path tell its API and operation, however the path is spelt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate_sidecar.dialect import openai
from tidegate_sidecar.dialect.paths import OTHER, OTHER_CALL, dialect_of
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
    (b"GET", b"/v1/chat/completions", OTHER),
    (b"POST", b"/v1/chat/completions/c-1", OTHER_CALL),
    (b"POST", b"/health?x=/v1/chat/completions", OTHER),
    (b"POST", b"/v1/completions", openai.COMPLETIONS),
    (b"POST", b"/v1/embeddings", openai.EMBEDDINGS),
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
