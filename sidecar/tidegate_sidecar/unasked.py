"""Where asking for the usage of a stream is refused, and which models are asked no more.

Law: pure. A server that knows no ``stream_options`` answers 400 or 422 to a request that its
client wrote well: Azure's older versions and its "on your data", Mistral behind Azure
(semantic-kernel#10510, litellm#11696). If its answer speaks of them, the request goes out once
more as it was written, and its stream's tokens are estimated. A client never learns of it.
"""

from typing import Final

REFUSALS: Final = (400, 422)
"""What such servers answer."""
PATIENCE: Final = 3
"""Refusals in a row after which a model is asked no more: one request may have been refused for
what else it asked for, and each costs a round trip."""
MAX_HELD_BYTES: Final = 65536
"""A longer answer is no refusal."""
_MAX_MODELS: Final = 200
_ADDED: Final = (b"stream_options", b"include_usage")


class HeldAnswer:
    """An answer that may refuse what we added; it is held until that is known."""

    __slots__ = ("_held", "refuses", "status")

    def __init__(self, status: int) -> None:
        self.status = status
        self._held = b""
        self.refuses = False
        """It is whole, and speaks of what we added."""

    def feed(self, piece: bytes, *, last: bool) -> bytes | None:
        """Take the next bytes; return all so far once they may pass, None while they may not."""
        self._held += piece
        if last:
            self.refuses = any(name in self._held for name in _ADDED)
        passes = not self.refuses if last else len(self._held) > MAX_HELD_BYTES
        return self._held if passes else None


class Unasked:
    """What one server has refused."""

    __slots__ = ("_refusals",)

    def __init__(self) -> None:
        self._refusals: dict[str, int] = {}

    def asks(self, model: str) -> bool:
        """Whether the next stream of a model is asked for its usage."""
        return not self._refusals or self._refusals.get(model, 0) < PATIENCE

    def answered(self, model: str, *, plain: bool) -> None:
        """A request was taken: with our addition, or ``plain`` after it had been refused."""
        if not plain:
            self._refusals.pop(model, None)
        elif len(self._refusals) < _MAX_MODELS or model in self._refusals:
            self._refusals[model] = self._refusals.get(model, 0) + 1
