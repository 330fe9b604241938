"""What readers cost that ask for a long answer and read nothing of it.

    python -m benchmarks.stalled_readers [--readers 50] [--plain] [--json FILE]

Model server and readers are one process beside the sidecar. The server streams as fast as it can
until nothing more is taken. What the kernel holds for a sidecar is no memory of its process but of
its container; it shows in how much the server got rid of.
"""

import asyncio
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from benchmarks.alone import Alone, alone, parser, told
from benchmarks.contestants import MODEL
from benchmarks.cputime import tree_pss_mb
from benchmarks.sidecars import Sidecar

CHUNKS: Final = (b"3e8\r\ndata: " + b"x" * 992 + b"\n\n\r\n") * 16
OTHERS_BUFFER_BYTES: Final = 32_768
"""Of the server's and the reader's end, which are not the sidecar's; the kernel takes twice
that."""
SAMPLE_S: Final = 0.5
STILL: Final = 4
"""So many looks in a row that find nothing moved are the end."""
LONGEST_S: Final = 120.0
_BODY: Final = b'{"model":"%b","stream":%b,"messages":[]}'
_REQUEST: Final = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n%b"
)
_STREAM: Final = b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_PLAIN: Final = b"content-type: application/json\r\ncontent-length: 1000000000\r\n\r\n"


def request(*, plain: bool) -> bytes:
    body = _BODY % (MODEL.encode(), b"false" if plain else b"true")
    return _REQUEST % (len(body), body)


@dataclass(frozen=True, slots=True)
class Result:
    """For each reader, in KB."""

    readers: int
    pss_kb: float
    """More memory of the sidecar's process."""
    taken_kb: float
    """Sent by the server: by now in the sidecar, or in the kernel at any of the four ends."""


class Flood:
    """A model server without end."""

    def __init__(self, *, plain: bool) -> None:
        self._plain = plain
        self.sent_bytes = 0
        self.serving = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own = writer.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, OTHERS_BUFFER_BYTES)
        writer.transport.set_write_buffer_limits(high=0)
        self.serving += 1
        try:
            await reader.readuntil(b"}")
            writer.write(b"HTTP/1.1 200 OK\r\n" + (_PLAIN if self._plain else _STREAM))
            while True:
                writer.write(CHUNKS)
                await writer.drain()
                self.sent_bytes += len(CHUNKS)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the readers have left
        finally:
            self.serving -= 1


async def stall(stand: Alone, readers: int, *, plain: bool) -> Result:
    """Ask so often, read nothing, and wait until nothing moves. Raises ``TimeoutError``."""
    flood = Flood(plain=plain)
    loop = asyncio.get_running_loop()
    async with await asyncio.start_server(flood, sock=stand.upstream):
        before_mb = tree_pss_mb(stand.pid)
        with ExitStack() as stack:
            for _ in range(readers):
                reader = stack.enter_context(socket.socket())
                reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, OTHERS_BUFFER_BYTES)
                reader.connect(("127.0.0.1", stand.port))
                reader.setblocking(False)
                await loop.sock_sendall(reader, request(plain=plain))
            async with asyncio.timeout(LONGEST_S):
                await _stands_still(flood)
            held_mb = await asyncio.to_thread(tree_pss_mb, stand.pid) - before_mb
        async with asyncio.timeout(LONGEST_S):
            while flood.serving:
                await asyncio.sleep(0.05)
    return Result(
        readers=readers,
        pss_kb=round(held_mb * 1024 / readers, 1),
        taken_kb=round(flood.sent_bytes / 1024 / readers, 1),
    )


async def _stands_still(flood: Flood) -> None:
    seen, still = 0, 0
    while still < STILL:
        await asyncio.sleep(SAMPLE_S)
        still = still + 1 if flood.sent_bytes == seen > 0 else 0
        seen = flood.sent_bytes


def measure(readers: int, sidecar: Sidecar, *, plain: bool = False) -> Result:
    """Start the sidecar and leave answers unread. Raises ``BenchError`` where that can't be."""
    with alone(sidecar) as stand:
        return asyncio.run(stall(stand, readers, plain=plain))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and tell; returns the exit code."""
    options = parser(__doc__)
    options.add_argument("--readers", type=int, default=50)
    options.add_argument("--plain", action="store_true", help="an answer that is no stream")
    asked = options.parse_args(argv)

    def stalled(sidecar: Sidecar) -> Result:
        return measure(asked.readers, sidecar, plain=asked.plain)

    result = told(asked, stalled, "stalled_readers")
    return 1 if result is None else 0


if __name__ == "__main__":
    sys.exit(main())
