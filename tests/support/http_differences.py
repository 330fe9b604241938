"""Where our parser and its two oracles may differ, and the search for where they do.

Law: what either oracle refuses is refused by us, and what we take both read as we do. Each
exception is in ``ALLOWED``, with the section that says so and a message that shows it. Being
stricter than both is no difference.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from http_readings import Message, Reading, Refused, Role, by_h11, by_httptools, by_us

ORACLES: dict[str, Callable[[bytes, Role], Reading]] = {"h11": by_h11, "httptools": by_httptools}


@dataclass(frozen=True)
class Allowed:
    """What we read in another way than an oracle."""

    oracle: str
    role: Role
    source: str
    """The section that says that it may or must be read so."""
    example: bytes
    refusals: tuple[str, ...]
    """How the oracle's reasons begin; none: it only takes what follows the head for no body."""
    mended: Callable[[bytes], bytes] | None = None
    """The message without what is refused in it: the rest has to be read alike all the same."""


def _with_a_known_method(data: bytes) -> bytes:
    return b"POST " + data.partition(b" ")[2]


def _without_empty_lines(data: bytes) -> bytes:
    while data.startswith(b"\r\n"):
        data = data[2:]
    return data


_UPGRADE = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n"
_SWITCH = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"

ALLOWED = {
    "empty lines before a request are passed over": Allowed(
        "h11",
        Role.REQUEST,
        "RFC 9112, 2.2: a server SHOULD ignore at least one empty line before the request line",
        b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ("no request line received",),
        _without_empty_lines,
    ),
    "methods that llhttp has not heard of pass": Allowed(
        "httptools",
        Role.REQUEST,
        "RFC 9110, 9.1: methods can be added; which are served is the model server's to say",
        b"FROBNICATE / HTTP/1.1\r\nHost: a\r\n\r\n",
        ("Invalid method encountered", "Expected space after method"),
        _with_a_known_method,
    ),
    "a request that asks for another protocol can have a body": Allowed(
        "httptools",
        Role.REQUEST,
        "RFC 9110, 7.8: a server MAY ignore Upgrade, and a client has to send its whole request "
        "before it goes on in the other protocol",
        _UPGRADE + b"Content-Length: 5\r\n\r\nhello",
        (),
    ),
    "h11 knows of no request to switch protocols": Allowed(
        "h11",
        Role.RESPONSE,
        "RFC 9110, 15.2.2: whether a 101 was asked for is told where the request is known",
        _SWITCH,
        ("Received server _SWITCH_UPGRADE event without a pending proposal",),
    ),
    "httptools stops where protocols are switched": Allowed(
        "httptools",
        Role.RESPONSE,
        "RFC 9110, 15.2.2, as above",
        _SWITCH,
        ("Pause on CONNECT/Upgrade",),
    ),
}


def explained(oracle: str, role: Role, data: bytes, ours: Message, theirs: Reading) -> bool:
    """Whether ``ALLOWED`` has a reason for a difference, and there is no other beside it."""
    for allowed in ALLOWED.values():
        if (allowed.oracle, allowed.role) != (oracle, role):
            continue
        if allowed.refusals and isinstance(theirs, Refused):
            if theirs.why.startswith(allowed.refusals):
                return allowed.mended is None or _read_alike(allowed.mended(data), oracle, role)
        elif isinstance(theirs, Message) and not allowed.refusals:
            asks = any(name == b"upgrade" for name, _ in ours.headers)
            bodiless = replace(ours, body=b"", whole=True, rest=theirs.rest)
            if asks and _alike(bodiless, theirs):
                return True
    return False


def _read_alike(data: bytes, oracle: str, role: Role) -> bool:
    ours = by_us(data, role).reading
    theirs = ORACLES[oracle](data, role)
    return isinstance(ours, Message) and (
        _alike(ours, theirs) or explained(oracle, role, data, ours, theirs)
    )


@dataclass(frozen=True)
class Verdict:
    ours: Reading
    differences: tuple[str, ...]


def compare(data: bytes, role: Role) -> Verdict:
    """Read a message with all three parsers; ``differences`` says what nobody has allowed."""
    ours = by_us(data, role)
    reading = ours.reading
    if not isinstance(reading, Message):
        return Verdict(reading, ())
    found = []
    for name, read in ORACLES.items():
        taken = data[: ours.taken]
        theirs = read(taken, role)
        if not _alike(reading, theirs) and not explained(name, role, taken, reading, theirs):
            found.append(f"{name} reads {theirs}, we read {reading}: {data!r}")
    return Verdict(reading, tuple(found))


def _alike(ours: Message, theirs: Reading) -> bool:
    return isinstance(theirs, Message) and _comparable(ours) == _comparable(theirs)


_ABSOLUTE = re.compile(rb"(?i:https?)://[^/?#]*")


def _comparable(message: Message) -> Message:
    """Without what is only written in another way: absolute form, which we bring to origin form
    at once, and h11's lower-case codings."""
    start = message.start
    if len(start) == 2:
        path = _ABSOLUTE.sub(b"", start[1])
        start = (start[0], path if path.startswith((b"/", b"*")) else b"/" + path)
    headers = tuple(
        (name, value.lower() if name == b"transfer-encoding" else value)
        for name, value in message.headers
    )
    return replace(message, start=start, headers=headers)


def cut_matters(data: bytes, role: Role, cut: int) -> str:
    """How bytes in reads of ``cut`` bytes differ from the same in one; empty if not at all."""
    whole = by_us(data, role).reading
    pieces = by_us(data, role, cut).reading
    both_refused = isinstance(whole, Refused) and isinstance(pieces, Refused)
    if both_refused or whole == pieces:
        return ""
    return f"whole it reads {whole}, by {cut} bytes {pieces}: {data!r}"
