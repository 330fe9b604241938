"""The data path on loopback before a scripted model server, and a client that looks at bytes."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import h11

from tidegate_sidecar.dial import Dialer
from tidegate_sidecar.exposition import exposition
from tidegate_sidecar.meter import Meter
from tidegate_sidecar.proxy import Proxy
from tidegate_sidecar.room import Room
from tidegate_sidecar.ways import Way
from tidegate_wire.clock import Clock
from tidegate_wire.config import SidecarConfig
from tidegate_wire.names import ConfigState
from tidegate_wire.stats import Series, SidecarStats
from upstream import Script, Upstream, serving


@dataclass
class Answer:
    """What a client got."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool
    """It ended where its framing said."""


@dataclass
class RawClient:
    """Sends bytes; reads answers with a parser that is not ours."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    _rest: bytes = field(default=b"", repr=False)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, method: str = "POST") -> Answer:
        connection = h11.Connection(h11.CLIENT)
        connection.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
        connection.send(h11.EndOfMessage())
        if self._rest:  # no bytes would be the end of the connection
            connection.receive_data(self._rest)
        status, body = 0, b""
        headers: dict[str, str] = {}
        while True:
            try:
                event = connection.next_event()
            except h11.RemoteProtocolError:
                return Answer(status, headers, body, whole=False)
            if event is h11.NEED_DATA:
                try:
                    connection.receive_data(await self.reader.read(65536))
                except ConnectionError:
                    return Answer(status, headers, body, whole=False)
            elif isinstance(event, h11.Response):
                status = event.status_code
                headers = {k.decode(): v.decode() for k, v in event.headers}
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self._rest = connection.trailing_data[0]
                return Answer(status, headers, body, whole=True)
            elif isinstance(event, h11.ConnectionClosed):
                return Answer(status, headers, body, whole=False)

    async def closed(self) -> bool:
        """Waits until the proxy has closed the connection; whether nothing came before that."""
        try:
            return not self._rest and await self.reader.read(1) == b""
        except ConnectionError:
            return True

    def leave(self) -> None:
        self.writer.transport.abort()


@dataclass
class Stand:
    """A running proxy, what stands behind it, and what it counted."""

    proxy: Proxy
    meter: Meter
    upstream: Upstream
    port: int
    outbound: int
    """Port of the way out; 0: there is none."""

    async def connect(self, port: int = 0) -> RawClient:
        return RawClient(*await asyncio.open_connection("127.0.0.1", port or self.port))

    async def ask(self, data: bytes, method: str = "POST", *, port: int = 0) -> Answer:
        client = await self.connect(port)
        await client.send(data)
        try:
            return await client.answer(method)
        finally:
            client.leave()

    @property
    def stats(self) -> SidecarStats:
        return self.meter.stats(
            pod_uid="u", boot="b", config_hash="", config_state=ConfigState.NONE, config_error=""
        )

    @property
    def told(self) -> list[str]:
        """The lines of ``/metrics``."""
        return "".join(exposition(self.meter, openmetrics=False)).splitlines()

    @property
    def series(self) -> Series:
        (series,) = self.stats.series
        return series

    async def settled(self) -> SidecarStats:
        """The stats once nothing is in flight."""
        async with asyncio.timeout(10):
            while self.proxy.in_flight:
                await asyncio.sleep(0.002)
        return self.stats


@asynccontextmanager
async def proxied(
    script: Script,
    config: SidecarConfig | None = None,
    *,
    speed: float = 1.0,
    dialer: Dialer | None = None,
    reads_bodies: bool = True,
    outbound: Way | None = None,
    url: str = "",
    room: Room | None = None,
) -> AsyncIterator[Stand]:
    """``url``: of another model server than the scripted one."""
    loop = asyncio.get_running_loop()
    meter = Meter()
    async with serving(script, reads_bodies=reads_bodies) as upstream:
        proxy = Proxy(
            local_upstream=url or upstream.url,
            clock=Clock(speed),
            meter=meter,
            loop=loop,
            dialer=dialer,
            outbound=outbound,
            room=room,
        )
        if config is not None:
            proxy.configure(config)
        clients = [proxy.client] if outbound is None else [proxy.client, proxy.outbound_client]
        servers = [await loop.create_server(client, "127.0.0.1", 0) for client in clients]
        ports = [server.sockets[0].getsockname()[1] for server in servers]
        try:
            yield Stand(proxy, meter, upstream, ports[0], ports[1] if outbound else 0)
        finally:
            for server in servers:
                server.close()
            await proxy.close()


def post(body: bytes, target: str = "/v1/chat/completions", more: str = "") -> bytes:
    head = f"POST {target} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{more}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def refused_with(answer: Answer) -> tuple[int, str, str]:
    """Status, type and code of an error in OpenAI's shape."""
    error = json.loads(answer.body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return answer.status, error["type"], error["code"]
