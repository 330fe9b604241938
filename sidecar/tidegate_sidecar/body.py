"""Bodies of HTTP/1.1 messages: takes their framing off.

Law: as in ``h1``. A body ends where its framing says and nowhere else; what follows is handed
back, and what could end in two places is refused.
"""

import re
from typing import Final

from tidegate_sidecar.h1 import (
    FORWARD,
    MAX_HEAD_BYTES,
    MAX_HEADER_LINES,
    BadMessageError,
    RequestHead,
    ResponseHead,
    check_line,
)

MAX_CHUNK_LINE_BYTES: Final = 4096
MAX_EXTENSION_BYTES: Final = 65536
"""Of all chunks of one body. Nobody is known to send any."""
_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED: Final = rb'"(?:[^\x00-\x08\x0a-\x1f\x7f"\\]|\\[^\x00-\x08\x0a-\x1f\x7f])*"'
# RFC 9112, 7.1 and 7.1.1, without white space around extensions: h11 and llhttp refuse it too.
_CHUNK: Final = re.compile(
    rb"([0-9a-fA-F]{1,15})(?:;%b(?:=(?:%b|%b))?)*" % (_TOKEN, _TOKEN, _QUOTED)
)
LENGTH: Final = 0
CHUNKED: Final = 1
UNTIL_CLOSE: Final = 2

_SIZE: Final = 0
_DATA: Final = 1
_DATA_END: Final = 2
_TRAILER: Final = 3

_SMALL_SIZES: Final = {b"%x" % size: size for size in range(1, 4096)}
_SMALL_LINE_BYTES: Final = 5


