"""Clients that read streams and answers through a Service while its pods come and go.

Law: each request is tried once, and what its client met is kept word for word. A stream has ended
well only with a ``finish_reason`` and ``[DONE]``: a connection that closes without them is a cut
stream, which no client library would raise for.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

PATH = "/v1/chat/completions"
GIVE_UP_S = 180.0
"""For one request; far above what any takes."""


@dataclass(slots=True)
class Ending:
    """What one client met."""

    began_at: float
    """``time.monotonic()``, as is the next."""
    ended_at: float = 0.0
    stream: bool = True
    status: int = 0
    chunks: int = 0
    finish_reason: str = ""
    done: bool = False
    """Whether ``[DONE]`` was read."""
    tokens: int = 0
    """``usage.total_tokens``, where the answer had it."""
    error: str = ""

    @property
    def well(self) -> bool:
        whole = bool(self.finish_reason) and (self.done or not self.stream)
        return self.status == 200 and whole and not self.error

    def __str__(self) -> str:
        kind = "stream" if self.stream else "answer"
        end = "[DONE]" if self.done else "no [DONE]"
        return (
            f"{kind} of {self.ended_at - self.began_at:.1f} s: HTTP {self.status}, "
            f"{self.chunks} chunks, finish_reason {self.finish_reason!r}, {end}, {self.error}"
        )


@dataclass(slots=True)
class Audience:
    """Keeps ``streams`` streams and ``askers`` plain requests under way until told to stop."""

    base_url: str
    streams: int = 50
    askers: int = 2
    tokens: tuple[int, int] = (80, 160)
    """Fewest and most of a stream; they differ, so that ends and beginnings are spread."""
    pause_s: float = 0.2
    """Between two plain requests of one asker, on a connection that it keeps."""
    tenant: str = ""
    model: str = "llama-70b"
    endings: list[Ending] = field(default_factory=list)
    reading: int = 0
    """Streams that have had their first chunk and not ended."""
    _stopping: bool = False

    def stop(self) -> None:
        """Begin nothing more; what runs goes on to its end."""
        self._stopping = True

    @property
    def failures(self) -> list[str]:
        return [str(ending) for ending in self.endings if not ending.well]

    def ended_well_since(self, moment: float, *, stream: bool) -> int:
        """Requests that began after ``moment`` and ended well."""
        return sum(e.well and e.stream == stream and e.began_at > moment for e in self.endings)

    async def listen(self) -> None:
        """Everybody, until told to stop and each has read to the end."""
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=GIVE_UP_S)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            asyncio.TaskGroup() as group,
        ):
            for seat in range(self.streams):
                group.create_task(self._listen_on(session, seat))
            for _ in range(self.askers):
                group.create_task(self._keep_asking())

    async def _listen_on(self, session: aiohttp.ClientSession, seat: int) -> None:
        fewest, most = self.tokens
        turn = seat
        while not self._stopping:
            tokens = fewest + (most - fewest) * (turn % 10) // 9
            await self._request(session, stream=True, max_tokens=tokens)
            turn += 3

    async def _keep_asking(self) -> None:
        """By a session of one's own, whose one connection is kept as long as the server lets."""
        connector = aiohttp.TCPConnector(limit=1)
        timeout = aiohttp.ClientTimeout(total=GIVE_UP_S)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            while not self._stopping:
                await self._request(session, stream=False, max_tokens=1)
                await asyncio.sleep(self.pause_s)

    async def _request(
        self, session: aiohttp.ClientSession, *, stream: bool, max_tokens: int
    ) -> None:
        ending = Ending(began_at=time.monotonic(), stream=stream)
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": "How high is the tide at noon?"}],
            "max_tokens": max_tokens,
            "stream": stream,
        }
        if stream:
            body["stream_options"] = {"include_usage": True}
        headers = {"x-tenant-id": self.tenant} if self.tenant else {}
        try:
            async with session.post(self.base_url + PATH, json=body, headers=headers) as answer:
                ending.status = answer.status
                await self._read(answer, ending)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            ending.error = f"{type(error).__name__}: {error}"
        finally:
            if stream and ending.chunks:
                self.reading -= 1
            ending.ended_at = time.monotonic()
            self.endings.append(ending)
        if not ending.well:
            await asyncio.sleep(0.5)  # a server that is away is not asked in a tight loop

    async def _read(self, answer: aiohttp.ClientResponse, ending: Ending) -> None:
        if answer.status != 200 or not ending.stream:
            text = await answer.text()
            ending.error = "" if answer.status == 200 else text[:200]
            if answer.status == 200:
                _note(json.loads(text), ending)
            return
        async for raw in answer.content:
            line = raw.decode().strip()
            if not line.startswith("data: "):
                continue
            if not ending.chunks:
                self.reading += 1
            ending.chunks += 1
            if line == "data: [DONE]":
                ending.done = True
            else:
                _note(json.loads(line.removeprefix("data: ")), ending)


def _note(body: dict[str, Any], ending: Ending) -> None:
    for choice in body.get("choices") or ():
        ending.finish_reason = choice.get("finish_reason") or ending.finish_reason
    ending.tokens = (body.get("usage") or {}).get("total_tokens", ending.tokens)


@asynccontextmanager
async def listening(audience: Audience, warm_s: float = 60.0) -> AsyncIterator[Audience]:
    """The audience at its seats, all streams flowing; at the end each is heard out."""
    task = asyncio.create_task(audience.listen())
    try:
        deadline = time.monotonic() + warm_s
        while audience.reading < audience.streams:
            assert time.monotonic() < deadline, (
                f"{audience.reading} of {audience.streams} streams flow after {warm_s:.0f} s; "
                f"{audience.failures[:3]}"
            )
            await asyncio.sleep(0.1)
        yield audience
    finally:
        audience.stop()
        await task
