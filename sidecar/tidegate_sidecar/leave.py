"""Leaving without cutting a stream or losing a count.

Law: unready first, then accept for a while, then finish what runs, then wait until a reader has
the final counters; each step once, whoever asks for it and however often. Nothing here ends a
request: the upstream time-outs and the kubelet's grace period bound the wait.
"""

import asyncio
from collections.abc import Callable, Sized
from dataclasses import replace
from typing import Any, Protocol

from tidegate_sidecar.logs import Log
from tidegate_wire.clock import Clock
from tidegate_wire.stats import SidecarStats

LOOK_REAL_S = 0.02
"""Real seconds between two looks at what still runs."""
SETTLE_REAL_S = 2.0
"""Longest wait, in real seconds, for connections without a running request: for the last bytes of
an answer to leave, and the rest of a request to arrive. It is the network that is waited for."""


class DataPath(Protocol):
    """What leaving needs of the proxy."""

    @property
    def in_flight(self) -> int: ...

    @property
    def clients(self) -> Sized:
        """Connections that are not gone yet."""

    def drain(self) -> None: ...

    def close_quiet(self) -> None: ...


class Told:
    """What readers of ``/stats`` were told; answers whether anything has happened since.

    An answer that was sent may never arrive, and a reader may die with it. So one who says what it
    has saved is believed then, and not before; one who never does, as soon as it was answered.
    """

    def __init__(self, stats: Callable[[], SidecarStats]) -> None:
        self._stats = stats
        self._offered: SidecarStats | None = None
        self._offers = 0
        self._saves = False
        """Whether there is a reader who tells what it has saved."""
        self._done = False
        """Whether what was last offered has arrived, as far as that can be known."""

    def offer(self, saved: str | None) -> SidecarStats:
        """What to answer a reader who has saved the look ``saved``; ``None``: it does not say."""
        now = self._stats()
        if self._offered is None or _counted(now) != _counted(self._offered):
            self._offers += 1
            self._done = False
        look = f"{now.boot}.{self._offers}"
        self._saves = self._saves or saved is not None
        self._done = self._done or saved == look
        self._offered = replace(now, look=look)
        return self._offered

    def was(self, stats: SidecarStats) -> None:
        """A reader was answered."""
        if not self._saves and self._offered is not None and stats.look == self._offered.look:
            self._done = True

    def policy_gone(self) -> None:
        """Whoever read did so for a policy; with it goes the wait for the reader's return."""
        self._offered, self._saves, self._done = None, False, False

    @property
    def anyone(self) -> bool:
        """Whether somebody ever read."""
        return self._offered is not None

    @property
    def everything(self) -> bool:
        """Whether all that was counted is known to a reader."""
        if self._offered is None or not self._done:
            return False
        return _counted(self._stats()) == _counted(self._offered)


def _counted(stats: SidecarStats) -> tuple[Any, ...]:
    return stats.arrived, stats.in_flight, stats.series


class Leaving:
    """The way out, and how far along it the sidecar is."""

    def __init__(
        self,
        *,
        proxy: DataPath,
        stop_listening: Callable[[], None],
        told: Told,
        clock: Clock,
        log: Log,
        accept_s: float,
        linger_s: float,
    ) -> None:
        self._proxy = proxy
        self._stop_listening = stop_listening
        self._told = told
        self._clock = clock
        self._log = log
        self._accept_s = accept_s
        self._linger_s = linger_s
        self._drain: asyncio.Task[None] | None = None
        self.empty = asyncio.Event()
        """Set once no request runs any more, nor can."""

    @property
    def begun(self) -> bool:
        return self._drain is not None

    async def drained(self) -> None:
        """Begin to leave, unless begun, and return when no request runs any more."""
        if self._drain is None:
            self._drain = asyncio.create_task(self._run_dry())
        # Shielded: a caller who hangs up must not stop the leaving.
        await asyncio.shield(self._drain)

    async def counted(self) -> None:
        """Return when a reader has the final counters, or nobody reads them, or the patience is
        over.
        """
        until = self._clock.monotonic() + self._linger_s
        while self._told.anyone and not self._told.everything:
            if self._clock.monotonic() >= until:
                return
            await asyncio.sleep(LOOK_REAL_S)

    async def unclaimed(self) -> None:
        """Return when the sidecar was drained and no end has followed in ``linger_s``.

        An app that its liveness probe restarts runs its preStop hook too, but its pod stays. Only
        a new process can serve again, and the kubelet starts one when this one ends.
        """
        await self.empty.wait()
        await self._clock.sleep(self._linger_s)
        await self.counted()

    async def _run_dry(self) -> None:
        self._log("draining", in_flight=self._proxy.in_flight)
        self._proxy.drain()
        await self._clock.sleep(self._accept_s)
        self._stop_listening()
        looks = int(SETTLE_REAL_S / LOOK_REAL_S)
        while looks and self._proxy.clients:
            # Not before: in the meantime each has had its chance of an answer that says "close",
            # which its client can't miss; a connection that just closes can cross a request.
            self._proxy.close_quiet()
            looks = int(SETTLE_REAL_S / LOOK_REAL_S) if self._proxy.in_flight else looks - 1
            await asyncio.sleep(LOOK_REAL_S)
        self.empty.set()
