"""Event streams read slowly and by the letter of the standard, whole and never in pieces.

Law: no line of this is ours: it follows
https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation step by
step, so that ``sse`` can be held against it. What ``sse`` adds is said where it is added.
"""

import re
from collections.abc import Callable

_LINE = re.compile(rb"([^\r\n]*)(\r\n|\n|\r)")
_BOM = b"\xef\xbb\xbf"


def blocks(stream: bytes) -> tuple[list[bytes], bytes]:
    """The stream's events, each with its empty line, and what is left at its end.

    An empty line that ends nothing is an event of its own. Joined they are the stream.
    """
    found = []
    start = at = 0
    for line in _LINE.finditer(stream):
        at = line.end()
        if not line.group(1):
            found.append(stream[start:at])
            start = at
    return found, stream[start:]


def data_of(block: bytes) -> bytes | None:
    """What an event's data is; None if it is not dispatched."""
    values = []
    for line in _LINE.finditer(block):
        name, _, value = line.group(1).partition(b":")
        if name == b"data":
            values.append(value[1:] if value.startswith(b" ") else value)
    # The data buffer is not empty once a line was appended: it holds that line's LF at least.
    return b"\n".join(values) if values else None


def events(stream: bytes) -> list[bytes]:
    """Data of all events that are dispatched.

    Of ours: a last ``data: [DONE]`` counts without its empty line.
    """
    whole, rest = blocks(stream.removeprefix(_BOM))
    found = [data for block in whole if (data := data_of(block)) is not None]
    if rest.lstrip(b"\r\n").rstrip() == b"data: [DONE]":
        found.append(b"[DONE]")
    return found


def data_lines(stream: bytes) -> int:
    """Lines that begin with ``data:``, the begun one included."""
    lines = re.split(rb"\r\n|\n|\r", stream.removeprefix(_BOM))
    return sum(line.startswith(b"data:") for line in lines)


def without(stream: bytes, drop: Callable[[bytes], bool]) -> bytes:
    """The stream without the whole events whose data is to be dropped."""
    whole, rest = blocks(stream)
    kept = [block for block in whole if (data := data_of(block)) is None or not drop(data)]
    return b"".join(kept) + rest
