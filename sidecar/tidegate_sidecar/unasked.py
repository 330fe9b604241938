"""Which models are no longer asked for the usage of their streams, since their server refuses it.

Law: pure. A server that knows no ``stream_options`` answers 400 or 422 to a request that its
client wrote well: Azure's older versions and its "on your data", Mistral behind Azure
(semantic-kernel#10510, litellm#11696). Then the request goes out once more as it was written, and
its stream's tokens are estimated. A client never learns of it.
"""

from typing import Final

REFUSALS: Final = (400, 422)
"""What such servers answer."""
PATIENCE: Final = 3
"""Refusals in a row after which a model is asked no more: one request may have been refused for
what else it asked for, and each costs a round trip."""
_MAX_MODELS: Final = 200


class Unasked:
    """What one server has refused."""

    __slots__ = ("_refusals",)

    def __init__(self) -> None:
        self._refusals: dict[str, int] = {}

    def asks(self, model: str) -> bool:
        """Whether the next stream of a model is asked for its usage."""
        return not self._refusals or self._refusals.get(model, 0) < PATIENCE

    def refused(self, model: str) -> None:
        """A request was taken as its client wrote it, and had been refused with our addition."""
        if len(self._refusals) < _MAX_MODELS or model in self._refusals:
            self._refusals[model] = self._refusals.get(model, 0) + 1

    def granted(self, model: str) -> None:
        """A request was taken with our addition."""
        self._refusals.pop(model, None)
