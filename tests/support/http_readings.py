"""One message as three parsers read it: ours, h11's and httptools' (llhttp).

Law: a reading is what a parser makes of a connection's first message, in one shape for all three,
so that readings can be compared by ``==``. A role is ``request`` or ``response``; a response
answers a POST. No connection ends here: a body that runs until then is never whole.
"""

from dataclasses import dataclass
from enum import Enum

import h11
import httptools

from tidegate_sidecar import h1
from tidegate_sidecar.body import CHUNKED, Body, request_body, response_body
from tidegate_sidecar.h1 import BadMessageError, RequestHead, ResponseHead, check_line
from tidegate_sidecar.headreader import ANSWER_START, HeadReader

_MAX_BYTES = 1 << 20
"""More than any message in here has: h11's own limit is not what is compared."""


class Role(Enum):
    REQUEST = "request"
    RESPONSE = "response"


@dataclass(frozen=True)
class Refused:
    """The parser says that this is no message."""

    why: str


@dataclass(frozen=True)
class Unfinished:
    """The head is not whole yet."""


@dataclass(frozen=True)
class Message:
    """A message whose head is whole."""

    start: tuple[bytes, ...]
    """Method and target, or the status."""
    http11: bool
    headers: tuple[tuple[bytes, bytes], ...]
    """Names in lower case."""
    body: bytes
    """As far as it has come."""
    whole: bool
    rest: bytes
    """What follows a whole message."""


Reading = Refused | Unfinished | Message


@dataclass(frozen=True)
class OurReading:
    """Ours, and how many bytes it is based on: a begun line is not looked at before it ends."""

    reading: Reading
    taken: int


def by_us(data: bytes, role: Role, cut: int = 0) -> OurReading:
    """``cut``: bytes per read; 0: all at once."""
    pieces = [data[i : i + cut] for i in range(0, len(data), cut)] if cut else [data]
    reader = HeadReader(ANSWER_START if role is Role.RESPONSE else b"")
    try:
        for at, piece in enumerate(pieces):
            block = reader.feed(piece)
            if block is not None:
                later = [reader.rest, *pieces[at + 1 :]]
                return _our_message(block, later, role, len(data))
    except BadMessageError as fault:
        return OurReading(Refused(fault.reason), len(data))
    return OurReading(Unfinished(), len(data))


def _our_message(block: bytes, pieces: list[bytes], role: Role, size: int) -> OurReading:
    head: RequestHead | ResponseHead
    if role is Role.REQUEST:
        request = head = h1.parse_request(block)
        start: tuple[bytes, ...] = (request.method, request.target)
        body = request_body(request)
    else:
        response = head = h1.parse_response(block)
        start = (b"%d" % response.status,)
        body = response_body(response, b"POST")
    content = b""
    rest = b""
    for piece in pieces:
        if body.done:
            rest += piece
        elif piece:
            content += body.feed(piece)
    rest = body.rest + rest
    lines = [check_line(line) for line in head.block.split(b"\r\n")[1:]]
    headers = tuple((line.name, line.value) for line in lines)
    message = Message(start, head.http11, headers, content, body.done, rest)
    return OurReading(message, size - _begun(body))


def _begun(body: Body) -> int:
    """Bytes of a line that has begun in a chunked body and not ended."""
    return len(body._part) if body.mode == CHUNKED else 0


def by_h11(data: bytes, role: Role) -> Reading:
    connection = h11.Connection(
        h11.SERVER if role is Role.REQUEST else h11.CLIENT, max_incomplete_event_size=_MAX_BYTES
    )
    if role is Role.RESPONSE:
        connection.send(h11.Request(method="POST", target="/", headers=[("host", "a")]))
        connection.send(h11.EndOfMessage())
    if data:  # no bytes would be the end of the connection
        connection.receive_data(data)
    head: h11.Request | h11.Response | h11.InformationalResponse | None = None
    body = b""
    whole = False
    try:
        while not whole:
            event = connection.next_event()
            if isinstance(event, h11.Request | h11.Response | h11.InformationalResponse):
                head = event
                whole = isinstance(event, h11.InformationalResponse)
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                whole = True
            else:
                break
    except h11.RemoteProtocolError as error:
        return Refused(str(error))
    if head is None:
        return Unfinished()
    if isinstance(head, h11.Request):
        start: tuple[bytes, ...] = (head.method, head.target)
    else:
        start = (b"%d" % head.status_code,)
    rest = connection.trailing_data[0] if whole else b""
    return Message(start, head.http_version == b"1.1", tuple(head.headers), body, whole, rest)


class _Heard:
    """What httptools calls back."""

    def __init__(self) -> None:
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.has_head = False
        self.whole = False

    def on_url(self, piece: bytes) -> None:
        self.target += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.has_head:
            self.headers.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.has_head = True

    def on_body(self, piece: bytes) -> None:
        self.body += piece

    def on_message_complete(self) -> None:
        self.whole = True


def by_httptools(data: bytes, role: Role) -> Reading:
    heard = _Heard()
    parser: httptools.HttpRequestParser | httptools.HttpResponseParser
    if role is Role.REQUEST:
        request = parser = httptools.HttpRequestParser(heard)
    else:
        response = parser = httptools.HttpResponseParser(heard)
    at = 0
    try:
        # By single bytes, since it does not tell where in its bytes a message ended.
        while at < len(data) and not heard.whole:
            at += 1
            parser.feed_data(data[at - 1 : at])
    except httptools.HttpParserUpgrade:
        pass  # it takes what follows for another protocol; the message itself is over
    except httptools.HttpParserError as error:
        return Refused(str(error))
    if not heard.has_head:
        return Unfinished()
    if role is Role.REQUEST:
        start: tuple[bytes, ...] = (request.get_method(), heard.target)
    else:
        start = (b"%d" % response.get_status_code(),)
    http11 = parser.get_http_version() == "1.1"
    return Message(start, http11, tuple(heard.headers), heard.body, heard.whole, data[at:])
