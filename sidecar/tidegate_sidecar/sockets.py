"""What event loops' transports do not offer, said to their sockets.

Law: TCP on Linux; each function says what it needs of it.
"""

import asyncio
import os
import socket
import struct
from contextlib import suppress
from typing import Final

PROBE_AFTER_S: Final = 60
"""Silence after which the kernel asks whether the other end is still there."""
PROBE_EVERY_S: Final = 20
PROBES: Final = 3
MAX_LAST_WORDS: Final = 65536
UNSENT_BYTES: Final = 65536
"""Of a long answer, what the kernel may take that its client's connection can't carry yet. By
itself it takes 3.9 MB for one reader that stands still on loopback."""
UNREAD_BYTES: Final = 131_072
"""Of an answer from this machine, what the kernel may hold for us, as it is asked for: it takes
twice that, its own costs in it. By itself it takes up to 6 MB; so a plain answer of 10 MB costs
5 % more CPU."""
STREAM_UNREAD_BYTES: Final = 32_768
"""The same of a stream, which may wait for its reader as long as that likes. Of these a plain
answer would come in many small pieces, and cost a third more CPU."""
_LINGER_NOT: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: on, for no time."""
_ESTABLISHED: Final = 1
"""The state in tcp_info of a connection that neither end has closed."""
_CLOSED: Final = 7
"""The same of one that is gone: reset, or given up by the kernel."""


def reset(transport: asyncio.Transport) -> None:
    """End a connection so that its other end can't take it for one that was closed in order."""
    sock = transport.get_extra_info("socket")
    if sock is not None and not transport.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    transport.abort()


def has_left(transport: asyncio.Transport) -> bool:
    """Whether the other end has closed or reset a connection that is not read from."""
    return _state(transport) != _ESTABLISHED


def was_reset(transport: asyncio.Transport) -> bool:
    """Whether a connection that is not read from is gone, whatever is still to be read of it."""
    return _state(transport) == _CLOSED


def _state(transport: asyncio.Transport) -> int:
    sock = transport.get_extra_info("socket")
    info: bytes = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    return info[0]


def last_words(transport: asyncio.Transport) -> bytes:
    """What had come when a connection broke, and is still unread; asked for as it is lost.

    A loop that fails to write reads no more. Linux keeps what came before the reset.
    """
    sock = transport.get_extra_info("socket")
    words = b""
    if sock is None or transport.get_extra_info("ssl_object") is not None:
        return words
    try:
        while len(words) < MAX_LAST_WORDS and (piece := os.read(sock.fileno(), MAX_LAST_WORDS)):
            words += piece
    except OSError:
        pass  # that was all
    return words


def keep_little_unsent(transport: asyncio.Transport) -> None:
    """Have the kernel take little of an answer that it can't send yet; it bounds nothing that is
    on its way, and so no client that is far."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)


def keep_unread(transport: asyncio.Transport, most_bytes: int) -> None:
    """Have the kernel hold so much of answers that we have not read, if this machine sends them;
    asked while none is coming, since a buffer under a larger window that was offered before is
    filled past its end, and the sender then waits for long.

    Only then: a size that is set no longer grows with the round trip, and a server that is far
    could send no more than that in each.
    """
    sock = transport.get_extra_info("socket")
    with suppress(OSError):  # reset already, which the loop will tell
        # A machine speaks to an address of its own from the same address.
        if sock.getpeername()[0] == sock.getsockname()[0]:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, most_bytes)


def probe(transport: asyncio.Transport) -> None:
    """Have the kernel find out when the other end of a silent connection is dead."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_AFTER_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_EVERY_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
