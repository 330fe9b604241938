"""Framing: what is read, what is refused, and that no cut of the bytes changes either."""

from itertools import pairwise

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate_sidecar import body as bodies
from tidegate_sidecar import h1
from tidegate_sidecar.body import Body
from tidegate_sidecar.h1 import BadMessageError, HeadReader

GET = b"GET /v1/models HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n"


def read_head(data: bytes, cut: int = 0) -> tuple[bytes | None, bytes]:
    reader = HeadReader()
    pieces = [data[i : i + cut] for i in range(0, len(data), cut)] if cut else [data]
    for i, piece in enumerate(pieces):
        block = reader.feed(piece)
        if block is not None:
            return block, reader.rest + b"".join(pieces[i + 1 :])
    return None, b""


def parse(data: bytes) -> h1.RequestHead:
    block, _ = read_head(data)
    assert block is not None
    return h1.parse_request(block)


REFUSED = {
    "both length headers": (
        400,
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    "both length headers the other way round": (
        400,
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
    ),
    "two different lengths": (400, POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n"),
    "a list of lengths": (400, POST + b"Content-Length: 5, 5\r\n\r\n"),
    "a signed length": (400, POST + b"Content-Length: +5\r\n\r\n"),
    "a negative length": (400, POST + b"Content-Length: -5\r\n\r\n"),
    "a hexadecimal length": (400, POST + b"Content-Length: 0x5\r\n\r\n"),
    "a length with an underscore": (400, POST + b"Content-Length: 1_0\r\n\r\n"),
    "a length in other digits": (400, POST + "Content-Length: ٥\r\n\r\n".encode()),
    "an empty length": (400, POST + b"Content-Length:\r\n\r\n"),
    "a length past all bounds": (400, POST + b"Content-Length: 9999999999999999999\r\n\r\n"),
    "an unknown transfer coding": (501, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n"),
    "chunked twice": (501, POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n"),
    "chunked in two headers": (
        501,
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
    ),
    "chunked misspelt": (501, POST + b"Transfer-Encoding: xchunked\r\n\r\n"),
    "chunked behind a vertical tab": (400, POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n"),
    "chunked in HTTP/1.0": (400, b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "space before the colon": (400, POST + b"Content-Length : 5\r\n\r\n"),
    "a header without a name": (400, POST + b": 5\r\n\r\n"),
    "a header without a colon": (400, POST + b"Content-Length 5\r\n\r\n"),
    "a folded line": (400, POST + b"X-A: b\r\n  c\r\n\r\n"),
    "a fold right after the request line": (400, b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    "a bare LF between headers": (400, b"GET / HTTP/1.1\r\nHost: a\nX-B: c\r\n\r\n"),
    "a bare CR in a value": (400, GET + b"X-A: b\rc\r\n\r\n"),
    "NUL in a value": (400, GET + b"X-A: b\x00c\r\n\r\n"),
    "NUL in a name": (400, GET + b"X-A\x00: b\r\n\r\n"),
    "a name that is no token": (400, GET + b"X(A): b\r\n\r\n"),
    "no host": (400, b"GET / HTTP/1.1\r\n\r\n"),
    "two hosts": (400, GET + b"Host: b\r\n\r\n"),
    "two hosts in HTTP/1.0": (400, b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
    "no version": (400, b"GET /\r\nHost: a\r\n\r\n"),
    "HTTP/2's preface": (505, b"PRI * HTTP/2.0\r\n\r\n"),
    "a later version": (505, b"GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    "a version in lower case": (400, b"GET / http/1.1\r\nHost: a\r\n\r\n"),
    "two spaces in the request line": (400, b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a space in the target": (400, b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a space at the end of the request line": (400, b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
    "a relative target": (400, b"GET v1 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "a target with two authorities": (400, b"GET http://a@b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    "CONNECT": (405, b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"),
    "too many lines": (431, GET + b"A: b\r\n" * 200 + b"\r\n"),
    "too long a head": (431, GET + b"A: " + b"b" * 70000 + b"\r\n\r\n"),
}


@pytest.mark.parametrize(("status", "data"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("cut", [0, 1, 7], ids=["whole", "by bytes", "by sevens"])
def test_a_request_that_could_be_read_in_two_ways_is_refused(
    status: int, data: bytes, cut: int
) -> None:
    with pytest.raises(BadMessageError) as refusal:
        block, _ = read_head(data, cut)
        assert block is not None
        h1.parse_request(block)
    assert refusal.value.status == status


@pytest.mark.parametrize(
    "start", [b"GET / HTTP/1.1\nHost: a\n\n", b"\n", b"GET / HTTP/1.1\rHost", b"\r\rG"]
)
def test_bare_line_ends_are_refused_before_the_head_ends(start: bytes) -> None:
    for cut in (0, 1, 2):
        with pytest.raises(BadMessageError):
            read_head(start, cut)


def test_a_head_that_never_ends_is_refused() -> None:
    reader = HeadReader()
    with pytest.raises(BadMessageError, match="at most 65536"):
        for _ in range(100):
            reader.feed(b"x" * 1000)


def test_empty_lines_before_a_request_are_passed_over() -> None:
    for cut in (0, 1, 3):
        assert read_head(b"\r\n\r\n" + GET + b"\r\nrest", cut) == (GET[:-2], b"rest")


def test_hop_by_hop_headers_end_here() -> None:
    head = parse(
        GET + b"Connection: keep-alive, X-Private\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\n"
        b"TE: trailers\r\nUpgrade: h2c\r\nProxy-Authorization: x\r\nProxy-Connection: close\r\n"
        b"Trailer: x\r\nAuthorization: Bearer k\r\ntraceparent: 00-1-2-01\r\nX-Y: Z\r\n\r\n"
    )
    kept = [b"Authorization: Bearer k", b"traceparent: 00-1-2-01", b"X-Y: Z"]
    assert head.forward == kept
    assert head.keep_alive


@pytest.mark.parametrize(
    ("version", "connection", "keeps"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"close", False),
        (b"1.1", b"Keep-Alive, CLOSE", False),
        (b"1.0", b"", False),
        (b"1.0", b"keep-alive", True),
    ],
)
def test_whether_the_connection_stays(version: bytes, connection: bytes, keeps: bool) -> None:
    lines = b"GET / HTTP/" + version + b"\r\nHost: a\r\n"
    if connection:
        lines += b"Connection: " + connection + b"\r\n"
    assert parse(lines + b"\r\n").keep_alive is keeps


def test_a_target_in_absolute_form_becomes_a_path_and_its_authority_the_host() -> None:
    head = parse(b"GET http://b:80/x?y HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (head.target, head.host) == (b"/x?y", b"b:80")
    assert parse(b"GET http://b HTTP/1.1\r\nHost: a\r\n\r\n").target == b"/"


def test_secrets_are_not_remembered() -> None:
    parse(GET + b"Authorization: Bearer planted\r\nx-api-key: planted\r\nCookie: planted\r\n\r\n")
    assert not any(b"planted" in line for line in h1._checked)


# --- bodies --------------------------------------------------------------------------------------

CHUNKS = b"5\r\nhello\r\n1;name=value\r\n,\r\n6\r\n world\r\n0\r\nTrailer: x\r\n\r\nGET /next"


def feed(body: Body, data: bytes, cuts: list[int]) -> bytes:
    out = b""
    edges = [0, *sorted(cuts), len(data)]
    for start, end in pairwise(edges):
        if body.done:
            body.rest += data[start:end]
        elif start < end:
            out += body.feed(data[start:end])
    return out


@settings(deadline=None)
@given(st.lists(st.integers(0, len(CHUNKS)), max_size=12))
def test_a_chunked_body_reads_alike_however_it_is_cut(cuts: list[int]) -> None:
    body = Body(bodies.CHUNKED)
    assert feed(body, CHUNKS, cuts) == b"hello, world"
    assert (body.done, body.rest) == (True, b"GET /next")


@settings(deadline=None)
@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=6), st.integers(0, 40))
def test_a_body_of_known_length_reads_alike_however_it_is_cut(
    data: bytes, cuts: list[int], length: int
) -> None:
    body = Body(bodies.LENGTH, length)
    out = feed(body, data, [min(cut, len(data)) for cut in cuts])
    assert out == data[:length]
    assert body.done == (len(data) >= length)
    assert body.rest == data[length:]


BAD_CHUNKS = {
    "a size with a prefix": b"0x5\r\nhello\r\n",
    "a signed size": b"+5\r\nhello\r\n",
    "a size with a space": b"5 \r\nhello\r\n",
    "a size with a space before it": b" 5\r\nhello\r\n",
    "an empty size": b"\r\nhello\r\n",
    "no hexadecimal": b"g\r\n",
    "a size past 60 bits": b"f" * 16 + b"\r\n",
    "a size line ended by LF": b"5\nhello\r\n",
    "a chunk that is too long": b"5\r\nhello!\r\n",
    "a chunk ended by LF": b"5\r\nhello\n0\r\n\r\n",
    "a chunk ended by two other bytes": b"5\r\nhelloXX0\r\n\r\n",
    "NUL in an extension": b"5;a=\x00\r\nhello\r\n",
    "an extension without end": b"5;" + b"a" * 5000,
    "a trailer that is no header": b"0\r\nno header\r\n\r\n",
    "a folded trailer": b"0\r\nA: b\r\n c\r\n\r\n",
    "trailers without end": b"0\r\n" + b"A: b\r\n" * 20000,
}


@pytest.mark.parametrize("data", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
@pytest.mark.parametrize("cut", [0, 1], ids=["whole", "by bytes"])
def test_a_chunk_that_could_be_read_in_two_ways_is_refused(data: bytes, cut: int) -> None:
    body = Body(bodies.CHUNKED)
    with pytest.raises(BadMessageError):
        feed(body, data, list(range(0, len(data), cut)) if cut else [])


def test_whole_plain_chunks_may_travel_as_they_came() -> None:
    body = Body(bodies.CHUNKED)
    assert body.feed(b"5\r\nhello\r\n") == b"hello"
    assert body.whole
    assert body.feed(b"1\r\na\r\n2\r\nbc\r\n") == b"abc"
    assert body.whole
    for mixed in (b"1;x\r\na\r\n", b"5\r\nhe", b"llo\r\n", b"0\r\nA: b\r\n\r\n"):
        body.feed(mixed)
        assert not body.whole, mixed


RESPONSES = {
    "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n": (bodies.LENGTH, 3),
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n": (bodies.CHUNKED, 0),
    "HTTP/1.1 200\r\n": (bodies.UNTIL_CLOSE, 0),
    "HTTP/1.0 200 OK\r\n": (bodies.UNTIL_CLOSE, 0),
    "HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n": (bodies.LENGTH, 0),
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n": (bodies.LENGTH, 0),
}


@pytest.mark.parametrize(("block", "framing"), RESPONSES.items(), ids=RESPONSES)
def test_how_an_answer_is_framed(block: str, framing: tuple[int, int]) -> None:
    head = h1.parse_response(block.removesuffix("\r\n").encode())
    body = bodies.response_body(head, b"POST")
    assert (body.mode, body.left) == framing
    assert bodies.response_body(head, b"HEAD").done


@pytest.mark.parametrize(
    "block", [b"HTTP/2 200", b"HTTP/1.1 20", b"HTTP/1.1 2000 OK", b"HTTP/1.1 099 OK", b"hello"]
)
def test_what_is_no_status_line_is_refused(block: bytes) -> None:
    with pytest.raises(BadMessageError):
        h1.parse_response(block)


# --- beside h11 ----------------------------------------------------------------------------------

NAMES = st.sampled_from(
    [b"Host", b"host", b"Content-Length", b"Transfer-Encoding", b"X-A", b"X A", b"", b"Connection"]
)
VALUES = st.one_of(
    st.sampled_from(
        [b"a", b"5", b"0", b"5, 5", b"chunked", b"gzip", b"close", b"", b" 5 ", b"+5"]
    ),
    st.binary(max_size=6),
)
SEPARATORS = st.sampled_from([b": ", b":", b" :", b":\t", b"\n", b""])
ENDS = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\n "])
FIRST = st.sampled_from(
    [
        b"POST / HTTP/1.1",
        b"GET /x HTTP/1.0",
        b"GET  / HTTP/1.1",
        b"GET / HTTP/1.1",
        b"G\x00T / HTTP/1.1",
    ]
)


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    lines = draw(st.lists(st.tuples(NAMES, SEPARATORS, VALUES, ENDS), max_size=5))
    start = draw(FIRST) + draw(ENDS) + (b"Host: a\r\n" if draw(st.booleans()) else b"")
    return start + b"".join(b"".join(line) for line in lines) + b"\r\n"


def by_h11(data: bytes) -> h11.Request | None:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:
        return None
    return event if isinstance(event, h11.Request) else None


@settings(max_examples=400, deadline=None)
@given(heads())
def test_nothing_is_taken_that_h11_refuses_and_framing_agrees(data: bytes) -> None:
    try:
        block, rest = read_head(data)
        ours = h1.parse_request(block) if block is not None and not rest else None
    except BadMessageError:
        ours = None
    theirs = by_h11(data)
    if ours is None:
        return  # stricter is allowed; that plain requests pass is tested below
    assert theirs is not None
    lengths = [value for name, value in theirs.headers if name == b"content-length"]
    chunked = any(name == b"transfer-encoding" for name, _ in theirs.headers)
    assert ours.chunked == chunked
    assert ours.content_length == (int(lengths[0]) if lengths else -1)


@pytest.mark.parametrize(
    "data",
    [
        POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
        POST + b"Transfer-Encoding: Chunked\r\n\r\n",
        GET + b"X-Empty:\r\nX-High: \xe4\r\nX-Tab: a\tb\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"M-SEARCH / HTTP/1.1\r\nhost:a\r\n\r\n",
    ],
)
def test_plain_requests_pass_with_us_and_with_h11(data: bytes) -> None:
    assert by_h11(data) is not None
    assert parse(data) is not None


@settings(max_examples=200, deadline=None)
@given(heads(), st.integers(1, 9))
def test_a_head_reads_alike_however_it_is_cut(data: bytes, cut: int) -> None:
    def verdict(cut: int) -> object:
        try:
            block, rest = read_head(data, cut)
            return None if block is None else (h1.parse_request(block).forward, rest)
        except BadMessageError:
            return "refused"

    whole = verdict(0)
    # Bare line ends may be told earlier than a head that does not end: both are refusals in time.
    assert verdict(cut) == whole or (whole is None and verdict(cut) == "refused")
