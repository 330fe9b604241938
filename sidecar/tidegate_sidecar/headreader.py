"""Where a head ends, in bytes that come in any cut.

Law: as in ``h1``, which reads the head then. Nothing is looked at here but line ends, how a head
begins and how long it gets: what can't become one any more is told at once, since its other end
may wait for us.
"""

import re
from typing import Final

from tidegate_sidecar.h1 import MAX_HEAD_BYTES, REQUEST_LINE, TOKEN, BadMessageError

ANSWER_START: Final = b"HTTP/1."
_FIRST: Final = TOKEN + b"\r"
_EMPTY_LINES: Final = re.compile(rb"(?:\r\n)*")


def _end_of_empty_lines(data: bytes) -> int:
    match = _EMPTY_LINES.match(data)
    return 0 if match is None else match.end()


class HeadReader:
    """Finds the end of a head in bytes that come in any cut."""

    __slots__ = ("_buffer", "_scanned", "_start", "rest")

    def __init__(self, start: bytes = b"") -> None:
        """``start``: what each head has to begin with."""
        self._start = start
        self._buffer = b""
        self._scanned = 0
        self.rest = b""
        """After ``feed`` returned a head: the bytes that follow it."""

    @property
    def waiting(self) -> int:
        """Bytes of a head that is not whole."""
        return len(self._buffer)

    @property
    def empty(self) -> bool:
        """Nothing of a head has come yet."""
        return not self._buffer

    def feed(self, data: bytes) -> bytes | None:
        """Take bytes; return the head without its final empty line once it is whole."""
        if self._buffer:
            data = self._buffer + data
        if self._start and not data.startswith(self._start):
            self._refuse_other_start(data)
        # Empty lines before a head are passed over (RFC 9112, 2.2): old clients end a body with
        # one too many.
        if data[:2] == b"\r\n":
            data = data[_end_of_empty_lines(data) :]
            self._scanned = 0
        end = data.find(b"\r\n\r\n", self._scanned - 3 if self._scanned > 3 else 0)
        if end > MAX_HEAD_BYTES or (end < 0 and len(data) > MAX_HEAD_BYTES + 3):
            raise BadMessageError(431, f"head must be at most {MAX_HEAD_BYTES} bytes")
        if end < 0:
            self._refuse_early(data)
            self._buffer = data
            self._scanned = len(data)
            return None
        if self._buffer:
            self._buffer = b""
            self._scanned = 0
        self.rest = data[end + 4 :]
        return data[:end]

    def _refuse_other_start(self, data: bytes) -> None:
        if len(data) >= len(self._start) or not self._start.startswith(data):
            raise BadMessageError(400, f"it does not begin with {self._start.decode()}")

    def _refuse_early(self, data: bytes) -> None:
        """Tell at once what would otherwise only show when the head ends, which it may never
        do."""
        if data and data[0] not in _FIRST:
            raise BadMessageError(400, "it does not begin as HTTP does")  # TLS, for one
        first_end = data.find(b"\r\n")
        fresh_line = first_end >= max(0, self._scanned - 1)
        if fresh_line and not self._start and REQUEST_LINE.fullmatch(data[:first_end]) is None:
            raise BadMessageError(400, "request line must be METHOD TARGET HTTP/1.1")
        start = max(0, self._scanned - 1)  # the byte before may be the CR of a pair
        fresh = data[start:]
        pairs = fresh.count(b"\r\n")
        known = start > 0 and fresh.startswith(b"\n")
        if (
            fresh.count(b"\n") - known != pairs
            or fresh.count(b"\r") - fresh.endswith(b"\r") != pairs
        ):
            raise BadMessageError(400, "lines must end in CR LF")
