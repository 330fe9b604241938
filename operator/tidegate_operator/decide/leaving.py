"""Which pods a scale-down should take: those with the fewest requests in flight.

Law: a ReplicaSet removes pods that are not Ready first and then those of the lowest
``pod-deletion-cost`` (Kubernetes, "ReplicaSet", "Pod deletion cost"). What somebody else wrote
there stands. A pod that could not be asked is taken last, since nobody knows what it carries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MARK = -1000
"""The cost that says "take this one"; absent counts as 0. One that nobody else would think of, so
that ours is told from theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A Ready pod of the target."""

    uid: str
    in_flight: int | None
    """``None``: its sidecar did not answer."""
    cost: int | None
    """What stands on it now; ``None``: nothing."""


def mark_leaving(candidates: Sequence[Candidate], count: int) -> Mapping[str, int | None]:
    """What to write, by UID, so that ``count`` of the candidates go: ``MARK`` or, to take an old
    mark off a pod that is to stay, ``None``. Pods that are right as they are are not in it."""
    ours = [pod for pod in candidates if pod.cost in (None, MARK)]
    # Of pods that are equally idle, those already marked: nothing is to write then.
    ours.sort(key=lambda pod: (*_load(pod), pod.cost is None, pod.uid))
    leaving = {pod.uid for pod in ours[: max(0, count)]}
    return {
        pod.uid: MARK if pod.uid in leaving else None
        for pod in ours
        if (pod.cost == MARK) is not (pod.uid in leaving)
    }


def _load(pod: Candidate) -> tuple[bool, int]:
    return pod.in_flight is None, pod.in_flight or 0
