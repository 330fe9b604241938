"""How an upstream is reached: directly or through a forward proxy, in the clear or by TLS.

Law: what comes out is a connected transport, and from there on nobody can tell the ways apart. A
certificate is always checked, its name too. Loopback is never asked for through a proxy: it is
this pod. No password of a proxy's leaves this file but to that proxy.
"""

import asyncio
import ipaddress
import ssl
from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar, cast
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

from tidegate_sidecar.bounds import EXHAUSTED
from tidegate_sidecar.h1 import BadMessageError, parse_response
from tidegate_sidecar.headreader import HeadReader
from tidegate_wire.base_url import BaseUrl

P = TypeVar("P")
"""A protocol, by its methods."""

_PROXY_PORTS: Final = {"http": 80, "https": 443}


class UnreachableError(Exception):
    """No connection came about; the text says why, and of which host where that helps."""


class OutOfDescriptorsError(UnreachableError):
    """It is not the other side's fault: the system lets us open nothing more."""


class ForwardProxy(NamedTuple):
    """The proxy of an environment, as it stands between us and one upstream."""

    tls: bool
    host: str
    port: int
    authorization: bytes
    """Value of Proxy-Authorization; empty: the proxy asks for none."""
    problem: str = ""
    """Why it can't be spoken to; then the rest says nothing. No reason not to start: an app that
    never calls by that scheme misses nothing."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def proxy_for(target: BaseUrl, proxies: Mapping[str, str]) -> ForwardProxy | None:
    """The proxy to ask for ``target``; ``proxies`` as ``urllib.request.getproxies`` gives them."""
    raw = proxies.get(target.scheme) or proxies.get("all")
    if not raw or _bypasses(target, proxies):
        return None
    url = urlsplit(raw if "://" in raw else f"http://{raw}")
    variable = f"{target.scheme}_proxy" if proxies.get(target.scheme) else "all_proxy"
    try:
        port = url.port
    except ValueError:
        port = 0
    if url.scheme not in _PROXY_PORTS or not url.hostname or port == 0:
        shown = url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()  # without password
        problem = f"{variable.upper()} must be like http://host:port, was: {shown!r}"
        return ForwardProxy(tls=False, host="", port=0, authorization=b"", problem=problem)
    return ForwardProxy(
        tls=url.scheme == "https",
        host=url.hostname,
        port=port or _PROXY_PORTS[url.scheme],
        authorization=_basic(url),
    )


def _basic(url: SplitResult) -> bytes:
    if url.username is None:
        return b""
    pair = f"{unquote(url.username)}:{unquote(url.password or '')}"
    return b"Basic " + b64encode(pair.encode())


def _bypasses(target: BaseUrl, proxies: Mapping[str, str]) -> bool:
    host = target.host
    if host == "localhost" or host.endswith(".localhost"):
        return True
    # The standard library asks for both spellings of a host, and knows suffixes and ports.
    if proxy_bypass_environment(f"{host}:{target.port}", dict(proxies)):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    # Ranges, which clusters put there for their pods and Services, it doesn't know.
    return address.is_loopback or any(
        _within(address, each.strip()) for each in proxies.get("no", "").split(",")
    )


def _within(address: ipaddress.IPv4Address | ipaddress.IPv6Address, network: str) -> bool:
    try:
        return address in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


class Dialer:
    """Opens connections, and keeps what all of them share."""

    def __init__(self, proxies: Mapping[str, str] | None = None, *, ca: str = "") -> None:
        """``proxies`` as ``urllib.request.getproxies`` gives them; ``ca`` is PEM, believed beside
        the system's authorities.
        """
        self._proxies = proxies or {}
        self._ca = ca
        self._trust: asyncio.Task[ssl.SSLContext] | None = None

    def proxy_for(self, target: BaseUrl) -> ForwardProxy | None:
        """As the function of this name."""
        return proxy_for(target, self._proxies)

    def prepare(self, loop: asyncio.AbstractEventLoop) -> "asyncio.Task[ssl.SSLContext]":
        """Begin to read whom to believe, unless begun: the first call by TLS is near.

        In a thread: a system has some 140 authorities, which take 20 to 100 ms of CPU, and every
        stream would wait for that.
        """
        if self._trust is None:
            self._trust = loop.create_task(asyncio.to_thread(_read_authorities, self._ca))
        return self._trust

    async def connect(
        self, make: Callable[[], P], target: BaseUrl, proxy: ForwardProxy | None
    ) -> P:
        """A protocol of ``make``'s, connected. Raises ``UnreachableError``."""
        if proxy is None:
            return await self._open(make, target.host, target.port, tls=target.tls)
        if proxy.problem:
            raise UnreachableError(proxy.problem)
        try:
            if not target.tls:
                return await self._open(make, proxy.host, proxy.port, tls=proxy.tls)
            ask = partial(_Tunnel, _connect_request(target, proxy))
            tunnel = await self._open(ask, proxy.host, proxy.port, tls=proxy.tls)
            transport = await tunnel.opened()
        except OutOfDescriptorsError:
            raise
        except UnreachableError as error:
            raise UnreachableError(f"proxy {proxy}: {error}") from error
        return await self._encrypt(transport, make, target)

    async def _open(self, make: Callable[[], P], host: str, port: int, *, tls: bool) -> P:
        loop = asyncio.get_running_loop()
        # By its methods alone a protocol: compiled, it could not have asyncio's for a base.
        factory = cast("Callable[[], asyncio.BaseProtocol]", make)
        try:
            context = await self._authorities() if tls else None
            name = host if tls else None
            _, made = await loop.create_connection(
                factory, host, port, ssl=context, server_hostname=name
            )
        except (OSError, UnicodeError) as error:  # the latter for what can't be a host name
            if getattr(error, "errno", None) in EXHAUSTED:
                raise OutOfDescriptorsError(_why(error, host)) from error
            raise UnreachableError(_why(error, host)) from error
        return cast(P, made)

    async def _encrypt(
        self, transport: asyncio.Transport, make: Callable[[], P], target: BaseUrl
    ) -> P:
        made: Any = make()
        try:
            context = await self._authorities()
            loop = asyncio.get_running_loop()
            encrypted = await loop.start_tls(transport, made, context, server_hostname=target.host)
        except OSError as error:
            raise UnreachableError(_why(error, target.host)) from error
        if encrypted is None:
            raise UnreachableError("closed the connection at once")
        made.connection_made(encrypted)
        return cast(P, made)

    async def _authorities(self) -> ssl.SSLContext:
        # Shielded: a call that is given up must not spoil it for the others.
        return await asyncio.shield(self.prepare(asyncio.get_running_loop()))


