"""The replica count that a policy asks for now, for those who come and ask: KEDA, or an HPA.

Law: a count is handed on only while the decision behind it is fresh and the policy wants it acted
on. All else is a refusal with its reason and never a number, least of all 0: an autoscaler that is
refused leaves the replicas as they are. The count is read from the policy's status, which the
hub's own watch brings within moments of the decision: asking costs no call, and every hub answers
the same. The history is no such source, since it is saved every five minutes.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from tidegate_operator.cluster.client import Object
from tidegate_operator.cluster.mirror import Key
from tidegate_operator.decide.words import Actuator, Mode
from tidegate_wire.clock import Clock


class Why(StrEnum):
    """Why no count is given."""

    INVALID = "Invalid"
    """The question can't be understood."""
    NOT_FOUND = "NotFound"
    NOT_MEANT = "NotMeant"
    """The policy does not want its count acted on by whoever asks."""
    UNAVAILABLE = "Unavailable"
    """There is none now: not decided yet, too old, or not to be seen."""


class NoCountError(Exception):
    """There is no count to hand on; the text is for whoever reads the autoscaler's log."""

    def __init__(self, why: Why, message: str) -> None:
        super().__init__(message)
        self.why = why


@dataclass(frozen=True, slots=True)
class Count:
    replicas: int
    decided_at: float
    """Unix seconds."""


class Wanted:
    """What all policies ask for."""

    def __init__(
        self,
        policies: Mapping[Key, Object],
        synced: asyncio.Event,
        clock: Clock,
        max_age_s: float,
    ) -> None:
        """``policies`` is looked at anew with each question; ``synced`` says that it is whole."""
        self._policies = policies
        self._synced = synced
        self._clock = clock
        self._max_age_s = max_age_s

    def find(self, namespace: str, name: str) -> Object:
        """The policy, or ``NoCountError``."""
        found = self._policies.get((namespace, name))
        if found is not None:
            return found
        if not self._synced.is_set():
            raise NoCountError(Why.UNAVAILABLE, "the policies of the cluster are still being read")
        raise NoCountError(Why.NOT_FOUND, f"there is no LLMQualityPolicy {namespace}/{name}")

    def count(self, namespace: str, name: str, actuator: Actuator) -> Count:
        """What it asks ``actuator`` for, or ``NoCountError``."""
        manifest = self.find(namespace, name)
        where = f"LLMQualityPolicy {namespace}/{name}"
        _check_meant(manifest.get("spec") or {}, where, actuator)
        count = _read_count((manifest.get("status") or {}).get("replicas") or {}, where)
        age_s = self._clock.now() - count.decided_at
        if abs(age_s) > self._max_age_s:  # one of the future is no better than an old one
            raise NoCountError(
                Why.UNAVAILABLE,
                f"the last decision of {where} must be at most {self._max_age_s:.0f} s old,"
                f" was: {age_s:.0f} s; is tidegate-reconcile running?",
            )
        return count


def _check_meant(spec: Mapping[str, Any], where: str, actuator: Actuator) -> None:
    mode, scaling = spec.get("mode", Mode.SHADOW), spec.get("scaling")
    if scaling is None:
        raise NoCountError(Why.NOT_MEANT, f"spec.scaling of {where} is required, was: absent")
    hand = scaling.get("actuator", Actuator.SCALE)
    if hand != actuator:
        raise NoCountError(
            Why.NOT_MEANT, f"spec.scaling.actuator of {where} must be {actuator}, was: {hand}"
        )
    if mode != Mode.ENFORCE:
        raise NoCountError(
            Why.NOT_MEANT,
            f"spec.mode of {where} must be {Mode.ENFORCE} to be acted on, was: {mode}",
        )


def _read_count(replicas: Mapping[str, Any], where: str) -> Count:
    desired, decided_at = replicas.get("desired"), replicas.get("decidedAt")
    if desired is None or decided_at is None:
        raise NoCountError(Why.UNAVAILABLE, f"nothing has been decided for {where} yet")
    try:
        return Count(int(desired), datetime.fromisoformat(str(decided_at)).timestamp())
    except ValueError:
        raise NoCountError(
            Why.UNAVAILABLE,
            f"status.replicas of {where} must have a count and a time, was: {replicas}",
        ) from None
