"""A server of WebSockets, as applications write them."""

from types import TracebackType
from typing import Self

from aiohttp import WSMsgType, web


class WebSockets:
    """Answers each text in capitals and all bytes backwards."""

    def __init__(self) -> None:
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.add_routes([web.get("/{path:.*}", _talk)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._runner.cleanup()


async def _talk(request: web.Request) -> web.WebSocketResponse:
    talking = web.WebSocketResponse(protocols=("realtime",), compress=True)
    await talking.prepare(request)
    async for message in talking:
        if message.type == WSMsgType.TEXT:
            await talking.send_str(message.data.upper())
        elif message.type == WSMsgType.BINARY:
            await talking.send_bytes(message.data[::-1])
    return talking
