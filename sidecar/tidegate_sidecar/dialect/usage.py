"""What an answer says that it cost, and as much of it as it takes to read that.

Law: pure; what is kept has a bound.
"""

import re
from collections.abc import Callable
from typing import Final

import msgspec

from tidegate_sidecar.dialect.reading import read_json
from tidegate_sidecar.dialect.rewrite import CLOSES, OPENS, STRUCTURE
from tidegate_sidecar.dialect.schema import Answer, InputDetails, OutputDetails

CHARS_PER_TOKEN: Final = 4
"""OpenAI's own rule of thumb for English; a tokenizer costs 2-7 ms per 100k characters and 81
MB."""
PICTURE_BYTES_PER_TOKEN: Final = 1024
"""Of base64: a picture of 1 MB is some 1,000 tokens, with OpenAI 765 to 1,105
(https://platform.openai.com/docs/guides/images-vision), with Anthropic up to 1,600."""
LARGE_REQUEST_BYTES: Final = 1 << 16
"""From here on a request may hold pictures that outweigh its text."""
_SAMPLES: Final = 16
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]{32}")

WHOLE_BYTES: Final = 1 << 18
"""Above any chat answer; embeddings of many inputs are longer."""
END_BYTES: Final = 1 << 14
"""Servers put usage first (llama.cpp's embeddings) or last (all others)."""

# A quote inside a JSON string is escaped, so this can't be found in anything that a model said.
_USAGE: Final = re.compile(rb'"usage"[ \t\r\n]*:[ \t\r\n]*(\{)')

_answer: Final = msgspec.json.Decoder(Answer)


class Usage:
    """What a call cost, in tokens, as its server says or we estimate; no number is below 0, and no
    part above its whole."""

    __slots__ = (
        "cache_creation",
        "cached_input",
        "estimated_in",
        "estimated_out",
        "incoming",
        "outgoing",
        "reasoning",
    )

    def __init__(
        self,
        incoming: int = 0,
        outgoing: int = 0,
        *,
        cached_input: int = 0,
        cache_creation: int = 0,
        reasoning: int = 0,
        estimated: bool = False,
    ) -> None:
        self.incoming = incoming if incoming > 0 else 0
        """All of the input."""
        self.outgoing = outgoing if outgoing > 0 else 0
        """All of the output, reasoning and calls of tools included."""
        self.cached_input = _part(cached_input, incoming) if cached_input else 0
        """The part of the input that was read from a cache."""
        self.cache_creation = 0
        """The part of the input that was written to a cache."""
        if cache_creation:
            self.cache_creation = _part(cache_creation, self.incoming - self.cached_input)
        self.reasoning = _part(reasoning, outgoing) if reasoning else 0
        self.estimated_in = estimated
        """``incoming`` is our estimate and was not reported by the server."""
        self.estimated_out = estimated


def _part(size: int, whole: int) -> int:
    if size > whole:
        size = whole
    return size if size > 0 else 0


UsageReader = Callable[[bytes], Usage | None]
"""Reads one API's usage object; None for ``null``, for nothing, and for what is none.

Not of ``msgspec.Raw``: its stubs call it bytes, which it is not, and compiled code takes them at
their word.
"""


def usage_by_openai(
    incoming: int | None,
    outgoing: int | None,
    total: int | None,
    before: InputDetails | None,
    after: OutputDetails | None,
) -> Usage:
    """As OpenAI's APIs tell it, which differ in names alone."""
    told_in = incoming or 0
    return Usage(
        told_in,
        # xAI and Gemini leave reasoning out of the output, and have it in the total:
        # https://docs.x.ai/docs/key-information/consumption-and-rate-limits
        max(outgoing or 0, (total or 0) - told_in),
        cached_input=0 if before is None else before.cached_tokens or 0,
        cache_creation=0 if before is None else before.cache_write_tokens or 0,
        reasoning=0 if after is None else after.reasoning_tokens or 0,
    )


def request_tokens(body: bytes) -> int:
    """What a request's body is taken for where nobody tells of its input.

    How much of a large one is pictures and sound is told from samples: text has a space or a quote
    in 32 bytes, base64 has none. To look at all of it costs more than to parse it.
    """
    size = len(body)
    if size < LARGE_REQUEST_BYTES:
        return size // CHARS_PER_TOKEN
    dense = 0
    step = size // _SAMPLES
    for at in range(step // 2, step * _SAMPLES, step):
        dense += _BASE64.match(body, at) is not None
    pictures = size * dense // _SAMPLES
    return (size - pictures) // CHARS_PER_TOKEN + pictures // PICTURE_BYTES_PER_TOKEN


class PlainAnswer:
    """Keeps all of an answer, or both ends of a long one."""

    __slots__ = ("_head", "_most", "_tail", "size")

    def __init__(self, length: int = -1) -> None:
        """``length``: what it is said to have; -1: nothing is said."""
        self._head: bytes | bytearray = b""
        self._most = WHOLE_BYTES if length <= WHOLE_BYTES else END_BYTES
        self._tail = b""
        self.size = 0

    def feed(self, piece: bytes) -> None:
        """Take the next bytes."""
        left = self._most - len(self._head)
        if self.size == 0 and len(piece) <= left:
            self._head = piece  # nearly always the only one
        else:
            if left > 0:
                if isinstance(self._head, bytes):
                    self._head = bytearray(self._head)
                self._head += piece[:left]
            if len(piece) > left:
                rest = piece[max(left, len(piece) - END_BYTES) :]
                self._tail = (self._tail + rest)[-END_BYTES:]
        self.size += len(piece)

    @property
    def kept(self) -> int:
        """Bytes of it that are held."""
        return len(self._head) + len(self._tail)

    @property
    def whole(self) -> bytes | None:
        """All of it; None if it is too long."""
        return bytes(self._head) if self.size == len(self._head) else None

    def usage(self, usage_of: UsageReader) -> Usage | None:
        """What it says about usage; None if nothing that can be read."""
        whole = self.whole
        if whole is not None:
            answer = read_json(_answer, whole)
            return None if answer is None else usage_of(bytes(answer.usage))
        ends = self._tail
        if len(ends) < END_BYTES:
            ends = bytes(self._head[-END_BYTES:]) + ends
        return last_usage(ends, usage_of) or last_usage(bytes(self._head[:END_BYTES]), usage_of)


def last_usage(text: bytes, usage_of: UsageReader) -> Usage | None:
    """The last usage object in a piece of JSON."""
    found = None
    for match in _USAGE.finditer(text):
        depth = 0
        for token in STRUCTURE.finditer(text, match.start(1)):
            first = text[token.start()]
            depth += (first in OPENS) - (first in CLOSES)
            if depth == 0:
                found = usage_of(text[match.start(1) : token.end()]) or found
                break
    return found
