"""What is learnt from a stream, and what is taken out, is what the standard says, in any cut."""

import tracemalloc
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sse_reference
from byte_mutator import Mutator
from sse_corpus import CHAT, DONE, STREAMS, USAGE, WORDS
from sse_differences import MARK, SIGN, cut_up, differences, is_dropped, strain, watch
from tidegate_sidecar.sse import MAX_EVENT_BYTES, MAX_HELD_BYTES, TAIL_BYTES, EventFilter

MUTANTS = 4000
"""Some 2 s. ``make fuzz`` runs on for as long as it is told."""


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_streams_of_real_servers_are_read_by_the_standard_wherever_they_are_cut(
    stream: bytes,
) -> None:
    for at in range(len(stream) + 1):
        assert not differences(stream, [at])
    for size in (1, 2, 3, 7, 100):
        assert not differences(stream, list(range(0, len(stream), size)))


SEEN = {
    "a line that only looks like the last word": USAGE + b"\x0bdata: [DONE]\n",
    "a data line without a colon": b"data\ndata: a\n\n" + USAGE,
    "an empty line before what is taken out": b"\n" + USAGE + b"\r\n" + USAGE,
    "a line end of each kind before what is taken out": b"\r" + USAGE + b"\n\r\n\r" + USAGE,
}
"""What was once read in another way."""


@pytest.mark.parametrize("stream", SEEN.values(), ids=SEEN)
def test_what_was_once_read_wrongly_is_read_by_the_standard(stream: bytes) -> None:
    for at in range(len(stream) + 1):
        assert not differences(stream, [at])


def test_damaged_streams_are_read_by_the_standard() -> None:
    mutator = Mutator(list(STREAMS.values()), WORDS, seed=9, line_end=b"\n")
    random = Random(9)
    dropped = 0
    for _ in range(MUTANTS):
        stream = mutator.next()
        cuts = random.choices(range(len(stream) + 1), k=random.choice((0, 1, 3, 20)))
        assert not differences(stream, cuts)
        dropped += strain([stream]) != stream
    assert MUTANTS // 5 < dropped < MUTANTS * 4 // 5  # lest nothing or all is taken out


LINES = st.sampled_from(
    [
        *(b"data:", b"data: a", b"data", b"data:  a", b":", b": data: x", b"event: x", b"id: 1"),
        *(b"retry: 1", b"dataset: 1", b" data: a", b"x", b"", b"data: \xe2\x80\xa8\xc2\x85\x0b"),
        *(
            b'data: {"delta":1}',
            b'data: {"choices":[],"usage":1}',
            b"data: [DONE]",
            b"\xef\xbb\xbf",
        ),
    ]
)
LINE_ENDS = st.sampled_from([b"\n", b"\n", b"\r\n", b"\r", b"\n\n", b"\r\n\r\n", b"\r\r"])


@settings(max_examples=600)
@given(
    st.booleans(),
    st.lists(st.tuples(LINES, LINE_ENDS), max_size=12),
    LINES,
    st.lists(st.integers(0, 200), max_size=8),
)
def test_any_lines_in_any_cut_are_read_by_the_standard(
    marked: bool, lines: list[tuple[bytes, bytes]], begun: bytes, cuts: list[int]
) -> None:
    stream = (b"\xef\xbb\xbf" if marked else b"") + b"".join(map(b"".join, lines)) + begun
    assert not differences(stream, cuts)


# --- streams longer than what is kept ------------------------------------------------------------


def event(size: int) -> bytes:
    return b'data: "' + b"\xe2\x80\xa8" * (size // 3) + b'"\n\n'


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from([3, 300, 5_000, 20_000, 100_000]), max_size=12),
    st.sampled_from([3, 400, 30_000, 900_000]),
    st.integers(1, 4),
    st.sampled_from([97, 4_096, 65_536, 10_000_000]),
)
def test_the_last_event_and_all_in_the_tail_are_heard_whatever_came_before(
    sizes: list[int], last: int, copies: int, read: int
) -> None:
    stream = b"".join(map(event, sizes)) + USAGE * copies + event(last)
    watcher = watch([stream[at : at + read] for at in range(0, len(stream), read)])
    heard = watcher.last(-1)
    assert heard[0] == sse_reference.events(event(last))[0]
    in_tail = sse_reference.events(stream[-TAIL_BYTES:].partition(b"\n\n")[2])[::-1]
    assert heard[: len(in_tail)] == in_tail
    assert watcher.events == len(sizes) + copies + 1


@pytest.mark.parametrize("beyond", [-2, -1, 0, 1, 2])
@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"], ids=["LF", "CR", "CR LF"])
def test_how_long_an_event_can_be_taken_out_does_not_depend_on_the_cut(
    beyond: int, end: bytes
) -> None:
    start = b'data: {"choices":[],"usage":1,"x":"'
    long = start + b"y" * (MAX_HELD_BYTES + beyond - len(start) - 2) + b'"}' + end + end
    stream = CHAT + long + DONE
    left = CHAT + DONE if beyond <= 0 else stream
    assert strain([stream]) == left
    border = len(CHAT) + len(long)
    for at in range(border - 6, border + 6):
        assert strain(cut_up(stream, [at])) == left
        assert strain(cut_up(stream, [5_000, 50_000, at - 1, at])) == left


@pytest.mark.parametrize(
    ("read", "most"), [(1, 100_000), (2, 100_000), (33, 100_000), (4_096, 5_000_000)]
)
def test_what_is_kept_of_a_stream_is_bounded_whatever_its_reads(read: int, most: int) -> None:
    stream = (CHAT + USAGE) * 60
    if read > 1000:
        stream += b"data: " + b"x" * 3 * MAX_EVENT_BYTES
    watcher = watch([])
    events = EventFilter(MARK, SIGN, is_dropped)
    tracemalloc.start()
    try:
        for at in range(0, len(stream), read):
            piece = stream[at : at + read]
            watcher.feed(piece)
            events.feed(piece)
        assert tracemalloc.get_traced_memory()[1] <= most
    finally:
        tracemalloc.stop()
