"""Many streams at once through one sidecar: whether all of them live, and what they cost.

    python -m benchmarks.many_streams [--streams 5000] [--seconds 60] [--json FILE]

Model server and clients are one process beside the sidecar, on one clock: each chunk carries when
it was sent. A stream has failed unless every event that was sent to it came, in order, and it
ended as a stream does. Load stays on loopback and ends by itself.
"""

import asyncio
import re
import resource
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, cast

import uvloop

from benchmarks.alone import alone, parser, told
from benchmarks.children import BenchError
from benchmarks.contestants import MODEL
from benchmarks.cputime import tree_cpu_s, tree_pss_mb
from benchmarks.sidecars import Sidecar
from tidegate_sidecar.room import CONNECTION_BYTES

OPENED_PER_S: Final = 500
"""How fast streams are opened: what is measured is holding them, and not a rush at the door."""
TICK_S: Final = 0.02
"""Streams are spread over the interval in steps of this."""
SLACK_S: Final = 60.0
"""Longest wait for all to open, and for all to end."""
SAMPLE_S: Final = 2.0
SPARE: Final = 128
"""Connections, and descriptors, for all but streams, here and in the sidecar."""

_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
_EVENT: Final = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"%b","choices":'
    b'[{"index":0,"delta":{"content":"%016x%08x"},"finish_reason":null}]}\n\n'
)
_CONTENT: Final = re.compile(rb'"content":"([0-9a-f]{16})([0-9a-f]{8})"')
"""When an event was sent, in nanoseconds, and which one of its stream it is."""
_END: Final = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"%b","choices":'
    b'[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n' % MODEL.encode()
)


@dataclass(frozen=True)
class Run:
    """What is asked for."""

    streams: int = 5000
    seconds: float = 60.0
    interval_s: float = 1.0
    """Between two events of one stream."""


@dataclass(frozen=True, slots=True)
class Result:
    """Figures of one run."""

    streams_open: int
    """Streams that were all open at once, for the whole time."""
    streams_failed: int
    seconds: float
    chunks_per_s: float
    cpu_us_per_chunk: float
    cpu_share: float
    """Of one core, while all streams were open."""
    pss_idle_mb: float
    pss_peak_mb: float
    kb_per_stream: float
    delay_p50_ms: float
    """From the server's write to the client's read, through the sidecar."""
    delay_p99_ms: float


@dataclass
class Load:
    """Both ends of all streams."""

    server_streams: list["ServerStream"] = field(default_factory=list)
    open: int = 0
    """Clients that have an answer's first event and not its end."""
    failures: deque[str] = field(default_factory=lambda: deque(maxlen=5))
    failed: int = 0
    whole: int = 0
    chunks: int = 0
    delays_ns: list[int] = field(default_factory=list)
    counting: bool = False

    def fail(self, why: str) -> None:
        self.failed += 1
        self.failures.append(why)


class ServerStream(asyncio.Protocol):
    """The model server's end of one stream."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._asked = b""
        self._events = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._asked += data
        if self._transport is not None and self._asked.endswith(b"}]}"):
            self._asked = b""
            self._transport.write(_HEAD)
            self.event()
            self._load.server_streams.append(self)

    def event(self) -> None:
        self._chunk(_EVENT % (MODEL.encode(), time.perf_counter_ns(), self._events))
        self._events += 1

    def end(self) -> None:
        self._chunk(_END)
        if self._transport is not None:
            self._transport.write(b"0\r\n\r\n")

    def _chunk(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(b"%x\r\n%b\r\n" % (len(data), data))
            self._load.chunks += self._load.counting


class ClientStream(asyncio.Protocol):
    """A client's end."""

    def __init__(self, load: Load, request: bytes) -> None:
        self._load = load
        self._request = request
        self._events = 0
        self._last = b""
        self.over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now_ns = time.perf_counter_ns()
        if not self._events and not self._last and not data.startswith(b"HTTP/1.1 200 "):
            self._finish(f"answered {data[:400]!r}")
            return
        seen = self._last + data
        end = 0
        for match in _CONTENT.finditer(seen):
            end = match.end()
            self._take(int(match.group(1), 16), int(match.group(2), 16), now_ns)
        self._last = seen[end:][-64:]
        if seen.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n"):
            self._finish("")

    def _take(self, sent_ns: int, number: int, now_ns: int) -> None:
        if number != self._events:
            self._finish(f"event {number} came where {self._events} was due")
            return
        self._events += 1
        self._load.open += number == 0
        if self._load.counting:
            self._load.delays_ns.append(now_ns - sent_ns)

    def _finish(self, failure: str) -> None:
        if self.over:
            return
        self.over = True
        self._load.open -= self._events > 0
        if failure:
            self._load.fail(failure)
        else:
            self._load.whole += 1
        self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._finish(f"ended after {self._events} events: {error!r}")


