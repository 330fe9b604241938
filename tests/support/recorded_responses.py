"""Streams of the Responses API as servers send them, written after their documentation.

Source: https://platform.openai.com/docs/api-reference/responses-streaming, and the types of
OpenAI's Python client 3.
"""

from recorded import DONE, Recorded, data_only, named
from tidegate_sidecar.dialect import responses


def response(status: str, usage: object = None, **more: object) -> dict[str, object]:
    return {
        "id": "resp_1",
        "object": "response",
        "status": status,
        "instructions": "Say hello.",
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
        "output": [],
        **more,
        "usage": usage,
    }


RESPONSE_USAGE = {
    "input_tokens": 36,
    "input_tokens_details": {"cached_tokens": 12, "cache_write_tokens": 4},
    "output_tokens": 87,
    "output_tokens_details": {"reasoning_tokens": 64},
    "total_tokens": 123,
}
_OPENING: list[dict[str, object]] = [
    {"type": "response.created", "sequence_number": 0, "response": response("in_progress")},
    {"type": "response.in_progress", "sequence_number": 1, "response": response("in_progress")},
]
_ITEM: list[dict[str, object]] = [
    {"type": "response.output_item.added", "item": {"type": "message", "content": []}},
    {"type": "response.content_part.added", "part": {"type": "output_text", "text": ""}},
]
_DELTAS: list[dict[str, object]] = [
    {"type": "response.output_text.delta", "delta": word, "logprobs": []}
    for word in ("Hel", "lo\u2028", "!")
]
_CLOSING: list[dict[str, object]] = [
    {"type": "response.output_text.done", "text": "Hello!"},
    {"type": "response.content_part.done", "part": {"type": "output_text", "text": "Hello!"}},
    {"type": "response.output_item.done", "item": {"type": "message", "status": "completed"}},
]


def responded(*events: dict[str, object], **end: object) -> bytes:
    return named(*_OPENING, *_ITEM, *_DELTAS, *events, *([dict(end)] if end else []))


def _completed(**more: object) -> dict[str, object]:
    return {"type": "response.completed", "response": response("completed", RESPONSE_USAGE)} | more


RESPONSES = {
    "text": Recorded(
        responses.RESPONSES,
        responded(*_CLOSING, _completed()),
        first=b"Hel",
        last=b'"response.completed"',
        usage=(36, 87, 12, 4, 64),
        events=3,
    ),
    "type last, as pydantic models are written": Recorded(
        responses.RESPONSES,
        data_only(
            *(
                {name: event[name] for name in sorted(event, key=lambda n: n == "type")}
                for event in (*_OPENING, *_ITEM, *_DELTAS, *_CLOSING, _completed())
            )
        ),
        first=b"Hel",
        last=b'"response.completed"',
        usage=(36, 87, 12, 4, 64),
        events=3,
    ),
    "reasoning, then a call of a tool": Recorded(
        responses.RESPONSES,
        named(
            *_OPENING,
            {"type": "response.output_item.added", "item": {"type": "reasoning", "summary": []}},
            {"type": "response.reasoning_summary_part.added", "part": {"text": ""}},
            {"type": "response.reasoning_summary_text.delta", "delta": "Hm"},
            {"type": "response.output_item.added", "item": {"type": "function_call", "name": "f"}},
            {"type": "response.function_call_arguments.delta", "delta": "{}"},
            {"type": "response.function_call_arguments.done", "arguments": "{}"},
            _completed(),
        ),
        first=b'"Hm"',
        last=b'"response.completed"',
        usage=(36, 87, 12, 4, 64),
        events=3,
    ),
    "cut short by a limit": Recorded(
        responses.RESPONSES,
        responded(type="response.incomplete", response=response("incomplete", RESPONSE_USAGE)),
        first=b"Hel",
        last=b'"response.incomplete"',
        usage=(36, 87, 12, 4, 64),
        events=3,
    ),
    "failed": Recorded(
        responses.RESPONSES,
        responded(type="response.failed", response=response("failed", error={"code": "x"})),
        first=b"Hel",
        last=b"",
        usage=None,
        events=3,
        failed=True,
    ),
    "an error": Recorded(
        responses.RESPONSES,
        responded(type="error", code="server_error", message="x", sequence_number=9),
        first=b"Hel",
        last=b"",
        usage=None,
        events=3,
        failed=True,
    ),
    "a gateway's last word after the end": Recorded(
        responses.RESPONSES,
        responded(_completed()) + data_only(DONE),
        first=b"Hel",
        last=b'"response.completed"',
        usage=(36, 87, 12, 4, 64),
        events=3,
    ),
    "complete without usage": Recorded(
        responses.RESPONSES,
        responded(_completed(response=response("completed"))),
        first=b"Hel",
        last=b'"response.completed"',
        usage=None,
        events=3,
    ),
    "cut before its end": Recorded(
        responses.RESPONSES,
        responded(*_CLOSING),
        first=b"Hel",
        last=b"",
        usage=None,
        events=3,
    ),
}
