"""From bursts to figures: medians and spreads over the rounds, ratios inside them.

Law: pure. A ratio is taken inside a round, where both met the same machine, and the median over
the rounds is told; what was not measured is None, never 0.
"""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from benchmarks.loads import DIRECT, Burst

Value = Callable[[Burst], float | None]


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread | None":
        told = sorted(values)
        return cls(statistics.median(told), told[0], told[-1]) if told else None


def cpu_us(bursts: Sequence[Burst], proxy: str, load: str) -> Spread | None:
    """CPU microseconds per request or chunk."""
    return Spread.of(_by_round(bursts, proxy, load, lambda b: b.cpu_us).values())


def per_s(bursts: Sequence[Burst], proxy: str, load: str) -> Spread | None:
    return Spread.of(_by_round(bursts, proxy, load, lambda b: b.per_s).values())


def cpu_ratio(bursts: Sequence[Burst], proxy: str, other: str, load: str) -> Spread | None:
    """CPU over the other's CPU in the same round."""
    mine = _by_round(bursts, proxy, load, lambda b: b.cpu_us)
    theirs = _by_round(bursts, other, load, lambda b: b.cpu_us)
    return Spread.of(mine[n] / theirs[n] for n in mine if theirs.get(n))


def added_ms(bursts: Sequence[Burst], proxy: str, load: str) -> Spread | None:
    """What the proxy adds to a timed figure, in milliseconds."""
    with_it = _by_round(bursts, proxy, load, lambda b: b.timed_us)
    without = _by_round(bursts, DIRECT, load, lambda b: b.timed_us)
    return Spread.of((with_it[n] - without[n]) / 1000 for n in with_it if n in without)


def timed_ms(bursts: Sequence[Burst], proxy: str, load: str) -> Spread | None:
    """A timed figure itself, in milliseconds."""
    values = _by_round(bursts, proxy, load, lambda b: b.timed_us).values()
    return Spread.of(value / 1000 for value in values)


def _by_round(bursts: Sequence[Burst], proxy: str, load: str, value: Value) -> dict[int, float]:
    told = ((b.round, value(b)) for b in bursts if (b.proxy, b.load) == (proxy, load))
    return {number: figure for number, figure in told if figure is not None}


def cpu_difference(
    bursts: Sequence[Burst], one: tuple[str, str], other: tuple[str, str]
) -> Spread | None:
    """CPU microseconds that one (proxy, load) takes more than the other in the same round."""
    mine = _by_round(bursts, *one, lambda b: b.cpu_us)
    theirs = _by_round(bursts, *other, lambda b: b.cpu_us)
    return Spread.of(mine[n] - theirs[n] for n in mine if n in theirs)
