"""``sse`` beside the reference: what it learns from a stream and what it takes out of one.

Law: what is compared depends on the bytes alone; ``cuts`` says where reads ended.
"""

import re
from itertools import pairwise

import sse_reference
from tidegate_sidecar.sse import EventFilter, Watcher

MARK = b'"usage"'
SIGN = re.compile(rb'"choices":\[\]')


def is_output(data: bytes) -> bool:
    """Stands for a dialect's question."""
    return b"delta" in data


def is_dropped(data: bytes) -> bool:
    return MARK in data and SIGN.search(data) is not None


def cut_up(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


def watch(pieces: list[bytes]) -> Watcher:
    watcher = Watcher(is_output)
    for piece in pieces:
        watcher.feed(piece)
    return watcher


def strain(pieces: list[bytes]) -> bytes:
    events = EventFilter(MARK, SIGN, is_dropped)
    return b"".join([*(events.feed(piece) for piece in pieces), events.finish()])


def differences(stream: bytes, cuts: list[int]) -> list[str]:
    """How ``sse`` differs from the reference on a stream that is shorter than what it keeps."""
    pieces = cut_up(stream, cuts)
    watcher = watch(pieces)
    events = sse_reference.events(stream)
    # A dialect is asked as soon as an event has ended; of a begun one nothing is known.
    heard = [data for data in events if data.strip() != b"[DONE]"]
    first = next((at for at, data in enumerate(heard) if is_output(data)), None)
    learnt = {
        "events": (watcher.last(-1)[::-1], events),
        "data lines": (watcher.events, sse_reference.data_lines(stream)),
        "output has begun": (watcher.begun, first is not None),
        "what passed": (strain(pieces), sse_reference.without(stream, is_dropped)),
    }
    return [
        f"{what}: {ours!r}, by the standard {theirs!r}: {stream!r} in {cuts}"
        for what, (ours, theirs) in learnt.items()
        if ours != theirs
    ]
