"""Event streams as servers send them, after the public documentation of each API and server.

Sources: https://docs.claude.com/en/build-with-claude/streaming,
https://platform.openai.com/docs/api-reference/responses-streaming,
https://platform.openai.com/docs/api-reference/chat-streaming, https://docs.vllm.ai (continuous
usage, its Messages API), llama.cpp's tools/server/README.md, https://docs.mistral.ai/api,
https://openrouter.ai/docs/api/reference/streaming, https://learn.microsoft.com/azure (filters).
"""

import json
from dataclasses import dataclass

from tidegate_sidecar.dialect import anthropic, openai, responses
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

# --- chat and completions ------------------------------------------------------------------------


def chunk(*choices: dict[str, object], **more: object) -> dict[str, object]:
    head = {"id": "c-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**head, "choices": list(choices), **more}


def delta(index: int = 0, finish: str | None = None, **said: object) -> dict[str, object]:
    return {"index": index, "delta": said, "logprobs": None, "finish_reason": finish}


ROLE = chunk(delta(role="assistant", content="", refusal=None))
STOP = chunk(delta(finish="stop"))
HELLO = [chunk(delta(content=word)) for word in ("Hel", "lo\u2028", " \u85cf!")]
OPENAI_USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 9,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 16, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 6, "accepted_prediction_tokens": 0},
}
TOOL = [
    {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}},
    {"index": 0, "function": {"arguments": '{"a":'}},
    {"index": 0, "function": {"arguments": "1}"}},
]


def text(word: str, finish: str | None = None) -> dict[str, object]:
    return {
        "id": "c",
        "object": "text_completion",
        "choices": [{"index": 0, "text": word, "finish_reason": finish, "logprobs": None}],
    }


