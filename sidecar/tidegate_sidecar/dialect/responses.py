"""OpenAI's Responses API, and the servers that speak it (vLLM, SGLang, LiteLLM).

Law: pure. Source: https://platform.openai.com/docs/api-reference/responses-streaming. A stream
ends with ``response.completed``, ``response.incomplete``, ``response.failed`` or ``error``; usage
is in the response that the first three carry, and needs no asking. The first token is the first
delta, or the name of a tool that is called: ``response.created``, ``.in_progress`` and the events
that open an item or a part come before the model has said anything.
"""

import re
from typing import Final

import msgspec

from tidegate_sidecar.dialect.reading import read_json
from tidegate_sidecar.dialect.schema import (
    ResponseEvent,
    ResponseOutput,
    ResponseUsage,
)
from tidegate_sidecar.dialect.shape import (
    DONE,
    LAST_EVENTS,
    Dialect,
    Operation,
    Stream,
    StreamEnd,
    part_chars,
    text_chars,
)
from tidegate_sidecar.dialect.usage import (
    CHARS_PER_TOKEN,
    PlainAnswer,
    Usage,
    last_usage,
    usage_by_openai,
)
from tidegate_sidecar.sse import Watcher

_ENDS: Final = frozenset(("response.completed", "response.incomplete"))
_FAILS: Final = frozenset(("response.failed", "error"))
_TEXTS: Final = frozenset(("content", "summary", "arguments", "input", "code", "name"))
# Of a response too long to be kept whole; nothing inside a response has a type like these.
_TORN: Final = re.compile(rb'"type"[ \t\r\n]*:[ \t\r\n]*"(response\.[a-z]+)"')

_event: Final = msgspec.json.Decoder(ResponseEvent)
_output: Final = msgspec.json.Decoder(ResponseOutput)
_usage: Final = msgspec.json.Decoder(ResponseUsage)


class Responses(Dialect):
    """A response that is asked for."""

    __slots__ = ()

    def stream(self) -> Stream:
        return _STREAM

    def usage(self, answer: PlainAnswer) -> Usage | None:
        return answer.usage(read_usage)

    def answer_chars(self, body: bytes) -> int:
        reply = read_json(_output, body)
        return 0 if reply is None else part_chars(reply.output, _TEXTS)


RESPONSES: Final[Dialect] = Responses(
    Operation.CHAT, read=True, streamed=True, charged=True, asks_model=True
)


class ResponseStream(Stream):
    """A response's stream; it needs no memory of its own."""

    __slots__ = ()

    def output_chars(self, data: bytes) -> int:
        if data.strip() == DONE:
            return 0
        event = read_json(_event, data)
        if event is None:
            return CHARS_PER_TOKEN
        if event.type.endswith(".delta"):
            # Sound is base64, whose length says nothing of tokens.
            return CHARS_PER_TOKEN if "audio.delta" in event.type else text_chars(event.delta)
        if event.type.endswith(".partial_image"):
            return CHARS_PER_TOKEN
        item = event.item
        return len(item.name or "") if item is not None and event.type.endswith(".added") else 0

    def end(self, watcher: Watcher) -> StreamEnd:
        end = StreamEnd()
        for data in watcher.last(LAST_EVENTS):
            if data.strip() == DONE:
                end.complete = True  # LiteLLM and others add it to every kind of stream
                continue
            event = read_json(_event, data)
            kind, usage = _torn(data) if event is None else (event.type, _usage_in(event))
            end.complete = end.complete or kind in _ENDS
            end.failed = kind in _FAILS
            if kind in _ENDS or kind in _FAILS:
                end.usage = usage
                break
        return end


_STREAM: Final = ResponseStream()


def _usage_in(event: ResponseEvent) -> Usage | None:
    return None if event.response is None else read_usage(bytes(event.response.usage))


def _torn(data: bytes) -> tuple[str, Usage | None]:
    """Type and usage of an event of which only both ends are left, since it holds pictures."""
    kind = _TORN.search(data)
    return (b"" if kind is None else kind[1]).decode(), last_usage(data, read_usage)


def read_usage(raw: bytes) -> Usage | None:
    """Usage as this API tells it: a ``UsageReader``."""
    told = read_json(_usage, raw)
    if told is None:
        return None
    return usage_by_openai(
        told.input_tokens,
        told.output_tokens,
        told.total_tokens,
        told.input_tokens_details,
        told.output_tokens_details,
    )
