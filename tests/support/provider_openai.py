"""What the provider says in OpenAI's dialect: models, embeddings, completions, and what fails.

Law: pure; the same request gives the same bytes. Shapes are those of OpenAI's API reference.
"""

import base64
import struct
from typing import Any

import provider_chat
import provider_responses
from provider_reply import ENDS, End, Reply, data, json_reply, stream_reply

FAULTS: dict[int, dict[str, Any]] = {
    400: {
        "message": "Invalid value: 'wizard'. Supported values are: 'system' and 'user'.",
        "type": "invalid_request_error",
        "param": "messages[0].role",
        "code": "invalid_value",
    },
    401: {
        "message": "Incorrect API key provided: sk-t***t.",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_api_key",
    },
    404: {
        "message": "The model `error-404` does not exist or you do not have access to it.",
        "type": "invalid_request_error",
        "param": None,
        "code": "model_not_found",
    },
    429: {
        "message": "Rate limit reached for requests.",
        "type": "requests",
        "param": None,
        "code": "rate_limit_exceeded",
    },
    500: {
        "message": "The server had an error while processing your request.",
        "type": "server_error",
        "param": None,
        "code": None,
    },
    503: {
        "message": "The engine is currently overloaded, please try again later.",
        "type": "server_error",
        "param": None,
        "code": "overloaded",
    },
}
FAULT_HEADERS: dict[int, dict[str, str]] = {
    401: {"WWW-Authenticate": 'Bearer realm="models"'},
    429: {"Retry-After": "1", "x-ratelimit-remaining-requests": "0"},
    500: {"retry-after-ms": "20"},
    503: {"retry-after-ms": "20"},
}
FLAKY_TRIES = 2
"""``flaky-503`` fails so often, then answers."""


def answer(method: str, path: str, body: Any, nth: int) -> Reply:
    """The reply to the ``nth`` request of a scenario, counted from 1."""
    if method in ("GET", "HEAD"):
        return _models(path)
    if path.endswith("/audio/speech"):
        return Reply(headers={"Content-Type": "audio/mpeg"}, body=bytes(range(256)) * 40)
    if not isinstance(body, dict):
        return json_reply({"text": f"heard {len(str(body)) > 0}"})
    model = str(body.get("model", ""))
    kind, _, status = model.partition("-")
    if kind == "error" and status.isdigit():
        return _fault(int(status))
    if kind == "unwilling" and status.isdigit():
        return _fault(int(status), {"x-should-retry": "false"})
    if kind == "flaky" and nth <= FLAKY_TRIES:
        return _fault(int(status))
    if model == "no-options" and "stream_options" in body:
        fault = {**FAULTS[400], "message": "Unrecognized request argument: stream_options"}
        return json_reply({"error": {**fault, "param": "stream_options"}}, status=400)
    if ENDS.get(model) in (End.HANG_UP, End.STALL_HEAD):
        return Reply(end=ENDS[model])
    return _by_path(path, body, model)


def _by_path(path: str, body: dict[str, Any], model: str) -> Reply:
    if path.endswith("/chat/completions"):
        return provider_chat.chat(body, model)
    if path.endswith("/completions"):
        return _completions(body, model)
    if path.endswith("/embeddings"):
        return _embeddings(body, model)
    if path.endswith("/responses"):
        return provider_responses.respond(body, model)
    if path.endswith("/moderations"):
        return json_reply({"id": "modr-1", "model": model, "results": []})
    return json_reply({"error": FAULTS[404]}, status=404)


def _fault(status: int, headers: dict[str, str] | None = None) -> Reply:
    headers = {**FAULT_HEADERS.get(status, {}), **(headers or {})}
    return json_reply({"error": FAULTS[status]}, status=status, headers=headers)


def _models(path: str) -> Reply:
    def model(name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": 1700000000, "owned_by": "tides"}

    if path.endswith("/models"):
        return json_reply({"object": "list", "data": [model("ebb"), model("flood")]})
    return json_reply(model(path.rpartition("/")[2]))


def _embeddings(body: dict[str, Any], model: str) -> Reply:
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    items = []
    for index, _ in enumerate(texts):
        vector: Any = [index + 0.5, -0.25, 1.0]
        if body.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack("<3f", *vector)).decode()
        items.append({"object": "embedding", "index": index, "embedding": vector})
    count = 5 * len(texts)
    usage = {"prompt_tokens": count, "total_tokens": count}
    value = {"object": "list", "data": items, "model": model, "usage": usage}
    return json_reply(value, model=model, told={"input": count, "output": 0})


def _completions(body: dict[str, Any], model: str) -> Reply:
    base = {"id": "cmpl-1", "object": "text_completion", "created": 1700000000, "model": model}
    words = ["The", " tide", " turns"]
    usage = {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}
    told = {"input": 4, "output": 3}

    def choice(text: str, reason: str | None) -> dict[str, Any]:
        return {"text": text, "index": 0, "logprobs": None, "finish_reason": reason}

    if not body.get("stream"):
        value = {**base, "choices": [choice("".join(words), "stop")], "usage": usage}
        return json_reply(value, model=model, told=told)
    events = [data({**base, "choices": [choice(word, None)]}) for word in words]
    events.append(data({**base, "choices": [choice("", "stop")]}))
    asked = bool((body.get("stream_options") or {}).get("include_usage"))
    if asked:
        events.append(data({**base, "choices": [], "usage": usage}))
    return stream_reply([*events, b"data: [DONE]\n\n"], model, told if asked else {})
