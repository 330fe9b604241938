"""Telling: one change, once, with one reason code, as an Event, a log line and a metric.

Law: nothing here decides; what can't be told is let go, and the status says the same anyway.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tidegate_operator import logs
from tidegate_operator.cluster.client import Api
from tidegate_operator.cluster.events import EventWriter
from tidegate_operator.crd.seen import REPLICA_ACTIONS, Seen, Told
from tidegate_operator.crd.spec import PolicySpec
from tidegate_operator.decide.words import Change, Decision, Mode, Reason
from tidegate_operator.handlers.hands import writes_replicas
from tidegate_operator.handlers.metrics import Metrics

_TOLD = (
    "Ready",
    "TargetResolved",
    "NoConflict",
    "MetricsAvailable",
    "ForecastReliable",
    "SidecarsInSync",
    "InjectionHealthy",
    "ScalingActive",
)
"""Conditions whose turn is news of its own; of the others a decision tells."""
_IN_GOOD_TIME = (Reason.HISTORY_SHORT, Reason.FORECAST_DISABLED)
"""Why there is no forecast where nobody has to do anything about it."""
_READY_REASONS = (Reason.INVALID_SPEC, Reason.RECONCILE_FAILED)
_FIRST_FAULTS = ("Ready", "TargetResolved", "NoConflict")
"""What is worth telling where it was never otherwise; pods without data are not, at first."""


class Teller:
    """Of one policy."""

    def __init__(self, meta: Mapping[str, Any], metrics: Metrics) -> None:
        self._where = {"namespace": str(meta["namespace"]), "policy": str(meta["name"])}
        self._events = EventWriter(meta)
        self._metrics = metrics

    async def tell_changes(self, api: Api, seen: Seen) -> None:
        for told in seen.told:
            change = told.change
            logs.event(
                "decision",
                **self._where,
                action=change.action,
                reason=str(change.reason),
                message=change.message,
                before=change.before,
                after=change.after,
                subject=change.subject,
                applied=told.applied,
            )
            self._metrics.count_decision(self._where, told)
            await self._events.tell(api, told, seen.now)

    async def tell_conditions(
        self,
        api: Api,
        before: Sequence[Mapping[str, Any]],
        after: Sequence[Mapping[str, Any]],
        seen: Seen,
    ) -> None:
        """Those that turned, unless a change of this tick has told the same already."""
        old = {condition["type"]: condition for condition in before}
        told = {str(told.change.reason) for told in seen.told}
        for condition in after:
            kind, reason = condition["type"], condition["reason"]
            if kind not in _TOLD or reason in told or not _is_turn(old.get(kind), condition):
                continue
            logs.event(
                "condition",
                **self._where,
                condition=kind,
                status=condition["status"],
                reason=reason,
                message=condition["message"],
            )
            await self._events.write(
                api,
                reason=Reason(reason),
                message=condition["message"],
                action=kind,
                warning=condition["status"] == "False" and reason not in _IN_GOOD_TIME,
                now=seen.now,
            )


def _is_turn(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> bool:
    """Whether it went from fine (or not known) to a fault, or back."""
    kind, fault = new["type"], bool(new["status"] == "False")
    was_fault = old is not None and old["status"] == "False"
    if kind == "Ready":
        told = new["reason"] in _READY_REASONS
        was_told = old is not None and old["reason"] in _READY_REASONS
        return (told and (old is None or old["reason"] != new["reason"])) or (
            was_told and not told
        )
    if kind == "ScalingActive":
        failed = bool(new["reason"] == Reason.SCALE_FAILED)
        return failed and (old is None or old["reason"] != new["reason"])
    if kind == "ForecastReliable":
        # That scaling ahead begins is news as well.
        return new["status"] != "Unknown" and (old is None or old["status"] != new["status"])
    if kind == "InjectionHealthy" and fault:
        # Each of its faults has a remedy of its own, but for the one that is being mended.
        told = new["reason"] != Reason.ROLLING_OUT
        return told and (old is None or old["reason"] != new["reason"])
    if kind == "NoConflict" and fault:
        # Each of its faults is somebody else, with a remedy of its own.
        return old is None or old["reason"] != new["reason"]
    if old is None:
        return fault and kind in _FIRST_FAULTS
    return fault != was_fault


def told_of(
    spec: PolicySpec, decision: Decision, current: int, *, scaled: bool, held: bool
) -> list[Told]:
    """What is to be told.

    A count that was written always is, even if Shadow told it before; one that could not be
    written is not, since it will be decided again.
    """
    enforces, scaling = spec.rules.mode is Mode.ENFORCE, decision.scaling
    changes = [c for c in decision.changes if scaled or c.action not in REPLICA_ACTIONS]
    of_count = any(change.action in ("ScaleUp", "ScaleDown") for change in changes)
    if (
        writes_replicas(spec)
        and not held
        and scaled
        and scaling.replicas != current
        and not of_count
    ):
        changes.append(
            Change(
                action="ScaleUp" if scaling.replicas > current else "ScaleDown",
                reason=scaling.reason,
                message=scaling.message,
                before=str(current),
                after=str(scaling.replicas),
            )
        )
    return [
        Told(change=c, applied=enforces and not (held and c.action in REPLICA_ACTIONS))
        for c in changes
    ]
