"""Event streams, whatever the network does to the bytes."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate_sidecar.dialect import openai
from tidegate_sidecar.sse import MAX_HELD_BYTES, TAIL_BYTES, EventFilter, Watcher

TOKEN = b'data: {"choices":[{"delta":{"content":"a\xe2\x80\xa8b"}}]}\n\n'
LAST = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
NULL_USAGE = b'data: {"choices":[{"delta":{"content":"x"}}],"usage":null}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}\n\n'
DONE = b"data: [DONE]\n\n"
PING = b": keep-alive\n\n"
STREAM = PING + TOKEN + NULL_USAGE + PING + TOKEN + LAST + USAGE + DONE

LINE_ENDS = {"LF": b"\n", "CR LF": b"\r\n", "CR": b"\r"}


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


def watch(*parts: bytes) -> Watcher:
    watcher = Watcher()
    for part in parts:
        watcher.feed(part)
    return watcher


@pytest.mark.parametrize("end", LINE_ENDS.values(), ids=LINE_ENDS)
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
def test_what_is_learnt_does_not_depend_on_the_cut(end: bytes, start: bytes) -> None:
    stream = start + STREAM.replace(b"\n", end)
    for cut in range(len(stream) + 1):
        watcher = watch(stream[:cut], stream[cut:])
        told = openai.read_stream_end(watcher)
        assert (watcher.events, told.complete, told.failed) == (6, True, False), cut
        assert told.usage is not None
        assert (told.usage.prompt_tokens, told.usage.completion_tokens) == (7, 3)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64])
def test_many_small_reads_are_as_good_as_one(size: int) -> None:
    for end in LINE_ENDS.values():
        watcher = watch(*pieces(STREAM.replace(b"\n", end), size))
        assert (watcher.events, watcher.last(8)) == (6, watch(STREAM).last(8))


def test_a_line_separator_inside_a_string_ends_nothing() -> None:
    assert watch(TOKEN).last(8) == [TOKEN[6:-2]]


def test_comments_are_no_events() -> None:
    watcher = watch(PING, PING, b":data: x\n\n")
    assert (watcher.events, watcher.last(8)) == (0, [])


def test_an_unfinished_event_was_not_heard_by_the_client_either() -> None:
    assert watch(TOKEN, LAST[:-1]).last(8) == [TOKEN[6:-2]]
    assert not openai.read_stream_end(watch(TOKEN, LAST[:-1])).complete
    assert openai.read_stream_end(watch(TOKEN, DONE[:-1])).complete


def test_an_error_as_last_word_is_a_failure() -> None:
    told = openai.read_stream_end(watch(TOKEN, b'data: {"error":{"message":"x"}}\n\n', DONE))
    assert told.failed


def test_memory_is_bounded_by_the_tail() -> None:
    watcher = watch(*[TOKEN] * 5000, LAST, USAGE, DONE)
    assert watcher.events == 5003
    assert sum(len(piece) for piece in watcher._pieces) <= 2 * TAIL_BYTES
    assert openai.read_stream_end(watcher).usage is not None


def test_a_last_event_larger_than_the_tail_is_still_read() -> None:
    large = LAST.replace(b"{}", b'{"x":"' + b"y" * 50_000 + b'"}')
    for size in (1000, 4096):
        told = openai.read_stream_end(watch(*[TOKEN] * 200, *pieces(large + USAGE, size)))
        assert told.complete
        assert told.usage is not None


# --- taking the usage chunk out ------------------------------------------------------------------


def through(parts: list[bytes]) -> bytes:
    events = openai.usage_filter()
    return b"".join([*(events.feed(part) for part in parts), events.finish()])


@pytest.mark.parametrize("end", LINE_ENDS.values(), ids=LINE_ENDS)
def test_the_usage_chunk_goes_and_every_other_byte_stays(end: bytes) -> None:
    stream = STREAM.replace(b"\n", end)
    left = stream.replace(USAGE.replace(b"\n", end), b"")
    assert left != stream
    for cut in range(len(stream) + 1):
        assert through([stream[:cut], stream[cut:]]) == left, cut
    assert through(pieces(stream, 1)) == left


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                *(TOKEN, USAGE, LAST, DONE, PING, NULL_USAGE, USAGE.replace(b"\n", b"\r")),
                *(b"\n", b"\r", b"\r\n", b'data: {"usage"', b"x", b"data:"),
            ]
        ),
        max_size=12,
    ),
    st.lists(st.integers(0, 800), max_size=8),
)
def test_what_is_taken_out_does_not_depend_on_the_cut(
    blocks: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(blocks)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    parts = [stream[a:b] for a, b in pairwise(edges)]
    assert through(parts) == through([stream])


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(1, 50))
def test_without_the_mark_every_byte_passes(data: bytes, size: int) -> None:
    assert through(pieces(data, size)) == data


def test_an_event_too_long_to_be_held_passes_whatever_it_says() -> None:
    long = USAGE.replace(b'"choices":[]', b'"choices":[],"x":"' + b"y" * MAX_HELD_BYTES + b'"')
    for size in (999, 100_000):
        assert through(pieces(TOKEN + long + USAGE + DONE, size)) == TOKEN + long + DONE


def test_whole_events_are_not_held_back() -> None:
    events = EventFilter(b'"usage"', openai.is_usage_only)
    assert events.feed(TOKEN) == TOKEN
    assert events.feed(TOKEN[:10]) == b""
    assert events.feed(TOKEN[10:]) == TOKEN
