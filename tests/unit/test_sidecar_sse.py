"""Event streams, whatever the network does to the bytes."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate_sidecar.dialect.openai import CHAT
from tidegate_sidecar.dialect.shape import StreamEnd
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
    watcher = Watcher(CHAT.stream().is_output)
    for part in parts:
        watcher.feed(part)
    return watcher


def end_of(watcher: Watcher) -> StreamEnd:
    return CHAT.stream().end(watcher)


def usage_filter() -> EventFilter:
    events = CHAT.usage_filter()
    assert events is not None
    return events


@pytest.mark.parametrize("end", LINE_ENDS.values(), ids=LINE_ENDS)
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
def test_what_is_learnt_does_not_depend_on_the_cut(end: bytes, start: bytes) -> None:
    stream = start + STREAM.replace(b"\n", end)
    for cut in range(len(stream) + 1):
        watcher = watch(stream[:cut], stream[cut:])
        told = end_of(watcher)
        assert (watcher.events, told.complete, told.failed) == (6, True, False), cut
        assert told.usage is not None
        assert (told.usage.incoming, told.usage.outgoing) == (7, 3)


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


ROLE = b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'


@pytest.mark.parametrize("end", LINE_ENDS.values(), ids=LINE_ENDS)
def test_output_begins_with_the_event_that_ends_with_this_byte(end: bytes) -> None:
    opening = (PING + ROLE + PING).replace(b"\n", end)
    first = TOKEN.replace(b"\n", end)
    for cut in range(len(opening) + len(first) + 1):
        heard = (opening + first)[:cut]
        # A CR may be half of a CR LF, but it ends its line all the same.
        whole = cut >= len(opening) + len(first) - (end == b"\r\n")
        for parts in ([heard], pieces(heard, 1)):
            assert watch(*parts).begun is whole, cut
    watcher = watch(opening + first, *[PING, TOKEN])
    assert (watcher.opening, watcher.events) == (1, 3)


def test_what_comes_before_the_first_output_is_heard_in_a_read_of_any_size() -> None:
    heard: list[bytes] = []

    def is_output(data: bytes) -> bool:
        heard.append(data)
        return data == b"x"

    watcher = Watcher(is_output)
    opening = [b"%d" % n + b"-" * 700 for n in range(100)]
    watcher.feed(b"".join(b"data: %b\n\n" % data for data in [*opening, b"x", b"y"]))
    assert heard == [*opening, b"x"]
    assert (watcher.opening, watcher.begun) == (100, True)


def test_an_endless_opening_event_costs_no_more_than_its_bytes() -> None:
    asked: list[bytes] = []
    watcher = Watcher(lambda data: asked.append(data) is not None)
    watcher.feed(b"data: ")
    for _ in range(5000):
        watcher.feed(b"x" * 1000)
    assert asked == []
    watcher.feed(b"\n\ndata: y\n\n")
    assert asked[-1] == b"y"


def test_an_unfinished_event_was_not_heard_by_the_client_either() -> None:
    assert watch(TOKEN, LAST[:-1]).last(8) == [TOKEN[6:-2]]
    assert not end_of(watch(TOKEN, LAST[:-1])).complete
    assert end_of(watch(TOKEN, DONE[:-1])).complete


def test_an_error_as_last_word_is_a_failure() -> None:
    told = end_of(watch(TOKEN, b'data: {"error":{"message":"x"}}\n\n', DONE))
    assert told.failed


def test_memory_is_bounded_by_the_tail() -> None:
    watcher = watch(*[TOKEN] * 5000, LAST, USAGE, DONE)
    assert watcher.events == 5003
    assert sum(len(piece) for piece in watcher._pieces) <= 2 * TAIL_BYTES
    assert end_of(watcher).usage is not None


def test_a_last_event_larger_than_the_tail_is_still_read() -> None:
    large = LAST.replace(b"{}", b'{"x":"' + b"y" * 50_000 + b'"}')
    for size in (1000, 4096):
        told = end_of(watch(*[TOKEN] * 200, *pieces(large + USAGE, size)))
        assert told.complete
        assert told.usage is not None


# --- taking the usage chunk out ------------------------------------------------------------------


def through(parts: list[bytes]) -> bytes:
    events = usage_filter()
    return b"".join([*(events.feed(part) for part in parts), events.finish()])


@pytest.mark.parametrize("end", LINE_ENDS.values(), ids=LINE_ENDS)
def test_the_usage_chunk_goes_and_every_other_byte_stays(end: bytes) -> None:
    stream = STREAM.replace(b"\n", end)
    left = stream.replace(USAGE.replace(b"\n", end), b"")
    assert left != stream
    for cut in range(len(stream) + 1):
        assert through([stream[:cut], stream[cut:]]) == left, cut
    assert through(pieces(stream, 1)) == left


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


@given(st.binary(max_size=200), st.integers(1, 50))
def test_without_the_mark_every_byte_passes(data: bytes, size: int) -> None:
    assert through(pieces(data, size)) == data


def test_an_event_too_long_to_be_held_passes_whatever_it_says() -> None:
    long = USAGE.replace(b'"choices":[]', b'"choices":[],"x":"' + b"y" * MAX_HELD_BYTES + b'"')
    begun = b"data: " + b"y" * MAX_HELD_BYTES
    lines = begun + b"\n" + USAGE
    assert through([begun, b"\n" + USAGE + DONE]) == lines + DONE
    for size in (999, 100_000):
        assert through(pieces(TOKEN + long + USAGE + DONE, size)) == TOKEN + long + DONE
        assert through(pieces(lines + USAGE + DONE, size)) == lines + DONE


def test_whole_events_are_not_held_back() -> None:
    events = usage_filter()
    assert events.feed(TOKEN) == TOKEN
    assert events.feed(TOKEN[:10]) == b""
    assert events.feed(TOKEN[10:]) == TOKEN
