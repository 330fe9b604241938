"""Server-sent events, listened to and never re-written.

Law: bytes pass through as they came; what is learnt, and what is taken out, does not depend on how
reads cut them. Lines end in CR LF, LF or CR and in nothing else: U+0085, U+2028 and U+2029 are
legal inside a JSON string, and whoever splits there loses events. Rules:
https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import re
from collections.abc import Callable
from typing import Final

TAIL_BYTES: Final = 4096
"""Kept of a stream, in whole events: usage and the finish reason are in its last few, each some
200-400 bytes."""
MAX_EVENT_BYTES: Final = 1 << 20
"""Kept of one event; of a longer one both ends are."""
TORN_HEAD_BYTES: Final = 1024
"""Kept of its beginning, where its type is; pictures and sound lie between."""
MAX_HELD_BYTES: Final = 65536
"""An event that may have to be taken out is held until it ends; one longer than this is none of
those."""
_PIECE_BYTES: Final = 64
"""What a piece costs beside its bytes: many small ones have to be joined early."""
# As a number: to look for one byte as bytes takes eight times as long.
_CR: Final = ord("\r")
_LF: Final = ord("\n")
_BOM: Final = b"\xef\xbb\xbf"
_DATA: Final = b"\ndata:"
# CR LF alone is no CR and LF, which would be an empty line. With atomic groups this would read
# better, and be searched for five times as long.
_EVENT_END: Final = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?!\n))")


class Watcher:
    """Listens to one stream: when its output began, how many events it had, and what its last ones
    said.

    ``is_output`` is asked about the data of each event until it says yes.
    """

    __slots__ = (
        "_carry",
        "_heard",
        "_is_output",
        "_pieces",
        "_size",
        "_skip_lf",
        "_start",
        "_trim_at",
        "begun",
        "events",
        "opening",
    )

    def __init__(self, is_output: Callable[[bytes], bool]) -> None:
        self.events = 0
        """Lines of data so far; comments are none, and an event of these APIs has one."""
        self.opening = 0
        """Events before the first output."""
        self.begun = False
        """There was output."""
        self._is_output = is_output
        self._heard = 0
        self._pieces: list[bytes] = []
        self._size = 0
        self._trim_at = 2 * TAIL_BYTES
        self._carry = b"\n"
        self._skip_lf = False
        self._start: bytes | None = b""

    def feed(self, piece: bytes) -> None:
        """Listen to the next bytes."""
        if self._start is not None or self._skip_lf or _CR in piece:
            piece = self._plain(piece)
        if not piece:
            return
        joined = self._carry + piece
        self.events += joined.count(_DATA)
        self._carry = joined[-5:]
        self._pieces.append(piece)
        self._size += len(piece) + _PIECE_BYTES
        if not self.begun and joined.find(b"\n\n") >= 0:
            self._listen()
        if self._size > self._trim_at:
            self._trim()

    def _listen(self) -> None:
        """Ask about the events that have ended since the last time."""
        text = b"".join(self._pieces)
        self._pieces = [text]
        start = self._heard
        self._heard = max(text.rfind(b"\n\n") + 2, start)
        for block in text[start : self._heard].split(b"\n\n"):
            data = event_data(block)
            if data is None:
                continue
            if self._is_output(data):
                self.begun = True
                return
            self.opening += 1

    def _plain(self, piece: bytes) -> bytes:
        """The same with LF for every line end, and without a byte order mark."""
        if self._start is not None:
            piece = self._start + piece
            if len(piece) < len(_BOM) and _BOM.startswith(piece):
                self._start = piece
                return b""
            self._start = None
            piece = piece.removeprefix(_BOM)
        if self._skip_lf and piece:
            # A CR ended its line when it came; an LF after it is its other half.
            piece = piece.removeprefix(b"\n")
            self._skip_lf = False
            if not piece:
                return piece
        if _CR in piece:
            self._skip_lf = piece.endswith(b"\r")
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return piece

    def _trim(self) -> None:
        tail = b"".join(self._pieces)
        end = tail.rfind(b"\n\n", 0, len(tail) - TAIL_BYTES)
        whole = len(tail)
        if end >= 0:
            tail = tail[end + 2 :]
        elif len(tail) > MAX_EVENT_BYTES:
            tail = tail[:TORN_HEAD_BYTES] + tail[-TAIL_BYTES:]
        self._pieces = [tail]
        self._size = len(tail)
        self._heard = max(self._heard - (whole - self._size), 0)
        # Doubling, so that one endless event is not joined anew for every read of it.
        self._trim_at = min(2 * max(TAIL_BYTES, len(tail)), MAX_EVENT_BYTES)

    def last(self, count: int) -> list[bytes]:
        """Data of the last whole events, at most ``count`` (-1: all that are kept), latest first;
        comments are none.

        A final ``data: [DONE]`` counts even if its empty line is missing, as some servers have it.
        """
        if self._start:
            return []
        found: list[bytes] = []
        text = b"".join(self._pieces)
        end = text.rfind(b"\n\n")
        if text[end + 2 if end >= 0 else 0 :].lstrip(b"\n").rstrip() == b"data: [DONE]":
            found.append(b"[DONE]")
        while end >= 0 and len(found) != count:
            start = text.rfind(b"\n\n", 0, end)
            data = event_data(text[start + 2 if start >= 0 else 0 : end])
            if data is not None:
                found.append(data)
            end = start
        return found


def event_data(block: bytes) -> bytes | None:
    """What the ``data`` lines of one event (lines ended by LF) say; None if it has none."""
    if block.startswith(b"data:") and _LF not in block:
        return block[5:].removeprefix(b" ")
    values = [
        line[5:].removeprefix(b" ")
        for line in block.split(b"\n")
        if line.startswith(b"data:") or line == b"data"
    ]
    return b"\n".join(values) if values else None


class EventFilter:
    """Takes single events out of a stream and leaves every other byte as it was.

    ``drop`` is asked about the data of each event whose bytes hold ``mark``, which is cheap to
    look for, and ``sign``, which is rare.
    """

    __slots__ = ("_drop", "_ended_by_cr", "_held", "_mark", "_passing", "_sign", "_swallow")

    def __init__(
        self, mark: bytes, sign: re.Pattern[bytes], drop: Callable[[bytes], bool]
    ) -> None:
        self._mark = mark
        self._sign = sign
        self._drop = drop
        self._held = b""
        self._passing = False
        self._ended_by_cr = False
        self._swallow = False

    def feed(self, piece: bytes) -> bytes:
        """Take the next bytes; return those that may go on."""
        idle = not self._held and not self._passing and not self._ended_by_cr
        if (
            idle
            and piece.endswith(b"\n\n")
            and _CR not in piece
            and (piece.find(self._mark) < 0 or self._sign.search(piece) is None)
        ):
            return piece  # nearly always: whole events, none of which is in question
        if not self._ended_by_cr and _CR not in piece and _CR not in self._held:
            return self._feed_lines(self._held + piece, len(self._held))
        return self._feed_any(piece)

    def _feed_lines(self, data: bytes, known: int) -> bytes:
        """Take text whose lines all end in LF, and look at nothing but the events in question.

        ``known``: so many bytes came before, and no event ends among them.
        """
        out: list[bytes] = []
        fresh = max(known - 1, 0)  # the byte before may be the first LF of an end
        end = data.rfind(b"\n\n", fresh) + 2
        if end < 2:
            self._hold(data, out)
            return b"".join(out)
        done_to = 0
        looked_to = 0
        if self._passing:
            self._passing = False
            looked_to = data.find(b"\n\n", fresh) + 2
        sign = self._sign.search(data, looked_to, end)
        while sign is not None:
            start = data.rfind(b"\n\n", looked_to, sign.start())
            start = looked_to if start < 0 else start + 2
            looked_to = data.find(b"\n\n", sign.start()) + 2
            out.append(data[done_to:start])
            self._take(data[start:looked_to], out)
            done_to = looked_to
            sign = self._sign.search(data, looked_to, end)
        out.append(data[done_to:end])
        self._hold(data[end:], out)
        return b"".join(out)

    def _feed_any(self, piece: bytes) -> bytes:
        """The same, whatever its lines end in."""
        out: list[bytes] = []
        if self._ended_by_cr and piece:
            self._ended_by_cr = False
            if piece.startswith(b"\n"):
                if not self._swallow:
                    out.append(b"\n")
                piece = piece[1:]
        data = self._held + piece
        start = 0
        for end in _EVENT_END.finditer(data, 0 if not self._held else _last_line_end(self._held)):
            self._take(data[start : end.end()], out)
            start = end.end()
            self._ended_by_cr = start == len(data) and data.endswith(b"\r")
        self._hold(data[start:], out)
        return b"".join(out)

    def _take(self, event: bytes, out: list[bytes]) -> None:
        self._swallow = (
            event.find(self._mark) >= 0
            and self._sign.search(event) is not None
            and not self._passing
            and not _too_long(event)
            and self._is_dropped(event)
        )
        self._passing = False
        # Empty lines before an event are not its own.
        out.append(event[: len(event) - len(event.lstrip(b"\r\n"))] if self._swallow else event)

    def _is_dropped(self, event: bytes) -> bool:
        text = event.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        data = event_data(text.strip(b"\n"))
        return data is not None and self._drop(data)

    def _hold(self, rest: bytes, out: list[bytes]) -> None:
        if self._passing or _too_long(rest):
            # Its last line end stays, so that the end of the event is still seen as one.
            keep = len(rest) - _last_line_end(rest)
            out.append(rest[: len(rest) - keep])
            self._held = rest[len(rest) - keep :]
            self._passing = True
        else:
            self._held = rest

    def finish(self) -> bytes:
        """What is still held when the stream ends."""
        held, self._held = self._held, b""
        return held


def _too_long(event: bytes) -> bool:
    """Whether an event, or what has come of it, is too long to be held; the line ends around it
    don't count, since a read may end among them."""
    return len(event) > MAX_HELD_BYTES and len(event.strip(b"\r\n")) > MAX_HELD_BYTES


def _last_line_end(data: bytes) -> int:
    """Where a line end stands that closes ``data``; its length if none does."""
    if data.endswith(b"\r\n"):
        return len(data) - 2
    if data.endswith((b"\r", b"\n")):
        return len(data) - 1
    return len(data)
