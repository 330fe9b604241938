"""The OpenAI HTTP API, as far as a proxy has to understand it.

Law: pure. A body that can't be understood is passed on as it is, never mended; one that is changed
is changed in ``model`` and ``stream_options`` and stays byte for byte the same in everything else.
"""

import re
from enum import StrEnum
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from tidegate_sidecar import sse
from tidegate_sidecar.dialect.schema import Call, Reply, TextReply, Usage

__all__ = ["Call", "Operation", "StreamEnd", "Usage", "UsageSink"]


class Operation(StrEnum):
    """What a request asks for, by OpenTelemetry's names where it has one."""

    CHAT = "chat"
    COMPLETIONS = "text_completion"
    EMBEDDINGS = "embeddings"
    MODELS = "models"
    OTHER = "other"


METERED: Final = frozenset((Operation.CHAT, Operation.COMPLETIONS, Operation.EMBEDDINGS))
"""Operations whose bodies are read."""
STREAMED: Final = frozenset((Operation.CHAT, Operation.COMPLETIONS))
"""Operations that can answer with an event stream of this API."""

BYTES_PER_TOKEN: Final = 4
"""OpenAI's own rule of thumb for English; a tokenizer costs 2-7 ms per 100k characters and 81
MB."""

_ENDINGS: Final = {
    b"/chat/completions": Operation.CHAT,
    b"/completions": Operation.COMPLETIONS,
    b"/embeddings": Operation.EMBEDDINGS,
}
_MODELS: Final = re.compile(rb".*/v1/models(?:/.*)?")

_call: Final = msgspec.json.Decoder(Call)
_reply: Final = msgspec.json.Decoder(Reply)
_text_reply: Final = msgspec.json.Decoder(TextReply)
_usage: Final = msgspec.json.Decoder(Usage)


def operation_of(method: bytes, target: bytes) -> Operation:
    """What a request asks for; percent signs and doubled slashes hide nothing, since servers read
    through them."""
    path = _path(target)
    if method == b"POST":
        for ending, operation in _ENDINGS.items():
            if path.endswith(ending):
                return operation
    elif _MODELS.fullmatch(path) and method in (b"GET", b"HEAD"):
        return Operation.MODELS
    return Operation.OTHER


def _path(target: bytes) -> bytes:
    path = target.split(b"?", 1)[0]
    return (unquote_to_bytes(path) if b"%" in path else path).rstrip(b"/")


def asks_model(operation: Operation, method: bytes, target: bytes) -> bool:
    """Whether a request may make a model work, so that it counts as demand and can be blocked.

    Beside the operations that are read these are all POSTs to the API: servers have more ways in
    (``/v1/responses``, ``/v1/score``) than we know. Probes and scrapes are none.
    """
    return operation in METERED or (method == b"POST" and b"/v1/" in _path(target))


def parse_call(body: bytes) -> Call | None:
    """Read a request's body; None if it isn't a JSON object with fields of the right kind."""
    try:
        return _call.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None


def wants_usage(call: Call) -> bool:
    """Whether the client itself asked for a usage chunk at the end of its stream."""
    options = call.stream_options
    return isinstance(options, dict) and bytes(options.get("include_usage", b"")) == b"true"


# --- rewriting -----------------------------------------------------------------------------------

_STRUCTURE: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],]', re.DOTALL)
_QUOTE: Final = ord('"')
_OPENS: Final = b"{["
_CLOSES: Final = b"}]"
_ENDS_VALUE: Final = b",}"
_BEFORE_KEY: Final = b"{,"
_COLON: Final = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*")


def rewrite(body: bytes, call: Call, model: str | None, ask_usage: bool) -> bytes:
    """The body with another model (None: the same) and, if asked, with
    ``stream_options.include_usage`` set."""
    changes: dict[str, bytes] = {}
    if model is not None and model != call.model:
        changes["model"] = msgspec.json.encode(model)
    if ask_usage and call.stream_options is not msgspec.UNSET:
        options = dict(call.stream_options or {})
        options["include_usage"] = msgspec.Raw(b"true")
        changes["stream_options"] = msgspec.json.encode(options)
    if changes:
        body = _replace_values(body, changes)
    if ask_usage and call.stream_options is msgspec.UNSET:
        at = body.index(b"{") + 1
        body = b'%b"stream_options":{"include_usage":true},%b' % (body[:at], body[at:])
    return body


