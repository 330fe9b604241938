"""What is to be learnt from an event stream, and how one is written down."""

import json
from dataclasses import dataclass

from tidegate_sidecar.dialect.shape import Dialect
from tidegate_sidecar.dialect.usage import Usage


@dataclass(frozen=True)
class Recorded:
    """A stream, and what is to be learnt from it."""

    dialect: Dialect
    data: bytes
    first: bytes
    """Stands in the first event that carries output, and in none before; empty if none does."""
    last: bytes
    """Stands in the event after which the stream is complete, and in none before; empty if it is
    never complete."""
    usage: tuple[int, int, int, int, int] | None
    """Input, output, cached input, cache creation, reasoning; None if it does not tell."""
    events: int
    """Events that carry output."""
    failed: bool = False
    partial: bool = False
    """Usage tells of the input alone."""


def flat(usage: Usage | None) -> tuple[int, int, int, int, int] | None:
    """As ``Recorded.usage`` has it."""
    if usage is None:
        return None
    parts = (usage.cached_input, usage.cache_creation, usage.reasoning)
    return (usage.incoming, usage.outgoing, *parts)


def data_only(*events: object) -> bytes:
    return b"".join(b"data: " + _text(event) + b"\n\n" for event in events)


def named(*events: dict[str, object]) -> bytes:
    """Each with a line that repeats its type, as Anthropic and the Responses API have it."""
    return b"".join(
        f"event: {event['type']}\n".encode() + b"data: " + _text(event) + b"\n\n"
        for event in events
    )


def _text(event: object) -> bytes:
    if isinstance(event, bytes):
        return event
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


DONE = b"[DONE]"
COMMENT = b": keep-alive\n\n"
