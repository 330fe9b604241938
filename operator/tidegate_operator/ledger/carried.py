"""What each pod carried within a minute, and how many of its answers began late.

Law: differences of cumulative counters of one life of one sidecar. A pod's first minute is not
counted, nor is one in which it could not be read; what a sidecar does not tell is no sample.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidegate_operator.decide.capacity import Carried
from tidegate_wire.stats import TTFT_BOUNDS_S, SidecarStats

SPAN_S = 60.0
"""A rate over less is mostly chance."""
MAX_SPAN_S = 180.0
"""Over more, nobody knows what the load was when the answers were late."""


@dataclass(slots=True)
class _Begun:
    boot: str
    at: float
    arrived: int
    tokens: int
    ttft_counts: Sequence[int]
    in_flight: list[int]


class CarriedLoads:
    """Since the last samples, by pod."""

    def __init__(self) -> None:
        self._begun: dict[str, _Begun] = {}

    def look(
        self, now: float, looks: Mapping[str, SidecarStats | None], ttft_target_s: float
    ) -> tuple[Carried, ...]:
        """Samples of those pods whose minute is over."""
        self._begun = {uid: begun for uid, begun in self._begun.items() if looks.get(uid)}
        samples: list[Carried] = []
        for uid, stats in looks.items():
            if stats is None:
                continue
            begun = self._begun.get(uid)
            if begun is None or not _goes_on(begun, stats, now):
                self._begun[uid] = _begin(now, stats)
                continue
            begun.in_flight.append(stats.in_flight)
            if now - begun.at >= SPAN_S:
                samples.append(_sample(begun, now, stats, ttft_target_s))
                self._begun[uid] = _begin(now, stats)
        return tuple(samples)


def late_answers(counts: Sequence[float], target_s: float) -> float:
    """How many of ``counts`` (by ``TTFT_BOUNDS_S``, the last one beyond all of them) were later
    than ``target_s``; within a bucket they are taken to lie evenly, as histogram_quantile does."""
    late, low = 0.0, 0.0
    for count, high in zip(counts, (*TTFT_BOUNDS_S, float("inf")), strict=True):
        if low >= target_s:
            late += count
        elif high > target_s and high != float("inf"):
            late += count * (high - target_s) / (high - low)
        low = high
    return late


def _goes_on(begun: _Begun, stats: SidecarStats, now: float) -> bool:
    return (
        begun.boot == stats.boot
        and now - begun.at <= MAX_SPAN_S
        and stats.arrived >= begun.arrived
        and len(stats.ttft_counts) == len(begun.ttft_counts)
    )


def _begin(now: float, stats: SidecarStats) -> _Begun:
    return _Begun(
        boot=stats.boot,
        at=now,
        arrived=stats.arrived,
        tokens=_tokens(stats),
        ttft_counts=stats.ttft_counts,
        in_flight=[],
    )


def _sample(begun: _Begun, now: float, stats: SidecarStats, ttft_target_s: float) -> Carried:
    span_s = now - begun.at
    pairs = zip(stats.ttft_counts, begun.ttft_counts, strict=True)
    counts = [max(0, after - before) for after, before in pairs]
    return Carried(
        rps=(stats.arrived - begun.arrived) / span_s,
        tokens_per_s=max(0, _tokens(stats) - begun.tokens) / span_s,
        in_flight=sum(begun.in_flight) / len(begun.in_flight),
        answers=sum(counts),
        late=late_answers(counts, ttft_target_s) if counts else 0.0,
    )


def _tokens(stats: SidecarStats) -> int:
    return sum(series.tokens_in + series.tokens_out for series in stats.series)
