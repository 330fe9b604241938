"""From a trace's minutes to single requests: when each comes, from whom, and whether it streams.

Law: a pure function of (minutes, seed); the same seed replays the same day to the microsecond. The
minutes' counts are the trace's own, scaled; within a minute each request comes at a random moment
of an equal share of it. So the demo is a small copy of a large service, whose minutes are calm:
at independent moments two hundred requests a minute would be far more restless than the trace.
"""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Arrival:
    at_s: float
    """Seconds since the first minute began."""
    tenant: str
    streaming: bool
    prompt_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Callers:
    """Who calls, and how."""

    tenants: Mapping[str, float]
    """Tenant -> share of the requests; shares need not sum up to 1."""
    streaming_share: float = 0.8
    prompt_bytes: tuple[int, int] = (400, 1200)
    """Least and most of a prompt."""


def scale_counts(counts: Sequence[float | None], factor: float, seed: int) -> list[int | None]:
    """Whole requests a minute; what is lost by rounding one minute is not lost on the whole."""
    chance = random.Random(seed)
    scaled: list[int | None] = []
    for count in counts:
        if count is None:
            scaled.append(None)
            continue
        whole = math.floor(count * factor)
        scaled.append(whole + (chance.random() < count * factor - whole))
    return scaled


def arrivals(counts: Sequence[int | None], callers: Callers, seed: int) -> Iterator[Arrival]:
    """In the order of time; a missing minute is a quiet one."""
    chance = random.Random(seed)
    names, weights = list(callers.tenants), list(callers.tenants.values())
    least, most = callers.prompt_bytes
    for minute, count in enumerate(counts):
        moments = [(k + chance.random()) / count for k in range(count)] if count else []
        tenants = chance.choices(names, weights, k=len(moments)) if moments else []
        for moment, tenant in zip(moments, tenants, strict=True):
            yield Arrival(
                at_s=(minute + moment) * 60.0,
                tenant=tenant,
                streaming=chance.random() < callers.streaming_share,
                prompt_bytes=chance.randint(least, most),
            )


def scale_factor(counts: Sequence[float | None], peak_rps: float) -> float:
    """What brings the 99.5th percentile minute to ``peak_rps``; ValueError without traffic."""
    present = sorted(count for count in counts if count is not None)
    busiest = present[min(len(present) - 1, int(len(present) * 0.995))] if present else 0.0
    if busiest <= 0:
        raise ValueError("the trace has no requests in the chosen hours")
    return peak_rps * 60.0 / busiest
