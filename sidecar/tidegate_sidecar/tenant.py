"""Whose request it is.

Law: pure; what a label may tell of a credential is decided here and nowhere else.
"""

import hashlib
from typing import Final

from tidegate_sidecar.h1 import RequestHead
from tidegate_wire.config import SidecarConfig

_CREDENTIALS: Final = frozenset(
    (b"authorization", b"proxy-authorization", b"cookie", b"x-api-key", b"api-key")
)


def tenant_of(config: SidecarConfig, request: RequestHead) -> str:
    """Whose request it is, by the policy's header; empty without one.

    A header that comes twice names both tenants, so that nobody can speak for another. Of a
    credential only a hash leaves this function: labels are public.
    """
    if not config.tenant_header:
        return ""
    name = config.tenant_header.lower().encode()
    value = b", ".join(request.values(name))
    if value and name in _CREDENTIALS:
        return "key-" + hashlib.sha256(value).hexdigest()[:12]
    return value.decode("utf-8", "replace")
