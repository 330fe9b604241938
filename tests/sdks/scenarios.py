"""What each client is made to do, in sentences; the drivers have the same names."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parents[1] / ".sdks"

OPENAI: Mapping[str, str] = {
    "chat": "a chat completion",
    "chat-stream": "a stream that asks for no usage",
    "chat-stream-usage": "a stream that asks for usage",
    "chat-stream-null-usage": "a stream of a server that says usage null when it is asked for it",
    "chat-stream-null-usage-asked": "the same when the client asked for it",
    "chat-stream-no-usage": "a stream that says it wants no usage",
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
PYTHON_ALONE: Mapping[str, str] = {
    "async": "the asynchronous client",
    "responses-helper": "the SDK's own helper for streamed responses",
}


@dataclass(frozen=True)
class Client:
    """One client of the matrix."""

    name: str
    command: tuple[str, ...]
    scenarios: Mapping[str, str]


def _python(name: str, environment: str, driver: str, scenarios: Mapping[str, str]) -> Client:
    python = ENVIRONMENTS / environment / "bin" / "python"
    return Client(name, (str(python), str(HERE / "drivers" / driver)), scenarios)


CLIENTS = (
    _python("openai 2 for Python", "openai2", "openai_python.py", {**OPENAI, **PYTHON_ALONE}),
    _python("openai 3 for Python", "openai3", "openai_python.py", {**OPENAI, **PYTHON_ALONE}),
)

MEANT: Mapping[str, str] = {
    "chat-stream-null-usage": "the nulls stay: some servers say them unasked",
    "unended": "what never said that it ended must not look whole",
    "cut-reset": "told as a cut answer: a reset would take back what the client has not read yet",
    "hang-up": "told as 502 with a reason (RFC 9110, 15.6.3); tried again on a kept connection",
}
"""What is told otherwise through us, and why."""
