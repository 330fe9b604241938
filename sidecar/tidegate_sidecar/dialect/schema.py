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


# --- OpenAI: chat, completions, embeddings -------------------------------------------------------


class InputDetails(msgspec.Struct):
    """Parts of the input."""

    cached_tokens: int | None = 0


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


class Chat(msgspec.Struct):
    """A whole answer, or one event of a stream."""

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
