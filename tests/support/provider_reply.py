"""One answer of the provider, as a value."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum, auto
from typing import Any


class End(StrEnum):
    """What becomes of the connection when all that is to be said is said."""

    WHOLE = auto()
    HOLD = auto()
    """Nothing more comes: the client has to leave."""
    FIN = auto()
    """Closed within the answer."""
    RESET = auto()
    HANG_UP = auto()
    """Reset before the answer began."""
    STALL_HEAD = auto()
    """No answer begins."""


ENDS: Mapping[str, End] = {
    "hold": End.HOLD,
    "cut-fin": End.FIN,
    "cut-reset": End.RESET,
    "hang-up": End.HANG_UP,
    "stall": End.STALL_HEAD,
}
"""By the model's name; of the streams that are cut, only the first events are sent."""
KEPT_EVENTS = 3


@dataclass(frozen=True, kw_only=True)
class Reply:
    """Status, headers, and a body or events."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    events: tuple[bytes, ...] | None = None
    """Of a stream, sent one by one; None: it is none."""
    seams: bool = False
    """The stream is cut into pieces that care for no event."""
    end: End = End.WHOLE
    model: str = ""
    told: Mapping[str, int] = field(default_factory=dict)
    """Tokens that the answer says it cost: ``input`` and ``output``, all of them, and of these
    ``cached_input``, ``cache_creation`` and ``reasoning``."""


def json_reply(value: Any, *, status: int = 200, **more: Any) -> Reply:
    """A whole answer."""
    headers = {"Content-Type": "application/json", "x-request-id": "req-1"}
    headers |= more.pop("headers", {})
    return Reply(status=status, headers=headers, body=json.dumps(value).encode(), **more)


def stream_reply(events: list[bytes], model: str, told: Mapping[str, int]) -> Reply:
    """A stream, ended or cut as the model's name says."""
    end = ENDS.get(model, End.WHOLE)
    if end is not End.WHOLE:
        events = events[:KEPT_EVENTS]
    return Reply(
        headers={"Content-Type": "text/event-stream; charset=utf-8", "x-request-id": "req-1"},
        events=tuple(events),
        seams=model == "seams",
        end=end,
        model=model,
        told=told,
    )


def data(value: Any) -> bytes:
    """An event without a name."""
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def named(value: dict[str, Any]) -> bytes:
    """An event named by its type, as Responses and Anthropic have them."""
    return b"event: " + value["type"].encode() + b"\n" + data(value)
