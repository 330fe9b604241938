"""Streams of the Messages API as servers send them, written after their documentation.

Source: https://docs.claude.com/en/build-with-claude/streaming, the types of Anthropic's Python
client 2, and vLLM's entrypoints/anthropic.
"""

from recorded import DONE, Recorded, data_only, named
from tidegate_sidecar.dialect import anthropic


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
