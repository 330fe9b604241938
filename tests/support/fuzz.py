"""``make fuzz``: the sidecar's parsers beside their oracles, on damaged messages, by the clock.

Law: what it prints is what happened. Rounds have seeds that follow each other, so each finding can
be had again by its seed; a finding ends the run with status 1.
"""

import argparse
import gc
import sys
import time
import tracemalloc
from collections import Counter
from dataclasses import dataclass, field
from random import Random

import sse_corpus
import sse_differences
from byte_mutator import Mutator
from http_corpus import CORPUS, WORDS
from http_differences import compare, cut_matters
from http_readings import Role
from tidegate_sidecar import h1

ROUND = 2000
"""Messages per seed and target."""


@dataclass
class Tally:
    """What one target did so far."""

    done: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    differences: list[str] = field(default_factory=list)

    def add(self, verdict: str, took_s: float, differences: list[str], seed: int) -> None:
        self.done += 1
        self.verdicts[verdict] += 1
        self.slowest_s = max(self.slowest_s, took_s)
        self.differences += [f"seed {seed}: {found}" for found in differences]


def fuzz_messages(role: Role, seed: int, size: int, tally: Tally) -> None:
    """One round of requests or responses."""
    mutator = Mutator(CORPUS[role], WORDS, seed)
    for turn in range(size):
        data = mutator.next()
        began = time.thread_time()
        verdict = compare(data, role)
        cut = cut_matters(data, role, 1 + turn % 9)
        took_s = time.thread_time() - began
        found = [*verdict.differences, *([cut] if cut else [])]
        tally.add(type(verdict.ours).__name__.lower(), took_s, found, seed)


def fuzz_streams(seed: int, size: int, tally: Tally) -> None:
    """One round of event streams."""
    mutator = Mutator(list(sse_corpus.STREAMS.values()), sse_corpus.WORDS, seed, b"\n")
    random = Random(seed)
    for _ in range(size):
        stream = mutator.next()
        cuts = random.choices(range(len(stream) + 1), k=random.choice((0, 1, 3, 20)))
        began = time.thread_time()
        found = sse_differences.differences(stream, cuts)
        took_s = time.thread_time() - began
        kept = sse_differences.strain([stream]) == stream
        tally.add("passed whole" if kept else "event taken out", took_s, found, seed)


def run(minutes: float, seed: int, size: int = ROUND) -> dict[str, Tally]:
    """Round after round of ``size`` messages until the time is over; at least one of each."""
    tallies = {"requests": Tally(), "responses": Tally(), "event streams": Tally()}
    end_at = time.monotonic() + 60 * minutes
    while True:
        fuzz_messages(Role.REQUEST, seed, size, tallies["requests"])
        fuzz_messages(Role.RESPONSE, seed, size, tallies["responses"])
        fuzz_streams(seed, size, tallies["event streams"])
        seed += 1
        if time.monotonic() >= end_at or any(tally.differences for tally in tallies.values()):
            return tallies


def growth_bytes(seed: int, size: int = 500) -> int:
    """What two rounds of each leave in memory, but for the memos."""
    tracemalloc.start()
    try:
        left = []
        for turn in range(4):
            run(0, seed + turn, size)
            for memo in (h1._plain, h1._checked, h1._names, h1._status_lines, h1._request_lines):
                memo.clear()
            gc.collect()
            left.append(tracemalloc.get_traced_memory()[0])
        return left[3] - left[1]  # the first rounds fill caches of the oracles and of Python
    finally:
        tracemalloc.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    tallies = run(options.minutes, options.seed)
    found = [line for tally in tallies.values() for line in tally.differences]
    for name, tally in tallies.items():
        verdicts = ", ".join(f"{count:,} {verdict}" for verdict, count in tally.verdicts.items())
        print(
            f"{name}: {tally.done:,} tried, {verdicts}; {len(tally.differences)} differences; "
            f"slowest {1000 * tally.slowest_s:.1f} ms of CPU, all parsers together"
        )
    print(
        f"memos: {len(h1._checked) + len(h1._plain)} lines, {len(h1._names)} names, "
        f"{len(h1._status_lines)} status lines of at most {h1._MEMO_LINES} each; "
        f"beside them two rounds of each leave "
        f"{growth_bytes(options.seed) / 1024:.1f} KiB"
    )
    for line in found[:20]:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
