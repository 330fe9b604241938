"""Little's law, L = lambda W, as a check on what is measured.

Law: requests at once, their rate and the time that each takes are measured apart, and in a steady
state any two give the third (Little 1961). Where they do not for long, one of them is wrong: a
sidecar that is not asked, requests that never end, a load that is no steady one.
"""

import math
from dataclasses import dataclass

TOLERANCE = 0.2
OFF_FOR_S = 300.0
"""A gap counts once it has stood for so long."""
WINDOW_S = 300.0
"""Time that the three are taken over."""
_LOOKS = 20
"""Requests at once are looked at so many times in the window."""
_MIN_REQUESTS = 100.0
_SIGMAS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LittlesLaw:
    """Both sides, over the last five minutes."""

    in_flight: float
    """L: requests at once, mean of the looks."""
    rps: float
    service_s: float
    off_since: float | None = None
    """Since when the sides have been further apart than chance allows; ``None``: they agree."""

    @property
    def expected(self) -> float:
        """lambda W."""
        return self.rps * self.service_s

    @property
    def gap(self) -> float:
        """L over lambda W, less one."""
        return self.in_flight / self.expected - 1.0

    def holds(self, now: float) -> bool:
        return self.off_since is None or now - self.off_since < OFF_FOR_S


def check_littles_law(
    *,
    in_flight: float | None,
    rps: float | None,
    service_s: float | None,
    off_since: float | None,
    now: float,
) -> LittlesLaw | None:
    """``None`` where a side is unknown, or rests on too few requests to say anything."""
    if in_flight is None or rps is None or service_s is None:
        return None
    if not (0 < rps < math.inf and 0 < service_s < math.inf) or rps * WINDOW_S < _MIN_REQUESTS:
        return None
    law = LittlesLaw(in_flight=in_flight, rps=rps, service_s=service_s)
    off = abs(law.gap) > max(TOLERANCE, _SIGMAS * _chance(law))
    since = (now if off_since is None else off_since) if off else None
    return LittlesLaw(in_flight=in_flight, rps=rps, service_s=service_s, off_since=since)


def _chance(law: LittlesLaw) -> float:
    """Relative standard deviation of the gap for Poisson arrivals with exponential times: of the
    arrivals and their times, 2 / (lambda T), and of looking only now and then, 1 / (n L)."""
    looks = _LOOKS * max(law.expected, 1e-9)
    return math.sqrt(2.0 / (law.rps * WINDOW_S) + 1.0 / looks)
