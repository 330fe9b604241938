"""Where configs come from: the hub, by long poll, or a file, by looking at it.

Law: traffic never waits for this module, and no answer of the hub's, however broken, ends it. A
spell without the hub is one line in the log for each kind of trouble, not one for each attempt.
"""

import asyncio
import random
import socket
import ssl
from pathlib import Path
from typing import Any, NoReturn, Protocol

import aiohttp

from tidegate_sidecar.inforce import ConfigInForce
from tidegate_sidecar.logs import Log
from tidegate_sidecar.settings import InvalidSettingError, SidecarSettings
from tidegate_wire.clock import Clock
from tidegate_wire.names import PATH_CONFIG, PATH_REPORT, ConfigState

HOLD_S = 55
"""How long the hub is asked to hold a poll: under the 60 s after which proxies commonly cut a
silent connection.
"""
PACE_S = 1.0
"""Least time from one poll to the next, against a hub that answers at once each time."""
BACKOFF_MAX_S = 30.0
GRACE_REAL_S = 10.0
"""Real seconds past HOLD_S until a poll is given up, and for each shorter call: safety of I/O, not
product time.
"""
SILENT_REAL_S = 5
"""Without a packet for so long the hub's kernel is asked whether it is still there, three times.
A hub whose pod has gone with its network answers nothing, and the poll would be held in vain."""
SILENT_ASKS = 3
MAX_CONFIG_BYTES = 4 * 1024 * 1024
"""A ConfigMap holds 1 MiB at most; more is not a config."""
FILE_LOOK_S = 1.0


class ConfigAgent(Protocol):
    """Brings configs for as long as it runs."""

    tried: asyncio.Event
    """Set once the first attempt to get a config has ended, well or badly."""

    async def run(self) -> NoReturn: ...


class HubAwayError(Exception):
    """The hub cannot be asked now."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        """Few values: ``unreachable``, ``timeout``, ``refused``, ``error``, ``token``,
        ``internal``.
        """


class HubAgent:
    """Long-polls the hub, and tells it what became of what it gave."""

    def __init__(
        self,
        *,
        settings: SidecarSettings,
        clock: Clock,
        in_force: ConfigInForce,
        log: Log,
        jitter: random.Random | None = None,
    ) -> None:
        """Raises ``InvalidSettingError`` where the hub's CA cannot be read."""
        self._settings = settings
        self._clock = clock
        self._in_force = in_force
        self._log = log
        self._jitter = jitter or random.Random()
        self._tls = _trust(settings)
        self._told: tuple[str, ConfigState, str] | None = None
        self._away: set[str] = set()
        self._failures = 0
        self.tried = asyncio.Event()

    async def run(self) -> NoReturn:
        connector = aiohttp.TCPConnector(ssl=self._tls, limit=2, socket_factory=open_socket)
        async with aiohttp.ClientSession(
            self._settings.hub_url, connector=connector, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            while True:
                await self._clock.sleep(await self._round(session))

    async def _round(self, session: aiohttp.ClientSession) -> float:
        """One poll and, if there is news, one report; returns how long to rest."""
        began = self._clock.monotonic()
        try:
            await self._poll(session)
            await self._report(session)
        except HubAwayError as away:
            return self._went_away(away.kind, str(away))
        except TimeoutError:
            return self._went_away("timeout", "no answer in time")
        except (aiohttp.ClientError, OSError) as error:
            return self._went_away("unreachable", str(error) or type(error).__name__)
        except Exception as error:  # noqa: BLE001 -- a sidecar without its agent would obey old orders for ever
            return self._went_away("internal", type(error).__name__)
        finally:
            self.tried.set()
        if self._away:
            self._away.clear()
            self._log("hub_back", hub=self._settings.hub_url)
        self._failures = 0
        return max(0.0, began + PACE_S - self._clock.monotonic())

    async def _poll(self, session: aiohttp.ClientSession) -> None:
        headers = self._headers()
        # A hub that was away may have forgotten us: first contact is not held, so that its return
        # shows at once.
        hold_s = HOLD_S if self._told and not self._away else 0
        headers["Prefer"] = f"wait={hold_s}"
        if self._in_force.offered:
            headers["If-None-Match"] = f'"{self._in_force.offered}"'
        async with session.get(
            PATH_CONFIG,
            params={"workload": self._settings.workload},
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=self._clock.real_s(hold_s) + GRACE_REAL_S),
            allow_redirects=False,
        ) as answer:
            if answer.status == 304:
                return
            _expect(answer, 200)
            etag = answer.headers.get("ETag", "").removeprefix("W/").strip('"')
            raw = await _read_capped(answer)
            if raw is None:
                error = f"config must be at most {MAX_CONFIG_BYTES} bytes"
                self._in_force.reject(etag, error, source="hub")
                return
            await self._in_force.offer(raw, etag, source="hub")

    async def _report(self, session: aiohttp.ClientSession) -> None:
        news = (self._in_force.offered, self._in_force.state, self._in_force.error)
        if news == self._told:
            return
        async with session.post(
            PATH_REPORT,
            json={"hash": news[0], "state": news[1], "error": news[2]},
            headers=self._headers(),
            timeout=aiohttp.ClientTimeout(total=GRACE_REAL_S),
            allow_redirects=False,
        ) as answer:
            _expect(answer, 204)
        self._told = news

    def _headers(self) -> dict[str, str]:
        file = self._settings.token_file
        try:
            token = file.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "not text"
            raise HubAwayError("token", f"{file} cannot be read: {why}") from error
        return {"Authorization": f"Bearer {token}"}

    def _went_away(self, kind: str, detail: str) -> float:
        if kind not in self._away:
            self._log("hub_away", hub=self._settings.hub_url, kind=kind, detail=detail)
        self._away.add(kind)
        self._told = None
        self._failures += 1
        ceiling_s = min(BACKOFF_MAX_S, 2.0 ** min(self._failures - 1, 10))
        # Half of it is jitter, so that a fleet does not come back in step (and none waits for
        # nothing).
        return ceiling_s * (0.5 + self._jitter.random() / 2)


