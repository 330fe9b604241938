"""Calls of models and their answers, streams above all, as data; with them the whole corpus."""

import gzip
import json

from upstream import chat_reply, event
from wire_corpus import ANYTHING, IMAGE, JSON, SSE, Case, chunked, get, plain, post, sized
from wire_play import IfAsked, Slowly, Step


def chat(body: object, *answer: Step, stream: bool = False, **more: object) -> Case:
    """A call that is read."""
    request = post(json.dumps(body).encode(), b"/v1/chat/completions", JSON)
    return plain(*answer, ask=request, methods=("POST",), read=True, **more)


def streamed(*events: bytes, size: int = 0) -> Step:
    whole = b"".join(events)
    parts = [whole[i : i + size] for i in range(0, len(whole), size)] if size else list(events)
    return chunked(*parts, more=SSE)


def delta(**values: object) -> bytes:
    choice = {"index": 0, "delta": values, "finish_reason": None, "logprobs": None}
    return event({"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [choice]})


TOKEN = delta(content="a\u2028")
STOP = event({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
DONE = b"data: [DONE]\n\n"
USAGE = event({"id": "c", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5}})
ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
STREAM = {**ASK, "stream": True}
WITH_USAGE = {**STREAM, "stream_options": {"include_usage": True}}
CALL = {"index": 0, "id": "t", "type": "function", "function": {"name": "f", "arguments": '{"a":'}}
LONG = "x" * 1_000_000

STREAMS = {
    "events that end in LF": (delta(content="a"), delta(content="b"), STOP, DONE),
    "events that end in CR LF": tuple(
        part.replace(b"\n", b"\r\n") for part in (delta(content="a"), STOP, DONE)
    ),
    "events that end in CR": tuple(
        part.replace(b"\n", b"\r") for part in (delta(content="a"), STOP, DONE)
    ),
    "comments, names, ids, retries and unknown fields": (
        b": hello\n\n:\n\nevent: message\nid: 1\nretry: 100\nx: y\n" + delta(content="a"),
        b"id\n\n" + STOP + DONE,
    ),
    "data of several lines, with and without spaces": (
        b'data:{"choices":\ndata: [{"index":0,"delta":\ndata:  {"content":"x"}}]}\n\n',
        b"data\ndata:\n\n" + STOP + DONE,
    ),
    "a byte order mark": (b"\xef\xbb\xbf" + delta(content="a"), STOP, DONE),
    "line ends that are none": (delta(content="a\u2028b\u2029c\u0085d\x0b\x0c"), STOP, DONE),
    "the same, not escaped": (
        b'data: {"choices":[{"index":0,"delta":{"content":"a\xe2\x80\xa8b\xc2\x85"}}]}\n\n',
        STOP,
        DONE,
    ),
    "an event of 1 MB": (delta(content=LONG), STOP, DONE),
    "an end without its empty line": (delta(content="a"), STOP, DONE[:-1]),
    "no [DONE] but a finish reason": (delta(content="a"), STOP),
    "bytes that are no UTF-8": (
        b'data: {"choices":[{"delta":{"content":"\xff\xfe"}}]}\n\n',
        STOP,
        DONE,
    ),
    "calls of tools": (
        delta(role="assistant", tool_calls=[CALL]),
        delta(tool_calls=[{"index": 0, "function": {"arguments": "1}"}}]),
        STOP,
        DONE,
    ),
    "two choices, and logprobs": (
        event({"choices": [{"index": 1, "delta": {"content": "b"}, "logprobs": {"content": []}}]}),
        event({"choices": [{"index": i, "delta": {}, "finish_reason": "stop"} for i in (0, 1)]}),
        DONE,
    ),
    "audio": (delta(audio={"id": "a", "data": "UklGRg=="}), STOP, DONE),
    "an error within": (delta(content="a"), event({"error": {"message": "oops"}}), DONE),
}

CHATS = {
    f"{name}: {how}": chat(body, streamed(*events, size=size), asks_usage=asks)
    for name, events in STREAMS.items()
    for how, body, size, asks in (
        ("usage asked for by the client", WITH_USAGE, 0, False),
        (
            "usage asked for by us, in other chunks",
            STREAM,
            4096 if LONG.encode() in events[0] else 7,
            True,
        ),
    )
} | {
    f"{name}: on a path that is not read": plain(streamed(*events), ask=get(b"/events"))
    for name, events in STREAMS.items()
}
TOLD = (delta(content="a"), STOP, USAGE, DONE)
UNTOLD = (delta(content="a"), STOP, DONE)


def of_length(*events: bytes) -> bytes:
    return sized(b"".join(events), SSE)


CALLS = {
    f"usage that nobody asked for is taken out again: {how}": chat(
        {**STREAM, **more}, IfAsked(answer(*TOLD), answer(*UNTOLD)), asks_usage=True
    )
    for how, more, answer in (
        ("a chunk for each event", {}, streamed),
        ("all in one", {}, lambda *events: streamed(b"".join(events))),
        ("in chunks of 11 bytes", {}, lambda *events: streamed(*events, size=11)),
        ("the client said no", {"stream_options": {"include_usage": False}}, streamed),
        ("the client said null", {"stream_options": None}, streamed),
        ("of an answer with a length", {}, of_length),
    )
} | {
    "a plain chat": chat(ASK, sized(chat_reply(), JSON)),
    "a chat that comes byte by byte": chat(ASK, Slowly(sized(chat_reply(), JSON))),
    "a chunked chat": chat(ASK, chunked(chat_reply()[:9], chat_reply()[9:], more=JSON)),
    "odd spaces, escapes, doubled keys and numbers stay as they are": plain(
        sized(chat_reply(), JSON),
        ask=post(
            b'{ "model" :"m\\u0031","x":1.50e+3, "x":1E0 ,"s":"\\/\\u2028", "n" : [ ] }\n\n',
            b"/v1/chat/completions",
        ),
        methods=("POST",),
        read=True,
    ),
    "a call that is no JSON": plain(
        sized(gzip.compress(b"no"), b"Content-Encoding: gzip\r\n", b"400 Bad Request"),
        ask=post(b'{"x":01,\xff', b"/v1/chat/completions", b"Accept-Encoding: gzip\r\n"),
        methods=("POST",),
        read=True,
        understood=False,
    ),
    "an answer that is no JSON": chat(ASK, sized(b"\xff\x00{", JSON)),
    "tools, images, audio, logprobs, n > 1 and JSON mode": plain(
        sized(
            b'{"choices":[{"message":{"tool_calls":[{"id":"t"}],"audio":{"data":"UklG"}},'
            b'"logprobs":{"content":[{"token":"a","logprob":-0.10}]}},{"index":1}]}',
            JSON,
        ),
        ask=post(
            b'{"model":"m","messages":[{"role":"user","content":[%b,{"type":"input_audio",'
            b'"input_audio":{"data":"UklG","format":"wav"}}]}],"tools":[{"type":"function",'
            b'"function":{"name":"f"}}],"n":2,"logprobs":true,"response_format":'
            b'{"type":"json_object"}}' % IMAGE,
            b"/v1/chat/completions",
        ),
        methods=("POST",),
        read=True,
    ),
    "audio as a form": plain(
        sized(b'{"text":"hi"}', JSON),
        ask=post(
            b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nRIFF\x00\xff\r\n--b--\r\n',
            b"/v1/audio/transcriptions",
            b"Content-Type: multipart/form-data; boundary=b\r\n",
        ),
        methods=("POST",),
    ),
}

CORPUS: dict[str, Case] = {**ANYTHING, **CHATS, **CALLS}
