"""How a client sends, and when it has stopped to.

Law: pure. A slow sweep looks, and tells the time in seconds on the clock's monotonic scale; bytes
that come in between only leave a mark, so that a read costs one assignment.
"""

import math
from enum import Enum, auto
from typing import Final

REQUEST_IDLE_S: Final = 60.0
"""A client that has begun a request and sends nothing for so long has given it up."""
REQUEST_S: Final = 60.0
"""In which a request has to be whole, from its first byte on, but for what it sends at
``SLOWEST_BYTES_PER_S``: a byte now and then is no sign of life. nginx gives a head 60 s
(``client_header_timeout``), Apache a head 20 to 40 s and a body 20 s (``RequestReadTimeout``)."""
SLOWEST_BYTES_PER_S: Final = 500
"""Apache's ``MinRate``."""
IDLE_CLIENT_S: Final = 3600.0
"""Long, since closing an idle connection can cross the next request on it."""
RULE: Final = f"a request must be sent within {REQUEST_S:g} s or at {SLOWEST_BYTES_PER_S} bytes/s"


class Doing(Enum):
    """What a connection is at."""

    ANSWERING = auto()
    """A request is being answered, or it is us who do not read on."""
    READING = auto()
    """A request is coming."""
    WAITING = auto()
    """Nothing is, and nothing has to."""
    CLOSING = auto()
    """Nothing that still comes is read."""


class Verdict(Enum):
    """What a look found."""

    IN_TIME = auto()
    GONE = auto()
    """Nobody is there any more whom it would be worth waiting for."""
    TOO_SLOW = auto()
    """The request that it sends comes too slowly."""


class Pace:
    """How one client's connection has moved."""

    __slots__ = ("_moved_at", "_reading_since", "moved", "passed_on")

    def __init__(self) -> None:
        self.moved = True
        """Something has come since the last look."""
        self.passed_on = 0
        """Bytes of the request's body that are not here any more."""
        self._moved_at = 0.0
        self._reading_since = 0.0
        """When a look first saw the request that is being read; 0: none has."""

    def received(self) -> None:
        """The request has come whole."""
        self.passed_on = 0
        self._reading_since = 0.0

    def has_just_moved(self, now: float) -> bool:
        """Whether its client has come, or sent something, so lately that more may be to come."""
        return self.moved or now - self._moved_at < REQUEST_IDLE_S

    @property
    def used_at(self) -> float:
        """When the last look but one had seen it in use; inf: it was since."""
        return math.inf if self.moved else self._moved_at

    def look(self, now: float, doing: Doing, waiting: int) -> Verdict:
        """Whether it has stood still too long, or sends too slowly; ``waiting``: bytes of the
        request's body that lie here."""
        if self.moved or doing is Doing.ANSWERING:
            self.moved = False
            self._moved_at = now
        still_s = now - self._moved_at
        if doing is Doing.CLOSING:
            return Verdict.GONE if still_s > REQUEST_IDLE_S else Verdict.IN_TIME
        if doing is not Doing.READING:
            self._reading_since = 0.0
            return Verdict.GONE if still_s > IDLE_CLIENT_S else Verdict.IN_TIME
        if not self._reading_since:
            self._reading_since = now
            return Verdict.IN_TIME
        longest_s = REQUEST_S + (waiting + self.passed_on) / SLOWEST_BYTES_PER_S
        slow = still_s > REQUEST_IDLE_S or now - self._reading_since > longest_s
        return Verdict.TOO_SLOW if slow else Verdict.IN_TIME
