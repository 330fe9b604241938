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


def sampled_trace(traceparent: bytes) -> str:
    """Id of the trace that the header names, 32 hexadecimal digits; empty if it is not recorded.
    Two headers count as an invalid one.

    An example whose trace nobody keeps leads nowhere, so OpenTelemetry's SDKs take recorded ones
    only (metrics SDK, ExemplarFilter ``TraceBased``, the default).
    """
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None:
        return ""
    version, trace_id, parent_id, flags, more = match.groups()
    # A later version may say more after what this one says (section 3.2.4).
    if version == b"ff" or (version == b"00" and more is not None):
        return ""
    if trace_id == _NO_TRACE or parent_id == _NO_PARENT or not int(flags, 16) & _SAMPLED:
        return ""
    return trace_id.decode()
