"""Which API and operation a request speaks, by its method and path.

Law: pure; the one place that knows paths. Prefixes, percent signs, doubled and final slashes and
queries hide nothing, since servers read through them.
"""

import re
from typing import Final
from urllib.parse import quote, unquote, unquote_to_bytes

from tidegate_sidecar.dialect import anthropic, openai, responses
from tidegate_sidecar.dialect.shape import Dialect, Operation

OTHER: Final = Dialect(Operation.OTHER)
"""Passes untouched and unread: probes, scrapes, whatever else a server has."""
OTHER_CALL: Final = Dialect(Operation.OTHER, asks_model=True)
"""The same, of a request that may make a model work."""

_ENDINGS: Final = {
    b"/chat/completions": openai.CHAT,
    b"/completions": openai.COMPLETIONS,
    b"/embeddings": openai.EMBEDDINGS,
    b"/responses": responses.RESPONSES,
    b"/v1/messages": anthropic.MESSAGES,
    b"/v1/messages/count_tokens": anthropic.COUNT_TOKENS,
}
_MODELS: Final = re.compile(rb".*/v1/models(?:/.*)?")
_DEPLOYMENT: Final = re.compile(rb"(/deployments/)([^/?]+)(?=/)")
_SLASHES: Final = re.compile(rb"//+")
_MEMO_TARGETS: Final = 1024
_MEMO_TARGET_BYTES: Final = 256
# A client asks for the same few targets all its life.
_posts: dict[bytes, Dialect] = {}


def dialect_of(method: bytes, target: bytes) -> Dialect:
    """What a request asks for.

    Beside the operations that are read all POSTs to the API ask a model: servers have more ways in
    (``/v1/score``, ``/v1/images/generations``) than we know.
    """
    if method == b"POST":
        dialect = _posts.get(target)
        if dialect is None:
            dialect = _post(_path(target))
            if len(target) <= _MEMO_TARGET_BYTES:
                if len(_posts) >= _MEMO_TARGETS:
                    _posts.clear()
                _posts[target] = dialect
        return dialect
    if method in (b"GET", b"HEAD") and _MODELS.fullmatch(_path(target)):
        return openai.MODELS
    return OTHER


def _post(path: bytes) -> Dialect:
    for ending, dialect in _ENDINGS.items():
        if path.endswith(ending):
            return dialect
    if b"/v1/messages/" in path:
        return anthropic.OTHER_CALL
    return OTHER_CALL if _is_api(path) else OTHER


def dialect_of_upgrade(target: bytes) -> Dialect:
    """What a request asks for that is to go on in another protocol: of the API, a model
    (``/v1/realtime``)."""
    return OTHER_CALL if _is_api(_path(target)) else OTHER


def _is_api(path: bytes) -> bool:
    return b"/v1/" in path or b"/deployments/" in path


def _path(target: bytes) -> bytes:
    path = target.split(b"?", 1)[0]
    if b"%" in path:
        path = unquote_to_bytes(path)
    if b"//" in path:
        path = _SLASHES.sub(b"/", path)
    return path.rstrip(b"/")


def model_in_path(target: bytes) -> str:
    """The deployment that a path of Azure's OpenAI API names; empty where it names none.

    There it decides which model answers, and the body need not name one:
    https://learn.microsoft.com/en-us/azure/ai-services/openai/reference
    """
    if target.find(b"/deployments/") < 0:  # half the time that "in" takes
        return ""
    found = _DEPLOYMENT.search(target.split(b"?", 1)[0])
    return "" if found is None else unquote(found[2].decode("latin-1"), errors="replace")


def with_model_in_path(target: bytes, model: str) -> bytes:
    """The target with another deployment, if it names one."""
    if not model_in_path(target):
        return target
    return _DEPLOYMENT.sub(rb"\g<1>" + quote(model, safe="").encode(), target, count=1)
