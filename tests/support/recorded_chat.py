"""Streams of chat and completions as servers send them, written after their documentation.

Sources: https://platform.openai.com/docs/api-reference/chat-streaming, https://docs.vllm.ai
(continuous usage), llama.cpp's tools/server/README.md, https://docs.mistral.ai/api,
https://api-docs.deepseek.com, https://docs.x.ai, https://learn.microsoft.com/azure (filters),
https://openrouter.ai/docs/api/reference/streaming.
"""

from recorded import COMMENT, DONE, Recorded, data_only
from tidegate_sidecar.dialect import openai


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
