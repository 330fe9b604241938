"""Where a model server is: ``http[s]://host[:port][/path]``.

Law: one reading for flags, variables, annotations, policies and configs. What it lets pass is fit
for a request line and a Host header as it is: no user, no query, nothing but visible ASCII.
"""

import re
from typing import Final, NamedTuple, Self

RULE = "must be like http://host:8000 or https://host/path"

_SHAPE = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>(?:/[!-\"$->@-~]*)?)"
)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class BaseUrl(NamedTuple):
    """One reading of a URL."""

    scheme: str
    host: str
    """Without the brackets of an IPv6 address."""
    port: int
    path: str
    """Where the server's API begins: empty, or with a slash before and none behind."""

    @classmethod
    def read(cls, raw: str) -> Self:
        """Raises ValueError, whose text is ``RULE``."""
        match = _SHAPE.fullmatch(raw)
        if match is None:
            raise ValueError(RULE)
        scheme = match["scheme"]
        port = int(match["port"] or _DEFAULT_PORTS[scheme])
        if not 0 < port < 65536:
            raise ValueError(RULE)
        return cls(scheme, match["host"].strip("[]"), port, match["path"].rstrip("/"))

    @property
    def tls(self) -> bool:
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """Host, and the port where it is not the scheme's own: what Host says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


def problem(raw: str) -> str:
    """``RULE`` where the text is no base URL; else empty."""
    try:
        BaseUrl.read(raw)
    except ValueError as error:
        return str(error)
    return ""
