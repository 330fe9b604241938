"""Kubernetes Events of a policy.

Law: at most one write for one change. The same reason about the same subject within an hour is
counted on the Event that stands, not told anew; an Event that can't be written is let go.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidegate_operator import logs
from tidegate_operator.cluster import paths
from tidegate_operator.cluster.client import NAMESPACE_ENDS, Api, ApiError
from tidegate_operator.crd.seen import Told
from tidegate_operator.crd.status import timestamp
from tidegate_operator.decide.words import Reason
from tidegate_wire.names import GROUP, KIND, VERSION

SERIES_S = 3600.0
"""How long an Event is counted on; the API server keeps Events for an hour by default."""
_MAX_SERIES = 200
_COMPONENT = "tidegate"


@dataclass(slots=True)
class _Series:
    name: str
    count: int
    first: float


class EventWriter:
    """Of one policy."""

    def __init__(self, meta: Mapping[str, Any]) -> None:
        self._namespace = str(meta["namespace"])
        self._about = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": KIND,
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
        }
        self._series: dict[tuple[str, str, str], _Series] = {}

    async def tell(self, api: Api, told: Told, now: float) -> None:
        """One change of the world."""
        change = told.change
        message = change.message if told.applied else f"Not applied: {change.message}"
        await self.write(
            api,
            reason=change.reason,
            message=message,
            action=change.action,
            # Counted apart: what was done must not read as if it had not been.
            subject=change.subject if told.applied else f"{change.subject} not applied",
            warning=change.warning,
            now=now,
        )

    async def write(
        self,
        api: Api,
        *,
        reason: Reason,
        message: str,
        action: str,
        now: float,
        subject: str = "",
        warning: bool = False,
    ) -> None:
        key = (str(reason), action, subject)
        series = self._series.get(key)
        try:
            if series is not None and now - series.first < SERIES_S:
                await self._count(api, series, message, now)
            else:
                self._series[key] = await self._create(api, key, message, warning, now)
        except ApiError as error:
            self._series.pop(key, None)
            if error.reason == NAMESPACE_ENDS:
                return
            logs.event("event_lost", policy=self._about["name"], reason=reason, error=str(error))
        if len(self._series) > _MAX_SERIES:
            self._series.pop(next(iter(self._series)))

    async def _count(self, api: Api, series: _Series, message: str, now: float) -> None:
        series.count += 1
        await api.merge(
            f"{paths.events(self._namespace)}/{series.name}",
            {"count": series.count, "lastTimestamp": timestamp(now), "message": message[:1024]},
        )

    async def _create(
        self, api: Api, key: tuple[str, str, str], message: str, warning: bool, now: float
    ) -> _Series:
        reason, action, subject = key
        digest = hashlib.sha256(f"{reason}/{action}/{subject}/{now}".encode()).hexdigest()[:16]
        series = _Series(name=f"{self._about['name'][:200]}.{digest}", count=1, first=now)
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": series.name, "namespace": self._namespace},
            "involvedObject": self._about,
            "reason": reason,
            "message": message[:1024],
            "type": "Warning" if warning else "Normal",
            "action": action,
            "count": 1,
            "firstTimestamp": timestamp(now),
            "lastTimestamp": timestamp(now),
            "source": {"component": _COMPONENT},
            "reportingComponent": _COMPONENT,
            "reportingInstance": "",
        }
        try:
            await api.create(paths.events(self._namespace), body)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
        return series
