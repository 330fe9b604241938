"""Heads of HTTP/1.1 messages: bytes in, checked lines out.

Law: this file knows framing and nothing else; no I/O, no time, no role beyond request or response.
What two parsers could read differently is refused, never mended (RFC 9112, sections 2.2, 5.2, 6.1
and 7.1): both length headers, a bare CR or LF, NUL, folded lines, space before a colon, a chunk
size that is not plain hexadecimal (``body``). Any cut of the bytes reads as the whole does.
"""

import re
from typing import Final

# What a header line is to a proxy. ``Head.read`` goes by the order: the first ends here, the next
# two travel on, the next eight do so and are noted, the last are noted and end here.
HOP: Final = 0
FORWARD: Final = 1
SECRET: Final = 2
"""Travels on, but is never kept in the memo of lines."""
CONTENT_LENGTH: Final = 3
CONTENT_TYPE: Final = 4
HOST: Final = 5
TRACEPARENT: Final = 6
ACCEPT_ENCODING: Final = 7
CONTENT_ENCODING: Final = 8
EXPECT: Final = 9
TRAILER: Final = 10
CONNECTION: Final = 11
TRANSFER_ENCODING: Final = 12
TE: Final = 13
UPGRADE: Final = 14

MAX_HEAD_BYTES: Final = 65536
"""Precedents: nginx 32 KiB, Envoy 60 KiB, h11 16 KiB; long bearer tokens and trace baggage have to
fit."""
MAX_HEADER_LINES: Final = 200
MAX_LENGTH_DIGITS: Final = 18
"""Below 2**63, which is as far as other parsers count."""
MAX_REQUEST_LINE_BYTES: Final = 32768
"""RFC 9112, section 3, asks for 8,000 at least; nginx takes 8 KiB, uvicorn 64."""

TOKEN: Final = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TEXT: Final = bytes(c for c in range(256) if c == 9 or (c >= 32 and c != 127))
REQUEST_LINE: Final = re.compile(
    # No small letters: servers that fold a method's case would serve what we took for another. No
    # fragment either, which is not sent (RFC 9110, 4.2.5) and hides the end of a path.
    rb"([!#$%&'*+\-.^_`|~0-9A-Z]{1,32}) ([\x21\x22\x24-\x7e]+) HTTP/([0-9])\.([0-9])"
)
_STATUS_LINE: Final = re.compile(
    rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\x00-\x08\x0a-\x1f\x7f]*)?"
)
# RFC 3986, 3.2.2 and 3.2.3, but that an IP literal's inside is not looked at.
_HOST: Final = re.compile(
    rb"(?:\[[0-9A-Za-z:.%\-_~!$&'()*+,;=]+\]|(?:[0-9A-Za-z.\-_~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*)"
    rb"(?::[0-9]{0,5})?"
)
_ABSOLUTE: Final = re.compile(rb"(?i:https?)://([^/?:][^/?]*)((?:[/?].*)?)")
_KINDS: Final = {
    b"connection": CONNECTION,
    b"keep-alive": HOP,
    b"proxy-authenticate": HOP,
    b"proxy-authorization": HOP,
    b"proxy-connection": HOP,
    b"te": TE,
    b"trailer": TRAILER,
    b"upgrade": UPGRADE,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"content-length": CONTENT_LENGTH,
    b"content-type": CONTENT_TYPE,
    b"content-encoding": CONTENT_ENCODING,
    b"accept-encoding": ACCEPT_ENCODING,
    b"expect": EXPECT,
    b"host": HOST,
    b"traceparent": TRACEPARENT,
    b"authorization": SECRET,
    b"cookie": SECRET,
    b"set-cookie": SECRET,
    b"x-api-key": SECRET,
    b"api-key": SECRET,
}
_MEMO_LINES: Final = 2048
_MEMO_LINE_BYTES: Final = 256


