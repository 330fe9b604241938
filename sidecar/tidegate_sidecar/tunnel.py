"""Two connections joined byte for byte, once both ends speak something else than HTTP.

Law: bytes pass as they come, unread, and either side is read as fast as the other takes them. The
end of one side is passed on as just that: the other may go on sending until it ends, too. No
silence is too long, since nobody here knows the protocol: keep-alive probes find an end that is
dead. Only a sidecar that leaves waits no longer for a tunnel than for any other call.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from tidegate_sidecar.room import Room
from tidegate_sidecar.sockets import probe, reset, was_reset
from tidegate_wire.config import Timeouts
from tidegate_wire.names import Outcome

if TYPE_CHECKING:
    from tidegate_sidecar.exchange import Exchange


class Tunnel:
    """What joins the two sides of an exchange that has switched protocols."""

    __slots__ = (
        "_client",
        "_exchange",
        "_leaving_since",
        "_moved_at",
        "_upstream",
        "_upstream_lost",
        "moved",
    )

    def __init__(
        self,
        exchange: "Exchange",
        client: asyncio.Transport,
        upstream: asyncio.Transport,
        upstream_lost: Callable[[], None],
    ) -> None:
        """``upstream_lost`` is told when the upstream's connection is gone."""
        self.moved = False
        """Something has passed since the last look."""
        self._exchange = exchange
        self._upstream_lost = upstream_lost
        self._leaving_since = -1.0
        self._moved_at = 0.0
        room = exchange.client.proxy.room
        self._client = Side(self, client, upstream, room)
        self._upstream = Side(self, upstream, client, room)

    def open(self, from_client: bytes, from_upstream: bytes) -> None:
        """Let through what has come already, and from now on everything."""
        for side in (self._client, self._upstream):
            probe(side.transport)
            # By its methods alone a protocol, as the connections are.
            side.transport.set_protocol(cast(asyncio.Protocol, side))
        # The other side is read unless the client does not read, of which its end will tell.
        self._client.transport.resume_reading()
        if from_client:
            self._client.data_received(from_client)
        if from_upstream:
            self._upstream.data_received(from_upstream)

    def end_of(self, side: "Side") -> bool:
        """Pass on that a side sends no more; whether its connection stays for the other's sake."""
        other = self._upstream if side is self._client else self._client
        if side.to.is_closing():
            return False
        if other.ended or not other.to.can_write_eof() or not side.to.can_write_eof():
            side.to.close()
            return False
        side.to.write_eof()
        return True

    def lost(self, side: "Side", error: Exception | None) -> None:
        """A side's connection is gone, in order or not; so goes the other's, in the same way."""
        if error is None:
            side.to.close()
            outcome = Outcome.OK
        else:
            reset(side.to)
            outcome = Outcome.CANCELLED if side is self._client else Outcome.RESET
        self._exchange.end_tunnel(outcome)
        # Both were the data path's, and are in its books until they are gone.
        if side is self._client:
            self._exchange.client.connection_lost(error)
        else:
            self._upstream_lost()

    def look(self) -> None:
        """Notice an end that is gone; of one that is not read from nothing else tells."""
        for side, other in ((self._client, self._upstream), (self._upstream, self._client)):
            held = other.unread_bytes > 0 and not side.transport.is_closing()
            if held and was_reset(side.transport):
                side.gone = True
                side.transport.abort()

    def is_overdue(self, now: float, limits: Timeouts) -> bool:
        """Whether a leaving sidecar has waited long enough; ``now`` as in ``Exchange.check``."""
        if self._leaving_since < 0.0:
            self._leaving_since = now
            self.moved = True
        if self.moved:
            self.moved = False
            self._moved_at = now
        waited_s = now - self._leaving_since
        return waited_s >= limits.total_s or now - self._moved_at >= limits.idle_s


class Side:
    """An asyncio protocol: what comes on one connection leaves on the other."""

    __slots__ = ("_room", "_tunnel", "ended", "gone", "to", "transport", "unread_bytes")

    def __init__(
        self, tunnel: Tunnel, transport: asyncio.Transport, to: asyncio.Transport, room: Room
    ) -> None:
        self._tunnel = tunnel
        self._room = room
        self.unread_bytes = 0
        """Waits for this end to read, and is in the room's books; the other end is not read from
        meanwhile."""
        self.transport = transport
        self.to = to
        self.ended = False
        """It sends no more."""
        self.gone = False
        """Its connection was reset."""

    def data_received(self, data: bytes) -> None:
        self._tunnel.moved = True
        if not self.to.is_closing():
            self.to.write(data)

    def eof_received(self) -> bool:
        stays = self._tunnel.end_of(self)
        self.ended = True
        return stays

    def pause_writing(self) -> None:
        self._count(self.transport.get_write_buffer_size())
        if not self.to.is_closing():
            self.to.pause_reading()

    def resume_writing(self) -> None:
        self._count(0)
        if not self.to.is_closing():
            self.to.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._count(0)
        self._tunnel.lost(self, ConnectionResetError() if self.gone else error)

    def _count(self, unread_bytes: int) -> None:
        self._room.held += unread_bytes - self.unread_bytes
        self.unread_bytes = unread_bytes
