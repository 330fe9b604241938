"""What happened to the objects of one kind: for replay, and for looking back.

Law: pure and bounded. What was forgotten is known to be forgotten (410), never skipped.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from tidegate_operator.demo.kubeapi.errors import Object, expired

ObjectName = tuple[str | None, str]
"""(namespace or None, name)."""
EventType = Literal["ADDED", "MODIFIED", "DELETED"]


@dataclass(frozen=True, slots=True)
class Event:
    """One write. Objects in it are never changed again."""

    version: int
    type: EventType
    object: Object
    before: Object | None = None


Listener = Callable[[Event], None]


@dataclass(slots=True)
class EventLog:
    """The last writes of one kind, and who wants to hear of the next."""

    capacity: int
    events: deque[Event] = field(default_factory=deque)
    forgotten: int = 0
    """Version of the last event that is no longer here."""
    listeners: list[Listener] = field(default_factory=list)

    def append(self, event: Event) -> None:
        self.events.append(event)
        if len(self.events) > self.capacity:
            self.forgotten = self.events.popleft().version
        for listener in tuple(self.listeners):
            listener(event)

    def forget(self) -> None:
        """Compaction: drops all history, as a real server does with what is older than five
        minutes."""
        if self.events:
            self.forgotten = self.events[-1].version
            self.events.clear()

    def since(self, version: int) -> list[Event]:
        """Events after a version; 410 if some are gone."""
        if version < self.forgotten:
            raise expired(f"too old resource version: {version} ({self.forgotten + 1})")
        return [event for event in self._newest_first() if event.version > version][::-1]

    def rewind(self, objects: dict[ObjectName, Object], version: int) -> dict[ObjectName, Object]:
        """The objects as they were at a version, from what they are now; 410 if that is too long
        ago."""
        then = dict(objects)
        for event in reversed(self.since(version)):
            metadata = event.object["metadata"]
            name = (metadata.get("namespace"), metadata["name"])
            if event.before is None:
                then.pop(name, None)
            else:
                then[name] = event.before
        return then

    def _newest_first(self) -> Iterator[Event]:
        return reversed(self.events)
