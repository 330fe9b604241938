"""The OpenAI HTTP API: chat, completions, embeddings, and the servers that speak it.

Law: pure. Sources: https://platform.openai.com/docs/api-reference/chat and what vLLM, llama.cpp,
TGI and Mistral send: usage in a chunk of its own, in the last chunk with choices, in every chunk,
or as null. The first token is the first chunk with anything but a role and empty strings in its
delta: servers send the role ahead.
"""

import re
from typing import Final

import msgspec

from tidegate_sidecar.dialect.reading import read_json
from tidegate_sidecar.dialect.rewrite import put_first, replace_values
from tidegate_sidecar.dialect.schema import Call, ChatEvent, ChatOutput, ChatText, ChatUsage
from tidegate_sidecar.dialect.shape import (
    DONE,
    LAST_EVENTS,
    Dialect,
    Operation,
    Stream,
    StreamEnd,
    text_chars,
)
from tidegate_sidecar.dialect.usage import CHARS_PER_TOKEN, PlainAnswer, Usage, usage_by_openai
from tidegate_sidecar.sse import EventFilter, Watcher

_TEXTS: Final = frozenset(
    ("content", "reasoning_content", "reasoning", "refusal", "tool_calls", "function_call")
)
# OpenAI sends a null usage in every chunk of a stream that was asked for it: each would have to be
# parsed.
_NO_CHOICES: Final = re.compile(rb'"choices"[ \t\r\n]*:[ \t\r\n]*\[[ \t\r\n]*\]')
_ASK: Final = b'"stream_options":{"include_usage":true}'

_event: Final = msgspec.json.Decoder(ChatEvent)
_output: Final = msgspec.json.Decoder(ChatOutput)
_usage: Final = msgspec.json.Decoder(ChatUsage)


class Completions(Dialect):
    """Chat, completions or embeddings."""

    __slots__ = ()

    def must_ask_usage(self, call: Call) -> bool:
        options = call.stream_options
        return not (
            isinstance(options, dict) and bytes(options.get("include_usage", b"")) == b"true"
        )

    def usage_filter(self) -> EventFilter | None:
        return EventFilter(b'"usage"', _NO_CHOICES, is_usage_only)

    def rewrite(self, body: bytes, call: Call, model: str | None, ask_usage: bool) -> bytes:
        changes: dict[str, bytes] = {}
        if model is not None and model != call.model:
            changes["model"] = msgspec.json.encode(model)
        if ask_usage and call.stream_options is not msgspec.UNSET:
            options = dict(call.stream_options or {})
            options["include_usage"] = msgspec.Raw(b"true")
            changes["stream_options"] = msgspec.json.encode(options)
        if changes:
            body = replace_values(body, changes)
        if ask_usage and call.stream_options is msgspec.UNSET:
            body = put_first(body, _ASK)
        return body

    def stream(self) -> Stream:
        return _STREAM

    def usage(self, answer: PlainAnswer) -> Usage | None:
        return answer.usage(read_usage)

    def answer_chars(self, body: bytes) -> int:
        return _chars(body) or 0


CHAT: Final[Dialect] = Completions(
    Operation.CHAT, read=True, streamed=True, charged=True, asks_model=True
)
COMPLETIONS: Final[Dialect] = Completions(
    Operation.COMPLETIONS, read=True, streamed=True, charged=True, asks_model=True
)
EMBEDDINGS: Final[Dialect] = Completions(
    Operation.EMBEDDINGS, read=True, charged=True, asks_model=True
)
MODELS: Final[Dialect] = Dialect(Operation.MODELS)


class ChatStream(Stream):
    """A stream of chat or completions; it needs no memory of its own."""

    __slots__ = ()

    def output_chars(self, data: bytes) -> int:
        if data.strip() == DONE:
            return 0
        chars = _chars(data)
        return CHARS_PER_TOKEN if chars is None else chars

    def end(self, watcher: Watcher) -> StreamEnd:
        end = StreamEnd()
        for data in watcher.last(LAST_EVENTS):
            if data.strip() == DONE:
                end.complete = True
                continue
            reply = read_json(_event, data)
            if reply is None:
                continue
            if reply.error is not None:
                end.failed = True
                break
            if end.usage is None:
                end.usage = read_usage(bytes(reply.usage))
            if reply.choices and any(choice.finish_reason for choice in reply.choices):
                end.complete = True
                break
        return end


_STREAM: Final = ChatStream()


def is_usage_only(data: bytes) -> bool:
    """Whether an event is the extra one that ``include_usage`` adds: usage, and an empty list of
    choices."""
    reply = read_json(_event, data)
    return reply is not None and reply.choices == [] and read_usage(bytes(reply.usage)) is not None


def _chars(body: bytes) -> int | None:
    """Characters of output in an answer or event; None if it is not of this API."""
    reply = read_json(_output, body)
    return None if reply is None else sum(_choice_chars(choice) for choice in reply.choices or ())


def _choice_chars(choice: ChatText) -> int:
    said = choice.delta if choice.delta is not None else choice.message
    if said is None:
        return len(choice.text or "")
    chars = 0
    for name, value in said.items():
        if name in _TEXTS:
            chars += text_chars(value)
        elif value and name != "role":
            chars += CHARS_PER_TOKEN  # sound, pictures: their bytes say nothing of tokens
    return chars


def read_usage(raw: bytes) -> Usage | None:
    """Usage as this API tells it: a ``UsageReader``."""
    told = read_json(_usage, raw)
    if told is None:
        return None
    return usage_by_openai(
        told.prompt_tokens,
        told.completion_tokens,
        told.total_tokens,
        told.prompt_tokens_details,
        told.completion_tokens_details,
    )