CHAT = {
    "OpenAI, usage asked for": Recorded(
        openai.CHAT,
        data_only(ROLE, *HELLO, STOP, chunk(usage=OPENAI_USAGE), DONE),
        first=b"Hel",
        last=b'"finish_reason":"stop"',
        usage=(20, 9, 16, 0, 6),
        events=3,
    ),
    "OpenAI, usage not asked for": Recorded(
        openai.CHAT,
        data_only(ROLE, *HELLO, STOP, DONE),
        first=b"Hel",
        last=b'"finish_reason":"stop"',
        usage=None,
        events=3,
    ),
    "Azure, its filter's results ahead": Recorded(
        openai.CHAT,
        data_only(chunk(prompt_filter_results=[{"prompt_index": 0}]), ROLE, *HELLO, STOP, DONE),
        first=b"Hel",
        last=b'"finish_reason":"stop"',
        usage=None,
        events=3,
    ),
    "vLLM, usage in every chunk": Recorded(
        openai.CHAT,
        data_only(
            ROLE,
            *(
                {**event, "usage": {"prompt_tokens": 7, "completion_tokens": n, "total_tokens": 8}}
                for n, event in enumerate([*HELLO, STOP], 1)
            ),
            chunk(usage={"prompt_tokens": 7, "total_tokens": 11, "completion_tokens": 4}),
            DONE,
        ),
        first=b"Hel",
        last=b'"finish_reason":"stop"',
        usage=(7, 4, 0, 0, 0),
        events=3,
    ),
    "vLLM, usage null until the end, and its details too": Recorded(
        openai.CHAT,
        data_only(
            *({**event, "usage": None} for event in (ROLE, *HELLO, STOP)),
            chunk(
                usage={
                    "prompt_tokens": 7,
                    "total_tokens": 10,
                    "completion_tokens": 3,
                    "prompt_tokens_details": None,
                }
            ),
            DONE,
        ),
        first=b"Hel",
        last=b'"finish_reason":"stop"',
        usage=(7, 3, 0, 0, 0),
        events=3,
    ),
    "llama.cpp and Mistral, usage in the last chunk with choices": Recorded(
        openai.CHAT,
        data_only(
            ROLE,
            *HELLO,
            {
                **STOP,
                "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
                "timings": {"predicted_n": 3},
            },
            DONE,
        ),
        first=b"Hel",
        last=b'"finish_reason":"stop"',
        usage=(7, 3, 0, 0, 0),
        events=3,
    ),
    "TGI, a role in every chunk, no last word": Recorded(
        openai.CHAT,
        data_only(
            *(chunk(delta(role="assistant", content=word)) for word in ("Hel", "lo")),
            chunk(delta(role="assistant", content="", finish="length")),
        ),
        first=b"Hel",
        last=b'"finish_reason":"length"',
        usage=None,
        events=2,
    ),
    "DeepSeek, reasoning first": Recorded(
        openai.CHAT,
        data_only(
            chunk(delta(role="assistant", content=None, reasoning_content="")),
            chunk(delta(content=None, reasoning_content="Hm")),
            chunk(delta(content="Yes", reasoning_content=None)),
            STOP,
            DONE,
        ),
        first=b"Hm",
        last=b'"finish_reason":"stop"',
        usage=None,
        events=2,
    ),
    "a call of a tool": Recorded(
        openai.CHAT,
        data_only(
            chunk(delta(role="assistant", content=None)),
            *(chunk(delta(tool_calls=[call])) for call in TOOL),
            chunk(delta(finish="tool_calls")),
            DONE,
        ),
        first=b'"name":"f"',
        last=b'"finish_reason":"tool_calls"',
        usage=None,
        events=3,
    ),
    "two choices, the second one first": Recorded(
        openai.CHAT,
        data_only(
            ROLE,
            chunk(delta(1, role="assistant", content="")),
            chunk(delta(1, content="B")),
            chunk(delta(content="A")),
            chunk(delta(finish="stop")),
            chunk(delta(1, finish="stop")),
            chunk(usage=OPENAI_USAGE),
            DONE,
        ),
        first=b'"B"',
        last=b'"finish_reason":"stop"',
        usage=(20, 9, 16, 0, 6),
        events=2,
    ),
    "xAI, reasoning beside the output": Recorded(
        openai.CHAT,
        data_only(
            *HELLO,
            STOP,
            chunk(
                usage={
                    "prompt_tokens": 32,
                    "completion_tokens": 9,
                    "total_tokens": 135,
                    "completion_tokens_details": {"reasoning_tokens": 94},
                }
            ),
            DONE,
        ),
        first=b"Hel",
        last=b'"finish_reason":"stop"',
        usage=(32, 103, 0, 0, 94),
        events=3,
    ),
    "sound, whose bytes are no tokens": Recorded(
        openai.CHAT,
        data_only(
            ROLE,
            chunk(delta(audio={"id": "a", "data": "AAAA" * 90})),
            chunk(delta(audio={"data": "BBBB" * 90})),
            STOP,
            DONE,
        ),
        first=b"AAAA",
        last=b'"finish_reason":"stop"',
        usage=None,
        events=2,
    ),
    "OpenRouter, comments and an error in the middle": Recorded(
        openai.CHAT,
        COMMENT
        + data_only(ROLE, HELLO[0])
        + COMMENT
        + data_only(
            chunk(delta(content="", finish="error"), error={"code": 502, "message": "gone"})
        ),
        first=b"Hel",
        last=b"",
        usage=None,
        events=1,
        failed=True,
    ),
    "vLLM, an error as last word": Recorded(
        openai.CHAT,
        data_only(ROLE, HELLO[0], {"error": {"message": "x", "code": 500}}, DONE),
        first=b"Hel",
        last=DONE,
        usage=None,
        events=1,
        failed=True,
    ),
    "cut before its end": Recorded(
        openai.CHAT, data_only(ROLE, *HELLO), first=b"Hel", last=b"", usage=None, events=3
    ),
    "only a role": Recorded(
        openai.CHAT, data_only(ROLE), first=b"", last=b"", usage=None, events=0
    ),
    "completions": Recorded(
        openai.COMPLETIONS,
        data_only(text(""), text("Hel"), text("lo"), text("", "stop"), DONE),
        first=b"Hel",
        last=b'"finish_reason":"stop"',
        usage=None,
        events=2,
    ),
    "completions, the finish reason with the last token": Recorded(
        openai.COMPLETIONS,
        data_only(text("Hel"), text("lo", "stop"), DONE),
        first=b"Hel",
        last=b'"finish_reason":"stop"',
        usage=None,
        events=2,
    ),
}

# --- responses -----------------------------------------------------------------------------------


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

# --- messages ------------------------------------------------------------------------------------


def started(**usage: object) -> dict[str, object]:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": [],
        "stop_reason": None,
        "usage": usage,
    }
    return {"type": "message_start", "message": message}


