"""The two ways through a sidecar: in, to the model server of its pod, and out, to providers.

Law: pure. A way says where a request goes that no model of the policy sends elsewhere; all the
rest is the same for both, counting too.
"""

from typing import Final

from tidegate_sidecar.h1 import RequestHead

_MESSAGES: Final = b"/v1/messages"
_VERSION: Final = b"anthropic-version"
"""Anthropic's API refuses requests without it."""


class Way:
    """One of them."""

    __slots__ = ("_anthropic", "_openai")

    def __init__(self, openai: str, anthropic: str = "") -> None:
        """Base URLs, by the API that a request speaks; without the second all go to the first."""
        self._openai = openai
        self._anthropic = anthropic

    @property
    def urls(self) -> set[str]:
        return {self._openai, self._anthropic or self._openai}

    def url_for(self, request: RequestHead) -> str:
        """Base URL of the upstream for a request."""
        if self._anthropic and speaks_anthropic(request):
            return self._anthropic
        return self._openai


def speaks_anthropic(request: RequestHead) -> bool:
    """Whether a request is for Anthropic's API: some of its paths are OpenAI's too."""
    return request.target.startswith(_MESSAGES) or bool(request.values(_VERSION))
