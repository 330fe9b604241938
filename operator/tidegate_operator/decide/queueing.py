"""How many pods a request rate needs so that requests seldom wait.

Law: Little's law says how many slots are busy (rate x service time), Erlang's C formula how likely
a request then has to wait, and for how long. A fixed utilisation wastes pods where there are many
and starves where there are few: so that 90 % wait no longer than one service time, 2 of 8 slots
must be free on average, and 2 of 40.
"""

import math
from functools import lru_cache

_FORGET = 8.0
"""Standard deviations below the offered load at which the recursion may start: what was put in
there has lost e^-32 of its weight when the load is reached."""
_HALVINGS = 50
"""Of an interval of all slots: down to what a float can tell."""
_NEVER = 1e-9
"""A share that is none."""
_ALMOST_ALL = 0.9999
"""Nothing keeps *every* request of a random stream from waiting; a percentile of 1 means this."""


def waiting_share(busy: float, slots: int) -> float:
    """Erlang C: the share of requests that find all ``slots`` taken when ``busy`` are on average.

    ``busy`` is the offered load (rate x service time). 1 where it can't be carried at all.
    """
    if busy <= 0:
        return 0.0
    if busy >= slots:
        return 1.0
    start, inverse = _start(busy)
    for n in range(start + 1, slots + 1):
        inverse = 1.0 + inverse * n / busy
    return _share(busy, slots, inverse)


def late_share(
    rps: float,
    pods: int,
    *,
    capacity_rps: float,
    service_s: float | None,
    wait_target_s: float,
) -> float:
    """Share of the requests that wait past ``wait_target_s`` at a steady ``rps`` on ``pods``, by
    chance alone: below capacity, too, requests come in clusters.

    1 from the capacity up; 0 below it where ``service_s`` is unknown. The inverse of
    ``pods_needed``.
    """
    if rps >= pods * capacity_rps:
        return 1.0 if rps > 0 else 0.0
    if service_s is None or not 0 < service_s < math.inf:
        return 0.0
    each = max(1, round(capacity_rps * service_s))
    slot_s = each / capacity_rps
    return _late(rps * slot_s, pods * each, wait_target_s / slot_s)


def settling_s(rps: float, most_rps: float) -> float:
    """How long a queue takes to become what a new load makes of it: its relaxation time
    1 / (sqrt(mu) - sqrt(lambda))^2, seconds (Morse, Queues, Inventories and Maintenance, 1958,
    chapter 6).

    Infinite from ``most_rps``, the capacity of all pods, up.
    """
    apart = math.sqrt(most_rps) - math.sqrt(rps)
    return 1.0 / (apart * apart) if apart > 0 else math.inf


def pods_needed(
    rps: float,
    *,
    capacity_rps: float,
    service_s: float | None,
    wait_target_s: float,
    wait_percentile: float,
    utilization: float,
) -> int:
    """Fewest pods that carry ``rps`` with at most 1 - ``wait_percentile`` of requests waiting past
    ``wait_target_s``.

    A pod has as many slots as ``capacity_rps`` keeps busy. No more than ``utilization`` of the
    capacity is ever planned for; where ``service_s`` is unknown (``None``) that alone counts.
    Grows with ``rps``, and is 0 only for 0.
    """
    if not 0 <= rps < math.inf:
        raise ValueError(f"rps must be a number from 0 up, was: {rps}")
    if not 0 < capacity_rps < math.inf:
        raise ValueError(f"capacity_rps must be above 0, was: {capacity_rps}")
    if rps == 0:
        return 0
    # The hair keeps 0.8 x 2.5 x 3 = 6.000000000000001 from asking for a fourth pod.
    fewest = max(1, math.ceil(rps / (capacity_rps * min(utilization, 1.0)) - 1e-9))
    if service_s is None or not 0 < service_s < math.inf:
        return fewest
    slots = max(1, round(capacity_rps * service_s))
    # Rounding to whole slots must not make a pod smaller or larger than was declared: the time
    # bends instead.
    slot_s = slots / capacity_rps
    late = 1.0 - min(wait_percentile, _ALMOST_ALL)
    busy = rps * slot_s
    pods = max(fewest, math.ceil(busy / slots - 1e-9))
    while busy > _carried(pods * slots, wait_target_s / slot_s, late):
        pods += 1
    return pods


@lru_cache(maxsize=8192)
def _carried(slots: int, wait_in_services: float, late: float) -> float:
    """The highest offered load of which no more than ``late`` waits longer than
    ``wait_in_services`` service times.

    By bisection, once per count of slots: it is asked for the same few counts for ever.
    """
    low, high = 0.0, float(slots)
    for _ in range(_HALVINGS):
        busy = (low + high) / 2
        if _late(busy, slots, wait_in_services) <= late:
            low = busy
        else:
            high = busy
    return low


@lru_cache(maxsize=64)
def _late(busy: float, slots: int, wait_in_services: float) -> float:
    """Share that waits longer than ``wait_in_services`` service times."""
    waits_long = math.exp(-(slots - busy) * wait_in_services)
    return waits_long * waiting_share(busy, slots) if waits_long > _NEVER else 0.0


def _start(busy: float) -> tuple[int, float]:
    """Where to begin Erlang's recursion 1/B(n) = 1 + n/a x 1/B(n-1), and with what.

    From 0 it takes as many steps as there are slots. Below the load each step forgets a share of
    the one before, so far enough below any start will do; the fluid limit 1/B = a/(a - n) is a
    near one.
    """
    first = int(busy - _FORGET * math.sqrt(busy))
    if first <= 0:
        return 0, 1.0
    return first, busy / (busy - first)


def _share(busy: float, slots: int, inverse_blocking: float) -> float:
    """Erlang's C from 1/B; may be given infinity, where waiting is beyond floating point's
    reach."""
    load = busy / slots
    return 1.0 / (load + (1.0 - load) * inverse_blocking)
