"""What single steps take, kernel and loop left out: ``python -m benchmarks.steps``.

Law: each step runs on bytes as a server or client sends them, often enough that the least of some
rounds is its own time. As it is imported, so it is measured: ``PYTHONPATH=.bench/python/compiled``
takes the compiled one.
"""

import io
import json
import sys
import timeit
from collections.abc import Callable

from benchmarks.contestants import MODEL
from tidegate_sidecar.body import CHUNKED, Body
from tidegate_sidecar.dialect.openai import CHAT
from tidegate_sidecar.dialect.rewrite import replace_values, replace_walking
from tidegate_sidecar.dialect.shape import parse_call
from tidegate_sidecar.version import data_path

ROUNDS = 7
ROUND_S = 0.05
_ANOTHER = {"model": b'"another"'}
_EVENT = {
    "id": "chatcmpl-9f3a1c2b",
    "object": "chat.completion.chunk",
    "model": MODEL,
    "choices": [{"index": 0, "delta": {"content": " word"}, "finish_reason": None}],
    "usage": None,
}
_USAGE = {**_EVENT, "choices": [], "usage": {"prompt_tokens": 256, "completion_tokens": 16}}
EVENTS = [b"data: %b\n\n" % json.dumps(event).encode() for event in (*[_EVENT] * 16, _USAGE)]
BURST = b"".join([*EVENTS, b"data: [DONE]\n\n"])
BURST_ON_THE_WIRE = b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in EVENTS)


def conversation(size: int) -> bytes:
    """A chat's request of about so many bytes, in messages of 100 characters."""
    words = "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod " * 2
    messages = [{"role": "user", "content": words[:100]} for _ in range(max(size // 135, 1))]
    return json.dumps({"model": MODEL, "temperature": 0.5, "messages": messages}).encode()


def microseconds(step: Callable[[], object]) -> float:
    timer = timeit.Timer(step)
    number = max(int(ROUND_S / max(timer.timeit(10) / 10, 1e-7)), 1)
    return min(timer.repeat(ROUNDS, number)) / number * 1e6


def _take_usage_out() -> bytes:
    events = CHAT.usage_filter()
    assert events is not None
    return events.feed(BURST)


def _gather(pieces: list[bytes]) -> bytes:
    gathered = io.BytesIO()
    for piece in pieces:
        gathered.write(piece)
    return gathered.getvalue()


def steps() -> dict[str, Callable[[], object]]:
    """By name."""
    small, large = conversation(1_000), conversation(100_000)
    pieces = [large[at : at + 10_000] for at in range(0, len(large), 10_000)]
    return {
        "1 KB: read the call": lambda: parse_call(small),
        "1 KB: write another model in": lambda: replace_values(small, _ANOTHER),
        "1 KB: the same, walking (a key is doubled)": lambda: replace_walking(small, _ANOTHER),
        "100 KB: read the call": lambda: parse_call(large),
        "100 KB: write another model in": lambda: replace_values(large, _ANOTHER),
        "100 KB: the same, walking": lambda: replace_walking(large, _ANOTHER),
        "100 KB: gather ten pieces": lambda: _gather(pieces),
        "18 events at once: take usage out": _take_usage_out,
        "17 chunks at once: take the framing off": lambda: Body(CHUNKED).feed(BURST_ON_THE_WIRE),
    }


def main() -> int:
    """Measure and tell; returns the exit code."""
    print(f"us, {data_path()}, Python {sys.version.split()[0]}")
    for name, step in steps().items():
        print(f"{microseconds(step):10.2f}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
