"""Changing single values in a JSON body.

Law: pure. Every byte outside of the values that change stays as it was: key order, white space,
escapes, numbers.
"""

import re
from typing import Final

import msgspec

STRUCTURE: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],]', re.DOTALL)
"""Strings, and what nests."""
OPENS: Final = b"{["
CLOSES: Final = b"}]"
_QUOTE: Final = ord('"')
_ENDS_VALUE: Final = b",}"
_BEFORE_KEY: Final = b"{,"
_COLON: Final = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*")


def replace_values(body: bytes, changes: dict[str, bytes]) -> bytes:
    """Put new values under top-level keys, every time they occur: of doubled keys servers take the
    last."""
    out: list[bytes] = []
    done_to = 0
    depth = 0
    value_of = ""
    value_at = 0
    key_next = False
    for token in STRUCTURE.finditer(body):
        first = body[token.start()]
        if first == _QUOTE:
            if depth == 1 and key_next:
                key_next = False
                value_of = _key(token.group())
                colon = _COLON.match(body, token.end())
                value_at = colon.end() if colon is not None else token.end()
            continue
        if depth == 1 and first in _ENDS_VALUE:
            if value_of in changes:
                value_end = value_at + len(body[value_at : token.start()].rstrip())
                out += (body[done_to:value_at], changes[value_of])
                done_to = value_end
            value_of = ""
        depth += (first in OPENS) - (first in CLOSES)
        key_next = depth == 1 and first in _BEFORE_KEY
    out.append(body[done_to:])
    return b"".join(out)


def _key(raw: bytes) -> str:
    return str(msgspec.json.decode(raw)) if b"\\" in raw else raw[1:-1].decode()


def put_first(body: bytes, member: bytes) -> bytes:
    """Put a member in before all others of an object that has some."""
    at = body.index(b"{") + 1
    return b"%b%b,%b" % (body[:at], member, body[at:])
