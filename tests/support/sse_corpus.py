"""Event streams as servers write them, and the words that break readers of them.

Sources: what OpenAI, Anthropic, vLLM and llama.cpp send, shortened.
"""

_CHUNK = (
    b'data: {"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":'
)
CHAT = (
    _CHUNK
    + b'{"role":"assistant","content":""},"finish_reason":null}],"usage":null}\n\n'
    + _CHUNK
    + b'{"content":"a\xe2\x80\xa8b\xc2\x85"},"finish_reason":null}],"usage":null}\n\n'
    + _CHUNK
    + b'{"content":"data: \\n\\n \\"usage\\""},"finish_reason":null}]}\n\n'
    + _CHUNK
    + b'{},"finish_reason":"stop"}]}\n\n'
)
USAGE = (
    b'data: {"id":"c","object":"chat.completion.chunk","model":"m","choices":[],"usage":'
    b'{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}\n\n'
)
DONE = b"data: [DONE]\n\n"
ANTHROPIC = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","usage":'
    b'{"input_tokens":25,"output_tokens":1}}}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0}\n\n'
    b'event: ping\ndata: {"type": "ping"}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":'
    b'{"type":"text_delta","text":"Hello"}}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
    b'"usage":{"output_tokens":15}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
RESPONSES = (
    b'event: response.created\ndata: {"type":"response.created","sequence_number":0,"response":'
    b'{"id":"r","status":"in_progress","usage":null}}\n\n'
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"Hi"}'
    b"\n\n"
    b'event: response.completed\ndata: {"type":"response.completed","response":{"id":"r",'
    b'"status":"completed","usage":{"input_tokens":37,"output_tokens":11,"total_tokens":48}}}\n\n'
)

STREAMS = {
    "chat with usage": CHAT + USAGE + DONE,
    "chat with comments": b": OPENROUTER PROCESSING\n\n" + CHAT + b":\n\n" + USAGE + DONE,
    "chat in CR LF": (CHAT + USAGE + DONE).replace(b"\n", b"\r\n"),
    "chat in CR": (CHAT + USAGE + DONE).replace(b"\n", b"\r"),
    "chat without its last empty line": CHAT + USAGE + DONE[:-1],
    "usage over several lines": CHAT + USAGE.replace(b',"', b',\ndata: "') + DONE,
    "fields of all kinds": b"\xef\xbb\xbfretry: 10\nid: 1\nevent: x\ndata\ndata:\ndata:  a\nx\n\n"
    + USAGE,
    "anthropic": ANTHROPIC,
    "responses": RESPONSES,
}

WORDS = [
    *(
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"\r\r",
        b"\r\n\r\n",
        b"\n\r",
        b"\r\n\r",
        b"\n\r\n",
        b"\n\n\n",
    ),
    *(b"data:", b"data: ", b"data", b"\ndata\n", b"dataset: 1\n", b":", b": ping\n\n", b":\n"),
    *(b"event: x\n", b"id: 1\n", b"retry: 1\n", b" data: x\n", b"\xef\xbb\xbf", b"\xe2\x80\xa8"),
    *(
        b"\xe2\x80\xa9",
        b"\xc2\x85",
        b"\x00",
        b"\x0b",
        b"\x0c",
        b"\x1c",
        b'"usage"',
        b"[DONE]",
        b"{}",
    ),
    *(b'"usage":null', b'"choices":[]', USAGE, DONE, USAGE[:-1], DONE[:-1], b"data: [DONE]"),
]