class BadMessageError(Exception):
    """What came is not a message that can be read in one way only."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        """What a client is answered when the fault is in its request."""
        self.reason = reason


class Header:
    """One checked header line."""

    __slots__ = ("kind", "name", "value")

    def __init__(self, kind: int, name: bytes, value: bytes) -> None:
        self.kind = kind
        self.name = name
        """Lower case."""
        self.value = value


# Clients and servers repeat their lines; checking each once saves a third of the time that a head
# takes. Most lines just travel on, and it is enough to know that.
_plain: set[bytes] = set()
_checked: dict[bytes, Header] = {}
_names: dict[bytes, Header] = {}
_request_lines: dict[bytes, tuple[bytes, bytes, bool]] = {}
_status_lines: dict[bytes, tuple[int, bool]] = {}


def check_line(line: bytes) -> Header:
    """Read one header line strictly."""
    name, colon, value = line.partition(b":")
    known = _names.get(name) if colon else None
    if known is None:
        known = _check_name(name if colon else b"")
    if line.translate(None, _TEXT):
        raise BadMessageError(400, "header value must not hold control characters")
    kind = known.kind
    header = Header(kind, known.name, value.strip(b" \t"))
    if kind == HOST:
        _check_host(header.value)
    # Lengths and traces differ from message to message and secrets should not outlive theirs: none
    # is worth keeping.
    if kind not in (CONTENT_LENGTH, SECRET, TRACEPARENT) and len(line) <= _MEMO_LINE_BYTES:
        if len(_checked) + len(_plain) >= _MEMO_LINES:
            _checked.clear()
            _plain.clear()
        if kind == FORWARD:
            _plain.add(line)
        else:
            _checked[line] = header
    return header


def _check_host(value: bytes) -> None:
    if _HOST.fullmatch(value) is None:
        raise BadMessageError(400, "host must be HOST or HOST:PORT")


def _check_name(raw: bytes) -> Header:
    if not raw or raw.translate(None, TOKEN):
        raise BadMessageError(400, "header name must be a token, directly followed by a colon")
    name = raw.lower()
    header = Header(_KINDS.get(name, FORWARD), name, b"")
    if len(raw) <= _MEMO_LINE_BYTES:
        if len(_names) >= _MEMO_LINES:
            _names.clear()
        _names[raw] = header
    return header


class Head:
    """What requests and responses share."""

    __slots__ = (
        "accept_encoding",
        "block",
        "chunked",
        "close",
        "connection",
        "content_length",
        "content_type",
        "encoded",
        "expect",
        "forward",
        "host",
        "host_line",
        "http11",
        "keep_alive",
        "length_line",
        "names_trailers",
        "takes_trailers",
        "traceparent",
        "upgrade",
    )

    def __init__(self, block: bytes, http11: bool) -> None:
        self.block = block
        self.forward: list[bytes] = []
        """Lines that travel on, as they came."""
        self.http11 = http11
        self.keep_alive = http11
        self.close = False
        self.content_length = -1
        """-1: not given."""
        self.chunked = False
        self.content_type = b""
        """As it came."""
        self.accept_encoding: list[bytes] = []
        """Lines like this; whoever reads the answer has to ask for a plain one instead."""
        self.encoded = False
        """A content-encoding other than identity."""
        self.expect = b""
        self.host: bytes | None = None
        self.traceparent = b""
        """Empty: not given. Two are joined, as any two of a name may be (RFC 9110, 5.3)."""
        self.host_line = b""
        """How ``host`` stands among the lines that travel on."""
        self.length_line = b""
        """How ``content_length`` stands among them; whoever frames the body anew has to change
        it."""
        self.names_trailers = False
        """Has a Trailer header, of use only while the message stays chunked."""
        self.takes_trailers = False
        """``TE: trailers``: whoever gets the answer takes its trailers."""
        self.upgrade = b""
        """Protocols of an Upgrade header."""
        self.connection: list[bytes] = []
        """Options of Connection headers, but close and keep-alive: names of headers that end
        here."""

    def read(self, lines: list[bytes]) -> None:
        """Sort all lines after the first."""
        if len(lines) > MAX_HEADER_LINES:
            raise BadMessageError(431, f"there must be at most {MAX_HEADER_LINES} header lines")
        forward = self.forward
        for line in lines[1:]:
            if line in _plain:
                forward.append(line)
                continue
            header = _checked.get(line)
            if header is None:
                header = check_line(line)
            kind = header.kind
            if HOP < kind <= TRAILER:
                forward.append(line)
            if kind > SECRET:
                self._note(kind, header.value, line)
        if self.chunked:
            self._check_chunked()
        if self.connection:
            # Framing and routing are for everyone on the way: nobody can have them taken off.
            kept = (self.host_line, self.length_line)
            self.forward = [
                line for line in forward if line in kept or _name(line) not in self.connection
            ]
            if b"accept-encoding" in self.connection:
                self.accept_encoding = []

    def _check_chunked(self) -> None:
        if self.content_length >= 0:
            raise BadMessageError(
                400, "content-length and transfer-encoding must not both be given"
            )
        if not self.http11:
            raise BadMessageError(400, "transfer-encoding must not be given in HTTP/1.0")

    def _note(self, kind: int, value: bytes, line: bytes) -> None:
        if kind == CONTENT_LENGTH:
            self.content_length = _length(value, self.content_length)
            self.length_line = line
        elif kind == CONTENT_TYPE:
            self.content_type = value
        elif kind == HOST:
            if self.host is not None:
                raise BadMessageError(400, "host must be given once")
            self.host = value
            self.host_line = line
        elif kind == TRACEPARENT:
            before = self.traceparent
            self.traceparent = before + b", " + value if before else value
        elif kind == ACCEPT_ENCODING:
            self.accept_encoding.append(line)
        elif kind == CONNECTION:
            self._note_connection(value)
        elif kind == TRANSFER_ENCODING:
            tab_after = line.rstrip(b" ").endswith(b"\t")  # llhttp: then it isn't chunked
            if self.chunked or tab_after or value.lower() != b"chunked":
                raise BadMessageError(
                    _coding_status(value), "transfer-encoding must be chunked, once"
                )
            self.chunked = True
        else:
            self._note_rare(kind, value)

    def _note_rare(self, kind: int, value: bytes) -> None:
        if kind == CONTENT_ENCODING:
            self.encoded = self.encoded or value.lower() not in (b"", b"identity")
        elif kind == EXPECT:
            self.expect = value.lower()
        elif kind == TRAILER:
            self.names_trailers = True
        elif kind == TE:
            self.takes_trailers = self.takes_trailers or b"trailers" in _members(value)
        elif kind == UPGRADE:
            self.upgrade = self.upgrade + b", " + value if self.upgrade else value

    def _note_connection(self, value: bytes) -> None:
        for option in _members(value):
            if option == b"close":
                self.close = True
            elif option == b"keep-alive":
                self.keep_alive = True
            elif option:
                self.connection.append(option)
        if self.close:
            self.keep_alive = False

    def without(self, name: bytes) -> list[bytes]:
        """The lines that travel on, but for those called ``name`` (lower case)."""
        return [line for line in self.forward if _name(line) != name]

    def values(self, name: bytes) -> list[bytes]:
        """Values of the headers called ``name`` (lower case), in order; those that end here
        included."""
        # Looked for in the text as a whole: with the 20 lines of a real client four times as fast
        # as line by line.
        mark = b"\r\n%b:" % name
        text = self.block.lower() + b"\r\n"
        values: list[bytes] = []
        at = text.find(mark)
        while at >= 0:
            at += len(mark)
            end = text.find(b"\r\n", at)
            values.append(self.block[at:end].strip(b" \t"))
            at = text.find(mark, end)
        return values


def _name(line: bytes) -> bytes:
    return line.split(b":", 1)[0].lower()


def _members(value: bytes) -> list[bytes]:
    return [member.strip(b" \t") for member in value.lower().split(b",")]


def _length(value: bytes, before: int) -> int:
    if before >= 0:
        # Equal ones could be read in one way only; nginx and llhttp refuse them all the same.
        raise BadMessageError(400, "content-length must be given once")
    if not value.isdigit() or len(value) > MAX_LENGTH_DIGITS:
        raise BadMessageError(400, "content-length must be a plain number")
    return int(value)


def _coding_status(value: bytes) -> int:
    """501 for codings before a final ``chunked`` (RFC 9112, 6.1); 400 where no chunks show the
    body's end (6.3)."""
    *before, last = [coding.strip(b" \t") for coding in value.lower().split(b",")]
    return 501 if last == b"chunked" and before and b"chunked" not in before else 400


