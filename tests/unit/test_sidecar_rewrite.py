"""New values stand under every key of that name at the top of a body, and no other byte changes:
not by the quick way, not by the walk that it falls back on, and not in a body that is damaged."""

import json
import timeit
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byte_mutator import Mutator
from tidegate_sidecar.dialect.rewrite import put_first, replace_values, replace_walking
from tidegate_sidecar.dialect.shape import parse_call

NEW = {"model": b'"small"', "stream_options": b"{}"}
DEEP = b'{"a":' + b"[" * 300 + b"]" * 300 + b',"model":"big"}'

BODIES: dict[str, tuple[bytes, bytes]] = {
    "the key alone": (b'{"model":"big"}', b'{"model":"small"}'),
    "an object without it": (b'{"a":1}', b'{"a":1}'),
    "an empty object": (b" { } ", b" { } "),
    "white space everywhere": (
        b'\r\n{ "a" : 1 ,\t"model"\n:\r"big" } \n',
        b'\r\n{ "a" : 1 ,\t"model"\n:\r"small" } \n',
    ),
    "a value of any kind": (
        b'{"stream_options":{"model":[1,{}]},"model":null}',
        b'{"stream_options":{},"model":"small"}',
    ),
    "the same key further in": (
        b'{"tools":[{"model":"in"}],"x":{"model":{"model":1}},"model":"big"}',
        b'{"tools":[{"model":"in"}],"x":{"model":{"model":1}},"model":"small"}',
    ),
    "the key further in alone": (b'{"x":{"model":"big"}}', b'{"x":{"model":"big"}}'),
    "the key inside a string": (
        b'{"a":"\\"model\\":\\"big\\",","b":"model","model":"big","c":"{\\\\"}',
        b'{"a":"\\"model\\":\\"big\\",","b":"model","model":"small","c":"{\\\\"}',
    ),
    "a key that is spelled in escapes": (
        b'{"\\u006dod\\u0065l":"big","mod\\u0065":1,"\\"model":2}',
        b'{"\\u006dod\\u0065l":"small","mod\\u0065":1,"\\"model":2}',
    ),
    "a key that is there twice": (
        b'{"model":"x","b":1,"model":"big"}',
        b'{"model":"small","b":1,"model":"small"}',
    ),
    "a key that is there twice with one value": (
        b'{"model":"big","b":1,"model":"big"}',
        b'{"model":"small","b":1,"model":"small"}',
    ),
    "twice in two spellings": (
        b'{"mode\\u006c":"big","model":"big"}',
        b'{"mode\\u006c":"small","model":"small"}',
    ),
    "another key that is there twice": (
        b'{"a":"big","a":"big","model":"big"}',
        b'{"a":"big","a":"big","model":"small"}',
    ),
    "another key whose last value begins its first one": (
        b'{"a":12,"a":1,"model":"big"}',
        b'{"a":12,"a":1,"model":"small"}',
    ),
    "another key whose first value begins its last one": (
        b'{"a":1,"a":1e5,"model":"big"}',
        b'{"a":1,"a":1e5,"model":"small"}',
    ),
    "another key that is there twice, of lengths that fit elsewhere": (
        b'{"a":1,"b":{"xxxxxxxxxxxxxx":0},"stream_options":{"kkkkkkk":0},"a":123456}',
        b'{"a":1,"b":{"xxxxxxxxxxxxxx":0},"stream_options":{},"a":123456}',
    ),
    "a key that is no UTF-8": (
        b'{"\xff":1,"\\u006d\xff":2,"model":"big"}',
        b'{"\xff":1,"\\u006d\xff":2,"model":"small"}',
    ),
    "a value that is no UTF-8": (b'{"a":"\xff","model":"big"}', b'{"a":"\xff","model":"small"}'),
    "a key without letters": (b'{"":"model","model":"big"}', b'{"":"model","model":"small"}'),
    "deep nesting": (DEEP, DEEP.replace(b"big", b"small")),
}
WAYS = {"as it is used": replace_values, "by walking": replace_walking}


@pytest.mark.parametrize("replace", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize(("body", "left"), BODIES.values(), ids=BODIES)
def test_a_value_is_replaced_where_it_stands(
    body: bytes, left: bytes, replace: Callable[[bytes, dict[str, bytes]], bytes]
) -> None:
    assert replace(body, NEW) == left


# --- bodies that are made up together with what is to become of them -----------------------------

SPACE = st.text(" \t\r\n", max_size=2)


@st.composite
def spelled(draw: st.DrawFn, text: str) -> str:
    """A JSON string of that text, with any of its characters in escapes."""
    letters = [
        f"\\u{ord(letter):04x}" if draw(st.integers(0, 7)) == 0 else json.dumps(letter)[1:-1]
        for letter in text
    ]
    return f'"{"".join(letters)}"'


TEXTS = st.text(st.characters(max_codepoint=0xD7FF), max_size=5) | st.sampled_from(
    ["model", "stream_options", '"model":', '\\"', "{", "}]", ","]
)
SCALARS = TEXTS.flatmap(spelled) | st.sampled_from(
    ["null", "true", "1", "12", "-0.50", "1e5", '"big"']
)


def spaced(before: str, text: str, after: str) -> str:
    return before + text + after


def listed(opens: str, closes: str, parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(parts, max_size=3).map(lambda texts: opens + ",".join(texts) + closes)


def members(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds("{}:{}".format, TEXTS.flatmap(spelled), values)


VALUES = st.recursive(
    st.builds(spaced, SPACE, SCALARS, SPACE),
    lambda inner: st.builds(
        spaced, SPACE, listed("[", "]", inner) | listed("{", "}", members(inner)), SPACE
    ),
    max_leaves=6,
)
KEYS = st.sampled_from(["model", "stream_options", "a", "messages", ""]) | TEXTS


@st.composite
def made_up(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A body and the same with its new values."""
    before, after = [], []
    for name in draw(st.lists(KEYS, max_size=5)):
        key = draw(st.builds(spaced, SPACE, spelled(name), SPACE))
        value = draw(VALUES)
        inner = value.strip(" \t\r\n")
        new = NEW[name].decode() if name in NEW else inner
        before.append(f"{key}:{value}")
        after.append(f"{key}:{value.replace(inner, new, 1)}")
    start, end = draw(SPACE), draw(SPACE)
    return tuple(f"{start}{{{','.join(parts)}}}{end}".encode() for parts in (before, after))  # type: ignore[return-value]


@settings(max_examples=300)
@given(made_up())
def test_in_any_body_just_the_values_under_these_keys_are_new(pair: tuple[bytes, bytes]) -> None:
    body, left = pair
    assert replace_values(body, NEW) == left
    assert replace_walking(body, NEW) == left


# --- damaged bodies ------------------------------------------------------------------------------

CORPUS = [body for name, (body, _) in BODIES.items() if name != "deep nesting"] + [
    b'{"messages":[{"role":"user","content":"say \\"model\\": {"}],"model":"big","n":12}',
    b'{"model":"big","tools":[{"function":{"parameters":{"model":{"type":"string"}}}}],"n":1.5}',
]
WORDS = [b'"model":', b'"mode\\u006c":"big",', b'"', b"\\", b"{", b"}", b"[]", b",", b"\xff", b" "]


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_taken_for_a_call_changes_as_the_walk_changes_it(seed: int) -> None:
    mutator = Mutator(CORPUS, WORDS, seed, line_end=b",")
    taken = 0
    for _ in range(4000):
        body = mutator.next()
        if parse_call(body) is not None:
            taken += 1
            assert replace_values(body, NEW) == replace_walking(body, NEW), body
    assert taken > 400, "most of the damage is such that nothing is read any more"


def test_a_member_that_is_put_first_leaves_all_others_as_they_are() -> None:
    assert put_first(b' {"a" : 1}\n', b'"b":{}') == b' {"b":{},"a" : 1}\n'


def test_it_costs_a_fraction_of_the_walk() -> None:
    messages = [{"role": "user", "content": 'he said "so"\n' * 20} for _ in range(40)]
    body = json.dumps({"messages": messages, "model": "big", "stream": True}).encode()

    def least_s(replace: Callable[[bytes, dict[str, bytes]], bytes]) -> float:
        return min(timeit.repeat(lambda: replace(body, NEW), number=20, repeat=5))

    assert least_s(replace_values) < least_s(replace_walking) / 3  # seen: a fifteenth
