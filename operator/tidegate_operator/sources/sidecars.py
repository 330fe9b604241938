"""Demand and usage, pulled from the pods themselves: one GET of ``/stats`` each.

Law: a look is whole or ``None``; what could not be read is never taken for zero. Counters are
cumulative, so a look that fails loses nothing; a sidecar that leaves stays until it hears that its
last look is saved.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import aiohttp

from tidegate_wire.clock import Clock
from tidegate_wire.config import WireError
from tidegate_wire.names import PATH_STATS, QUERY_SAVED
from tidegate_wire.stats import SidecarStats

MAX_STATS_BYTES = 4 * 1024 * 1024
"""200 tenants times some models take a few hundred kilobytes; more is not ours to read."""
MIN_PULL_S = 0.5
"""Real seconds that a look may always take: a connection is not faster where the clock is."""
MAX_CONCURRENT = 200


@dataclass(frozen=True, slots=True)
class Address:
    """Where one pod's sidecar is asked."""

    uid: str
    ip: str
    port: int
    saved: str = ""
    """Its last look that is saved."""


class Sidecars:
    """A shared session towards all sidecars."""

    def __init__(self, clock: Clock, pull_timeout_s: float) -> None:
        self._timeout = aiohttp.ClientTimeout(total=max(MIN_PULL_S, clock.real_s(pull_timeout_s)))
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=MAX_CONCURRENT, keepalive_timeout=90),
            timeout=self._timeout,
            auto_decompress=False,
            trust_env=False,  # a proxy of the operator's environment has no business between pods
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def look(self, pods: Iterable[Address]) -> Mapping[str, SidecarStats | None]:
        """By pod UID; ``None`` where the sidecar could not be read."""
        asked = list(pods)
        answers = await asyncio.gather(*(self._pull(pod) for pod in asked))
        return {pod.uid: answer for pod, answer in zip(asked, answers, strict=True)}

    async def _pull(self, pod: Address) -> SidecarStats | None:
        if self._session is None:
            raise RuntimeError("Sidecars must be entered before it looks")
        host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
        try:
            url = f"http://{host}:{pod.port}{PATH_STATS}"
            async with self._session.get(url, params={QUERY_SAVED: pod.saved}) as answer:
                if answer.status != 200:
                    return None
                raw = bytearray()
                async for chunk in answer.content.iter_any():
                    raw += chunk
                    if len(raw) > MAX_STATS_BYTES:
                        return None
            stats = SidecarStats.from_json(bytes(raw))
        except (aiohttp.ClientError, TimeoutError, OSError, WireError, RecursionError):
            return None
        # An address that another pod has taken over in the meantime answers for that pod.
        return stats if not stats.pod_uid or stats.pod_uid == pod.uid else None
