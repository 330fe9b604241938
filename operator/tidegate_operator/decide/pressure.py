"""Whether the model servers themselves say that they are too few: by their queues and caches.

Law: it asks for one more pod at a time and for none while one is starting, since what it sees ends
only once that one serves. It lets a pod go only where the others have room for what that one
holds; never fewer pods for it alone: an empty queue is what a good day looks like.
"""

import math

from tidegate_operator.decide.signs import EngineSigns
from tidegate_operator.decide.words import Inputs, Reason

MAX_WAITING_PER_POD = 5.0
"""As the saturation detector of the Gateway API Inference Extension (DefaultQueueDepthThreshold),
in the mean of a minute."""
MAX_KV_CACHE_USAGE = 0.8
"""Likewise (DefaultKVCacheUtilThreshold): past it an engine begins to preempt requests."""


def find_pressure(signs: EngineSigns | None) -> tuple[Reason | None, str]:
    """Why more pods are called for, and the figure; ``None``: nothing calls for any."""
    if signs is None:
        return None, ""
    waiting, usage = signs.waiting_per_pod, signs.kv_cache_usage
    if waiting is not None and waiting > MAX_WAITING_PER_POD:
        words = f"{waiting:.1f} requests wait in each model server (more than"
        return Reason.QUEUE_LONG, f"{words} {MAX_WAITING_PER_POD:g})"
    if usage is not None and usage > MAX_KV_CACHE_USAGE:
        words = f"KV caches are {usage:.0%} full (more than {MAX_KV_CACHE_USAGE:.0%})"
        return Reason.KV_CACHE_FULL, words
    return None, ""


def pods_called_for(inputs: Inputs) -> int:
    """How many pods the engines' signs call for; 0: they call for nothing.

    Under pressure one more than there are. Else as many as would hold what now waits and what the
    caches now hold: on fewer the next minute would be one of pressure, and the pod asked back.
    """
    signs = inputs.engines
    if signs is None or inputs.current == 0:
        return 0
    reason, _ = find_pressure(signs)
    if reason is None:
        return min(inputs.current, _pods_that_hold(signs, inputs.ready))
    # One that was asked for and is not even created is starting, too.
    starts = inputs.starting > 0 or inputs.ready < inputs.current
    return inputs.current if starts else inputs.current + 1


def _pods_that_hold(signs: EngineSigns, ready: int) -> int:
    """Fewest pods on which what ``ready`` ones have, spread evenly, is no pressure."""
    waiting = (signs.waiting_per_pod or 0.0) / MAX_WAITING_PER_POD
    usage = (signs.kv_cache_usage or 0.0) / MAX_KV_CACHE_USAGE
    return math.ceil(ready * max(waiting, usage) - 1e-9)
