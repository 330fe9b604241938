"""What the provider says in Anthropic's dialect: messages, their events, ``count_tokens``, models.

Law: pure. As in Anthropic's reference, ``input_tokens`` leaves cached tokens out, usage stands in
``message_start`` and, cumulative, in ``message_delta``, and a stream ends with ``message_stop``.
"""

from typing import Any

from provider_reply import ENDS, End, Reply, json_reply, named, stream_reply

WORDS = ("Slack", " water", "\u2028", "\U0001f41a", ".")
ARGUMENTS = ('{"city": ', '"Roscoff"', "}")
USAGE = {
    "input_tokens": 12,
    "cache_creation_input_tokens": 3,
    "cache_read_input_tokens": 5,
    "output_tokens": 7,
}
TOLD = {"input": 20, "output": 7, "cached_input": 5, "cache_creation": 3}
KINDS = {
    400: ("invalid_request_error", "messages: at least one message is required"),
    401: ("authentication_error", "invalid x-api-key"),
    404: ("not_found_error", "model: error-404"),
    429: ("rate_limit_error", "This request would exceed your rate limit."),
    500: ("api_error", "Internal server error"),
    503: ("api_error", "Service unavailable"),
    529: ("overloaded_error", "Overloaded"),
}
FAULT_HEADERS = {
    429: {"retry-after": "1"},
    **{n: {"retry-after-ms": "20"} for n in (500, 503, 529)},
}
FLAKY_TRIES = 2


def answer(method: str, path: str, body: Any, nth: int) -> Reply:
    """The reply to the ``nth`` request of a scenario, counted from 1."""
    if method == "GET":
        return _models()
    model = str(body.get("model", ""))
    kind, _, status = model.partition("-")
    if (kind == "error" or (kind == "flaky" and nth <= FLAKY_TRIES)) and status.isdigit():
        code = int(status)
        headers = FAULT_HEADERS.get(code, {})
        return json_reply(_fault(*KINDS[code]), status=code, headers=headers)
    if ENDS.get(model) in (End.HANG_UP, End.STALL_HEAD):
        return Reply(end=ENDS[model])
    if path.endswith("/count_tokens"):
        return json_reply({"input_tokens": 20})
    block = _tool_use() if body.get("tools") else {"type": "text", "text": "".join(WORDS)}
    if not body.get("stream"):
        return json_reply(_message(model, [block], _reason(block), USAGE), model=model, told=TOLD)
    return _stream(model, block)


def _fault(kind: str, message: str) -> dict[str, Any]:
    error = {"type": kind, "message": message}
    return {"type": "error", "error": error, "request_id": "req-1"}


def _models() -> Reply:
    model = {
        "type": "model",
        "id": "ebb",
        "display_name": "Ebb",
        "created_at": "2026-01-01T00:00:00Z",
    }
    return json_reply({"data": [model], "has_more": False, "first_id": "ebb", "last_id": "ebb"})


def _tool_use() -> dict[str, Any]:
    return {
        "type": "tool_use",
        "id": "toolu_1",
        "name": "get_weather",
        "input": {"city": "Roscoff"},
    }


def _reason(block: dict[str, Any]) -> str:
    return "tool_use" if block["type"] == "tool_use" else "end_turn"


def _message(
    model: str, content: list[dict[str, Any]], reason: str | None, usage: dict[str, int]
) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": usage,
    }


def _stream(model: str, block: dict[str, Any]) -> Reply:
    begun = {**block, "input": {}} if block["type"] == "tool_use" else {**block, "text": ""}
    start = {**USAGE, "output_tokens": 1}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": _message(model, [], None, start)},
        {"type": "content_block_start", "index": 0, "content_block": begun},
        {"type": "ping"},
        *_deltas(block),
    ]
    if model == "error-event":
        events = [*events[:4], _fault("overloaded_error", "Overloaded")]
    elif model == "unended":
        events = events[:4]
    else:
        ended = {"stop_reason": _reason(block), "stop_sequence": None}
        events += [
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": ended, "usage": USAGE},
            {"type": "message_stop"},
        ]
    whole = model not in ("error-event", "unended")
    return stream_reply([named(event) for event in events], model, TOLD if whole else {})


def _deltas(block: dict[str, Any]) -> list[dict[str, Any]]:
    if block["type"] == "tool_use":
        deltas = [{"type": "input_json_delta", "partial_json": part} for part in ARGUMENTS]
    else:
        deltas = [{"type": "text_delta", "text": word} for word in WORDS]
    return [{"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas]
