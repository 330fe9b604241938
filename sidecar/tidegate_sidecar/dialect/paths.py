"""Which API and operation a request speaks, by its method and path.

Law: pure; the one place that knows paths. Prefixes, percent signs, doubled and final slashes and
queries hide nothing, since servers read through them.
"""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from tidegate_sidecar.dialect import openai
from tidegate_sidecar.dialect.shape import Dialect, Operation

OTHER: Final = Dialect(Operation.OTHER)
"""Passes untouched and unread: probes, scrapes, whatever else a server has."""
OTHER_CALL: Final = Dialect(Operation.OTHER, asks_model=True)
"""The same, of a request that may make a model work."""

_ENDINGS: Final = {
    b"/chat/completions": openai.CHAT,
    b"/completions": openai.COMPLETIONS,
    b"/embeddings": openai.EMBEDDINGS,
}
_MODELS: Final = re.compile(rb".*/v1/models(?:/.*)?")
_SLASHES: Final = re.compile(rb"//+")


def dialect_of(method: bytes, target: bytes) -> Dialect:
    """What a request asks for.

    Beside the operations that are read all POSTs to the API ask a model: servers have more ways in
    (``/v1/score``, ``/v1/images/generations``) than we know.
    """
    path = _path(target)
    if method == b"POST":
        for ending, dialect in _ENDINGS.items():
            if path.endswith(ending):
                return dialect
        return OTHER_CALL if b"/v1/" in path else OTHER
    if method in (b"GET", b"HEAD") and _MODELS.fullmatch(path):
        return openai.MODELS
    return OTHER


def _path(target: bytes) -> bytes:
    path = target.split(b"?", 1)[0]
    if b"%" in path:
        path = unquote_to_bytes(path)
    if b"//" in path:
        path = _SLASHES.sub(b"/", path)
    return path.rstrip(b"/")