class RequestHead(Head):
    """A request's first line and headers."""

    __slots__ = ("method", "target")

    def __init__(self, block: bytes, method: bytes, target: bytes, http11: bool) -> None:
        super().__init__(block, http11)
        self.method = method
        self.target = target
        """In origin form, ``/path?query``; or ``*``."""

    def route_to(self, host: bytes) -> None:
        """Put another Host in the place of the one that came, or first if none did."""
        line = b"host: " + host
        if self.host is None:
            self.forward.insert(0, line)
        else:
            self.forward[self.forward.index(self.host_line)] = line
        self.host = host
        self.host_line = line


class ResponseHead(Head):
    """A response's first line and headers."""

    __slots__ = ("line", "status")

    def __init__(self, block: bytes, line: bytes, status: int, http11: bool) -> None:
        super().__init__(block, http11)
        self.status = status
        self.line = line if http11 else line.replace(b"HTTP/1.0", b"HTTP/1.1", 1)


def parse_request(block: bytes) -> RequestHead:
    """Read a request's head, given without its final empty line."""
    lines = block.split(b"\r\n")
    first = lines[0]
    known = _request_lines.get(first)
    if known is None:
        known = _read_request_line(first)
    method, target, http11 = known
    head = RequestHead(block, method, target, http11)
    head.read(lines)
    if head.host is None and http11:
        raise BadMessageError(400, "host must be given")
    if target[:1] != b"/":
        _take_other_form(head)
    return head


