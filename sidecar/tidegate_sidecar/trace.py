"""Which trace a request belongs to, by its ``traceparent`` (W3C Trace Context, section 3.2).

Law: pure. What is not valid to the letter is no trace, and none is made up: whoever sent the
header keeps the say, and it travels on untouched.
"""

import re
from typing import Final

_TRACEPARENT: Final = re.compile(
    rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
_SAMPLED: Final = 0x01
_NO_TRACE: Final = b"0" * 32
_NO_PARENT: Final = b"0" * 16


class Trace:
    """An example for a figure: the trace of one request."""

    __slots__ = ("at", "id")

    def __init__(self, id: str, at: float) -> None:  # noqa: A002 - the specification's word
        self.id = id
        """32 hexadecimal digits."""
        self.at = at
        """When the request ended, in Unix seconds."""


def sampled_trace(traceparent: bytes, at: float) -> Trace | None:
    """The trace that the header names, if it is recorded; two headers count as an invalid one.

    An example whose trace nobody keeps leads nowhere, so OpenTelemetry's SDKs take recorded ones
    only (metrics SDK, ExemplarFilter ``TraceBased``, the default).
    """
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None:
        return None
    version, trace_id, parent_id, flags, more = match.groups()
    # A later version may say more after what this one says (section 3.2.4).
    if version == b"ff" or (version == b"00" and more is not None):
        return None
    if trace_id == _NO_TRACE or parent_id == _NO_PARENT or not int(flags, 16) & _SAMPLED:
        return None
    return Trace(trace_id.decode(), at)
