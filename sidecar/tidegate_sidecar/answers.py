"""Answers that the sidecar gives itself.

Law: pure bytes; every one says how long it is and whether the connection stays.
"""

from http import HTTPStatus


def error_answer(
    status: int,
    body: bytes,
    *,
    keep_alive: bool,
    retry_after_s: int | None = None,
    bodiless: bool = False,
) -> bytes:
    """A whole answer with a JSON body; ``bodiless`` for the answer to a HEAD."""
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "content-type: application/json",
        f"content-length: {len(body)}",
    ]
    if retry_after_s is not None:
        lines.append(f"retry-after: {retry_after_s}")
    lines.append("connection: keep-alive" if keep_alive else "connection: close")
    head = "\r\n".join([*lines, "", ""]).encode()
    return head if bodiless else head + body
