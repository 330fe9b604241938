"""How a sidecar is set up: read once at start-up, then passed as a value.

Law: what a request is allowed to do comes only from the config; this is where the process stands
and whom it asks. Every fault names the flag or variable that a person can mend, the rule, and the
value.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from tidegate_wire.base_url import BaseUrl
from tidegate_wire.names import OFF, PORT_ADMIN, PORT_INBOUND, PORT_OUTBOUND

PREFIX = "TIDEGATE_"
FLAGS = {
    "listen": "--listen",
    "upstream": "--upstream",
    "outbound_listen": "--outbound",
    "openai_upstream": "--openai-upstream",
    "anthropic_upstream": "--anthropic-upstream",
    "admin": "--admin",
    "config_file": "--config",
}
"""Settings that the command line can override, and how they are spelled there."""


class InvalidSettingError(ValueError):
    """A flag or an environment variable cannot be used as given."""


class Address(NamedTuple):
    """Where to listen."""

    host: str
    port: int
    """0 lets the operating system choose; the ``started`` line then tells which."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


LISTEN = Address("127.0.0.1", PORT_INBOUND)
ADMIN = Address("127.0.0.1", PORT_ADMIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarSettings:
    """One field per environment variable: ``TIDEGATE_`` plus the name in capitals."""

    listen: Address | None = LISTEN
    """For clients of the model server in this pod; None (``off``): there is none."""
    upstream: str = "http://127.0.0.1:8000"
    """The model server in this pod, as a base URL."""
    outbound_listen: Address | None = None
    """For an application in this pod that calls models elsewhere; None (``off``): it doesn't."""
    openai_upstream: str = "https://api.openai.com"
    """Base URL for what comes from there, unless the policy sends its model elsewhere."""
    anthropic_upstream: str = "https://api.anthropic.com"
    """The same for what speaks Anthropic's API."""
    upstream_ca: str = ""
    """PEM; authorities whose word on an upstream's certificate is taken beside the system's."""
    admin: Address = ADMIN
    hub_url: str = ""
    """Where the config comes from; empty: from ``config_file``, or from nowhere (everything
    passes).
    """
    hub_ca: str = ""
    """PEM; the only authority whose word the hub's certificate is taken on. Empty: the
    system's.
    """
    token_file: Path = Path("/var/run/secrets/tidegate/token")
    """Projected ServiceAccount token; the kubelet rewrites it, so it is read anew for each
    call.
    """
    workload: str = ""
    """``Kind/name`` of what owns this pod, such as ``Deployment/llama``."""
    state_dir: Path | None = None
    """Where the last good config is kept; None: nowhere."""
    pod_uid: str = ""
    config_file: Path | None = None
    """Config as a file; it goes before the hub."""
    linger_s: float = 30.0
    """Longest wait, once the last request has ended, for a reader to have the final counters."""
    drain_accept_s: float = 5.0
    """How long a leaving sidecar still accepts: the time that Services need to hear of it."""
    engine_metrics_s: float = 15.0
    """Time between two looks at what the model server tells of itself; 0: it is never asked."""
    max_buffered_bytes: int = 0
    """Most that clients' connections may hold in memory together; past it new requests are
    answered 503. 0: three quarters of what the container's memory limit leaves beside the process
    itself, or 168 MiB where there is no limit."""
    max_connections: int = 0
    """Most clients' connections at once; more wait. 0: as many as memory and file descriptors
    allow, which is also the most that a number here can ask for."""

    @classmethod
    def read(cls, env: Mapping[str, str], flags: Mapping[str, str | None] | None = None) -> Self:
        """Settings from the environment, with flags (by field name; None: not given) going
        first.
        """
        values: dict[str, Any] = {}
        for field, reader in _READERS.items():
            source = PREFIX + field.upper()
            raw = env.get(source)
            if flags is not None and flags.get(field) is not None:
                source, raw = FLAGS[field], flags[field]
            # An empty variable is what a pod template leaves when it has nothing to say.
            if raw:
                values[field] = reader(source, raw)
        settings = cls(**values)
        settings._check_hub()
        if settings.listen is None and settings.outbound_listen is None:
            raise InvalidSettingError(
                f"TIDEGATE_OUTBOUND_LISTEN must be HOST:PORT, such as 127.0.0.1:{PORT_OUTBOUND}, "
                f"while TIDEGATE_LISTEN is {OFF}, was: {OFF}"
            )
        return settings

    def _check_hub(self) -> None:
        kind, _, name = self.workload.partition("/")
        if self.hub_url and not (kind and name):
            raise InvalidSettingError(
                "TIDEGATE_WORKLOAD must be KIND/NAME while TIDEGATE_HUB_URL is set, "
                f"was: {self.workload!r}"
            )


def _address(source: str, raw: str) -> Address:
    host, _, port = raw.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise InvalidSettingError(
            f"{source} must be HOST:PORT, such as 127.0.0.1:14100, was: {raw!r}"
        )
    return Address(host, int(port))


def _address_or_off(source: str, raw: str) -> Address | None:
    return None if raw == OFF else _address(source, raw)


def _upstream_url(source: str, raw: str) -> str:
    try:
        return str(BaseUrl.read(raw))
    except ValueError as error:
        raise InvalidSettingError(f"{source} {error}, was: {raw!r}") from error


def _hub_url(source: str, raw: str) -> str:
    try:
        url = BaseUrl.read(raw)
        bad = bool(url.path)
    except ValueError:
        bad = True
    if bad:
        raise InvalidSettingError(
            f"{source} must be https://HOST:PORT or http://HOST:PORT and nothing more, "
            f"was: {raw!r}"
        )
    return str(url)


def _pem(source: str, raw: str) -> str:
    if "-----BEGIN CERTIFICATE-----" not in raw:
        raise InvalidSettingError(f"{source} must hold certificates as PEM, was: {raw[:40]!r}")
    return raw


def _seconds(source: str, raw: str) -> float:
    try:
        number = float(raw)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise InvalidSettingError(f"{source} must be a number of seconds, 0 or more, was: {raw!r}")
    return number


def _count(source: str, raw: str) -> int:
    if not (raw.isascii() and raw.isdigit()):
        raise InvalidSettingError(f"{source} must be a whole number, 0 or more, was: {raw!r}")
    return int(raw)


def _readable_file(source: str, raw: str) -> Path:
    path = Path(raw)
    try:
        path.open("rb").close()
    except OSError as error:
        raise InvalidSettingError(
            f"{source} must be a file that can be read ({error.strerror}), was: {raw!r}"
        ) from error
    return path


def _text(source: str, raw: str) -> str:
    return raw


def _path(source: str, raw: str) -> Path:
    return Path(raw)


_READERS: Mapping[str, Callable[[str, str], Any]] = {
    "listen": _address_or_off,
    "outbound_listen": _address_or_off,
    "openai_upstream": _upstream_url,
    "anthropic_upstream": _upstream_url,
    "upstream": _upstream_url,
    "upstream_ca": _pem,
    "admin": _address,
    "hub_url": _hub_url,
    "hub_ca": _pem,
    "token_file": _path,
    "workload": _text,
    "state_dir": _path,
    "pod_uid": _text,
    "config_file": _readable_file,
    "linger_s": _seconds,
    "drain_accept_s": _seconds,
    "engine_metrics_s": _seconds,
    "max_buffered_bytes": _count,
    "max_connections": _count,
}
