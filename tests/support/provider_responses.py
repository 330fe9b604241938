"""OpenAI's Responses API of the provider.

Law: pure. Its streams have no ``[DONE]``: ``response.completed`` is their end and tells usage,
asked or not.
"""

from typing import Any

from provider_reply import Reply, json_reply, named, stream_reply

WORDS = ("High", " water", " at", " six", "\u2028")
USAGE = {
    "input_tokens": 11,
    "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
    "output_tokens": 9,
    "output_tokens_details": {"reasoning_tokens": 5},
    "total_tokens": 20,
}
TOLD = {"input": 11, "output": 9, "cached_input": 4, "reasoning": 5}
ARGUMENTS = '{"city": "Brest"}'


def respond(body: dict[str, Any], model: str) -> Reply:
    """The response, or its events."""
    item = _call() if body.get("tools") else _message()
    if not body.get("stream"):
        return json_reply(_response(model, "completed", [item]), model=model, told=TOLD)
    events = [
        {"type": "response.created", "response": _response(model, "in_progress", [])},
        {"type": "response.in_progress", "response": _response(model, "in_progress", [])},
        *_item_events(item),
    ]
    if model == "failed":
        error = {"code": "server_error", "message": "The model failed."}
        failed = {**_response(model, "failed", []), "error": error, "usage": None}
        events.append({"type": "response.failed", "response": failed})
    else:
        whole = _response(model, "completed", [item])
        events.append({"type": "response.completed", "response": whole})
    numbered = [named({**event, "sequence_number": n}) for n, event in enumerate(events)]
    return stream_reply(numbered, model, {} if model == "failed" else TOLD)


def _message() -> dict[str, Any]:
    text = {"type": "output_text", "text": "".join(WORDS), "annotations": [], "logprobs": []}
    return {
        "type": "message",
        "id": "msg_1",
        "status": "completed",
        "role": "assistant",
        "content": [text],
    }


def _call() -> dict[str, Any]:
    return {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "call_1",
        "name": "get_weather",
        "arguments": ARGUMENTS,
        "status": "completed",
    }


def _item_events(item: dict[str, Any]) -> list[dict[str, Any]]:
    place = {"item_id": item["id"], "output_index": 0}
    begun: dict[str, Any] = {**item, "status": "in_progress"}
    if item["type"] == "function_call":
        begun["arguments"] = ""
        kind = "response.function_call_arguments"
        parts = [ARGUMENTS[:6], ARGUMENTS[6:]]
        inner = [{"type": f"{kind}.delta", "delta": part, **place} for part in parts]
        inner.append(
            {"type": f"{kind}.done", "arguments": ARGUMENTS, "name": item["name"], **place}
        )
    else:
        begun["content"] = []
        inner = _text_events(item["content"][0], {**place, "content_index": 0})
    return [
        {"type": "response.output_item.added", "output_index": 0, "item": begun},
        *inner,
        {"type": "response.output_item.done", "output_index": 0, "item": item},
    ]


def _text_events(part: dict[str, Any], place: dict[str, Any]) -> list[dict[str, Any]]:
    kind = "response.output_text"
    return [
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        *({"type": f"{kind}.delta", **place, "delta": word, "logprobs": []} for word in WORDS),
        {"type": f"{kind}.done", **place, "text": part["text"], "logprobs": []},
        {"type": "response.content_part.done", **place, "part": part},
    ]


def _response(model: str, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1700000000,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": model,
        "output": output,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": USAGE if status == "completed" else None,
    }