def block(index: int, content: dict[str, object], *deltas: dict[str, object]) -> list[object]:
    return [
        {"type": "content_block_start", "index": index, "content_block": content},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def ended(reason: str = "end_turn", **usage: object) -> list[dict[str, object]]:
    return [
        {
            "type": "message_delta",
            "delta": {"stop_reason": reason, "stop_sequence": None},
            "usage": usage,
        },
        {"type": "message_stop"},
    ]


PING: dict[str, object] = {"type": "ping"}
_HELLO = block(
    0,
    {"type": "text", "text": ""},
    *({"type": "text_delta", "text": word} for word in ("Hel", "lo\u2028", "!")),
)
_CACHED = {
    "input_tokens": 12,
    "cache_creation_input_tokens": 300,
    "cache_read_input_tokens": 4000,
    "cache_creation": {"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 0},
    "output_tokens": 1,
    "service_tier": "standard",
}


def messaged(*events: object) -> bytes:
    return named(*events)  # type: ignore[arg-type]


MESSAGES = {
    "text, with a cache": Recorded(
        anthropic.MESSAGES,
        messaged(started(**_CACHED), _HELLO[0], PING, *_HELLO[1:], *ended(output_tokens=15)),
        first=b"Hel",
        last=b"message_stop",
        usage=(4312, 15, 4000, 300, 0),
        events=3,
    ),
    "input told again at the end, with thinking": Recorded(
        anthropic.MESSAGES,
        messaged(
            started(**_CACHED),
            *_HELLO,
            *ended(
                **{**_CACHED, "input_tokens": 20, "output_tokens": 15},
                output_tokens_details={"thinking_tokens": 10},
            ),
        ),
        first=b"Hel",
        last=b"message_stop",
        usage=(4320, 15, 4000, 300, 10),
        events=3,
    ),
    "input told only at the end, as gateways do": Recorded(
        anthropic.MESSAGES,
        messaged(
            started(input_tokens=0, output_tokens=0),
            *_HELLO,
            *ended(input_tokens=25, cache_read_input_tokens=None, output_tokens=15),
        ),
        first=b"Hel",
        last=b"message_stop",
        usage=(25, 15, 0, 0, 0),
        events=3,
    ),
    "thinking, then a call of a tool": Recorded(
        anthropic.MESSAGES,
        messaged(
            started(input_tokens=25, output_tokens=1),
            PING,
            *block(
                0,
                {"type": "thinking", "thinking": "", "signature": ""},
                {"type": "thinking_delta", "thinking": "Hm"},
                {"type": "signature_delta", "signature": "EqQB" * 100},
            ),
            *block(
                1,
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}},
                {"type": "input_json_delta", "partial_json": ""},
                {"type": "input_json_delta", "partial_json": '{"a":1}'},
            ),
            *ended("tool_use", output_tokens=88),
        ),
        first=b"Hm",
        last=b"message_stop",
        usage=(25, 88, 0, 0, 0),
        events=3,
    ),
    "a tool without arguments": Recorded(
        anthropic.MESSAGES,
        messaged(
            started(input_tokens=25, output_tokens=1),
            *block(0, {"type": "tool_use", "id": "toolu_1", "name": "now", "input": {}}),
            *ended("tool_use", output_tokens=8),
        ),
        first=b'"now"',
        last=b"message_stop",
        usage=(25, 8, 0, 0, 0),
        events=1,
    ),
    "vLLM, OpenAI's last word after its own": Recorded(
        anthropic.MESSAGES,
        messaged(
            started(input_tokens=25, output_tokens=0),
            *_HELLO,
            *ended(input_tokens=25, output_tokens=3),
        )
        + data_only(DONE),
        first=b"Hel",
        last=b"message_stop",
        usage=(25, 3, 0, 0, 0),
        events=3,
    ),
    "overloaded in the middle": Recorded(
        anthropic.MESSAGES,
        messaged(
            started(**_CACHED),
            *_HELLO[:3],
            {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        ),
        first=b"Hel",
        last=b"",
        usage=(4312, 1, 4000, 300, 0),
        events=2,
        failed=True,
        partial=True,
    ),
    "cut in the middle": Recorded(
        anthropic.MESSAGES,
        messaged(started(**_CACHED), *_HELLO[:4]),
        first=b"Hel",
        last=b"",
        usage=(4312, 1, 4000, 300, 0),
        events=3,
        partial=True,
    ),
    "cut before its last word": Recorded(
        anthropic.MESSAGES,
        messaged(started(**_CACHED), *_HELLO, *ended(output_tokens=15)[:1]),
        first=b"Hel",
        last=b"",
        usage=(4312, 15, 4000, 300, 0),
        events=3,
    ),
    "cut, and nothing was told": Recorded(
        anthropic.MESSAGES,
        messaged(started(input_tokens=0, output_tokens=0), *_HELLO),
        first=b"Hel",
        last=b"",
        usage=None,
        events=3,
        partial=True,
    ),
}

STREAMS = {
    **{f"chat: {name}": one for name, one in CHAT.items()},
    **{f"responses: {name}": one for name, one in RESPONSES.items()},
    **{f"messages: {name}": one for name, one in MESSAGES.items()},
}
