"""A forward proxy on loopback, as companies put one before the internet."""

import asyncio
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager


class ForwardProxy:
    """Tunnels by CONNECT, forwards absolute-form requests, and keeps what it was asked for.

    It knows made-up names as a real one knows the internet's: a test's name leads to loopback.
    """

    def __init__(self, names: Mapping[str, int], *, user: str = "", answer: bytes = b"") -> None:
        """``names`` maps ``host:port`` to a port on loopback; ``user`` is ``name:password`` of the
        only one who may; ``answer`` is all that it ever says, then it closes.
        """
        self.asked: list[str] = []
        """Method and target of each request."""
        self.heads: list[bytes] = []
        self.port = 0
        self.gone = asyncio.Event()
        """A connection was closed by its client."""
        self._names = names
        self._credentials = b"Basic " + b64encode(user.encode()) if user else b""
        self._answer = answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client has gone, or the test is over
        finally:
            self.gone.set()
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        method, target, _ = head.partition(b"\r\n")[0].decode().split(" ")
        self.asked.append(f"{method} {target}")
        if self._answer:
            writer.write(self._answer)
        elif self._credentials and b"proxy-authorization: " + self._credentials not in head:
            writer.write(
                b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n"
            )
        elif method == "CONNECT":
            there = await asyncio.open_connection("127.0.0.1", self._names[target])
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await _join((reader, writer), there)
        else:
            # As a relay that reads nothing but the authority: one upstream for each connection.
            host, _, path = target.removeprefix("http://").partition("/")
            known = host if ":" in host else f"{host}:80"
            there = await asyncio.open_connection("127.0.0.1", self._names[known])
            there[1].write(head.replace(target.encode(), b"/" + path.encode(), 1))
            await _join((reader, writer), there)


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _join(here: Ends, there: Ends) -> None:
    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    try:
        await asyncio.gather(pump(here[0], there[1]), pump(there[0], here[1]))
    finally:
        there[1].close()


@asynccontextmanager
async def forwarding(
    names: Mapping[str, int] | None = None,
    *,
    user: str = "",
    answer: bytes = b"",
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[ForwardProxy]:
    proxy = ForwardProxy(names or {}, user=user, answer=answer)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, ssl=tls)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
