"""Heads and chunks as they go on to the other side.

Law: pure. Every line that travels on keeps its place and its bytes; what has to differ, since it
speaks of one connection or of a framing that changes, is changed here and nowhere else. What
belongs to one connection (RFC 9110, 7.6.1) ends here, and two of its kind are said anew: ``TE:
trailers``, since trailers are passed on, and an upgrade, since a tunnel is.
"""

from typing import Final

from tidegate_sidecar.body import CHUNKED, LENGTH, Body
from tidegate_sidecar.h1 import RequestHead, ResponseHead

VIA: Final = b"via: 1.1 tidegate"
"""A line of its own: lines of one name are one list in their order (RFC 9110, 5.3)."""
_VIA_FROM_1_0: Final = b"via: 1.0 tidegate"
_IDENTITY: Final = b"accept-encoding: identity"
_CHUNKED: Final = b"transfer-encoding: chunked"


def request_head(
    request: RequestHead,
    target: bytes,
    *,
    length: int,
    reads_answer: bool,
    upgrades: bool = False,
    for_proxy: bytes = b"",
) -> bytes:
    """A request's head for the model server.

    ``length``: of the body, which is at hand whole; -1: it is passed on as it is framed.
    ``reads_answer``: what is compressed can't be measured. ``for_proxy``: a line for a proxy that
    reads our requests; empty: none does.
    """
    lines = [b"%b %b HTTP/1.1" % (request.method, target)]
    if request.names_trailers and (length >= 0 or not request.chunked):
        request.forward = request.without(b"trailer")
    if request.expect == b"100-continue" and (length >= 0 or not request.http11):
        request.forward = request.without(b"expect")  # answered here, or not to be answered
    lines += request.forward
    if reads_answer:
        for line in request.accept_encoding:
            lines.remove(line)
        lines.append(_IDENTITY)
    if length >= 0:
        if request.chunked:
            lines.append(b"content-length: %d" % length)
        elif length != request.content_length and request.content_length >= 0:
            lines[lines.index(request.length_line)] = b"content-length: %d" % length
    elif request.chunked:
        lines.append(_CHUNKED)
    if upgrades or request.takes_trailers:
        lines += _of_one_connection(request, upgrades)
    if for_proxy:
        lines.append(for_proxy)
    lines.append(VIA if request.http11 else _VIA_FROM_1_0)
    lines.append(b"\r\n")
    return b"\r\n".join(lines)


def _of_one_connection(request: RequestHead, upgrades: bool) -> list[bytes]:
    if not upgrades:
        return [b"te: trailers", b"connection: te"]
    upgrade = b"upgrade: " + request.upgrade
    if not request.takes_trailers:
        return [upgrade, b"connection: upgrade"]
    return [upgrade, b"te: trailers", b"connection: upgrade, te"]


def may_upgrade(request: RequestHead) -> bool:
    """Whether the client asks for another protocol that we let it speak.

    HTTP/2 is none: what it asked for in there would go past orders and be measured by nobody.
    """
    return (
        request.upgrade != b""
        and request.http11
        and b"upgrade" in request.connection
        and b"h2c" not in request.upgrade.lower()
    )


def switch_head(head: ResponseHead) -> bytes:
    """The head of a 101 for the client."""
    own = [b"upgrade: " + head.upgrade, b"connection: upgrade", b"\r\n"]
    return b"\r\n".join([head.line, *head.forward, *own])


def answer_lines(head: ResponseHead, body: Body, framing: int, *, bodiless: bool) -> list[bytes]:
    """Status line and headers of an answer for the client, but for those of the connection.

    ``framing``: how its body goes on.
    """
    lines = [head.line]
    if head.names_trailers and not bodiless and (framing != CHUNKED or body.mode != CHUNKED):
        head.forward = head.without(b"trailer")
    lines += head.forward
    if framing != LENGTH:
        if head.length_line:
            lines.remove(head.length_line)
        if framing == CHUNKED:
            lines.append(_CHUNKED)
    if head.upgrade and head.status == 426:
        lines += [b"upgrade: " + head.upgrade, b"connection: upgrade"]  # what the client has to do
    return lines


def as_chunks(piece: bytes, wire: bytes, body: Body) -> bytes:
    """Bytes of a body that stays chunked; ``wire`` is how ``piece`` came."""
    if body.whole:
        return wire
    out = b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
    return out + b"0\r\n%b\r\n" % body.trailers if body.done else out
