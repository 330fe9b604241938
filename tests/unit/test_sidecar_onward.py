"""A head goes on as it came, line by line; only what belongs to one connection is said anew."""

import pytest

from tidegate_sidecar import h1
from tidegate_sidecar.body import CHUNKED, LENGTH, UNTIL_CLOSE, Body
from tidegate_sidecar.h1 import RequestHead, ResponseHead
from tidegate_sidecar.onward import answer_lines, as_chunks, may_upgrade, request_head

VIA = b"via: 1.1 tidegate"


def request(*lines: bytes, version: bytes = b"1.1") -> RequestHead:
    return h1.parse_request(b"\r\n".join([b"POST /a HTTP/" + version, *lines]))


def response(*lines: bytes, status: bytes = b"200 OK") -> ResponseHead:
    return h1.parse_response(b"\r\n".join([b"HTTP/1.1 " + status, *lines]))


def onward(
    head: RequestHead, *, length: int = -1, reads_answer: bool = False, upgrades: bool = False
) -> list[bytes]:
    whole = request_head(head, b"/a", length=length, reads_answer=reads_answer, upgrades=upgrades)
    assert whole.endswith(b"\r\n\r\n")
    first, *lines = whole[:-4].split(b"\r\n")
    assert first == b"POST /a HTTP/1.1"
    return lines


AS_IT_COMES = {
    "lines keep their place, case and spaces": (
        [b"X-ODD:  v ", b"hOSt: a", b"content-LENGTH: 5", b"Accept-Encoding: br", b"x-empty:"],
        [b"X-ODD:  v ", b"hOSt: a", b"content-LENGTH: 5", b"Accept-Encoding: br", b"x-empty:"],
    ),
    "a chunked body stays chunked, and its trailers stay announced": (
        [b"Host: a", b"Trailer: X-Sum", b"Transfer-Encoding: chunked"],
        [b"Host: a", b"Trailer: X-Sum", b"transfer-encoding: chunked"],
    ),
    "trailers are not announced of a body that can't have any": (
        [b"Host: a", b"Trailer: X-Sum", b"Content-Length: 5"],
        [b"Host: a", b"Content-Length: 5"],
    ),
    "an expectation is the server's to meet": (
        [b"Host: a", b"Expect: 100-Continue", b"Content-Length: 5"],
        [b"Host: a", b"Expect: 100-Continue", b"Content-Length: 5"],
    ),
    "trailers are asked for where the client takes them, other codings are not": (
        [b"Host: a", b"TE: gzip, trailers", b"Connection: TE"],
        [b"Host: a", b"te: trailers", b"connection: te"],
    ),
    "what a client names as its connection's own ends here": (
        [b"Host: a", b"X-Mine: 1", b"Connection: x-mine, close"],
        [b"Host: a"],
    ),
    "nobody can have host and framing taken off": (
        [b"Host: a", b"Content-Length: 5", b"Connection: host, content-length"],
        [b"Host: a", b"Content-Length: 5"],
    ),
    "an upgrade that is not let through is not spoken of": (
        [
            b"Host: a",
            b"Upgrade: h2c",
            b"HTTP2-Settings: x",
            b"Connection: upgrade, http2-settings",
        ],
        [b"Host: a"],
    ),
    "a line is added to those of proxies before us": (
        [b"Host: a", b"Via: 1.0 fred"],
        [b"Host: a", b"Via: 1.0 fred"],
    ),
}


@pytest.mark.parametrize(("came", "went"), AS_IT_COMES.values(), ids=AS_IT_COMES)
def test_a_request_that_is_not_read(came: list[bytes], went: list[bytes]) -> None:
    assert onward(request(*came)) == [*went, VIA]


READ = {
    "a body that stays the same keeps its line": (
        [b"Host: a", b"Content-Length: 5"],
        5,
        [b"Host: a", b"Content-Length: 5", b"accept-encoding: identity"],
    ),
    "another length stands in the old one's place": (
        [b"Content-Length: 5", b"Host: a"],
        47,
        [b"content-length: 47", b"Host: a", b"accept-encoding: identity"],
    ),
    "a chunked body has become one with a length, and its trailers are gone": (
        [b"Host: a", b"Transfer-Encoding: chunked", b"Trailer: X-Sum"],
        5,
        [b"Host: a", b"accept-encoding: identity", b"content-length: 5"],
    ),
    "no compression is asked for, however it was": (
        [b"Accept-Encoding: br", b"Host: a", b"accept-encoding: gzip", b"Content-Length: 5"],
        5,
        [b"Host: a", b"Content-Length: 5", b"accept-encoding: identity"],
    ),
    "nor where it was the connection's own": (
        [b"Accept-Encoding: br", b"Host: a", b"Connection: accept-encoding"],
        0,
        [b"Host: a", b"accept-encoding: identity"],
    ),
    "an expectation was met here": (
        [b"Host: a", b"Expect: 100-continue", b"Content-Length: 5"],
        5,
        [b"Host: a", b"Content-Length: 5", b"accept-encoding: identity"],
    ),
    "one that we can't meet is the server's": (
        [b"Host: a", b"Expect: the-unexpected", b"Content-Length: 5"],
        5,
        [
            b"Host: a",
            b"Expect: the-unexpected",
            b"Content-Length: 5",
            b"accept-encoding: identity",
        ],
    ),
    "without a body there is no length": (
        [b"Host: a"],
        0,
        [b"Host: a", b"accept-encoding: identity"],
    ),
}


@pytest.mark.parametrize(("came", "length", "went"), READ.values(), ids=READ)
def test_a_request_that_is_read(came: list[bytes], length: int, went: list[bytes]) -> None:
    assert onward(request(*came), length=length, reads_answer=True) == [*went, VIA]


