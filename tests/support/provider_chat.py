"""Chat completions of the provider: text, tools, JSON, logprobs, several choices; plain and
streamed.

Law: pure. With ``include_usage``, ``null-usage`` says ``"usage":null`` in every other event, as
OpenAI does; the rest says nothing there, as vLLM does.
"""

import json
from typing import Any

from provider_reply import Reply, data, json_reply, stream_reply

WORDS = ("Hel", "lo", " wör", "ld", "\u2028", "\U0001f30a", " and the tide", ".")
CALLS = (
    ("call_1", "get_weather", '{"city": "Paris", "unit": "C"}'),
    ("call_2", "get_weather", '{"city": "Saint-Malo", "unit": "C"}'),
)
JSON_ANSWER = {"city": "Paris", "degrees": 21}
OPENING = {"role": "assistant", "content": ""}
ERROR_EVENT = {
    "error": {
        "message": "The server is overloaded.",
        "type": "server_error",
        "param": None,
        "code": "overloaded",
    }
}


def chat(body: dict[str, Any], model: str) -> Reply:
    """The answer, or the stream."""
    return _stream(body, model) if body.get("stream") else _plain(body, model)


def _words(body: dict[str, Any]) -> list[str]:
    if body.get("response_format", {}).get("type") in ("json_object", "json_schema"):
        text = json.dumps(JSON_ANSWER)
        return [text[i : i + 5] for i in range(0, len(text), 5)]
    return list(WORDS)


def _usage(body: dict[str, Any]) -> dict[str, Any]:
    """Depends on what was asked, so that sums tell whether a request was counted once."""
    count = 3 + len(json.dumps(body.get("messages"))) % 97
    output = 8 * int(body.get("n") or 1)
    return {
        "prompt_tokens": count,
        "completion_tokens": output,
        "total_tokens": count + output,
        "prompt_tokens_details": {"cached_tokens": 2, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 1, "audio_tokens": 0},
    }


def _told(body: dict[str, Any]) -> dict[str, int]:
    usage = _usage(body)
    return {
        "input": usage["prompt_tokens"],
        "output": usage["completion_tokens"],
        "cached_input": usage["prompt_tokens_details"]["cached_tokens"],
        "reasoning": usage["completion_tokens_details"]["reasoning_tokens"],
    }


def _logprob(word: str) -> dict[str, Any]:
    entry = {"token": word, "logprob": -0.125, "bytes": list(word.encode())}
    return {**entry, "top_logprobs": [entry]}


def _tool_calls() -> list[dict[str, Any]]:
    return [
        {"id": name, "type": "function", "function": {"name": function, "arguments": arguments}}
        for name, function, arguments in CALLS
    ]


def _plain(body: dict[str, Any], model: str) -> Reply:
    words = _words(body)
    message: dict[str, Any] = {"role": "assistant", "content": "".join(words), "refusal": None}
    reason = "stop"
    if body.get("tools"):
        message |= {"content": None, "tool_calls": _tool_calls()}
        reason = "tool_calls"
    logprobs = None
    if body.get("logprobs"):
        logprobs = {"content": [_logprob(word) for word in words], "refusal": None}
    choices = [
        {"index": index, "message": message, "logprobs": logprobs, "finish_reason": reason}
        for index in range(int(body.get("n") or 1))
    ]
    value = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": model,
        "choices": choices,
        "usage": _usage(body),
        "service_tier": "default",
        "system_fingerprint": "fp_1",
    }
    return json_reply(value, model=model, told=_told(body))


def _deltas(body: dict[str, Any]) -> list[dict[str, Any]]:
    if not body.get("tools"):
        return [{"content": word} for word in _words(body)]
    deltas: list[dict[str, Any]] = []
    for index, (name, function, arguments) in enumerate(CALLS):
        called = {"name": function, "arguments": ""}
        call = {"index": index, "id": name, "type": "function", "function": called}
        deltas.append({"tool_calls": [call]})
        for at in range(0, len(arguments), 7):
            part = {"arguments": arguments[at : at + 7]}
            deltas.append({"tool_calls": [{"index": index, "function": part}]})
    return deltas


def _stream(body: dict[str, Any], model: str) -> Reply:
    asked = bool((body.get("stream_options") or {}).get("include_usage"))
    base = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": model,
        "service_tier": "default",
        "system_fingerprint": "fp_1",
    }
    last = {"usage": None} if asked and model == "null-usage" else {}

    def event(index: int, delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "finish_reason": reason}
        if body.get("logprobs"):
            word = delta.get("content")
            choice["logprobs"] = {"content": [_logprob(word)], "refusal": None} if word else None
        return data({**base, "choices": [choice], **last, "obfuscation": "tide"[: len(delta)]})

    indices = range(int(body.get("n") or 1))
    events = [event(index, OPENING) for index in indices]
    events += [event(index, delta) for delta in _deltas(body) for index in indices]
    if model == "error-event":
        return stream_reply([*events[:3], data(ERROR_EVENT)], model, {})
    if model == "unended":
        return stream_reply(events[:3], model, {})
    reason = "tool_calls" if body.get("tools") else "stop"
    events += [event(index, {}, reason) for index in indices]
    if model == "comments":
        events = [b": keep-alive\n\n" + event for event in events]
    if asked:
        events.append(data({**base, "choices": [], "usage": _usage(body)}))
    events.append(b"data: [DONE]\n\n")
    if model == "crlf":
        events = [event.replace(b"\n", b"\r\n") for event in events]
    return stream_reply(events, model, _told(body) if asked else {})