class FileAgent:
    """Watches a file, which may be replaced as a whole or written in place."""

    def __init__(self, *, file: Path, clock: Clock, in_force: ConfigInForce) -> None:
        self._file = file
        self._clock = clock
        self._in_force = in_force
        self._seen: tuple[int, int, int] | None = None
        self.tried = asyncio.Event()

    async def run(self) -> NoReturn:
        while True:
            await self.look()
            self.tried.set()
            await self._clock.sleep(FILE_LOOK_S)

    async def look(self) -> None:
        """Offer the file's content if the file is another than at the last look."""
        try:
            # Stat before read: a write between the two shows as a change at the next look.
            stat = self._file.stat()
            seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if seen == self._seen:
                return
            raw = self._file.read_bytes()
        except OSError as error:
            self._seen = None
            self._in_force.reject(
                "", f"{self._file} cannot be read: {error.strerror}", source="file"
            )
            return
        self._seen = seen
        await self._in_force.offer(raw, source="file")


def open_socket(address: tuple[Any, ...]) -> socket.socket:
    """A TCP socket that notices within 20 s that its peer is gone (tcp(7))."""
    family, kind, protocol = address[:3]
    opened = socket.socket(family, kind, protocol)
    opened.setblocking(False)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", SILENT_REAL_S),
        ("TCP_KEEPINTVL", SILENT_REAL_S),
        ("TCP_KEEPCNT", SILENT_ASKS),
        # What was sent but not acknowledged has its own, much longer patience.
        ("TCP_USER_TIMEOUT", SILENT_REAL_S * (SILENT_ASKS + 1) * 1000),
    ):
        if hasattr(socket, option):  # Linux has them all; a laptop's system may not
            opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    return opened


def _trust(settings: SidecarSettings) -> ssl.SSLContext | bool:
    if not settings.hub_ca:
        return True
    try:
        return ssl.create_default_context(cadata=settings.hub_ca)
    except (ssl.SSLError, ValueError) as error:
        raise InvalidSettingError(
            f"TIDEGATE_HUB_CA must hold certificates as PEM ({error}), "
            f"was: {settings.hub_ca[:40]!r}"
        ) from error


def _expect(answer: aiohttp.ClientResponse, status: int) -> None:
    if answer.status == status:
        return
    kind = "refused" if answer.status in (401, 403) else "error"
    raise HubAwayError(kind, f"HTTP {answer.status}")


async def _read_capped(answer: aiohttp.ClientResponse) -> bytes | None:
    """The body, or None if it is longer than a config can be."""
    body = bytearray()
    async for piece in answer.content.iter_chunked(65536):
        body += piece
        if len(body) > MAX_CONFIG_BYTES:
            return None
    return bytes(body)
