"""A mirror of one kind of object, kept by list and watch.

Law: what was last known stays until something newer is known; the API server being away removes
nothing. Any fault (a cut connection, half an event, ERROR, 401, 403, 410, 5xx) ends in a new list
after a jittered back-off, for ever, and is told once when it begins and once when it is over.
"""

import asyncio
import random
from collections.abc import Callable, Mapping

from tidegate_operator import logs
from tidegate_operator.cluster.client import ApiError, Object
from tidegate_operator.cluster.lists import Kube
from tidegate_wire.clock import Clock

Key = tuple[str, str]
"""Namespace and name."""

BACKOFF_S = (0.5, 15.0)
"""First and longest wait before another try; each is halved or not by chance."""


class Mirror:
    """Objects at one path, by namespace and name."""

    def __init__(
        self,
        kube: Kube,
        path: str,
        clock: Clock,
        *,
        selector: str = "",
        on_change: Callable[[Key, Object | None], None] = lambda key, found: None,
        trim: Callable[[Object], Object] = lambda found: found,
    ) -> None:
        """``trim`` takes out of an object what nobody here reads; it must leave ``metadata``'s
        ``resourceVersion``, ``namespace`` and ``name``."""
        self._kube = kube
        self._path = path
        self._clock = clock
        self._selector = selector
        self._on_change = on_change
        self._trim = trim
        self._objects: dict[Key, Object] = {}
        self._problem: ApiError | None = None
        self.synced = asyncio.Event()
        """Set after the first whole list, and from then on."""
        self.tried = asyncio.Event()
        """Set after the first list or refusal of one, and from then on."""

    @property
    def objects(self) -> Mapping[Key, Object]:
        return self._objects

    @property
    def problem(self) -> ApiError | None:
        """Why the mirror may be behind; ``None`` while it is not."""
        return self._problem

    async def run(self) -> None:
        """Mirror until cancelled."""
        faults = 0
        version = ""
        while True:
            try:
                if not version:
                    version = await self._list()
                faults = 0
                self._over()
                version = await self._follow(version)
            except ApiError as error:
                # Expired is the one fault that a list cures at once.
                faults = faults if error.status == 410 else faults + 1
                version = ""
                self._fault(error)
                await self._clock.sleep(_backoff_s(faults))

    async def _list(self) -> str:
        items, version = await self._kube.list(self._path, self._selector)
        found = {key_of(item): item for item in items}
        for key in self._objects.keys() - found.keys():
            self._set(key, None)
        for key, item in found.items():
            if version_of(self._objects.get(key)) != version_of(item):
                self._set(key, item)
        self.synced.set()
        self.tried.set()
        return version

    async def _follow(self, version: str) -> str:
        async for kind, item in self._kube.watch(self._path, version, self._selector):
            version = version_of(item) or version
            if kind == "BOOKMARK":
                continue
            self._set(key_of(item), None if kind == "DELETED" else item)
        return version

    def _set(self, key: Key, found: Object | None) -> None:
        if found is None:
            self._objects.pop(key, None)
        else:
            found = self._objects[key] = self._trim(found)
        self._on_change(key, found)

    def _fault(self, error: ApiError) -> None:
        if error.status == 410:
            return
        if self._problem is None:
            logs.event("watch_lost", path=self._path, status=error.status, message=str(error))
        self._problem = error
        self.tried.set()

    def _over(self) -> None:
        if self._problem is not None:
            logs.event("watch_back", path=self._path)
            self._problem = None


def _backoff_s(faults: int) -> float:
    first, longest = BACKOFF_S
    return min(longest, first * 2.0 ** min(faults, 10)) * random.uniform(0.5, 1.0)


def key_of(item: Object) -> Key:
    metadata = item.get("metadata") or {}
    return str(metadata.get("namespace", "")), str(metadata.get("name", ""))


def version_of(item: Object | None) -> str:
    return str(((item or {}).get("metadata") or {}).get("resourceVersion", ""))