def _read_authorities(ca: str) -> ssl.SSLContext:
    """The system's, or what SSL_CERT_FILE and SSL_CERT_DIR say instead; and those given."""
    context = ssl.create_default_context()
    if ca:
        context.load_verify_locations(cadata=ca)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _why(error: OSError | UnicodeError, host: str) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message.rstrip(".")
        return f"the certificate of {host} is not accepted: {reason}"
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).lower().replace("_", " ")
        return f"no TLS with {host}: {reason}"
    return str(getattr(error, "strerror", None) or error)


def _connect_request(target: BaseUrl, proxy: ForwardProxy) -> bytes:
    host = f"[{target.host}]" if ":" in target.host else target.host
    authority = f"{host}:{target.port}".encode()
    lines = [b"CONNECT %b HTTP/1.1" % authority, b"host: " + authority]
    if proxy.authorization:
        lines.append(b"proxy-authorization: " + proxy.authorization)
    return b"\r\n".join([*lines, b"", b""])


class _Tunnel(asyncio.Protocol):
    """Asks a forward proxy for a way through (RFC 9110, 9.3.6)."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._reader = HeadReader()
        self._transport: asyncio.Transport | None = None
        self._open: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def opened(self) -> asyncio.Transport:
        """The way through. Raises ``UnreachableError`` where the proxy gives none."""
        transport = self._transport
        assert transport is not None
        try:
            await self._open
        except BaseException:
            transport.abort()
            raise
        return transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        try:
            block = self._reader.feed(data)
            if block is None:
                return
            head = parse_response(block)
        except BadMessageError as fault:
            self._fail(f"answered what is no HTTP: {fault.reason}")
            return
        if head.status // 100 != 2:
            self._fail("answered " + head.line.partition(b" ")[2].decode("latin-1"))
        elif not self._open.done():
            self._open.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._fail("closed the connection without an answer")

    def _fail(self, why: str) -> None:
        if not self._open.done():
            self._open.set_exception(UnreachableError(why))
