"""Writing a policy's status.

Law: written when it says something new; where only measured figures differ, at most once in
``status_s`` of the clock; otherwise not at all.
"""

from collections.abc import Mapping
from typing import Any

from tidegate_operator.cluster import paths
from tidegate_operator.cluster.client import Api
from tidegate_operator.crd.status import is_news


class StatusWriter:
    """Of one policy."""

    def __init__(self, namespace: str, name: str, uid: str, status: Mapping[str, Any]) -> None:
        self._path = f"{paths.policy(namespace, name)}/status"
        self._uid = uid
        self.written: Mapping[str, Any] = status
        """As it stands in the API server, to our knowledge."""
        self._written_at: float | None = None

    def is_due(self, status: Mapping[str, Any], now: float, status_s: float) -> bool:
        if status == self.written:
            return False
        if self._written_at is None or is_news(self.written, status):
            return True
        return now - self._written_at >= status_s

    async def write(
        self, api: Api, status: Mapping[str, Any], now: float, status_s: float
    ) -> bool:
        """Write where it is due; whether it was. ``ApiError`` where it is refused."""
        if not self.is_due(status, now, status_s):
            return False
        await api.patch(
            self._path,
            [
                # A policy deleted and made anew under the same name is not the one that was seen.
                {"op": "test", "path": "/metadata/uid", "value": self._uid},
                {"op": "add", "path": "/status", "value": dict(status)},
            ],
        )
        self.written = status
        self._written_at = now
        return True
