"""A provider of models on loopback: speaks OpenAI's and Anthropic's HTTP, and never by chance.

Law: the model's name is the script (``error-429`` fails so, ``cut-fin`` is cut): the same request
gets the same bytes, whoever passes it on. What was seen is kept by scenario, which each client
names in ``x-scenario``.
"""

import asyncio
import json
import socket
import struct
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field
from itertools import zip_longest
from typing import Any, Self

from aiohttp import web

import provider_anthropic
import provider_openai
from provider_reply import End, Reply

SCENARIO = "x-scenario"
GONE_WITHIN_S = 20.0
UNTIL_LEFT = "/models/until-left"
"""Asked for as a model, it answers when the scenario's held stream has lost its client."""
PIECE_BYTES = 7
"""Of a stream cut at awkward places."""

_OWN_TO_A_HOP = {
    *("connection", "keep-alive", "te", "transfer-encoding", "content-length", "expect", "host"),
    *("via", "accept-encoding"),
}
"""What a gateway may or must say for itself (RFC 9110, 7.6). A body that is measured is asked for
uncompressed."""


@dataclass
class Request:
    """One request as it came, without what belongs to a hop."""

    method: str
    target: str
    headers: dict[str, str]
    body: Any
    """Read as JSON if it is; else its text."""
    asked_usage: bool = False
    """``stream_options.include_usage``, which is taken out of ``body``: a sidecar may ask too."""
    refused: bool = False
    """Answered with 400."""
    left: bool = False
    """Its client closed the connection before the answer was over."""


@dataclass
class Provider:
    """Serves ``provider_openai`` and ``provider_anthropic``; remembers."""

    url: str = ""
    seen: dict[str, list[Request]] = field(default_factory=lambda: defaultdict(list))
    told: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """By model, the sums of the tokens that its whole answers told as usage."""
    serving: int = 0

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def requests(self, scenario: str) -> list[dict[str, Any]]:
        """What came for a scenario, but for whether usage was asked for, and without what is not
        the client's: refused for its asking, a sidecar sends the request again as it was."""
        seen = self.seen[scenario]
        return [
            {name: value for name, value in asdict(request).items() if name != "asked_usage"}
            for request, after in zip_longest(seen, seen[1:])
            if not (request.asked_usage and request.refused and after and not after.asked_usage)
        ]

    async def quiet(self) -> None:
        """Until no request is being served."""
        async with asyncio.timeout(GONE_WITHIN_S):
            while self.serving:
                await asyncio.sleep(0.005)

    async def _serve(self, http: web.Request) -> web.StreamResponse:
        self.serving += 1
        try:
            return await self._answer(http)
        finally:
            self.serving -= 1

    async def _answer(self, http: web.Request) -> web.StreamResponse:
        body = _read(await http.read())
        request = _noted(http, body)
        seen = self.seen[http.headers.get(SCENARIO, "")]
        seen.append(request)
        if http.path.endswith(UNTIL_LEFT):
            await self._until_left(seen[0])
        dialect = provider_anthropic if "anthropic-version" in http.headers else provider_openai
        reply = dialect.answer(http.method, http.path, body, len(seen))
        request.refused = reply.status == 400
        response = web.StreamResponse(status=reply.status, headers=reply.headers)
        if reply.end is End.HANG_UP:
            _abort(http)
            return response
        if reply.events is None:
            response.content_length = len(reply.body)
        try:
            await self._send(http, response, reply, request)
        except ConnectionError:
            request.left = True
        if reply.told and not request.left and reply.end is End.WHOLE:
            self.told[reply.model].update(reply.told)
        return response

    async def _until_left(self, held: Request) -> None:
        async with asyncio.timeout(GONE_WITHIN_S):
            while not held.left:
                await asyncio.sleep(0.005)

    async def _send(
        self, http: web.Request, response: web.StreamResponse, reply: Reply, request: Request
    ) -> None:
        if reply.end is End.STALL_HEAD:
            await _gone(http, request)
            return
        await response.prepare(http)
        if reply.events is None and http.method != "HEAD":
            await response.write(reply.body)
        for event in _pieces(reply):
            await response.write(event)
            await asyncio.sleep(0)
        if reply.end is End.HOLD:
            await _gone(http, request)
        elif reply.end is End.FIN:
            assert http.transport is not None
            http.transport.close()
        elif reply.end is End.RESET:
            await asyncio.sleep(0.05)  # a reset takes back what its receiver has not read
            _abort(http)
        else:
            await response.write_eof()


def _read(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode("utf-8", "replace")


def _noted(http: web.Request, body: Any) -> Request:
    headers = {k.lower(): v for k, v in http.headers.items() if k.lower() not in _OWN_TO_A_HOP}
    _, by_chance, boundary = headers.get("content-type", "").partition("boundary=")
    if by_chance:
        headers["content-type"] = headers["content-type"].replace(boundary, "")
        body = body.replace(boundary, "")
    request = Request(http.method, http.path_qs, headers, body)
    if isinstance(body, dict) and isinstance(body.get("stream_options"), dict):
        options = dict(body["stream_options"])
        request.asked_usage = bool(options.pop("include_usage", False))
        request.body = {**body, "stream_options": options}
        if not options:
            del request.body["stream_options"]
    return request


def _pieces(reply: Reply) -> list[bytes]:
    if not reply.seams:
        return list(reply.events or ())
    whole = b"".join(reply.events or ())
    return [whole[i : i + PIECE_BYTES] for i in range(0, len(whole), PIECE_BYTES)]


def _abort(http: web.Request) -> None:
    """End the connection by a reset: closed so, it does not linger."""
    assert http.transport is not None
    sock = http.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    http.transport.abort()


async def _gone(http: web.Request, request: Request) -> None:
    """Until the client has left."""
    async with asyncio.timeout(GONE_WITHIN_S):
        while http.transport is not None and not http.transport.is_closing():
            await asyncio.sleep(0.005)
    request.left = True
