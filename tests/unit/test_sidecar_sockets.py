"""What the kernel holds of a stream that nobody reads is bounded by what its sockets are told, and
a server that is far is not slowed for it.
"""

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tidegate_sidecar.sockets import (
    STREAM_UNREAD_BYTES,
    UNREAD_BYTES,
    keep_little_unsent,
    keep_unread,
)


class Transport(asyncio.Transport):
    """As much of one as its socket is."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__({"socket": sock})


Join = Callable[..., tuple[socket.socket, socket.socket]]


@pytest.fixture
def join() -> Iterator[Join]:
    """Two ends of a connection; ``source`` is the address of the first."""
    with ExitStack() as stack:

        def connect(source: str, to: str = "127.0.0.1") -> tuple[socket.socket, socket.socket]:
            family = socket.AF_INET6 if ":" in to else socket.AF_INET
            listening = stack.enter_context(socket.create_server((to, 0), family=family))
            near = socket.create_connection(listening.getsockname()[:2], 10, (source, 0))
            stack.enter_context(near)
            far = stack.enter_context(listening.accept()[0])
            return near, far

        yield connect


def taken(sender: socket.socket) -> int:
    """How much of what nobody reads the kernel takes."""
    sender.setblocking(False)
    count = 0
    while True:
        try:
            count += sender.send(b"x" * 16_384)
        except BlockingIOError:
            return count


def window(sock: socket.socket) -> int:
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


def test_a_client_that_does_not_read_is_sent_little_ahead(join: Join) -> None:
    client, ours = join("127.0.0.1")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
    keep_little_unsent(Transport(ours))
    assert 16_384 <= taken(ours) < 400_000


HERE = {
    "IPv4": ("127.0.0.1", "127.0.0.1"),
    "another address of this machine": ("127.0.0.7", "127.0.0.7"),
    "IPv6": ("::1", "::1"),
}


@pytest.mark.parametrize(("source", "to"), HERE.values(), ids=HERE)
def test_what_this_machine_sends_is_held_to_so_much(join: Join, source: str, to: str) -> None:
    ours, _ = join(source, to)
    for most_bytes in (UNREAD_BYTES, STREAM_UNREAD_BYTES):
        keep_unread(Transport(ours), most_bytes)
        assert window(ours) == 2 * most_bytes  # socket(7): the kernel doubles it


def test_another_machine_sends_as_much_as_its_round_trip_needs(join: Join) -> None:
    """Two addresses, as two machines have: the kernel goes on to choose the size."""
    ours, _ = join("127.0.0.2")
    before = window(ours)
    keep_unread(Transport(ours), UNREAD_BYTES)
    assert window(ours) == before != 2 * UNREAD_BYTES


def test_a_connection_that_is_reset_already_is_left_to_the_loop(join: Join) -> None:
    ours, theirs = join("127.0.0.1")
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()
    with pytest.raises(ConnectionResetError):
        ours.recv(1)
    with pytest.raises(OSError, match="not connected"):
        ours.getpeername()
    keep_unread(Transport(ours), UNREAD_BYTES)
    keep_little_unsent(Transport(ours))