def test_an_old_client_is_named_as_such_and_its_expectation_ignored() -> None:
    head = request(b"Host: a", b"Expect: 100-continue", b"Content-Length: 5", version=b"1.0")
    assert onward(head) == [b"Host: a", b"Content-Length: 5", b"via: 1.0 tidegate"]


@pytest.mark.parametrize(
    ("came", "went"),
    [
        ([b"X: 1", b"hOSt: a", b"Y: 2"], [b"X: 1", b"host: other:1", b"Y: 2"]),
        ([b"X: 1"], [b"host: other:1", b"X: 1"]),
    ],
    ids=["in its place", "first where there was none"],
)
def test_another_host(came: list[bytes], went: list[bytes]) -> None:
    head = request(*came, version=b"1.0")
    head.route_to(b"other:1")
    assert onward(head)[:-1] == went


WEBSOCKET = (b"Host: a", b"Upgrade: websocket", b"Connection: keep-alive, Upgrade")


@pytest.mark.parametrize(
    ("head", "may"),
    [
        (request(*WEBSOCKET), True),
        (request(b"Host: a", b"Upgrade: websocket"), False),
        (request(b"Host: a", b"Connection: upgrade"), False),
        (request(*WEBSOCKET, version=b"1.0"), False),
        (request(b"Host: a", b"Upgrade: websocket, H2C", b"Connection: upgrade"), False),
    ],
    ids=[
        "a WebSocket may",
        "without the connection's option it means nothing",
        "without a protocol neither",
        "HTTP/1.0 can't",
        "HTTP/2 would pass orders and be measured by nobody",
    ],
)
def test_which_upgrades_go_on(head: RequestHead, may: bool) -> None:
    assert may_upgrade(head) is may


def test_an_upgrade_is_asked_for_anew() -> None:
    own = [b"upgrade: websocket", b"connection: upgrade"]
    assert onward(request(*WEBSOCKET), upgrades=True) == [b"Host: a", *own, VIA]
    both = request(*WEBSOCKET, b"TE: trailers")
    own = [b"upgrade: websocket", b"te: trailers", b"connection: upgrade, te"]
    assert onward(both, upgrades=True) == [b"Host: a", *own, VIA]


SUM = [b"Trailer: X-Sum", b"X-A: b"]
LONG = [b"X-A: b", b"Content-Length: 5", b"X-C: d"]
CHUNKS = b"transfer-encoding: chunked"
ANSWERS = {
    "with its length": (Body(LENGTH, 5), LENGTH, LONG, LONG),
    "of a length that changes": (Body(LENGTH, 5), CHUNKED, LONG, [LONG[0], LONG[2], CHUNKS]),
    "the same for an old client": (Body(LENGTH, 5), UNTIL_CLOSE, LONG, [LONG[0], LONG[2]]),
    "in chunks": (Body(CHUNKED), CHUNKED, SUM, [*SUM, CHUNKS]),
    "in chunks for an old client": (Body(CHUNKED), UNTIL_CLOSE, SUM, SUM[1:]),
    "that only its connection ends": (Body(UNTIL_CLOSE), CHUNKED, SUM[1:], [SUM[1], CHUNKS]),
}


@pytest.mark.parametrize(("body", "framing", "came", "went"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer(body: Body, framing: int, came: list[bytes], went: list[bytes]) -> None:
    lines = answer_lines(response(*came), body, framing, bodiless=False)
    assert lines == [b"HTTP/1.1 200 OK", *went]


@pytest.mark.parametrize("status", [b"200 OK", b"204 No Content", b"304 Not Modified"])
def test_an_answer_without_a_body_still_tells_of_one(status: bytes) -> None:
    came = [*SUM, b"Content-Length: 99"]
    lines = answer_lines(response(*came, status=status), Body(LENGTH), LENGTH, bodiless=True)
    assert lines == [b"HTTP/1.1 " + status, *came]


def test_who_has_to_upgrade_is_told_to_what() -> None:
    head = response(b"Upgrade: websocket", b"Connection: upgrade, close", status=b"426 Upgrade")
    lines = answer_lines(head, Body(LENGTH), LENGTH, bodiless=False)
    assert lines == [b"HTTP/1.1 426 Upgrade", b"upgrade: websocket", b"connection: upgrade"]


CHUNKED_BODIES = {
    "whole chunks": ([b"5\r\nhello\r\n"], [b"5\r\nhello\r\n"]),
    "what is cut": ([b"5\r\nhe", b"llo\r\n"], [b"2\r\nhe\r\n", b"3\r\nllo\r\n"]),
    "an extension is for us alone": ([b"5;x=y\r\nhello\r\n"], [b"5\r\nhello\r\n"]),
    "the end": ([b"0\r\n\r\n"], [b"0\r\n\r\n"]),
    "the end in pieces": ([b"0\r", b"\n\r\n"], [b"", b"0\r\n\r\n"]),
    "trailers": (
        [b"2\r\nhi\r\n0\r\nX-Sum: 1\r\nx-b:\r\n\r\n"],
        [b"2\r\nhi\r\n0\r\nX-Sum: 1\r\nx-b:\r\n\r\n"],
    ),
    "what follows the end stays behind": ([b"0\r\n\r\nGET /"], [b"0\r\n\r\n"]),
}


@pytest.mark.parametrize(("came", "went"), CHUNKED_BODIES.values(), ids=CHUNKED_BODIES)
def test_a_body_that_stays_chunked(came: list[bytes], went: list[bytes]) -> None:
    body = Body(CHUNKED)
    assert [as_chunks(body.feed(data), data, body) for data in came] == went
