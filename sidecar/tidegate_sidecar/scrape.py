"""Asks the model server of the pod for its own metrics, now and then.

Law: beside the data path and never in it: one request at a time, bounded in size and time, read in
pieces so that no stream waits. Who has nothing to tell is asked ever less often.
"""

import asyncio
from collections.abc import Callable
from typing import NoReturn

import aiohttp

from tidegate_sidecar.engine import EnginePage
from tidegate_wire.base_url import BaseUrl
from tidegate_wire.clock import Clock
from tidegate_wire.stats import EngineLoad

INTERVAL_REAL_S = 1.0
"""Least real time between two: on a clock that is sped up, requests are not cheaper."""
BACKOFF_MAX_S = 600.0
TIMEOUT_REAL_S = 2.0
MAX_PAGE_BYTES = 1024 * 1024
"""vLLM's page is some 60 KB, with a model or two."""
PATH = "/metrics"
"""Of vLLM, SGLang, TGI and llama.cpp alike."""


class EngineScraper:
    """Of one model server."""

    def __init__(
        self,
        upstream: str,
        clock: Clock,
        take: Callable[[EngineLoad | None], None],
        interval_s: float,
    ) -> None:
        """``take`` gets what each look told; ``None``: nothing is known now."""
        base = BaseUrl.read(upstream)
        host = f"[{base.host}]" if ":" in base.host else base.host
        self._url = f"{base.scheme}://{host}:{base.port}{PATH}"
        self._clock = clock
        self._take = take
        self._every_s = max(interval_s, INTERVAL_REAL_S * clock.speed)

    async def run(self) -> NoReturn:
        """Look until cancelled; the first time after one interval, since a pod's start has other
        worries."""
        wait_s = self._every_s
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_REAL_S)
        # A connection kept would count among those that the server has for clients.
        connector = aiohttp.TCPConnector(force_close=True, limit=1)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False
        ) as session:
            while True:
                await self._clock.sleep(wait_s)
                load = await self._look(session)
                self._take(load)
                longest_s = max(BACKOFF_MAX_S, self._every_s)
                wait_s = self._every_s if load else min(longest_s, wait_s * 2)

    async def _look(self, session: aiohttp.ClientSession) -> EngineLoad | None:
        page = EnginePage()
        size = 0
        # Text has the engines' own names; of a compressed page nothing would be understood.
        headers = {"Accept": "text/plain;version=0.0.4", "Accept-Encoding": "identity"}
        try:
            async with session.get(self._url, headers=headers, allow_redirects=False) as answer:
                if answer.status != 200:
                    return None
                async for piece in answer.content.iter_chunked(16 * 1024):
                    size += len(piece)
                    if size > MAX_PAGE_BYTES:
                        return None
                    page.feed(piece)
                    await asyncio.sleep(0)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None
        return page.load()
