"""A demand history that a policy finds when it is made: days of requests with a rush every two
hours, the next of which begins when the test says so.

Law: the counts follow a rule and a seed. Days differ in how busy they are, so that saying
"as yesterday" is a poor forecast and seeing the rhythm a good one.
"""

from typing import Any

import numpy as np

from tidegate_operator.cluster.history import Checkpoint, encode_history

DAY = 1440
EVERY = 120
"""Minutes from one rush to the next: enough of them in a week to learn from."""
DAYS_DIFFER = (1.0, 0.6, 1.5, 0.7, 1.3, 0.8, 1.4)
"""How busy the last day was, the one before, ...: as busy as the rates say, on the last."""


def rushes(
    end_minute: int,
    next_rush: int,
    *,
    days: int = 7,
    quiet_rps: float,
    rush_rps: float,
    rush_minutes: int,
    seed: int = 0,
) -> tuple[int, list[int]]:
    """First unix minute, and requests per minute from there to the one before ``end_minute``."""
    random = np.random.default_rng(seed)
    start = end_minute - days * DAY
    minutes = np.arange(start, end_minute)
    busy = (minutes - next_rush) % EVERY < rush_minutes
    of_day = np.array(DAYS_DIFFER)[(end_minute - 1 - minutes) // DAY % len(DAYS_DIFFER)]
    means = 60.0 * of_day * np.where(busy, rush_rps, quiet_rps)
    return start, [int(count) for count in random.poisson(means)]


def history_of(
    policy: str, namespace: str, start_minute: int, counts: list[int]
) -> dict[str, Any]:
    """The ConfigMap as one would put it there by hand, before the policy: nobody owns it yet."""
    meta = {"name": policy, "namespace": namespace, "uid": ""}
    manifest = encode_history(meta, Checkpoint(start_minute=start_minute, counts=counts))
    del manifest["metadata"]["ownerReferences"]
    return manifest
