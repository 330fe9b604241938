"""What model servers say of themselves, as the mean of a minute over all pods.

Law: gauges of one moment are noise; what is decided on is their mean. A pod that says nothing is
left out and never taken for an empty queue.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidegate_operator.decide.signs import EngineSigns
from tidegate_wire.stats import EngineLoad, SidecarStats

WINDOW_S = 60.0
"""HPA's metrics window."""
MIN_LOOKS = 4
"""Ticks of 15 s that make a minute; fewer are no mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    at: float
    pods: int
    waiting: float | None
    kv_cache_usage: float | None


class EngineHistory:
    """Of one target."""

    def __init__(self) -> None:
        self._looks: deque[_Look] = deque()

    def record(self, now: float, looks: Mapping[str, SidecarStats | None]) -> None:
        """Take in one round of looks by pod UID."""
        while self._looks and self._looks[0].at <= now - WINDOW_S:
            self._looks.popleft()
        loads = [stats.engine for stats in looks.values() if stats and stats.engine]
        if not loads:
            return
        if len(loads) > max((look.pods for look in self._looks), default=0):
            # One more shares the load from now on: what was before says nothing of it.
            self._looks.clear()
        self._looks.append(_look(now, loads))

    def signs(self) -> EngineSigns | None:
        """``None``: no engine has told enough since the number of pods last grew."""
        if len(self._looks) < MIN_LOOKS:
            return None
        return EngineSigns(
            pods=self._looks[-1].pods,
            waiting_per_pod=_mean([look.waiting for look in self._looks]),
            kv_cache_usage=_mean([look.kv_cache_usage for look in self._looks]),
        )


def _look(now: float, loads: Sequence[EngineLoad]) -> _Look:
    return _Look(
        at=now,
        pods=len(loads),
        waiting=_mean([load.waiting for load in loads]),
        kv_cache_usage=_mean([load.kv_cache_usage for load in loads]),
    )


def _mean(figures: Sequence[float | None]) -> float | None:
    """Of those that are known."""
    known = [figure for figure in figures if figure is not None]
    return sum(known) / len(known) if known else None