def _read_request_line(line: bytes) -> tuple[bytes, bytes, bool]:
    if len(line) > MAX_REQUEST_LINE_BYTES:
        raise BadMessageError(414, f"request line must be at most {MAX_REQUEST_LINE_BYTES} bytes")
    match = REQUEST_LINE.fullmatch(line)
    if match is None:
        raise BadMessageError(400, "request line must be METHOD TARGET HTTP/1.1")
    method, target, major, minor = match.groups()
    if major != b"1" or minor not in (b"0", b"1"):
        raise BadMessageError(505, "HTTP version must be 1.0 or 1.1")
    known = (method, target, minor == b"1")
    # A query can hold a secret.
    if len(line) <= _MEMO_LINE_BYTES and b"?" not in target:
        if len(_request_lines) >= _MEMO_LINES:
            _request_lines.clear()
        _request_lines[line] = known
    return known


def _take_other_form(head: RequestHead) -> None:
    """Bring absolute form to origin form (RFC 9112, 3.2.2: its authority overrides Host)."""
    match = _ABSOLUTE.fullmatch(head.target)
    if match is not None:
        _check_host(match.group(1))
        head.route_to(match.group(1))
        rest = match.group(2)
        head.target = rest if rest.startswith(b"/") else b"/" + rest
    elif head.method == b"CONNECT":
        raise BadMessageError(405, "CONNECT is not served here")
    elif head.target != b"*" or head.method != b"OPTIONS":
        raise BadMessageError(400, "request target must be a path")


def parse_response(block: bytes) -> ResponseHead:
    """Read a response's head, given without its final empty line."""
    lines = block.split(b"\r\n")
    known = _status_lines.get(lines[0])
    if known is None:
        known = _read_status_line(lines[0])
    head = ResponseHead(block, lines[0], known[0], known[1])
    head.read(lines)
    if head.status < 200 and (head.chunked or head.content_length >= 0):
        # RFC 9110, 8.6, and RFC 9112, 6.1; llhttp waits for a body there.
        raise BadMessageError(502, "an informational answer must not have a length")
    return head


def _read_status_line(line: bytes) -> tuple[int, bool]:
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise BadMessageError(502, "status line must be HTTP/1.1 STATUS REASON")
    known = (int(match.group(2)), match.group(1) == b"1")
    if len(line) <= _MEMO_LINE_BYTES:
        if len(_status_lines) >= _MEMO_LINES:
            _status_lines.clear()
        _status_lines[line] = known
    return known
