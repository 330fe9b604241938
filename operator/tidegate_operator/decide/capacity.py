"""What one replica carries within the SLO, learned from what replicas carried.

Law: a capacity is never above what was observed, and is known only once the load is that no longer
meets the SLO; until then what was carried is a lower bound, good enough to remove a pod by and
never to add one. Late answers may only grow with the load: where fewer of them were seen at a
higher load, the two are judged together, so that one bad minute at night is no capacity.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

_WIDTH = 1.15
"""Each bucket of load is so many times the one below; a minute at 2 requests/s differs by 9 % from
the next by chance alone."""
MIN_ANSWERS = 30
MIN_LOOKS = 3
"""Fewer first tokens, or from fewer minutes of a pod, are an anecdote."""
_KEPT_ANSWERS = 3000.0
"""A bucket forgets by halves past it: about an hour of a busy pod, so that another model or engine
is learned within hours."""
_EASE = 0.2
"""Share of the way that a higher capacity is followed at each step; a lower one is followed at
once."""
_UNHELD = 0.5
"""Where no load was ever held, half the least that was not: more pods, and a lower load to see."""
_SO_MUCH_LESS = 4.0
"""Where a load so many times lower is not held either, it is not the load that makes answers late,
and more pods would not help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """One pod over a minute or so."""

    rps: float
    tokens_per_s: float
    in_flight: float
    answers: int
    """First tokens in that time."""
    late: float
    """Of them, those later than the SLO's target; a fraction where the target lies within a bucket
    of the sidecar's histogram."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    looks: float = 0.0
    answers: float = 0.0
    late: float = 0.0
    load: float = 0.0
    """Sum over ``looks``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """All that was seen of one signal; a JSON-able value."""

    buckets: Mapping[str, Bucket] = field(default_factory=dict)
    """By the exponent of ``_WIDTH``."""
    value: float | None = None
    """The capacity that was last told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What is known of what one replica carries, in the unit of its signal."""

    value: float
    known: bool
    """Whether a load was seen that does not meet the SLO; else ``value`` is a lower bound."""
    answers: int = 0
    """First tokens that it rests on."""


def learn(book: Book, seen: Iterable[tuple[float, Carried]], late_share: float) -> Book:
    """Take in what pods carried, each with its load; ``late_share`` is what the SLO allows."""
    buckets = dict(book.buckets)
    for load, carried in seen:
        if not (0 < load < math.inf and carried.answers > 0):
            continue
        key = str(math.floor(math.log(load, _WIDTH)))
        buckets[key] = _added(buckets.get(key, Bucket()), load, carried)
    if buckets == book.buckets:
        return book
    found = judge(buckets, late_share)
    return Book(buckets=buckets, value=None if found is None else _eased(book.value, found))


def capacity_of(book: Book, late_share: float) -> Capacity | None:
    """``None``: too little was seen."""
    found = judge(book.buckets, late_share)
    if found is None or book.value is None:
        return None
    return replace(found, value=min(book.value, found.value) if found.known else found.value)


def judge(buckets: Mapping[str, Bucket], late_share: float) -> Capacity | None:
    """The highest load that met the SLO, below the first that did not; ``None``: none has been
    seen for long enough."""
    enough = [
        bucket
        for _, bucket in sorted(buckets.items(), key=lambda item: int(item[0]))
        if bucket.answers >= MIN_ANSWERS and bucket.looks >= MIN_LOOKS
    ]
    if not enough:
        return None
    blocks = _pooled(enough)
    held = [block for block in blocks if _late(block) <= late_share]
    known = len(held) < len(blocks)
    answers = int(sum(bucket.answers for block in blocks for bucket in block))
    if not held:
        least, most = (bucket.load / bucket.looks for bucket in (enough[0], enough[-1]))
        if most > _SO_MUCH_LESS * least:
            return None
        return Capacity(value=_UNHELD * least, known=True, answers=answers)
    top = held[-1][-1]
    return Capacity(value=top.load / top.looks, known=known, answers=answers)


def _pooled(buckets: list[Bucket]) -> list[list[Bucket]]:
    """Neighbours joined until the late share only grows (pool adjacent violators)."""
    blocks: list[list[Bucket]] = []
    for bucket in buckets:
        blocks.append([bucket])
        while len(blocks) > 1 and _late(blocks[-2]) >= _late(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    return blocks


def _late(block: list[Bucket]) -> float:
    return sum(bucket.late for bucket in block) / sum(bucket.answers for bucket in block)


def _added(bucket: Bucket, load: float, carried: Carried) -> Bucket:
    kept = 0.5 if bucket.answers > _KEPT_ANSWERS else 1.0
    return Bucket(
        looks=bucket.looks * kept + 1.0,
        answers=bucket.answers * kept + carried.answers,
        late=bucket.late * kept + carried.late,
        load=bucket.load * kept + load,
    )


def _eased(before: float | None, found: Capacity) -> float:
    if before is None or found.value <= before or not found.known:
        return found.value
    return before + _EASE * (found.value - before)