class Body:
    """Takes a body's framing off."""

    __slots__ = (
        "_clean",
        "_extension_bytes",
        "_part",
        "_state",
        "_trailer_lines",
        "done",
        "left",
        "mode",
        "rest",
        "trailers",
        "whole",
    )

    def __init__(self, mode: int, length: int = 0) -> None:
        self.mode = mode
        self.left = length
        """Bytes still to come, of the body or of the chunk."""
        self.done = mode == LENGTH and length == 0
        self.rest = b""
        """Once done: what followed the body."""
        self.trailers = b""
        """Lines that may travel on, each with its line end."""
        self.whole = False
        """The bytes just fed were whole plain chunks, good to be passed on as they are."""
        self._state = _SIZE
        self._part = b""
        self._extension_bytes = 0
        self._trailer_lines = 0
        self._clean = True

    def feed(self, data: bytes) -> bytes:
        """Take bytes off the wire and return those of the body."""
        if self.mode == CHUNKED:
            # What a server writes per event is nearly always read as exactly one chunk.
            if self._state == _SIZE and not self._part and data.endswith(b"\r\n"):
                end = data.find(b"\r\n")
                if end > 0 and end + _SMALL_SIZES.get(data[:end], -9) + 4 == len(data):
                    self.whole = True
                    return data[end + 2 : -2]
            return self._feed_chunks(data)
        if self.mode == UNTIL_CLOSE:
            return data
        if len(data) < self.left:
            self.left -= len(data)
            return data
        self.done = True
        self.rest = data[self.left :]
        piece = data[: self.left] if self.rest else data
        self.left = 0
        return piece

    def _feed_chunks(self, data: bytes) -> bytes:
        pieces: list[bytes] = []
        self._clean = self._state == _SIZE and not self._part
        if self._part:
            data = self._part + data
            self._part = b""
        at = 0
        while at < len(data) and not self.done:
            if self._state == _DATA:
                piece = data[at : at + self.left]
                pieces.append(piece)
                at += len(piece)
                self.left -= len(piece)
                if self.left == 0:
                    self._state = _DATA_END
                continue
            if self._state == _SIZE:
                # Small chunks that have come whole, of which a burst of events has many.
                line_end = data.find(b"\r\n", at, at + _SMALL_LINE_BYTES)
                size = _SMALL_SIZES.get(data[at:line_end], 0) if line_end > 0 else 0
                end = line_end + 2 + size
                if size and data[end : end + 2] == b"\r\n":
                    pieces.append(data[line_end + 2 : end])
                    at = end + 2
                    continue
            after = self._take_line(data, at)
            if after < 0:
                self._part = data[at:]
                break
            at = after
        if self.done:
            self.rest = data[at:]
        at_boundary = self.done or self._state == _SIZE
        self.whole = self._clean and at_boundary and not self.rest and not self._part
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _take_line(self, data: bytes, at: int) -> int:
        """Take the size line, chunk end or trailer line at ``at``; where it ends, or -1 while it
        is incomplete."""
        if self._state == _DATA_END:
            end = data[at : at + 2]
            if end == b"\r\n":
                self._state = _SIZE
                return at + 2
            if end == b"\r":
                return -1
            raise BadMessageError(400, "chunk must end in CR LF")
        end_at = data.find(b"\r\n", at)
        if end_at > at + MAX_CHUNK_LINE_BYTES or (
            end_at < 0 and len(data) - at > MAX_CHUNK_LINE_BYTES + 1
        ):
            raise BadMessageError(400, f"chunk line must be at most {MAX_CHUNK_LINE_BYTES} bytes")
        if end_at < 0:
            if b"\n" in data[at:]:
                raise BadMessageError(400, "chunk lines must end in CR LF")
            return -1
        line = data[at:end_at]
        if self._state == _SIZE:
            self._take_size(line)
        elif line:
            self._take_trailer(line)
        else:
            self.done = True
        return end_at + 2

    def _take_size(self, line: bytes) -> None:
        match = _CHUNK.fullmatch(line)
        if match is None:
            raise BadMessageError(
                400, "chunk size must be hexadecimal, with extensions after ; alone"
            )
        self.left = int(match.group(1), 16)
        self._state = _DATA if self.left else _TRAILER
        if b";" in line:
            self._clean = False  # an extension is meant for us alone
            # Of a small body, the limit on bodies would not see how much of them there is.
            self._extension_bytes += len(line)
            if self._extension_bytes > MAX_EXTENSION_BYTES:
                raise BadMessageError(
                    400, f"chunk extensions must be at most {MAX_EXTENSION_BYTES} bytes"
                )

    def _take_trailer(self, line: bytes) -> None:
        header = check_line(line)
        if header.kind != FORWARD:
            # Framing, routing, credentials, the content's kind (RFC 9110, 6.5.1): whoever merges
            # trailers into the headers would read another message than we did.
            raise BadMessageError(400, f"{header.name.decode()} must not be a trailer")
        self._clean = False
        self._trailer_lines += 1
        if self._trailer_lines > MAX_HEADER_LINES:
            raise BadMessageError(431, f"there must be at most {MAX_HEADER_LINES} trailers")
        self.trailers += line + b"\r\n"
        if len(self.trailers) > MAX_HEAD_BYTES:
            raise BadMessageError(431, f"trailers must be at most {MAX_HEAD_BYTES} bytes")


def request_body(head: RequestHead) -> Body:
    """How a request's body is framed."""
    if head.chunked:
        return Body(CHUNKED)
    return Body(LENGTH, head.content_length if head.content_length > 0 else 0)


def is_bodiless(head: ResponseHead, method: bytes) -> bool:
    """Whether no body follows, whatever the head tells of one (RFC 9112, section 6.3)."""
    return method == b"HEAD" or head.status < 200 or head.status in (204, 304)


def tells_of_body(head: ResponseHead) -> bool:
    return head.chunked or head.content_length > 0


def response_body(head: ResponseHead, method: bytes) -> Body:
    """How the body of an answer to ``method`` is framed (RFC 9112, section 6.3)."""
    if is_bodiless(head, method):
        return Body(LENGTH)
    if head.chunked:
        return Body(CHUNKED)
    if head.content_length >= 0:
        return Body(LENGTH, head.content_length)
    return Body(UNTIL_CLOSE)
