"""The door for clients.

Law: whoever can't be let in yet waits in the kernel's queue and is not turned away: neither a full
house nor a lack of descriptors closes a connection that a client has made. uvloop's own servers
do that (libuv accepts and closes at once), and asyncio's report each attempt as an error.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Final, Protocol

from tidegate_sidecar.bounds import EXHAUSTED
from tidegate_sidecar.room import Room, Scarce

BACKLOG: Final = 1024
"""Connections that wait to be accepted, as far as the kernel's ``somaxconn`` lets them."""
BATCH: Final = 64
"""Connections accepted in one turn of the loop: the streams have their turns in between."""
PAUSE_REAL_S: Final = 0.05
"""Between two looks whether there is room again. Real seconds: it is the machine's state."""


class Clients(Protocol):
    """What the door needs of the data path."""

    room: Room

    @property
    def connections(self) -> int:
        """Clients that are in."""

    def short_of(self, what: Scarce) -> None:
        """Hears what there is none of."""


class Listener:
    """Accepts clients' connections, as long as there is room for them."""

    def __init__(
        self,
        clients: Clients,
        client: Callable[[], asyncio.BaseProtocol],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """``client`` makes a protocol for one new connection."""
        self._clients = clients
        self._client = client
        self._loop = loop
        self._sockets: list[socket.socket] = []
        self._entering: set[asyncio.Task[object]] = set()
        self._paused: asyncio.TimerHandle | None = None
        self._open = False

    async def bind(self, host: str, port: int) -> None:
        """Take the port, without letting anyone in. Raises ``OSError``."""
        found = await self._loop.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        try:
            for family, address in dict.fromkeys((each[0], each[4]) for each in found):
                self._sockets.append(_bound(family, address))
        except OSError:
            self.close()
            raise

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens, the first place of several."""
        host, port = self._sockets[0].getsockname()[:2]
        return host, port

    def start(self) -> None:
        """Let clients in. Raises ``OSError`` where another process came first."""
        for sock in self._sockets:
            sock.listen(BACKLOG)
        self._open = True
        self._watch()

    def close(self) -> None:
        """Let in who waits already, as far as there is room, and nobody after."""
        self._unwatch()
        for sock in self._sockets:
            if self._open:
                self._let_in(sock, BACKLOG)
        self._unwatch()
        for sock in self._sockets:
            sock.close()
        self._sockets = []

    def _watch(self) -> None:
        self._paused = None
        for sock in self._sockets:
            self._loop.add_reader(sock.fileno(), self._let_in, sock, BATCH)

    def _unwatch(self) -> None:
        if self._paused is not None:
            self._paused.cancel()
            self._paused = None
        for sock in self._sockets:
            self._loop.remove_reader(sock.fileno())

    def _pause(self, short_of: Scarce) -> None:
        self._clients.short_of(short_of)
        self._unwatch()
        self._paused = self._loop.call_later(PAUSE_REAL_S, self._watch)

    def _let_in(self, listening: socket.socket, most: int) -> None:
        for _ in range(most):
            if (
                self._clients.connections + len(self._entering)
                >= self._clients.room.max_connections
            ):
                self._pause(Scarce.CONNECTIONS)
                return
            try:
                sock, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionError):
                return  # nobody waits, or who did has left
            except OSError as error:
                self._pause(Scarce.DESCRIPTORS if error.errno in EXHAUSTED else Scarce.SYSTEM)
                return
            self._enter(sock)

    def _enter(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        task = self._loop.create_task(self._loop.connect_accepted_socket(self._client, sock))
        self._entering.add(task)
        task.add_done_callback(self._entered)

    def _entered(self, task: asyncio.Task[object]) -> None:
        self._entering.discard(task)
        if not task.cancelled():
            task.exception()  # a client that left on the doorstep is nobody's error


def _bound(family: int, address: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock
