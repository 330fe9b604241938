"""The plain HPA that the demo's result is put beside: the same requests, the same pods, replayed.

Law: pure. The HPA's pods come from the replay; how long each request would have waited for them is
played request by request, since a fluid model of pods with few slots would flatter it. It is
spared what the measured run has to bear: errors, budgets, and the machine's own delays.
"""

import heapq
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from tidegate_operator.demo.arrivals import Callers, arrivals
from tidegate_operator.demo.story import Hpa
from tidegate_operator.replay.autoscaler import USUAL_SHARE, HpaRules
from tidegate_operator.replay.hpa import Hpa as Controller
from tidegate_operator.replay.loop import replay
from tidegate_operator.replay.plant import PlantRules
from tidegate_operator.replay.trace import MINUTE_S, Trace

COLD_START_S = 240.0
"""Where none was measured in the run."""
# The figures of deployment.yaml:
SLOTS = 8
FIRST_TOKEN_S = 0.6
TOKEN_S = 0.07
TOKENS = 96.0
TOKENS_STD = 20.0

Pods = Sequence[tuple[float, int]]
"""(unix seconds, pods from then on)."""


def replay_hpa(
    counts: Sequence[int | None],
    start: float,
    policy: Mapping[str, Any],
    callers: Callers,
    *,
    ttft_target_s: float,
    cold_start_s: float,
    seed: int,
) -> Hpa:
    """Pods and requests in time, had an HPA on request rate run the same workload."""
    scaling = policy["spec"]["scaling"]
    service_s = FIRST_TOKEN_S + TOKEN_S * TOKENS
    rules = HpaRules(
        target_rps=float(scaling["capacityPerReplica"]) * USUAL_SHARE,
        min_replicas=int(scaling["minReplicas"]),
        max_replicas=int(scaling["maxReplicas"]),
    )
    plant = PlantRules(
        slots_per_pod=SLOTS, service_s=service_s, cold_start_s=cold_start_s, drain_s=service_s
    )
    series = tuple(None if count is None else float(count) for count in counts)
    trace = Trace(name="demo", start=start, step_s=MINUTE_S, requests=series)
    first = usual_pods(counts[:10], policy)
    result = replay(trace, plant, Controller(rules), start_pods=first)
    pods = [(start, first), *((event.at, event.after) for event in result.events)]
    moments = (start + arrival.at_s for arrival in arrivals(counts, callers, seed))
    ready = ready_pods(pods, cold_start_s)
    attained = share_in_time(moments, ready, ttft_target_s - FIRST_TOKEN_S, seed)
    return Hpa(pod_minutes=result.pod_minutes, slo_attained=attained, pods=pods)


def usual_pods(counts: Sequence[int | None], policy: Mapping[str, Any]) -> int:
    """Pods that carry the mean of ``counts`` (a minute each) at the usual share of capacity."""
    scaling = policy["spec"]["scaling"]
    known = [count for count in counts if count is not None]
    rps = sum(known) / len(known) / MINUTE_S if known else 0.0
    wanted = math.ceil(rps / (float(scaling["capacityPerReplica"]) * USUAL_SHARE))
    return max(int(scaling["minReplicas"]), min(int(scaling["maxReplicas"]), wanted))


def ready_pods(pods: Pods, cold_start_s: float) -> list[tuple[float, int]]:
    """When how many pods are Ready: up a cold start after the decision, down with it."""
    changes: list[tuple[float, int]] = []
    starting: list[float] = []
    ready = pods[0][1]
    for (_, before), (at, after) in pairwise(pods):
        while starting and starting[0] <= at:
            ready += 1
            changes.append((starting.pop(0), ready))
        if after > before:
            starting += [at + cold_start_s] * (after - before)
            continue
        for _ in range(before - after):
            if starting:
                starting.pop()  # those that are not Ready yet go first
            else:
                ready -= 1
        changes.append((at, ready))
    changes += [(at, ready + n) for n, at in enumerate(starting, 1)]
    return [(pods[0][0], pods[0][1]), *changes]


def share_in_time(moments: Iterator[float], ready: Pods, most_wait_s: float, seed: int) -> float:
    """Share of requests that get a slot within ``most_wait_s``; all slots are one pool, which is
    the best that any balancing could do.
    """
    chance = random.Random(seed)
    busy: list[float] = []  # when each taken slot comes free, soonest first
    at_change, asked, in_time = 0, 0, 0
    for now in moments:
        while at_change + 1 < len(ready) and ready[at_change + 1][0] <= now:
            at_change += 1
        slots = ready[at_change][1] * SLOTS
        while busy and busy[0] <= now:
            heapq.heappop(busy)
        begins = now
        if len(busy) >= slots:
            # as many must end first as are in line before it, or on pods that are on their way out
            begins = heapq.nsmallest(len(busy) - slots + 1, busy)[-1]
        tokens = max(1.0, chance.gauss(TOKENS, TOKENS_STD))
        heapq.heappush(busy, begins + FIRST_TOKEN_S + TOKEN_S * tokens)
        asked += 1
        in_time += begins - now <= most_wait_s
    return in_time / asked if asked else 1.0
