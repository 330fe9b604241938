"""What each client is made to do, in sentences; the drivers have the same names."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

DRIVERS = Path(__file__).parent / "drivers"
ENVIRONMENTS = Path(__file__).parents[2] / ".sdks"

OPENAI: Mapping[str, str] = {
    "chat": "a chat completion",
    "chat-stream": "a stream that asks for no usage",
    "chat-stream-usage": "a stream that asks for usage",
    "chat-stream-null-usage": "a stream of a server that says usage null when it is asked for it",
    "chat-stream-null-usage-asked": "the same when the client asked for it",
    "chat-stream-no-usage": "a stream that says it wants no usage",
    "chat-stream-no-options": "a stream of a server that refuses to be asked for usage",
    "chat-stream-seams": "a stream cut into pieces that care for no event",
    "chat-stream-comments": "a stream with comments between its events",
    "chat-stream-crlf": "a stream with lines ended by CR LF",
    "chat-helper": "the SDK's own stream helper",
    "tools": "tool calls",
    "tools-stream": "streamed deltas of two tool calls",
    "json": "JSON mode",
    "json-stream": "JSON mode streamed",
    "json-schema": "structured output",
    "logprobs": "logprobs",
    "logprobs-stream": "logprobs streamed",
    "choices": "three choices",
    "choices-stream": "three choices streamed",
    "image": "an image part",
    "image-stream": "an image part, streamed answer",
    "completions": "a text completion",
    "completions-stream": "a text completion streamed",
    "embeddings": "embeddings, packed and as numbers",
    "models": "the list of models, and one of them",
    "responses": "a response",
    "responses-stream": "a streamed response",
    "responses-tools": "a response that calls a tool",
    "responses-tools-stream": "a streamed response that calls a tool",
    "responses-failed": "a streamed response that fails",
    "responses-cut": "a streamed response that is cut",
    "speech": "binary audio",
    "transcription": "an upload of a file",
    "kept-connection": "answers of each kind on one connection",
    "error-400": "error 400",
    "error-401": "error 401",
    "error-404": "error 404",
    "error-429": "error 429",
    "error-500": "error 500",
    "error-503": "error 503",
    "error-400-stream": "error 400 for a stream",
    "error-429-stream": "error 429 for a stream",
    "error-500-stream": "error 500 for a stream",
    "error-event": "an error in the middle of a stream",
    "retries-429": "retries after 429, given up",
    "retries-503": "retries after 503, given up",
    "retries-flaky": "retries that succeed",
    "retries-flaky-stream": "retries of a stream that succeed",
    "retries-unwanted": "an error that says it wants no retries",
    "left": "a stream that the client leaves",
    "timeout": "a time-out of the client before the answer begins",
    "timeout-stream": "a time-out of the client within a stream",
    "cut-fin": "a stream whose connection is closed in the middle",
    "cut-reset": "a stream whose connection is reset in the middle",
    "unended": "a stream that stops without having said that it ends",
    "hang-up": "a connection that is reset before the answer begins",
}
ALONE: Mapping[str, str] = {
    "async": "the asynchronous client",
    "batch": "several prompts at once",
    "responses-helper": "the SDK's own helper for streamed responses",
    "left-by-signal": "a stream that an AbortSignal ends",
    "messages": "a message",
    "messages-stream": "a streamed message",
    "messages-stream-seams": "a streamed message cut into pieces that care for no event",
    "messages-helper": "the SDK's own stream helper for messages",
    "tools-helper": "a tool call through the SDK's own stream helper",
    "count-tokens": "a count of tokens",
    "error-529": "error 529",
    "head": "HEAD",
    "http10": "HTTP/1.0",
    "http10-stream": "a stream over HTTP/1.0",
    "compressed": "an answer that may be compressed",
    "upload": "a body of 2 MB that waits for 100 Continue",
    "upload-chunked": "the same body, chunked",
}
"""What only some clients can do."""
SENTENCES = {**OPENAI, **ALONE}


@dataclass(frozen=True)
class Client:
    """One client of the matrix."""

    name: str
    command: tuple[str, ...]
    """Ends with where the address is to follow."""
    environment: Path
    scenarios: tuple[str, ...]
    outbound: bool = False
    """It goes by the sidecar's way out; both ways have clients of each API."""


def _in_python(
    name: str, environment: str, driver: str, scenarios: Iterable[str], *, outbound: bool
) -> Client:
    home = ENVIRONMENTS / environment
    command = (str(home / "bin" / "python"), str(DRIVERS / driver))
    return Client(name, command, home, tuple(scenarios), outbound)


_FAULTS = ("error-400", "error-401", "error-404", "error-429", "error-500", "error-503")
_OF_ALL = (
    *_FAULTS,
    *("tools-stream", "error-429-stream", "error-event", "retries-429", "left", "timeout"),
    *("cut-fin", "cut-reset", "unended", "hang-up"),
)
_ANTHROPIC = (
    *("messages", "messages-stream", "messages-stream-seams", "messages-helper", "tools"),
    *("tools-helper", "image", "count-tokens", "models", "kept-connection", "error-529"),
    *("error-400-stream", "error-500-stream", "retries-503", "retries-flaky"),
    *("retries-flaky-stream", "timeout-stream"),
)
_LANGCHAIN = (
    *("chat", "chat-stream", "chat-stream-usage", "chat-stream-null-usage-asked"),
    *("chat-stream-seams", "async", "batch", "tools", "json", "json-schema", "logprobs"),
    *("logprobs-stream", "choices", "image", "embeddings", "responses", "responses-stream"),
    *("retries-flaky", "retries-flaky-stream", "timeout-stream"),
)
_CURL = (
    *("chat", "chat-stream", "chat-stream-usage", "chat-stream-null-usage-asked"),
    *("chat-stream-seams", "chat-stream-comments", "chat-stream-crlf", "embeddings", "models"),
    *("responses-stream", "speech", "transcription", "messages", "messages-stream", "head"),
    *("http10", "http10-stream", "compressed", "upload", "upload-chunked", "kept-connection"),
    "retries-503",
)
_NODE = ({*OPENAI} - {"timeout-stream"}) | {"left-by-signal"}  # its time-out is for the head alone
_PYTHON = (*OPENAI, "async", "responses-helper")

CLIENTS = (
    _in_python(
        "langchain", "langchain", "langchain_python.py", (*_OF_ALL, *_LANGCHAIN), outbound=True
    ),
    _in_python("openai 2", "openai2", "openai_python.py", _PYTHON, outbound=False),
    _in_python("openai 3", "openai3", "openai_python.py", _PYTHON, outbound=False),
    _in_python(
        "anthropic", "anthropic", "anthropic_python.py", (*_OF_ALL, *_ANTHROPIC), outbound=True
    ),
    Client(
        "npm openai",
        ("node", str(DRIVERS / "openai_node.mjs"), str(ENVIRONMENTS / "node")),
        ENVIRONMENTS / "node",
        tuple(sorted(_NODE)),
        outbound=True,
    ),
    Client("curl", (sys.executable, str(DRIVERS / "curl.py")), DRIVERS, (*_OF_ALL, *_CURL)),
)
"""The slowest first."""

MEANT: Mapping[str, str] = {
    "chat-stream-null-usage": "the nulls stay: some servers say them unasked",
    "unended": "what never said that it ended must not look whole",
    "cut-reset": "told as a cut answer: a reset would take back what the client has not read yet",
    "hang-up": "told as 502 with a reason (RFC 9110, 15.6.3); tried again on a kept connection",
}
"""What is told otherwise through us, and why."""
