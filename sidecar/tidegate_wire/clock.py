"""The one clock that is injected everywhere, and the reason why a day can pass in 24 minutes.

Law: no module but this one asks the operating system for the time (certificates and leader
leases, which third parties check against real time, are the exceptions and say so). ``speed`` is
how many seconds pass on this clock in one real second; in production it is 1 and the clock is the
system's.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Self

CLOCK_VARIABLE = "TIDEGATE_CLOCK"
"""``SPEED@REAL=ORIGIN``: at real unix time REAL this clock read ORIGIN and runs at SPEED, such as
``60@1e9=2e9``."""


class InvalidClockError(ValueError):
    """``TIDEGATE_CLOCK`` cannot be read."""


class Clock:
    """Seconds, for wall time, for differences and for waiting."""

    __slots__ = ("_origin", "_real", "_real_monotonic", "speed")

    def __init__(
        self, speed: float = 1.0, *, real: float | None = None, origin: float | None = None
    ) -> None:
        if not speed > 0:
            raise InvalidClockError(f"clock speed must be above 0, was: {speed}")
        now = time.time()
        self.speed = speed
        self._real = now if real is None else real
        self._origin = self._real if origin is None else origin
        # Anchored once on the monotonic clock, so that a step of the system's wall time moves
        # nothing.
        self._real_monotonic = time.monotonic() - (now - self._real)

    def now(self) -> float:
        """Unix time on this clock, in seconds."""
        return self._origin + self.monotonic()

    def unix(self, monotonic_s: float) -> float:
        """Unix time on this clock when ``monotonic`` was that."""
        return self._origin + monotonic_s

    def monotonic(self) -> float:
        """Seconds that only ever grow, for differences."""
        return (time.monotonic() - self._real_monotonic) * self.speed

    def real_s(self, seconds: float) -> float:
        """How long ``seconds`` of this clock really last: what a time-out handed to a library
        must be."""
        return seconds / self.speed

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.speed)

    def to_env(self) -> dict[str, str]:
        """The environment that gives a child process this very clock."""
        return {CLOCK_VARIABLE: f"{self.speed!r}@{self._real!r}={self._origin!r}"}

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """The system's clock, or the one that ``TIDEGATE_CLOCK`` describes."""
        raw = env.get(CLOCK_VARIABLE)
        if not raw:
            return cls()
        try:
            speed, _, anchors = raw.partition("@")
            real, _, origin = anchors.partition("=")
            return cls(float(speed), real=float(real), origin=float(origin))
        except ValueError as error:
            raise InvalidClockError(
                f"{CLOCK_VARIABLE} must be SPEED@REAL=ORIGIN, was: {raw!r}"
            ) from error
