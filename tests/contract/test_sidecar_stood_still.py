"""A sidecar that stood still, on a machine that was busy or suspended, blames nobody for what came
meanwhile; who is overdue all the same is still told so.
"""

import asyncio
import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from sidecar_process import SidecarProcess
from tidegate_wire.config import SidecarConfig, Timeouts
from tidegate_wire.names import Outcome
from tidegate_wire.stats import SidecarStats

IMPATIENT = SidecarConfig(
    timeouts=Timeouts(connect_s=1.5, first_token_s=1.5, idle_s=1.5, total_s=9)
)
STANDS_STILL_S = 3.0
"""Longer than all of these but the last."""
ANSWER = (
    b'{"model":"big","choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}]}'
)
FIRST = b'data: {"model":"big","choices":[{"index":0,"delta":{"content":"h"}}]}\n\n'
LAST = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


class Server:
    """A model server of which each step is a test's."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.socket.settimeout(20)
        host, self.port = self.socket.getsockname()
        self.url = f"http://{host}:{self.port}"
        self._full = socket.socket()

    def take_no_more(self) -> None:
        """Fill the queue, as a server does that is behind: the kernel answers no connection."""
        self._full = socket.create_connection(("127.0.0.1", self.port), 20)

    def take_again(self) -> None:
        self.socket.accept()[0].close()
        self._full.close()

    def accept(self) -> socket.socket:
        """The next call, read whole."""
        call, _ = self.socket.accept()
        call.settimeout(20)
        read = b""
        while not read.endswith(b"}"):
            piece = call.recv(65536)
            assert piece, "the sidecar has given up"
            read += piece
        return call

    def close(self) -> None:
        self.socket.close()
        self._full.close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def begin(sidecar: SidecarProcess, *, stream: bool = False) -> socket.socket:
    """A client that has asked."""
    parts = urlsplit(sidecar.url)
    client = socket.create_connection((parts.hostname or "", parts.port or 0), 20)
    body = json.dumps({"model": "big", "messages": [], "stream": stream}).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    client.sendall(head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
    return client


def rest(client: socket.socket) -> bytes:
    """All that comes until the end."""
    with client:
        read = b""
        while piece := client.recv(65536):
            read += piece
        return read


def whole(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "config.json"
    file.write_bytes(IMPATIENT.to_json())
    return str(file)


async def outcomes(sidecar: SidecarProcess) -> dict[str, int]:
    async with aiohttp.ClientSession() as http, http.get(sidecar.admin + "/stats") as answer:
        (series,) = SidecarStats.from_json(await answer.read()).series
        return dict(series.outcomes)


async def test_what_came_while_it_stood_still_came_in_time(server: Server, config: str) -> None:
    """A stream's next event, a late answer, and the connection to a server that was behind."""
    async with SidecarProcess("--upstream", server.url, "--config", config) as sidecar:
        streams = begin(sidecar, stream=True)
        streaming = await asyncio.to_thread(server.accept)
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
        streaming.sendall(head + b"transfer-encoding: chunked\r\n\r\n" + chunk(FIRST))
        waits_for_token = begin(sidecar, stream=True)
        slow = await asyncio.to_thread(server.accept)
        server.take_no_more()
        connects = begin(sidecar)
        await asyncio.sleep(0.3)

        sidecar.process.send_signal(signal.SIGSTOP)
        server.take_again()
        streaming.sendall(chunk(LAST) + b"0\r\n\r\n")
        slow.sendall(head + b"transfer-encoding: chunked\r\n\r\n")
        slow.sendall(chunk(FIRST) + chunk(LAST) + b"0\r\n\r\n")
        await asyncio.sleep(STANDS_STILL_S)
        sidecar.process.send_signal(signal.SIGCONT)

        late = await asyncio.to_thread(server.accept)
        late.sendall(whole(ANSWER))
        told = [
            await asyncio.to_thread(rest, each) for each in (streams, waits_for_token, connects)
        ]
        assert [each[:13] for each in told] == [b"HTTP/1.1 200 "] * 3
        assert told[0].endswith(LAST + b"\r\n0\r\n\r\n")
        assert told[1].endswith(LAST + b"\r\n0\r\n\r\n")
        assert told[2].endswith(ANSWER)
        assert await outcomes(sidecar) == {Outcome.OK: 3}


async def test_who_has_sent_nothing_even_so_is_overdue(server: Server, config: str) -> None:
    async with SidecarProcess("--upstream", server.url, "--config", config) as sidecar:
        client = begin(sidecar, stream=True)
        call = await asyncio.to_thread(server.accept)
        sidecar.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(STANDS_STILL_S)
        sidecar.process.send_signal(signal.SIGCONT)
        async with asyncio.timeout(5.0):  # less than total_s
            assert (await asyncio.to_thread(rest, client)).startswith(b"HTTP/1.1 504 ")
        call.close()
        assert await outcomes(sidecar) == {Outcome.TIMEOUT: 1}
