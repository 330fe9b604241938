"""A plain answer, kept as far as its usage needs it.

Law: pure; what is kept has a bound.
"""

import re
from typing import Final

from tidegate_sidecar.dialect.rewrite import CLOSES, OPENS, STRUCTURE

WHOLE_BYTES: Final = 1 << 18
"""Above any chat answer; embeddings of many inputs are longer."""
END_BYTES: Final = 1 << 14
"""Servers put usage first (llama.cpp's embeddings) or last (all others)."""

# A quote inside a JSON string is escaped, so this can't be found in anything that a model said.
_USAGE: Final = re.compile(rb'"usage"[ \t\r\n]*:[ \t\r\n]*(\{)')


class PlainAnswer:
    """Keeps all of an answer, or both ends of a long one."""

    __slots__ = ("_head", "_tail", "size")

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = b""
        self.size = 0

    def feed(self, piece: bytes) -> None:
        """Take the next bytes."""
        self.size += len(piece)
        if len(self._head) < WHOLE_BYTES:
            self._head += piece
        else:
            self._tail = (self._tail + piece)[-END_BYTES:]

    @property
    def whole(self) -> bytes | None:
        """All of it; None if it is too long."""
        return bytes(self._head) if self.size == len(self._head) else None

    def usages(self) -> list[bytes]:
        """The objects named ``usage`` at both ends, the likeliest first."""
        ends = self._tail
        if len(ends) < END_BYTES:
            ends = bytes(self._head[-END_BYTES:]) + ends
        return find_usages(ends)[::-1] + find_usages(bytes(self._head[:END_BYTES]))[::-1]


def find_usages(text: bytes) -> list[bytes]:
    """Whole JSON objects under a key ``usage``, as they come."""
    found: list[bytes] = []
    for match in _USAGE.finditer(text):
        depth = 0
        for token in STRUCTURE.finditer(text, match.start(1)):
            first = text[token.start()]
            depth += (first in OPENS) - (first in CLOSES)
            if depth == 0:
                found.append(text[match.start(1) : token.end()])
                break
    return found
