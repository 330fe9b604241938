"""How much the data path holds, and how much it may.

Law: pure. A connection counts with a flat share from its first to its last moment, and with what
lies in it beyond that only where that is much: so the common request pays one comparison. What
ends is taken off again to the byte; an empty room holds 0.
"""

from enum import StrEnum
from typing import Final

CONNECTION_BYTES: Final = 18 * 1024
"""A client's connection, its exchange, its upstream connection and their transports, with a short
request in them and the last events of a stream. Measured: 17.6 KiB for each of 1,000 live streams
after 50 events (PSS, ``benchmarks.many_streams``)."""
TLS_BYTES: Final = 40 * 1024
"""More for an upstream connection by TLS, in use or kept. Measured: 40.5 KiB for each of 200
streams after 50 events (PSS, uvloop 0.23)."""
SMALL_BYTES: Final = 4096
"""A body up to here is part of the flat share."""
LONG_BYTES: Final = 512 * 1024
"""A plain answer up to here is left to what the kernel may take for its client: wherever it waits
for its reader, there is no more of it."""
UNREAD_BYTES: Final = 16384
"""What may wait for a client to read it before its upstream is held back, and is part of the flat
share until then: an event is some 200 bytes. The loops' own default is 64 KiB."""
MAX_IDLE: Final = 2048
"""A fleet of clients with a pool each keeps some hundreds; nginx has room for 512 connections
(``worker_connections``), and closes idle ones when it has no more."""
DEFAULT_BYTES: Final = 168 * 1024 * 1024
"""Where nobody says how much memory there is: what is left to a container with 256 MiB, the
injected default."""
DEFAULT_CONNECTIONS: Final = DEFAULT_BYTES // CONNECTION_BYTES


class Scarce(StrEnum):
    """What can run out."""

    CONNECTIONS = "connections"
    DESCRIPTORS = "descriptors"
    MEMORY = "memory"
    SYSTEM = "system"
    """The kernel takes no connections, for a reason of its own."""


class Room:
    """The books of what is held."""

    __slots__ = ("held", "max_bytes", "max_connections", "max_idle")

    def __init__(
        self, max_bytes: int = DEFAULT_BYTES, max_connections: int = DEFAULT_CONNECTIONS
    ) -> None:
        self.max_bytes = max_bytes
        """Past this a new request is refused, and so is one whose body still grows."""
        self.max_connections = max_connections
        """Clients' connections at once; more wait to be accepted."""
        self.max_idle = MAX_IDLE
        """Clients' connections that are kept without a request on them, at each slow sweep."""
        self.held = 0
        """Bytes now."""

    @property
    def full(self) -> bool:
        """Nothing more is taken in."""
        return self.held > self.max_bytes

    def says(self) -> str:
        """What a client is told that finds it full."""
        return f"This sidecar holds as much in memory as it may, {self.max_bytes} bytes."
