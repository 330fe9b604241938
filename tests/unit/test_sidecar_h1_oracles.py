"""What h11 or httptools refuse, we refuse; what we take, both read as we do."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byte_mutator import Mutator
from fuzz import growth_bytes
from http_corpus import CORPUS, REQUESTS, RESPONSES, WORDS
from http_differences import ALLOWED, ORACLES, Allowed, compare, cut_matters
from http_readings import Message, Refused, Role, by_us
from tidegate_sidecar import h1

MUTANTS = 6000
"""Of each role, some 3 s. ``make fuzz`` runs on for as long as it is told."""


def agreed(data: bytes, role: Role, cut: int) -> bool:
    """Whether we take it; fails on any difference."""
    verdict = compare(data, role)
    assert not verdict.differences
    assert not cut_matters(data, role, cut)
    return isinstance(verdict.ours, Message)


CASES = [
    *((Role.REQUEST, name, data) for name, data in REQUESTS.items()),
    *((Role.RESPONSE, name, data) for name, data in RESPONSES.items()),
]


@pytest.mark.parametrize(
    ("role", "data"), [case[::2] for case in CASES], ids=[case[1] for case in CASES]
)
def test_real_messages_are_read_alike_by_all_three(role: Role, data: bytes) -> None:
    for cut in (1, 2, 7):
        assert agreed(data, role, cut)


@pytest.mark.parametrize("role", Role)
def test_damaged_messages_are_refused_or_read_alike(role: Role) -> None:
    mutator = Mutator(CORPUS[role], WORDS, seed=9112)
    taken = sum(agreed(mutator.next(), role, 1 + turn % 9) for turn in range(MUTANTS))
    # Refusing everything would agree with everyone, and taking everything would be no damage.
    assert MUTANTS // 5 < taken < MUTANTS * 4 // 5


@pytest.mark.parametrize("allowed", ALLOWED.values(), ids=ALLOWED)
def test_each_allowed_difference_is_one(allowed: Allowed) -> None:
    ours = by_us(allowed.example, allowed.role).reading
    theirs = ORACLES[allowed.oracle](allowed.example, allowed.role)
    assert isinstance(ours, Message)
    if allowed.refusals:
        assert isinstance(theirs, Refused)
        assert theirs.why.startswith(allowed.refusals[0])
    else:
        assert theirs != ours
    assert not compare(allowed.example, allowed.role).differences


# --- by grammar ----------------------------------------------------------------------------------


def mostly(good: list[bytes], bad: list[bytes]) -> st.SearchStrategy[bytes]:
    """Seven times in eight a good one: two faults in a message show no more than the first."""
    return st.sampled_from(good * (1 + 7 * len(bad) // len(good)) + bad)


FIRST = {
    Role.REQUEST: mostly(
        [
            *(b"POST / HTTP/1.1", b"POST /v1/x?y=%20 HTTP/1.1", b"GET /x HTTP/1.0"),
            *(b"GET http://b:80/x HTTP/1.1", b"OPTIONS * HTTP/1.1"),
        ],
        [
            *(b"GET  / HTTP/1.1", b"GET http://b@c/ HTTP/1.1", b"GET /#a HTTP/1.1", b"GET /"),
            *(b"get / HTTP/1.1", b"G\x00T / HTTP/1.1", b"GET / HTTP/1.2", b"PRI * HTTP/2.0"),
            *(b"CONNECT a:1 HTTP/1.1", b"GET * HTTP/1.1", b"GET a HTTP/1.1", b" GET / HTTP/1.1"),
        ],
    ),
    Role.RESPONSE: mostly(
        [
            *(b"HTTP/1.1 200 OK", b"HTTP/1.1 200", b"HTTP/1.1 200 ", b"HTTP/1.0 200 OK"),
            *(b"HTTP/1.1 204 No", b"HTTP/1.1 304 Not", b"HTTP/1.1 103 E", b"HTTP/1.1 999 \xe4"),
        ],
        [
            *(b"HTTP/1.1 101 S", b"HTTP/1.1 099 X", b"HTTP/1.1  200 OK", b"HTTP/1.1 20 OK"),
            *(b"HTTP/1.1 2000 OK", b"HTTP/2 200 OK", b"ICY 200 OK", b"HTTP/1.1 200 O\x00K"),
        ],
    ),
}
FRAMINGS = mostly(
    [b"", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"],
    [
        *(b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"Content-Length : 5\r\n"),
        *(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"Content-Length: 5, 5\r\n"),
        *(b"Content-Length: +5\r\n", b"Content-Length: 0x5\r\n", b"Transfer-Encoding: x\r\n"),
        *(b"Transfer-Encoding: chunked\t\r\n", b"Transfer-Encoding: chunked, chunked\r\n"),
        *(b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer-Encoding: chunked;x\r\n"),
    ],
)
NAMES = mostly(
    [b"X-A", b"x_b", b"Connection", b"Upgrade", b"Expect", b"Trailer", b"Accept-Encoding"],
    [b"X A", b"", b"X\x00", b"Host", b"Content-Length", b"Transfer-Encoding", b"\xe4"],
)
VALUES = mostly(
    [b"a", b"", b" 5 ", b"a\tb", b"\xe4", b"close", b"keep-alive, upgrade", b"chunked", b"5, 5"],
    [b"a\x00", b"a\x7f", b"a\x0b", b"a\rb", b"a\nb", b"\x01"],
)
SEPARATORS = mostly([b": ", b":", b":\t"], [b" :", b"\n", b"", b"\x0b:"])
ENDS = mostly([b"\r\n"], [b"\n", b"\r", b"\r\n ", b"\r\r\n", b"\x00\r\n"])
SIZES = mostly(
    [b"5", b"05", b"5;a", b"5;a=b;c", b'5;a="\\" b"'],
    [b"5;", b"5 ", b" 5", b"0x5", b"+5", b"-5", b"6", b"4", b"5;a\r", b"5 ;a", b"5;a b", b'5;a="'],
)
LAST = mostly(
    [b"0\r\n\r\n", b"0\r\n\r\nGET / HTTP/1.1\r\n", b"00\r\nX: y\r\nZ:\r\n\r\n", b"0;a\r\n\r\n"],
    [
        *(
            b"0\r\nContent-Length: 3\r\n\r\n",
            b"0\r\nX : y\r\n\r\n",
            b"0\r\n\n",
            b"\r\n",
            b"0\n\r\n",
        ),
        *(
            b"0\r\nHost: b\r\n\r\n",
            b"0\r\n X: y\r\n\r\n",
            b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
        ),
    ],
)
LINES = st.lists(st.tuples(NAMES, SEPARATORS, VALUES, ENDS), max_size=3)


@st.composite
def chunked_bodies(draw: st.DrawFn) -> bytes:
    chunks = draw(st.lists(st.tuples(SIZES, ENDS, st.just(b"hello"), ENDS), max_size=3))
    return b"".join(b"".join(chunk) for chunk in chunks) + draw(LAST)


PLAIN_BODIES = st.sampled_from([b"", b"hello", b"hell", b"hello!", b"GET / HTTP/1.1\r\n"])


@st.composite
def messages(draw: st.DrawFn, role: Role) -> bytes:
    framing = draw(FRAMINGS)
    first = draw(FIRST[role]) + draw(ENDS)
    host = draw(mostly([b"Host: a\r\n"], [b"", b"Host: a b\r\n"])) if role is Role.REQUEST else b""
    lines = b"".join(b"".join(line) for line in draw(LINES))
    body = draw(chunked_bodies() if b"chunked" in framing else PLAIN_BODIES)
    return first + host + framing + lines + b"\r\n" + body


@settings(max_examples=600)
@given(st.data(), st.sampled_from(Role), st.integers(1, 9))
def test_messages_by_grammar_are_refused_or_read_alike(
    data: st.DataObject, role: Role, cut: int
) -> None:
    agreed(data.draw(messages(role)), role, cut)


# --- what must not grow --------------------------------------------------------------------------


def test_what_is_kept_of_lines_is_bounded_whatever_comes() -> None:
    for number in range(3 * h1._MEMO_LINES):
        by_us(
            b"GET /%d HTTP/1.1\r\nHost: a\r\nX-%d: %d\r\n\r\n" % (number, number, number),
            Role.REQUEST,
        )
        by_us(b"HTTP/1.1 200 OK%d\r\nContent-Length: 0\r\n\r\n" % number, Role.RESPONSE)
    assert len(h1._checked) + len(h1._plain) <= h1._MEMO_LINES
    assert len(h1._names) <= h1._MEMO_LINES
    assert len(h1._status_lines) <= h1._MEMO_LINES
    assert len(h1._request_lines) <= h1._MEMO_LINES
    kept = [*h1._plain, *h1._checked, *h1._names, *h1._status_lines, *h1._request_lines]
    assert max(map(len, kept)) <= h1._MEMO_LINE_BYTES


def test_of_messages_and_streams_nothing_is_kept_beside() -> None:
    assert growth_bytes(seed=1, size=100) < 8_192
