"""Reading JSON that others wrote.

Law: pure. What can't be read is None and no error: it passes all the same.
"""

from typing import TypeVar

import msgspec

Read = TypeVar("Read")


def read_json(decoder: "msgspec.json.Decoder[Read]", data: bytes) -> Read | None:
    """What ``data`` says; None if it is empty, no JSON of that shape, or nested without end."""
    if not data:  # a usage that is not there, say; to have it refused takes several times as long
        return None
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
