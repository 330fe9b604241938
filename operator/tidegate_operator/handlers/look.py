"""Looking: one policy's target, its pods and what their sidecars say, as values.

Law: nothing is decided or written here. Who must answer and does not makes the look incomplete;
a pod that only begins or ends is heard if it speaks, and not missed if it doesn't.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Protocol

from tidegate_operator.cluster.client import Api, ApiError
from tidegate_operator.cluster.observe import Pod, Scale, World, read_ready, read_scale
from tidegate_operator.crd.seen import Sidecars
from tidegate_operator.crd.spec import TargetRef
from tidegate_operator.sources.sidecars import Address
from tidegate_wire.names import ConfigState
from tidegate_wire.stats import SidecarStats

SETTLE_S = 120.0
"""How long a sidecar is excused for not yet running a new config: a long poll, and a tick."""
MAX_COLD_STARTS = 50
"""Samples kept; the newest tell most about the next one."""
MIN_FOR_OUTLIERS = 3
"""Samples before one can be far from the others."""
OUTLIER_FACTOR = 3.0
"""Where starts have really become slower, the median follows within as many as it was made of."""


class Source(Protocol):
    """Reads sidecars."""

    async def look(self, pods: Iterable[Address]) -> Mapping[str, SidecarStats | None]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one tick sees of one target."""

    scale: Scale | None
    """``None``: there is no such target."""
    pods: Sequence[Pod] = ()
    answers: Mapping[str, SidecarStats | None] = field(default_factory=dict)
    """By pod UID: of those that must answer, and of others that did."""
    unseen: int = 0
    """Pods that the target counts and that are not known with a sidecar, but should be."""
    counted_ready: int | None = None
    """Pods that the workload itself counts as Ready; ``None``: those with a sidecar are all."""

    @property
    def must_answer(self) -> list[Pod]:
        return [pod for pod in self.pods if _must_answer(pod)]

    @property
    def ready(self) -> int:
        return len(self.must_answer) if self.counted_ready is None else self.counted_ready

    @property
    def starting(self) -> int:
        if self.counted_ready is not None and self.scale is not None:
            return max(0, self.scale.pods - self.counted_ready)
        waiting = sum(not pod.ready and not pod.terminating for pod in self.pods)
        return waiting + self.unseen

    @property
    def whole(self) -> bool:
        """Whether every pod that can carry load was read."""
        return self.unseen == 0 and all(self.answers.get(p.uid) for p in self.must_answer)

    @property
    def stats(self) -> list[SidecarStats]:
        return [answer for answer in self.answers.values() if answer is not None]


async def look_at(
    api: Api,
    source: Source,
    world: World,
    namespace: str,
    target: TargetRef,
    selector: str,
    saved: Mapping[str, str],
    *,
    everywhere: bool = False,
) -> Look:
    """Look at a target; ``selector`` finds its last pods where the target itself is gone.

    ``saved``: by pod UID, the last look that a restart would remember. ``everywhere``: pods
    without a sidecar carry load too and are nobody's fault. ``ApiError`` where the API server
    can't say.
    """
    scale: Scale | None = None
    ready: int | None = None
    try:
        scale = await read_scale(api, namespace, target)
        ready = await read_ready(api, namespace, target) if everywhere else None
    except ApiError as error:
        if error.status != 404:
            raise
    pods = world.pods_of(namespace, scale.selector if scale is not None else selector)
    answers = await _ask(source, pods, saved)
    standing = sum(not pod.terminating for pod in pods)
    counted = 0 if scale is None else scale.pods
    return Look(
        scale=scale,
        pods=pods,
        answers=answers,
        unseen=0 if everywhere else max(0, counted - standing),
        counted_ready=ready,
    )


def address_of(pod: Pod, saved: str) -> Address:
    """Where its sidecar is asked, and told which of its looks is saved."""
    return Address(pod.uid, pod.ip, pod.admin_port, saved)


async def _ask(
    source: Source, pods: Sequence[Pod], saved: Mapping[str, str]
) -> Mapping[str, SidecarStats | None]:
    """By pod UID: of those that must answer, and of others that did."""
    asked = [address_of(pod, saved.get(pod.uid, "")) for pod in pods if pod.ip]
    answers = dict(await source.look(asked))
    for pod in pods:
        if _must_answer(pod):
            answers.setdefault(pod.uid, None)
        elif answers.get(pod.uid) is None:
            answers.pop(pod.uid, None)
    return answers


def _must_answer(pod: Pod) -> bool:
    return pod.ready and not pod.terminating


def count_sidecars(look: Look, *, wanted_hash: str, changed_at: float, now: float) -> Sidecars:
    """How the sidecars stand to the config with ``wanted_hash``, in force since ``changed_at``."""
    ready = look.must_answer
    heard = [(pod, stats) for pod in ready if (stats := look.answers.get(pod.uid)) is not None]
    failed = [stats for _, stats in heard if stats.config_state is ConfigState.FAILED]
    behind = [
        pod
        for pod, stats in heard
        if stats.config_state is not ConfigState.APPLIED or stats.config_hash != wanted_hash
    ]
    is_new = now - changed_at < SETTLE_S
    return Sidecars(
        expected=len(ready) + look.unseen,
        reporting=len(heard),
        applied=len(heard) - len(behind),
        failed=len(failed),
        settling=all(is_new or now - (pod.ready_at or now) < SETTLE_S for pod in behind),
        error=failed[0].config_error[:300] if failed else "",
    )


class ColdStarts:
    """Measures Pod created to Ready, once for each pod that became Ready under our eyes.

    A pod that was Ready before, or that had to restart a container on its way, is no measure of a
    start; one that took far longer than others, such as by a first pull of the image on a new
    node, counts as ``OUTLIER_FACTOR`` medians.
    """

    def __init__(self, samples: Iterable[float], started_at: float) -> None:
        self.samples = list(samples)[-MAX_COLD_STARTS:]
        self._started_at = started_at
        self._waiting: set[str] = set()
        self._counted: set[str] = set()

    def look(self, pods: Iterable[Pod]) -> None:
        known = list(pods)
        for pod in known:
            if pod.fell:
                self._counted.add(pod.uid)
                continue
            if not pod.ready or pod.ready_at is None:
                if pod.uid not in self._counted:
                    self._waiting.add(pod.uid)
                continue
            # A pod that was Ready before this process looked may have become so more than once.
            fresh = pod.uid in self._waiting or pod.created_at >= self._started_at
            fresh = fresh and pod.uid not in self._counted and pod.restarts == 0
            if fresh and pod.ready_at > pod.created_at > 0:
                self.samples.append(self._bounded(pod.ready_at - pod.created_at))
            self._counted.add(pod.uid)
        uids = {pod.uid for pod in known}
        self._waiting &= uids - self._counted
        self._counted &= uids
        del self.samples[:-MAX_COLD_STARTS]

    def _bounded(self, cold_start_s: float) -> float:
        if len(self.samples) < MIN_FOR_OUTLIERS:
            return cold_start_s
        return min(cold_start_s, OUTLIER_FACTOR * median(self.samples))
