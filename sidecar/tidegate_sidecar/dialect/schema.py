"""The few fields of the OpenAI API that the sidecar reads, as msgspec shapes.

Law: everything else in a body stays bytes. These shapes stay out of compilation: mypyc loses the
annotations that msgspec reads.
"""

from typing import Any

import msgspec


class Call(msgspec.Struct):
    """A request's body."""

    model: str = ""
    stream: bool | None = None
    stream_options: dict[str, msgspec.Raw] | msgspec.UnsetType | None = msgspec.UNSET
    """Unset and ``null`` differ: only where it is unset may one be put in beside it."""


class Usage(msgspec.Struct):
    """What the server says that a call cost."""

    prompt_tokens: int | None = 0
    completion_tokens: int | None = 0
    """Embeddings have none."""


class Choice(msgspec.Struct):
    """One of the answers, as far as it says that it is finished."""

    finish_reason: str | None = None


class Reply(msgspec.Struct):
    """A whole answer, or one event of a stream."""

    usage: Usage | None = None
    choices: list[Choice] | None = None
    error: Any = None


class Message(msgspec.Struct):
    """What a model said."""

    content: str | None = None


class Text(msgspec.Struct):
    """One of the answers, as far as it is text."""

    message: Message | None = None
    text: str | None = None


class TextReply(msgspec.Struct):
    """A whole answer whose text has to be weighed, because it says nothing of usage."""

    choices: list[Text] = []
