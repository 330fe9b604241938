"""Framing: what is read, what is refused, and that no cut of the bytes changes either."""

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bad_messages import BAD_CHUNKS, BAD_REQUESTS, GET
from tidegate_sidecar import body as bodies
from tidegate_sidecar import h1
from tidegate_sidecar.body import Body
from tidegate_sidecar.h1 import BadMessageError
from tidegate_sidecar.headreader import ANSWER_START, HeadReader


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


@pytest.mark.parametrize(("status", "data"), BAD_REQUESTS.values(), ids=BAD_REQUESTS)
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


@pytest.mark.parametrize("start", [b"\x16\x03\x01\x02\x00\x01", b" ", b"\x00", b"\xef\xbb\xbf"])
def test_what_no_head_begins_with_is_refused_at_once(start: bytes) -> None:
    with pytest.raises(BadMessageError, match="does not begin as HTTP does"):
        HeadReader().feed(start)


@pytest.mark.parametrize(
    "start",
    [
        b"GET /\r\n",
        b"\r\nEHLO a\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"PING\r\n",
        b"GET / HTTP/1.1 \r\n",
    ],
)
def test_a_first_line_that_is_no_request_line_is_refused_at_its_end(start: bytes) -> None:
    for cut in (0, 1, 2, 3):
        with pytest.raises(BadMessageError, match="request line must be"):
            read_head(start, cut)
        assert read_head(start[:-1], cut) == (None, b"")


@pytest.mark.parametrize("start", [b"\r\nHTTP/1.1", b"HTTP/2", b"HTTQ", b"220 ready"])
def test_an_answer_begins_at_its_first_byte(start: bytes) -> None:
    for cut in (1, 4, 100):
        reader = HeadReader(ANSWER_START)
        with pytest.raises(BadMessageError, match="does not begin with HTTP/1"):
            for at in range(0, len(start), cut):
                reader.feed(start[at : at + cut])


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
        b"Authorization: Bearer k\r\ntraceparent: 00-1-2-01\r\nX-Y: Z\r\n\r\n"
    )
    kept = [b"Host: a", b"Authorization: Bearer k", b"traceparent: 00-1-2-01", b"X-Y: Z"]
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


@pytest.mark.parametrize(
    "host", [b"", b"a", b"a-b_c.svc:8000", b"10.0.0.1:1", b"[::1]:80", b"[fe80::1%25eth0]", b"a:"]
)
def test_a_host_that_can_be_one_passes(host: bytes) -> None:
    assert parse(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n").host == host


def test_secrets_are_not_remembered() -> None:
    parse(GET + b"Authorization: Bearer planted\r\nx-api-key: planted\r\nCookie: planted\r\n\r\n")
    parse(b"GET /?key=planted HTTP/1.1\r\nHost: a\r\n\r\n")
    assert not any(b"planted" in line for line in [*h1._plain, *h1._checked, *h1._request_lines])


# --- bodies --------------------------------------------------------------------------------------

CHUNKS = b"5\r\nhello\r\n1;name=value\r\n,\r\n6\r\n world\r\n0\r\nX-T: x\r\n\r\nGET /next"


def feed(body: Body, data: bytes, cuts: list[int]) -> bytes:
    out = b""
    edges = [0, *sorted(cuts), len(data)]
    for start, end in pairwise(edges):
        if body.done:
            body.rest += data[start:end]
        elif start < end:
            out += body.feed(data[start:end])
    return out


@given(st.lists(st.integers(0, len(CHUNKS)), max_size=12))
def test_a_chunked_body_reads_alike_however_it_is_cut(cuts: list[int]) -> None:
    body = Body(bodies.CHUNKED)
    assert feed(body, CHUNKS, cuts) == b"hello, world"
    assert (body.done, body.rest) == (True, b"GET /next")


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=6), st.integers(0, 40))
def test_a_body_of_known_length_reads_alike_however_it_is_cut(
    data: bytes, cuts: list[int], length: int
) -> None:
    body = Body(bodies.LENGTH, length)
    out = feed(body, data, [min(cut, len(data)) for cut in cuts])
    assert out == data[:length]
    assert body.done == (len(data) >= length)
    assert body.rest == data[length:]


@pytest.mark.parametrize(("status", "data"), BAD_CHUNKS.values(), ids=BAD_CHUNKS)
@pytest.mark.parametrize("cut", [0, 1], ids=["whole", "by bytes"])
def test_a_chunk_that_could_be_read_in_two_ways_is_refused(
    status: int, data: bytes, cut: int
) -> None:
    body = Body(bodies.CHUNKED)
    with pytest.raises(BadMessageError) as refusal:
        feed(body, data, list(range(0, len(data), cut)) if cut else [])
    assert refusal.value.status == status


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
    "block",
    [
        b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5",
        b"HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked",
        b"HTTP/2 200",
        b"HTTP/1.1 20",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 099 OK",
        b"hello",
    ],
)
def test_what_is_no_head_of_an_answer_is_refused(block: bytes) -> None:
    with pytest.raises(BadMessageError):
        h1.parse_response(block)


def test_the_page_tells_every_bound() -> None:
    page = (Path(__file__).parents[2] / "docs" / "sidecar.md").read_text()
    refused = page.partition("## What it refuses")[2].partition("\n## ")[0]
    bounds = {
        "request line of more than": h1.MAX_REQUEST_LINE_BYTES,
        "head of more than": h1.MAX_HEAD_BYTES,
        "bytes or": h1.MAX_HEADER_LINES,
        "chunk's line of more than": bodies.MAX_CHUNK_LINE_BYTES,
        "extensions of more than": bodies.MAX_EXTENSION_BYTES,
    }
    for words, bound in bounds.items():
        assert f"{words} {bound:,}" in refused
