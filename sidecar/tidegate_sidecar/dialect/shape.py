"""What measuring asks of an API, and what it gets from one that it doesn't know: nothing.

Law: pure. A body that can't be understood is passed on as it is, never mended; one that is changed
is changed in ``model`` and ``stream_options`` and stays byte for byte the same in everything else.
"""

from enum import StrEnum
from typing import Final

import msgspec

from tidegate_sidecar.dialect.reading import read_json
from tidegate_sidecar.dialect.rewrite import replace_values
from tidegate_sidecar.dialect.schema import Call
from tidegate_sidecar.dialect.usage import CHARS_PER_TOKEN, PlainAnswer, Usage
from tidegate_sidecar.sse import EventFilter, Watcher

BATCHED_CHARS: Final = 2 * CHARS_PER_TOKEN
"""From here on an event is taken for several tokens. With vLLM, SGLang and llama.cpp one event is
one token, which is 4 to 5 characters of English and fewer of most else; Anthropic and gateways
put several into one."""
LAST_EVENTS: Final = 8
"""Enough for the finish reasons of several choices, usage, and the words that end a stream."""
DONE: Final = b"[DONE]"
"""OpenAI's last word, which is an event but no token; gateways put it at the end of anything."""


class Operation(StrEnum):
    """What a request asks for, by OpenTelemetry's names where it has one."""

    CHAT = "chat"
    COMPLETIONS = "text_completion"
    EMBEDDINGS = "embeddings"
    MODELS = "models"
    COUNT_TOKENS = "count_tokens"
    OTHER = "other"


class StreamEnd:
    """How an event stream ended."""

    __slots__ = ("complete", "failed", "usage", "usage_partial")

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.usage_partial = False
        """Usage speaks of the input alone: the stream ended before it told of its output."""
        self.complete = False
        """It had the end that its API promises."""
        self.failed = False
        """It ended with an error: servers report a failure after the head so."""


class Stream:
    """One event stream of an API: its first events as they come, its last ones when it is over."""

    __slots__ = ()

    def output_chars(self, data: bytes) -> int:
        """How many characters of model output an event carries: text, reasoning, arguments of
        tools.

        None of it is 0: an event that only opens a stream, a role, a ping, an end, an error. One
        that can't be read is taken for a token.
        """
        return CHARS_PER_TOKEN

    def is_output(self, data: bytes) -> bool:
        """Whether an event carries model output; asked of each until the first that does."""
        return self.output_chars(data) > 0

    def end(self, watcher: Watcher) -> StreamEnd:
        """Learn from a stream's last events how it ended."""
        return StreamEnd()

    def estimate(self, watcher: Watcher) -> int:
        """Output tokens of a stream that said nothing of usage, from the number of its events and
        the length of the last ones."""
        if not watcher.begun:
            return 0
        chars = [self.output_chars(data) for data in watcher.last(-1)]
        told = [count for count in chars if count]
        forgotten = watcher.events - len(chars)
        events = len(told) + max(forgotten - watcher.opening, 0)
        mean = sum(told) / len(told) if told else 0.0
        per_event = mean / CHARS_PER_TOKEN if mean >= BATCHED_CHARS else 1.0
        return max(round(events * per_event), 1)


class Dialect:
    """One operation of one API; this one of an API that is not known."""

    __slots__ = ("asks_model", "charged", "operation", "read", "streamed")

    def __init__(
        self,
        operation: Operation,
        *,
        read: bool = False,
        streamed: bool = False,
        charged: bool = False,
        asks_model: bool = False,
    ) -> None:
        self.operation: Final = operation
        self.read: Final = read
        """The request's body is read, so that its model is known and can be changed."""
        self.streamed: Final = streamed
        """It can answer with an event stream of this API."""
        self.charged: Final = charged
        """Its answers cost tokens."""
        self.asks_model: Final = asks_model
        """It may make a model work: it counts as demand and can be blocked."""

    def must_ask_usage(self, call: Call) -> bool:
        """Whether a call's stream tells of its usage only if it is asked to, and it is not."""
        return False

    def usage_filter(self) -> EventFilter | None:
        """Takes out of a stream what came because we asked for it; None if nothing does."""
        return None

    def rewrite(self, body: bytes, call: Call, model: str | None, ask_usage: bool) -> bytes:
        """The body with another model (None: the same) and, if asked, with usage asked for."""
        if model is None or model == call.model:
            return body
        return replace_values(body, {"model": msgspec.json.encode(model)})

    def stream(self) -> Stream:
        """What listens to one answer of this operation."""
        return Stream()

    def usage(self, answer: PlainAnswer) -> Usage | None:
        """What a plain answer says about usage; None if nothing that can be read."""
        return None

    def answer_chars(self, body: bytes) -> int:
        """How many characters of model output a whole plain answer carries; 0 for what can't be
        read."""
        return 0

    def estimate(self, answer: PlainAnswer) -> int:
        """Output tokens of a plain answer that says nothing of usage."""
        if not self.streamed:
            return 0  # embeddings are no output
        whole = answer.whole
        chars = answer.size if whole is None else self.answer_chars(whole)
        return chars // CHARS_PER_TOKEN

    def error_body(self, status: int, message: str, code: str) -> bytes:
        """An error of ours as clients of this API expect one; unknown ones get OpenAI's shape."""
        kind = "server_error" if status >= 500 else "invalid_request_error"
        if status == 429:
            kind = "insufficient_quota"
        error = {"message": message, "type": kind, "param": None, "code": code}
        return msgspec.json.encode({"error": error})


_MARKS: Final = frozenset(("id", "type", "status", "signature", "encrypted_content"))
_call: Final = msgspec.json.Decoder(Call)


def parse_call(body: bytes) -> Call | None:
    """Read a request's body; None if it isn't a JSON object with fields of the right kind."""
    return read_json(_call, body)


def part_chars(parts: list[dict[str, object]] | None, names: frozenset[str]) -> int:
    """Characters in those members of an answer's parts that are a model's words."""
    return sum(
        text_chars(value) for part in parts or () for name, value in part.items() if name in names
    )


def text_chars(value: object) -> int:
    """Characters in all the strings of a JSON value, but for what servers add to a model's
    words."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(text_chars(inner) for name, inner in value.items() if name not in _MARKS)
    if isinstance(value, list):
        return sum(text_chars(inner) for inner in value)
    return 0
