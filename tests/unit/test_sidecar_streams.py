"""Whatever API and server a stream is from, and however it is cut, the same is learnt from it:
when output began, whether its end is the one that the API promises, and what it cost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recorded import DONE, Recorded, data_only, flat, named
from recorded_messages import MESSAGES
from recorded_responses import RESPONSES
from recorded_streams import STREAMS
from tidegate_sidecar.dialect import anthropic, openai, responses
from tidegate_sidecar.dialect.shape import Stream, StreamEnd
from tidegate_sidecar.dialect.usage import CHARS_PER_TOKEN
from tidegate_sidecar.sse import MAX_EVENT_BYTES, Watcher

LINE_ENDS = {"LF": b"\n", "CR LF": b"\r\n", "CR": b"\r"}
every_stream = pytest.mark.parametrize("recorded", STREAMS.values(), ids=STREAMS)


class Heard:
    """A stream, listened to in pieces."""

    def __init__(self, recorded: Recorded, *pieces: bytes) -> None:
        self.stream: Stream = recorded.dialect.stream()
        self.watcher = Watcher(self.stream.is_output)
        for piece in pieces:
            self.watcher.feed(piece)

    @property
    def end(self) -> StreamEnd:
        return self.stream.end(self.watcher)

    @property
    def told(self) -> tuple[object, ...]:
        end = self.end
        estimate = self.stream.estimate(self.watcher)
        return (
            *(self.watcher.begun, self.watcher.opening, estimate),
            *(end.complete, end.failed, end.usage_partial and end.usage is not None),
            flat(end.usage),
        )


def one_by_one(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


@every_stream
def test_what_a_stream_tells(recorded: Recorded) -> None:
    heard = Heard(recorded, recorded.data)
    end = heard.end
    assert end.complete is bool(recorded.last) or recorded.failed
    assert (end.failed, flat(end.usage)) == (recorded.failed, recorded.usage)
    assert (end.usage is not None and end.usage_partial) is (
        recorded.partial and recorded.usage is not None
    )
    assert heard.watcher.begun is bool(recorded.first)
    assert heard.stream.estimate(heard.watcher) == recorded.events


@every_stream
@pytest.mark.parametrize("end", LINE_ENDS.values(), ids=LINE_ENDS)
def test_it_tells_the_same_wherever_it_is_cut(recorded: Recorded, end: bytes) -> None:
    data = recorded.data.replace(b"\n", end)
    told = Heard(recorded, recorded.data).told
    assert Heard(recorded, *one_by_one(data)).told == told
    # One by one has been at every byte; what is left to see is a long piece before it, and after.
    for cut in range(0, len(data) + 1, 1 if len(data) < 1000 else 7):
        assert Heard(recorded, data[:cut], data[cut:]).told == told, cut


def whole_at(data: bytes, mark: bytes) -> int:
    """Where the event with this mark has ended; past the end if there is no mark."""
    if not mark:
        return len(data) + 1
    return data.index(b"\n\n", data.index(mark)) + 2


@every_stream
def test_output_begins_and_the_end_comes_with_their_events_and_not_a_byte_before(
    recorded: Recorded,
) -> None:
    begins, ends = whole_at(recorded.data, recorded.first), whole_at(recorded.data, recorded.last)
    heard = Heard(recorded)
    for position, byte in enumerate(one_by_one(recorded.data), 1):
        heard.watcher.feed(byte)
        assert heard.watcher.begun is (position >= begins), position
        if position % 7 == 0 or abs(position - ends) < 5:
            # OpenAI's last word alone counts without the empty line that some servers leave out.
            complete = heard.end.complete and DONE not in recorded.last
            assert complete is (position >= ends and DONE not in recorded.last), position


@every_stream
def test_comments_and_unknown_fields_change_nothing(recorded: Recorded) -> None:
    told = Heard(recorded, recorded.data).told
    padded = recorded.data.replace(b"\n\n", b"\n\n: keep-alive\n\nretry: 5\n\n: x\n\n")
    assert Heard(recorded, b": first\n\n" + padded).told == told


# --- long streams --------------------------------------------------------------------------------


def long_stream(recorded: Recorded, times: int) -> bytes:
    """The same with its first event of output many times over."""
    at = recorded.data.index(recorded.first)
    before = recorded.data.rfind(b"\n\n", 0, at)
    start = before + 2 if before >= 0 else 0
    end = whole_at(recorded.data, recorded.first)
    return recorded.data[:start] + recorded.data[start:end] * times + recorded.data[end:]


@pytest.mark.parametrize("name", ["text, with a cache", "cut in the middle"])
@pytest.mark.parametrize("size", [700, 20_000, 1 << 20])
def test_what_the_first_event_told_is_known_at_the_end_of_a_long_stream(
    name: str, size: int
) -> None:
    recorded = MESSAGES[name]
    data = long_stream(recorded, 2000)
    heard = Heard(recorded, *(data[i : i + size] for i in range(0, len(data), size)))
    assert flat(heard.end.usage) == recorded.usage
    assert heard.stream.estimate(heard.watcher) == pytest.approx(2000, rel=0.01)


SPOKEN = sorted(name for name, one in STREAMS.items() if one.first and "sound" not in name)


@settings(max_examples=40)
@given(st.integers(1, 400), st.sampled_from(SPOKEN), st.integers(50, 9000))
def test_an_estimate_counts_the_events_with_output(times: int, name: str, size: int) -> None:
    recorded = STREAMS[name]
    data = long_stream(recorded, times)
    heard = Heard(recorded, *(data[i : i + size] for i in range(0, len(data), size)))
    expected = recorded.events + times - 1
    # What is silent at the end of a stream is known, and between its blocks only near the end.
    assert expected <= heard.stream.estimate(heard.watcher) <= expected + 5


@pytest.mark.parametrize(
    ("chars", "tokens"),
    [(1, 1), (4, 1), (7, 1), (8, 2), (40, 10)],
    ids=["a letter", "a token", "a long token", "two tokens", "ten tokens"],
)
@pytest.mark.parametrize(
    "recorded", [STREAMS["chat: cut before its end"], MESSAGES["cut in the middle"]]
)
def test_events_longer_than_a_token_are_several(
    recorded: Recorded, chars: int, tokens: int
) -> None:
    text = "x" * chars
    event: bytes = (
        data_only({"choices": [{"delta": {"content": text}}]})
        if recorded.dialect is openai.CHAT
        else named({"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}})
    )
    heard = Heard(recorded, event * 50)
    assert heard.stream.estimate(heard.watcher) == 50 * tokens


@pytest.mark.parametrize(
    ("kind", "complete", "failed"),
    [
        ("response.completed", True, False),
        ("response.incomplete", True, False),
        ("response.failed", False, True),
    ],
)
@pytest.mark.parametrize("order", ["type first", "type last"])
def test_a_last_event_full_of_pictures_is_read_at_both_ends(
    kind: str, complete: bool, failed: bool, order: str
) -> None:
    picture = "A" * (4 * MAX_EVENT_BYTES)
    recorded = RESPONSES["text"]
    usage = {"input_tokens": 5, "output_tokens": 6, "total_tokens": 11}
    response = {"output": [{"type": "image_generation_call", "result": picture}], "usage": usage}
    event: dict[str, object] = {"response": response, "sequence_number": 3, "type": kind}
    if order == "type first":
        event = {"type": kind, "response": response}
    data = recorded.data[:1500] + b"\n\n" + named(event)
    for size in (65_536, len(data)):
        heard = Heard(recorded, *(data[i : i + size] for i in range(0, len(data), size)))
        end = heard.end
        assert (end.complete, end.failed) == (complete, failed)
        assert flat(end.usage) == (5, 6, 0, 0, 0)


# --- single events -------------------------------------------------------------------------------

SILENT = {
    "a ping": (anthropic.MESSAGES, b'{"type":"ping"}'),
    "an unknown event of Anthropic": (anthropic.MESSAGES, b'{"type":"new","delta":{"text":"x"}}'),
    "a signature": (
        anthropic.MESSAGES,
        b'{"type":"content_block_delta","delta":{"type":"signature_delta","signature":"x"}}',
    ),
    "a search that runs": (responses.RESPONSES, b'{"type":"response.web_search_call.searching"}'),
    "an empty delta": (responses.RESPONSES, b'{"type":"response.output_text.delta","delta":""}'),
    "llama.cpp's progress with the prompt": (
        openai.CHAT,
        b'{"choices":[{"delta":{"role":"assistant","content":null}}],"prompt_progress":{"n":1}}',
    ),
    "an empty list of tools": (openai.CHAT, b'{"choices":[{"delta":{"tool_calls":[]}}]}'),
    "an object without choices": (openai.CHAT, b"{}"),
    "the last word": (openai.CHAT, b"[DONE]"),
    "the last word, after Anthropic's own": (anthropic.MESSAGES, b"[DONE]"),
}
SAID = {
    "a refusal": (openai.CHAT, b'{"choices":[{"delta":{"refusal":"No."}}]}', 3),
    "reasoning by another name": (openai.CHAT, b'{"choices":[{"delta":{"reasoning":"Hm"}}]}', 2),
    "a picture": (
        openai.CHAT,
        b'{"choices":[{"delta":{"images":[{"image_url":{"url":"data:AAAAAAAA"}}]}}]}',
        CHARS_PER_TOKEN,
    ),
    "parts, as Mistral sends them": (
        openai.CHAT,
        b'{"choices":[{"delta":{"content":[{"thinking":[{"text":"Hm"}]}]}}]}',
        2,
    ),
    "a field that nobody knows yet": (
        openai.CHAT,
        b'{"choices":[{"delta":{"new":{"x":1}}}]}',
        CHARS_PER_TOKEN,
    ),
    "what is no JSON": (openai.CHAT, b"hello", CHARS_PER_TOKEN),
    "what is no JSON, in a response": (responses.RESPONSES, b"hello", CHARS_PER_TOKEN),
    "what is no JSON, in a message": (anthropic.MESSAGES, b"hello", CHARS_PER_TOKEN),
    "sound": (
        responses.RESPONSES,
        b'{"type":"response.audio.delta","delta":"AAAAAAAAAAAAAAAA"}',
        CHARS_PER_TOKEN,
    ),
    "a transcript": (
        responses.RESPONSES,
        b'{"type":"response.audio.transcript.delta","delta":"Hello"}',
        5,
    ),
    "a part of a picture": (
        responses.RESPONSES,
        b'{"type":"response.image_generation_call.partial_image","partial_image_b64":"AAAAAAAA"}',
        CHARS_PER_TOKEN,
    ),
}


@pytest.mark.parametrize(("dialect", "data"), SILENT.values(), ids=SILENT)
def test_what_is_no_output(dialect: openai.Dialect, data: bytes) -> None:
    assert dialect.stream().output_chars(data) == 0
    assert not dialect.stream().is_output(data)


@pytest.mark.parametrize(("dialect", "data", "chars"), SAID.values(), ids=SAID)
def test_what_is_output(dialect: openai.Dialect, data: bytes, chars: int) -> None:
    assert dialect.stream().output_chars(data) == chars
    assert dialect.stream().is_output(data)


@given(
    st.binary(max_size=300),
    st.sampled_from([openai.CHAT, responses.RESPONSES, anthropic.MESSAGES]),
)
def test_any_bytes_are_listened_to(data: bytes, dialect: openai.Dialect) -> None:
    recorded = Recorded(dialect, data, b"", b"", None, 0)
    assert isinstance(Heard(recorded, *one_by_one(data)).told, tuple)
