"""Changing single values in a JSON body.

Law: pure. Every byte outside of the values that change stays as it was: key order, white space,
escapes, numbers.
"""

import re
from typing import Final

import msgspec

from tidegate_sidecar.dialect.reading import read_json
from tidegate_sidecar.dialect.schema import Members

STRUCTURE: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],]', re.DOTALL)
"""Strings, and what nests."""
OPENS: Final = b"{["
CLOSES: Final = b"}]"
_QUOTE: Final = ord('"')
_ENDS_VALUE: Final = b",}"
_BEFORE_KEY: Final = b"{,"
_COLON: Final = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*")
_TO_VALUE: Final = re.compile(
    rb'[ \t\r\n]*[{,][ \t\r\n]*"[^"\\]*(?:\\.[^"\\]*)*"[ \t\r\n]*:[ \t\r\n]*', re.DOTALL
)
"""From the end of a value, or from the start, to the next one."""

_members: Final = msgspec.json.Decoder(Members)


def replace_values(body: bytes, changes: dict[str, bytes]) -> bytes:
    """Put new values under top-level keys of an object, every time they occur: of doubled keys
    servers take the last."""
    found = _replace_found(body, changes)
    return replace_walking(body, changes) if found is None else found


def _replace_found(body: bytes, changes: dict[str, bytes]) -> bytes | None:
    """The same at the speed of msgspec, which tells each value but not where it stands; None if
    the values as they are told don't make up the whole body.

    Then a key is there twice, and of it the last value was told. No JSON value but a number begins
    with another one, and a number is followed by neither comma nor brace where it is not over: so
    what can be laid out from start to end is what stands there.
    """
    members = read_json(_members, body)
    if members is None:
        return None  # a key that is no UTF-8
    view = memoryview(body)  # long values are copied once
    out: list[bytes | memoryview] = []
    done_to = 0
    at = 0
    for name, raw in members.items():
        to_value = _TO_VALUE.match(body, at)
        value = bytes(raw)
        if to_value is None or not body.startswith(value, to_value.end()):
            return None
        start = to_value.end()
        at = start + len(value)
        if name in changes:
            out += (view[done_to:start], changes[name])
            done_to = at
    if body[at:].strip() != b"}":
        return None
    out.append(view[done_to:])
    return b"".join(out)


def replace_walking(body: bytes, changes: dict[str, bytes]) -> bytes:
    """The same token by token, which takes ten times as long."""
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
    text = raw.decode(errors="replace")  # servers that mind refuse it themselves
    return str(msgspec.json.decode(text)) if "\\" in text else text[1:-1]


def put_first(body: bytes, member: bytes) -> bytes:
    """Put a member in before all others of an object that has some."""
    at = body.index(b"{") + 1
    return b"".join((body[:at], member, b",", memoryview(body)[at:]))
