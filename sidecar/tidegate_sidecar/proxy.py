"""The data path as a whole: the config in force, the upstreams, the clients, and one sweep.

Law: a new config holds for the next request; running ones finish on what they began with. One
sweep looks at all exchanges, instead of a timer for each. Nobody is overdue for what lies here
unread: where the loop stood still, it reads before anybody is judged.
"""

import asyncio
from collections.abc import Callable
from heapq import nsmallest
from typing import Final, cast

from tidegate_sidecar.admit import active_model
from tidegate_sidecar.client import QUIET_REAL_S, ClientConnection
from tidegate_sidecar.dial import Dialer
from tidegate_sidecar.exchange import Exchange
from tidegate_sidecar.meter import Meter
from tidegate_sidecar.room import Room, Scarce
from tidegate_sidecar.upstream import Upstream
from tidegate_sidecar.ways import Way
from tidegate_wire.clock import Clock
from tidegate_wire.config import SidecarConfig

SWEEP_REAL_S: Final = 0.1
"""How late a time-out may be noticed, in real seconds, at the clock's normal speed."""
FAST_SWEEP_REAL_S: Final = 0.02
"""The same on a faster clock: at 60x 1.2 s of it, little beside time-outs of 3 s and more."""
SLOW_SWEEP_S: Final = 5.0
"""Between two looks at idle connections."""
SHED: Final = 64
"""Idle clients' connections that are closed at once where something has run out."""
SHED_REAL_S: Final = 0.1
"""Between two such times: to find the idle among 10,000 connections takes 3 ms."""


class Proxy:
    """Takes clients' connections; ``loop.create_server(proxy.client, ...)``."""

    def __init__(
        self,
        *,
        local_upstream: str,
        clock: Clock,
        meter: Meter,
        loop: asyncio.AbstractEventLoop,
        dialer: Dialer | None = None,
        outbound: Way | None = None,
        room: Room | None = None,
        ran_out: Callable[[Scarce], None] | None = None,
    ) -> None:
        """``local_upstream``: base URL of the model server in this pod; without a dialer
        upstreams are reached directly. ``ran_out`` hears what there is none of, each time. Raises
        ValueError for a base URL that is none."""
        self.clock = clock
        self.meter = meter
        self.loop = loop
        self.config = SidecarConfig()
        self.config_hash = ""
        self.draining = False
        self.live: set[Exchange] = set()
        self.clients: set[ClientConnection] = set()
        self.turn = 0
        """Number of the next request that an order with probes applies to."""
        self.room = room or Room()
        self._ran_out = ran_out
        self._shed_at = 0.0
        self._inbound = Way(local_upstream)
        self._outbound = outbound
        self._dialer = dialer or Dialer()
        local = Upstream(local_upstream, loop, self._dialer, self.room, named=False)
        self._upstreams = {local_upstream: local}
        self._standing = self._inbound.urls | (outbound.urls if outbound is not None else set())
        for url in self._standing:
            self.upstream_for(url)
        self._interval_s = FAST_SWEEP_REAL_S if clock.speed > 1 else SWEEP_REAL_S
        self._slow_sweep_at = clock.monotonic()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        """By the loop's time, when the next sweep comes if nothing holds it up."""
        self._was_late = False
        self._sweep_later()

    def configure(self, config: SidecarConfig) -> None:
        """Put a config in force for all requests that begin from now on.

        Raises ValueError for an upstream that can't be understood; what was in force stays so.
        """
        for model in config.models:
            if model.upstream:
                self.upstream_for(model.upstream)
        self.config = config
        self.config_hash = config.hash
        self.meter.models.keep(model.name for model in config.models)
        self.meter.tenants.keep(config.tenant_orders)
        self._tell_config()

    def client(self) -> asyncio.Protocol:
        """A protocol for one new connection."""
        # By its methods alone a protocol: compiled, it could not have asyncio's for a base.
        return cast(asyncio.Protocol, ClientConnection(self, self._inbound))

    def outbound_client(self) -> asyncio.Protocol:
        """The same, of an application in this pod that calls out."""
        assert self._outbound is not None
        return cast(asyncio.Protocol, ClientConnection(self, self._outbound))

    @property
    def in_flight(self) -> int:
        """Requests that have begun and not ended."""
        return len(self.live)

    @property
    def connections(self) -> int:
        """Clients that are connected."""
        return len(self.clients)

    def short_of(self, what: Scarce) -> None:
        """Something has run out: say so, and let go of what is not in use."""
        if self._ran_out is not None:
            self._ran_out(what)
        if self.loop.time() >= self._shed_at:
            self._shed_at = self.loop.time() + SHED_REAL_S
            self._close_idle(SHED)
        if what is Scarce.DESCRIPTORS:
            for upstream in self._upstreams.values():
                upstream.close()

    def drain(self) -> None:
        """From now on each answer says that its connection ends with it; requests are served."""
        self.draining = True

    def close_quiet(self) -> None:
        """Close kept connections that no next request has come on."""
        for client in list(self.clients):
            client.close_if_quiet(self.loop.time() - QUIET_REAL_S)

    async def close(self) -> None:
        """Cut everything that is left."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for client in list(self.clients):
            client.cut(flush=False)
        for upstream in self._upstreams.values():
            upstream.close()
        while self.clients:
            await asyncio.sleep(0)

    def upstream_for(self, url: str) -> Upstream:
        """The upstream at ``url``, a base URL."""
        upstream = self._upstreams.get(url)
        if upstream is None:
            upstream = self._upstreams[url] = Upstream(url, self.loop, self._dialer, self.room)
        return upstream

    def _sweep_later(self) -> None:
        self._due = self.loop.time() + self._interval_s
        self._timer = self.loop.call_later(self._interval_s, self._sweep)

    def _sweep(self) -> None:
        # Suspended, or on a busy machine: by the next sweep what has come meanwhile is read. That
        # one judges, late or not, lest a loop that is always behind never does.
        self._was_late = not self._was_late and self.loop.time() - self._due > self._interval_s
        self._sweep_later()
        if self._was_late:
            return
        now = self.clock.monotonic()
        for exchange in list(self.live):
            exchange.check(now)
        if now >= self._slow_sweep_at:
            self._slow_sweep_at = now + SLOW_SWEEP_S
            self._sweep_idle(now)

    def _sweep_idle(self, now: float) -> None:
        for client in list(self.clients):
            client.check(now)
        idle = sum(client.idle for client in self.clients)
        if idle > self.room.max_idle:
            self._close_idle(idle - self.room.max_idle)
        wanted = {*self._standing, *(model.upstream for model in self.config.models)}
        for url, upstream in list(self._upstreams.items()):
            if not upstream.sweep(now) and url not in wanted:
                del self._upstreams[url]
        self._tell_config()  # an order may have expired

    def _close_idle(self, count: int) -> None:
        """Close so many clients' connections that have no request, longest unused first."""
        now = self.clock.monotonic()
        spare = (client for client in self.clients if client.spare(now))
        for client in nsmallest(count, spare, key=lambda each: each.used_at):
            client.close()

    def _tell_config(self) -> None:
        self.meter.set_config(self.config_hash, active_model(self.config, self.clock.now()))
