"""The few fields of each API that the sidecar reads, as msgspec shapes.

Law: everything else in a body stays bytes. What a server may send in more than one kind stays raw
until it is asked for: a usage that can't be read hides no finish reason. These shapes stay out of
compilation: mypyc loses the annotations that msgspec reads.
"""

from typing import Any

import msgspec


class Call(msgspec.Struct):
    """A request's body; the three fields are the same in all the APIs that are read."""

    model: str = ""
    stream: bool | None = None
    stream_options: dict[str, msgspec.Raw] | msgspec.UnsetType | None = msgspec.UNSET
    """Unset and ``null`` differ: only where it is unset may one be put in beside it."""


Members = dict[str, msgspec.Raw]
"""All of an object, its values as they are written."""


class Answer(msgspec.Struct):
    """A plain answer, or what an event carries of one; all the APIs call it ``usage``."""

    usage: msgspec.Raw = msgspec.Raw(b"")


# --- OpenAI --------------------------------------------------------------------------------------


class InputDetails(msgspec.Struct):
    """Parts of the input."""

    cached_tokens: int | None = 0
    cache_write_tokens: int | None = 0


class OutputDetails(msgspec.Struct):
    """Parts of the output."""

    reasoning_tokens: int | None = 0


class ChatUsage(msgspec.Struct):
    """What the server says that a call cost."""

    prompt_tokens: int | None = 0
    completion_tokens: int | None = 0
    """Embeddings have none."""
    total_tokens: int | None = 0
    prompt_tokens_details: InputDetails | None = None
    completion_tokens_details: OutputDetails | None = None


class Choice(msgspec.Struct):
    """One of the answers, as far as it says that it is finished."""

    finish_reason: str | None = None


class ChatEvent(msgspec.Struct):
    """One event of a stream."""

    usage: msgspec.Raw = msgspec.Raw(b"")
    choices: list[Choice] | None = None
    error: Any = None


class ChatText(msgspec.Struct):
    """One of the answers, as far as it is output: in an event, an answer, or without chat."""

    delta: dict[str, Any] | None = None
    message: dict[str, Any] | None = None
    text: str | None = None


class ChatOutput(msgspec.Struct):
    """An answer or event whose output has to be weighed."""

    choices: list[ChatText] | None = None


class ResponseUsage(msgspec.Struct):
    """What the server says that a response cost."""

    input_tokens: int | None = 0
    output_tokens: int | None = 0
    total_tokens: int | None = 0
    input_tokens_details: InputDetails | None = None
    output_tokens_details: OutputDetails | None = None


class ResponseItem(msgspec.Struct):
    """One part of a response that begins; calls of tools begin with a name."""

    name: str | None = None


class ResponseEvent(msgspec.Struct):
    """One event of a response's stream."""

    type: str = ""
    response: Answer | None = None
    delta: Any = None
    item: ResponseItem | None = None


class ResponseOutput(msgspec.Struct):
    """A plain response whose output has to be weighed."""

    output: list[dict[str, Any]] | None = None


# --- Anthropic -----------------------------------------------------------------------------------


class ThinkingDetails(msgspec.Struct):
    """Parts of the output."""

    thinking_tokens: int | None = 0


class MessageUsage(msgspec.Struct):
    """What the server says that a message cost, or has cost so far."""

    input_tokens: int | None = 0
    """Without what was read from a cache or written to one."""
    cache_read_input_tokens: int | None = 0
    cache_creation_input_tokens: int | None = 0
    output_tokens: int | None = 0
    output_tokens_details: ThinkingDetails | None = None


class MessageDelta(msgspec.Struct):
    """What an event adds to a block: one of these."""

    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None


class MessageBlock(msgspec.Struct):
    """A block that begins; calls of tools begin with a name."""

    name: str | None = None


class MessageEvent(msgspec.Struct):
    """One event of a message's stream."""

    type: str = ""
    message: Answer | None = None
    usage: msgspec.Raw = msgspec.Raw(b"")
    delta: MessageDelta | None = None
    content_block: MessageBlock | None = None


class MessageOutput(msgspec.Struct):
    """A plain message whose output has to be weighed."""

    content: list[dict[str, Any]] | None = None