def _replace_values(body: bytes, changes: dict[str, bytes]) -> bytes:
    """Put new values under top-level keys, every time they occur: of doubled keys servers take the
    last."""
    out: list[bytes] = []
    done_to = 0
    depth = 0
    value_of = ""
    value_at = 0
    key_next = False
    for token in _STRUCTURE.finditer(body):
        first = body[token.start()]
        if first == _QUOTE:
            if depth == 1 and key_next:
                key_next = False
                value_of = _key(token.group())
                colon = _COLON.match(body, token.end())
                value_at = colon.end() if colon is not None else token.end()
            continue
        if depth == 1 and first in _ENDS_VALUE:
            if value_of in changes:
                value_end = value_at + len(body[value_at : token.start()].rstrip())
                out += (body[done_to:value_at], changes[value_of])
                done_to = value_end
            value_of = ""
        depth += (first in _OPENS) - (first in _CLOSES)
        key_next = depth == 1 and first in _BEFORE_KEY
    out.append(body[done_to:])
    return b"".join(out)


def _key(raw: bytes) -> str:
    return str(msgspec.json.decode(raw)) if b"\\" in raw else raw[1:-1].decode()


# --- what an answer says -------------------------------------------------------------------------


def parse_reply(body: bytes) -> Reply | None:
    """Read an answer or one event of a stream; None if it is not of this API."""
    try:
        return _reply.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None


def is_usage_only(data: bytes) -> bool:
    """Whether an event is the extra one that ``include_usage`` adds: usage, and an empty list of
    choices."""
    reply = parse_reply(data)
    return reply is not None and reply.usage is not None and reply.choices == []


def usage_filter() -> sse.EventFilter:
    """Takes the extra usage event out of a stream whose client did not ask for it."""
    return sse.EventFilter(b'"usage"', is_usage_only)


class StreamEnd:
    """How an event stream ended."""

    __slots__ = ("complete", "done", "failed", "usage")

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.complete = False
        """It said that it was finished: a finish reason or ``[DONE]``."""
        self.done = False
        """It had a ``[DONE]``, which is an event but no token."""
        self.failed = False
        """Its last word was an error: servers report a failure after the head so."""


_LAST_EVENTS: Final = 8
"""Enough for the finish reasons of several choices, usage and ``[DONE]``."""


def read_stream_end(watcher: sse.Watcher) -> StreamEnd:
    """Learn from the last events of a stream how it ended."""
    end = StreamEnd()
    for data in watcher.last(_LAST_EVENTS):
        if data.strip() == b"[DONE]":
            end.complete = end.done = True
            continue
        reply = parse_reply(data)
        if reply is None:
            continue
        if reply.error is not None and reply.choices is None:
            end.failed = True
            break
        if end.usage is None:
            end.usage = reply.usage
        if reply.choices and any(choice.finish_reason for choice in reply.choices):
            end.complete = True
            break
    return end


class UsageSink:
    """Keeps as much of a plain answer as it takes to read usage from it: all of it, or both ends
    of a long one."""

    __slots__ = ("_head", "_tail", "size")

    WHOLE_BYTES: Final = 1 << 18
    """Above any chat answer; embeddings of many inputs are longer."""
    END_BYTES: Final = 1 << 14
    """Servers put usage first (llama.cpp's embeddings) or last (all others)."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = b""
        self.size = 0

    def feed(self, piece: bytes) -> None:
        self.size += len(piece)
        if len(self._head) < self.WHOLE_BYTES:
            self._head += piece
        else:
            self._tail = (self._tail + piece)[-self.END_BYTES :]

    def usage(self) -> Usage | None:
        """What the answer said about usage; None if nothing that can be read."""
        if self.size == len(self._head):
            reply = parse_reply(bytes(self._head))
            return None if reply is None else reply.usage
        ends = self._tail
        if len(ends) < self.END_BYTES:
            ends = bytes(self._head[-self.END_BYTES :]) + ends
        return _find_usage(ends) or _find_usage(bytes(self._head[: self.END_BYTES]))

    def estimated_tokens(self) -> int:
        """Output tokens of an answer that says nothing of usage, from the length of its texts."""
        try:
            reply = _text_reply.decode(bytes(self._head))
        except (msgspec.MsgspecError, RecursionError):
            return 0
        texts = [
            choice.text or (choice.message.content if choice.message else "") or ""
            for choice in reply.choices
        ]
        return sum(len(text.encode()) for text in texts) // BYTES_PER_TOKEN


# A quote inside a JSON string is escaped, so this can't be found in anything that a model said.
_USAGE: Final = re.compile(rb'"usage"[ \t\r\n]*:[ \t\r\n]*(\{)')


def _find_usage(text: bytes) -> Usage | None:
    found = None
    for match in _USAGE.finditer(text):
        depth = 0
        for token in _STRUCTURE.finditer(text, match.start(1)):
            first = text[token.start()]
            depth += (first in _OPENS) - (first in _CLOSES)
            if depth == 0:
                try:
                    found = _usage.decode(text[match.start(1) : token.end()])
                except msgspec.MsgspecError:
                    pass
                break
    return found


def error_body(message: str, kind: str, code: str) -> bytes:
    """An error as clients of this API expect one."""
    return msgspec.json.encode(
        {"error": {"message": message, "type": kind, "param": None, "code": code}}
    )
