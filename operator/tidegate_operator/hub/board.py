"""What the status page knows: policies, and each one's last day.

Law: filled by mirrors, read by the page; it keeps what it was last told.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

from tidegate_operator.cluster.client import Object
from tidegate_operator.cluster.mirror import Key
from tidegate_operator.hub.trail import (
    POINT_S,
    Point,
    joined,
    point_of_status,
    read_checkpoint,
)
from tidegate_wire.clock import Clock
from tidegate_wire.names import POLICY

TAIL = 120
"""Minutes kept from statuses: far more than lies between two checkpoints."""

UNPACKED = 16
"""Policies whose history is kept unpacked, since people look at few of them: 0.3 MB each."""


class Board:
    """Policies by namespace and name, and their points."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._policies: dict[Key, Object] = {}
        self._history: dict[Key, Object] = {}
        self._read: dict[Key, list[Point]] = {}
        self._tails: dict[Key, deque[Point]] = {}

    @property
    def policies(self) -> Mapping[Key, Object]:
        return self._policies

    def on_policy(self, key: Key, found: Object | None) -> None:
        if found is None:
            self._policies.pop(key, None)
            self._tails.pop(key, None)
            return
        self._policies[key] = found
        status = found.get("status")
        if isinstance(status, dict) and status:
            self._note(key, status)

    def _note(self, key: Key, status: Mapping[str, Any]) -> None:
        tail = self._tails.setdefault(key, deque(maxlen=TAIL))
        point = point_of_status(status, self._clock.now())
        if tail and point.t // POINT_S == tail[-1].t // POINT_S:
            tail.pop()
        tail.append(point)

    def on_history(self, key: Key, found: Object | None) -> None:
        labels = ((found or {}).get("metadata") or {}).get("labels") or {}
        policy = (key[0], str(labels.get(POLICY) or key[1].removeprefix("tidegate-history-")))
        self._read.pop(policy, None)
        if found is None:
            self._history.pop(policy, None)
        else:
            self._history[policy] = found

    def points(self, key: Key) -> list[Point]:
        """Oldest first, one a minute, at most a day."""
        past = self._read.pop(key, None)
        if past is None:
            past = read_checkpoint(self._history.get(key))
        self._read[key] = past
        while len(self._read) > UNPACKED:
            del self._read[next(iter(self._read))]
        return joined(past, list(self._tails.get(key, ())))
