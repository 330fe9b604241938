"""Free text as label values, a bounded number of them.

Law: pure. Whatever clients make up, there are at most so many values; the rest shares ``other``,
and is counted. What the policy names has its place always.
"""

from collections.abc import Iterable
from typing import Final

from tidegate_wire.names import MAX_LABEL_VALUES, OTHER

MAX_LABEL_CHARS: Final = 128
"""A longer name is ``other``: 200 of them must not make a page of megabytes."""


class Labels:
    """The values of one label."""

    __slots__ = ("_kept", "_seen", "overflowed")

    def __init__(self) -> None:
        self._kept: frozenset[str] = frozenset()
        self._seen: set[str] = set()
        self.overflowed = 0
        """Requests that had to share ``other``."""

    def keep(self, values: Iterable[str]) -> None:
        """Names that the policy gives: they have their place whatever clients make up."""
        self._kept = frozenset(value for value in values if _can_be_told(value))

    def keeps(self, value: str) -> bool:
        return value in self._kept

    def take(self, value: str) -> str:
        if value in self._seen or value in self._kept or not value:
            return value
        if len(self._seen) >= MAX_LABEL_VALUES or not _can_be_told(value):
            self.overflowed += 1
            return OTHER
        self._seen.add(value)
        return value


def _can_be_told(value: str) -> bool:
    """Whether it may stand on a page; half a surrogate pair, which JSON allows, is no UTF-8."""
    if len(value) > MAX_LABEL_CHARS:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def escaped(value: str) -> str:
    """As it stands between quotes in Prometheus' text formats."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