async def hold(port: int, upstream: socket.socket, pid: int, run: Run) -> Result:
    """Open the streams, keep them open, end them."""
    loop = asyncio.get_running_loop()
    load = Load()
    server = await loop.create_server(lambda: ServerStream(load), sock=upstream, backlog=4096)
    idle_mb = await asyncio.to_thread(tree_pss_mb, pid)
    beat = asyncio.create_task(_beat(load, run.interval_s))
    try:
        clients = await _open(load, port, run.streams)
        load.counting = True
        peak_mb, fewest, cpu_s, lasted_s = await _watch(load, pid, run.seconds)
        load.counting = False
        beat.cancel()
        for stream in load.server_streams:
            stream.end()
        await _until(lambda: all(client.over for client in clients), "the streams did not end")
    finally:
        beat.cancel()
        server.close()
    if load.failures:
        print(f"many_streams: {load.failed} failed, such as: {load.failures[-1]}", file=sys.stderr)
    delays = sorted(load.delays_ns) or [0]
    return Result(
        streams_open=fewest,
        streams_failed=run.streams - load.whole,
        seconds=round(lasted_s, 1),
        chunks_per_s=round(load.chunks / lasted_s),
        cpu_us_per_chunk=round(cpu_s / max(load.chunks, 1) * 1e6, 1),
        cpu_share=round(cpu_s / lasted_s, 3),
        pss_idle_mb=round(idle_mb, 1),
        pss_peak_mb=round(peak_mb, 1),
        kb_per_stream=round((peak_mb - idle_mb) * 1024 / run.streams, 1),
        delay_p50_ms=round(delays[len(delays) // 2] / 1e6, 2),
        delay_p99_ms=round(delays[int(len(delays) * 0.99)] / 1e6, 2),
    )


async def _open(load: Load, port: int, count: int) -> list[ClientStream]:
    loop = asyncio.get_running_loop()
    body = b'{"model":"%b","stream":true,"messages":[{"role":"user","content":"hi"}]}'
    body %= MODEL.encode()
    request = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer k\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    )
    clients = []
    began = loop.time()
    for number in range(count):
        await asyncio.sleep(max(0.0, began + number / OPENED_PER_S - loop.time()))
        _, client = await loop.create_connection(
            lambda: ClientStream(load, request), "127.0.0.1", port
        )
        clients.append(client)
    await _until(lambda: load.open + load.failed >= count, "not all streams opened")
    return clients


async def _beat(load: Load, interval_s: float) -> None:
    """Send each stream one event an interval, spread over it."""
    loop = asyncio.get_running_loop()
    turn, due, seen = 0, 0.0, loop.time()
    while True:
        await asyncio.sleep(TICK_S)
        streams = load.server_streams
        now = loop.time()
        due += (now - seen) / interval_s * len(streams)
        seen = now
        for _ in range(min(int(due), len(streams))):
            streams[turn % len(streams)].event()
            turn += 1
        due -= int(due)


async def _watch(load: Load, pid: int, seconds: float) -> tuple[float, int, float, float]:
    """Highest PSS in MB, fewest streams open, CPU seconds used, and for how long in all."""
    began, cpu_s = time.perf_counter(), tree_cpu_s(pid)
    peak_mb, fewest = 0.0, load.open
    while (left_s := seconds - (time.perf_counter() - began)) > 0:
        await asyncio.sleep(min(SAMPLE_S, left_s))
        peak_mb = max(peak_mb, await asyncio.to_thread(tree_pss_mb, pid))
        fewest = min(fewest, load.open)
    return peak_mb, fewest, tree_cpu_s(pid) - cpu_s, time.perf_counter() - began


async def _until(done: Callable[[], bool], otherwise: str) -> None:
    until = time.perf_counter() + SLACK_S
    while not done():
        if time.perf_counter() > until:
            print(f"many_streams: {otherwise} within {SLACK_S:.0f} s", file=sys.stderr)
            return
        await asyncio.sleep(0.05)


def measure(run: Run, sidecar: Sidecar) -> Result:
    """Start the sidecar and hold streams through it. Raises ``BenchError`` where that can't be."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    most = (hard - SPARE) // 2
    if run.streams > most:
        raise BenchError(f"--streams must be at most {most} (ulimit -Hn), was: {run.streams}")
    # What a container would need for so many: the default is made for 256 MiB, or 9,500.
    memory = {"TIDEGATE_MAX_BUFFERED_BYTES": str((run.streams + SPARE) * CONNECTION_BYTES)}
    with alone(sidecar, memory) as stand:
        return uvloop.run(hold(stand.port, stand.upstream, stand.pid, run))


def main(argv: Sequence[str] | None = None) -> int:
    """Hold the streams and tell; returns the exit code: 1 unless all lived."""
    options = parser(__doc__)
    options.add_argument("--streams", type=int, default=Run.streams)
    options.add_argument(
        "--seconds", type=float, default=Run.seconds, help="all open, for so long"
    )
    options.add_argument(
        "--interval", type=float, default=Run.interval_s, help="between events, s"
    )
    asked = options.parse_args(argv)
    run = Run(asked.streams, asked.seconds, asked.interval)
    result = told(asked, lambda sidecar: measure(run, sidecar), "many_streams")
    if result is None:
        return 1
    return 1 if result.streams_failed or result.streams_open < run.streams else 0


if __name__ == "__main__":
    sys.exit(main())
