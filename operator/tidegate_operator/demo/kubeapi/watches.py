"""One client's view of a kind, from a version on.

Law: a watch tells every change once and in order, or ends. A selector is applied to the object
before and after, so that one which comes to match is ADDED and one which ceases to is DELETED.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Self

from tidegate_operator.demo.kubeapi.errors import Object
from tidegate_operator.demo.kubeapi.eventlog import Event, EventLog
from tidegate_operator.demo.kubeapi.kinds import Kind
from tidegate_operator.demo.kubeapi.matching import Matcher
from tidegate_operator.demo.kubeapi.store import Store

Change = tuple[str, Object]
"""(ADDED, MODIFIED or DELETED; the object)."""
MAX_BACKLOG = 10_000
"""Changes that a client may lag behind before its watch is ended, so that it lists anew: bounds
memory."""
INITIAL_END = "k8s.io/initial-events-end"


@dataclass(slots=True, eq=False)
class Watch:
    """Use as a context manager: it listens from entry to exit."""

    store: Store
    kind: Kind
    matches: Matcher
    since: int | None
    """Version that the client has seen; None starts with all that there is."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _backlog: list[Event] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _initial: list[Change] = field(default_factory=list)

    def __enter__(self) -> Self:
        """410 if what happened since is forgotten."""
        log = self._log
        if self.since is None:
            objects = self.store.snapshot(self.kind)
            self._initial = [("ADDED", obj) for obj in objects if self.matches(obj)]
        else:
            self._backlog = log.since(self.since)
        if self._backlog:
            self._news.set()
        log.listeners.append(self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def _log(self) -> EventLog:
        return self.store.log(self.kind)

    def end(self) -> None:
        """Stops listening and wakes up who waits; safe to call twice."""
        if self._hear in self._log.listeners:
            self._log.listeners.remove(self._hear)
        self.ended.set()
        self._news.set()

    def initial(self) -> list[Change]:
        """All that there was on entry, if the watch began without a version."""
        return self._initial

    async def changes(self, timeout_s: float) -> list[Change]:
        """What has changed since last asked, waiting for it; empty after the time-out (real
        seconds) or the end."""
        if not self._backlog and not self.ended.is_set():
            try:
                async with asyncio.timeout(timeout_s):
                    await self._news.wait()
            except TimeoutError:
                return []
        self._news.clear()
        events, self._backlog = self._backlog, []
        return [change for event in events for change in self._seen(event)]

    def _hear(self, event: Event) -> None:
        if len(self._backlog) >= MAX_BACKLOG:
            self.end()
            return
        self._backlog.append(event)
        self._news.set()

    def _seen(self, event: Event) -> list[Change]:
        if event.type == "ADDED":
            return [("ADDED", event.object)] if self.matches(event.object) else []
        did = event.before is not None and self.matches(event.before)
        if event.type == "DELETED":
            return [("DELETED", event.object)] if did else []
        does = self.matches(event.object)
        match did, does:
            case True, True:
                return [("MODIFIED", event.object)]
            case False, True:
                return [("ADDED", event.object)]
            case True, False:
                return [("DELETED", event.object)]
        return []

    def bookmark(self, *, initial_end: bool = False) -> Object:
        """How far this watch has come: true only while nothing is left to tell."""
        metadata: Object = {"resourceVersion": str(self.store.version), "creationTimestamp": None}
        if initial_end:
            metadata["annotations"] = {INITIAL_END: "true"}
        return {"kind": self.kind.kind, "apiVersion": self.kind.api_version, "metadata": metadata}

    @property
    def is_behind(self) -> bool:
        return bool(self._backlog)
