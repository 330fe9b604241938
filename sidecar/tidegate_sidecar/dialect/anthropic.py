"""Anthropic's Messages API, and the servers that speak it (vLLM, SGLang, llama.cpp, LiteLLM).

Law: pure. Source: https://docs.claude.com/en/build-with-claude/streaming and
https://docs.claude.com/en/api/errors. A stream opens with ``message_start``, which tells of the
input; ``message_delta`` tells of input and output so far; ``message_stop`` alone is a proper end,
``error`` a failure. The first token is the first delta with text, thinking or a tool's input, or
the name of a tool that is called; ``message_start`` and ``ping`` are none.
"""

from typing import Final

import msgspec

from tidegate_sidecar.dialect.reading import read_json
from tidegate_sidecar.dialect.schema import (
    MessageEvent,
    MessageOutput,
    MessageUsage,
)
from tidegate_sidecar.dialect.shape import (
    DONE,
    LAST_EVENTS,
    Dialect,
    Operation,
    Stream,
    StreamEnd,
    part_chars,
)
from tidegate_sidecar.dialect.usage import CHARS_PER_TOKEN, PlainAnswer, Usage
from tidegate_sidecar.sse import Watcher

_TEXTS: Final = frozenset(("text", "thinking", "input", "name"))
_ERROR_TYPES: Final = {
    413: "request_too_large",
    429: "rate_limit_error",
    502: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
}

_event: Final = msgspec.json.Decoder(MessageEvent)
_output: Final = msgspec.json.Decoder(MessageOutput)
_usage: Final = msgspec.json.Decoder(MessageUsage)


class Messages(Dialect):
    """A message that is asked for, or whatever else is beside it."""

    __slots__ = ()

    def stream(self) -> Stream:
        return MessageStream()

    def usage(self, answer: PlainAnswer) -> Usage | None:
        return answer.usage(read_usage)

    def answer_chars(self, body: bytes) -> int:
        reply = read_json(_output, body)
        return 0 if reply is None else part_chars(reply.content, _TEXTS)

    def error_body(self, status: int, message: str, code: str) -> bytes:
        kind = _ERROR_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
        return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": message}})


MESSAGES: Final[Dialect] = Messages(
    Operation.CHAT, read=True, streamed=True, charged=True, asks_model=True
)
COUNT_TOKENS: Final[Dialect] = Messages(Operation.COUNT_TOKENS, read=True, asks_model=True)
"""Costs no tokens; its model is read, since it has to be the one that will answer."""
OTHER_CALL: Final[Dialect] = Messages(Operation.OTHER, asks_model=True)
"""Batches: only our errors are in this API's shape."""


class MessageStream(Stream):
    """One message's stream; it remembers what the first event told of the input."""

    __slots__ = ("_start",)

    def __init__(self) -> None:
        self._start: Usage | None = None

    def output_chars(self, data: bytes) -> int:
        event = read_json(_event, data)
        if event is None:
            return 0 if data.strip() == DONE else CHARS_PER_TOKEN
        if event.type == "content_block_delta" and event.delta is not None:
            delta = event.delta
            return (
                len(delta.text or "") + len(delta.partial_json or "") + len(delta.thinking or "")
            )
        if event.type == "content_block_start" and event.content_block is not None:
            return len(event.content_block.name or "")
        return 0

    def is_output(self, data: bytes) -> bool:
        if self._start is None:
            event = read_json(_event, data)
            if event is not None and event.message is not None:
                self._start = read_usage(bytes(event.message.usage))
                return False
        return self.output_chars(data) > 0

    def end(self, watcher: Watcher) -> StreamEnd:
        end = StreamEnd()
        end.usage_partial = True
        for data in watcher.last(LAST_EVENTS):
            event = read_json(_event, data)
            if event is None:
                continue
            end.complete = end.complete or event.type == "message_stop"
            end.failed = end.failed or event.type == "error"
            if event.type == "message_delta":
                end.usage = read_usage(bytes(event.usage))
                end.usage_partial = end.usage is None
                break
        end.usage = _joined(end.usage, self._start)
        return end


def read_usage(raw: bytes) -> Usage | None:
    """Usage as this API tells it: a ``UsageReader``."""
    told = read_json(_usage, raw)
    if told is None:
        return None
    cached = told.cache_read_input_tokens or 0
    created = told.cache_creation_input_tokens or 0
    details = told.output_tokens_details
    return Usage(
        (told.input_tokens or 0) + cached + created,
        told.output_tokens or 0,
        cached_input=cached,
        cache_creation=created,
        reasoning=0 if details is None else details.thinking_tokens or 0,
    )


def _joined(last: Usage | None, start: Usage | None) -> Usage | None:
    """What both tell that the message has cost so far.

    The last one need not speak of the input, and gateways often know it only then; where neither
    does, nothing is known.
    """
    if last is None:
        return start if start is not None and start.incoming else None
    if start is not None and start.incoming > last.incoming:
        last.incoming = start.incoming
        last.cached_input = start.cached_input
        last.cache_creation = start.cache_creation
    return last
