"""The trouble that the demo makes: a burst of errors at the preferred model's servers.

Law: faults are played through the simulators' admin doors and nowhere else; the product is never
told. Times are seconds of the clock since the trace's first minute.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import aiohttp

from tidegate_wire.clock import Clock

REFRESH_S = 20.0
"""Between two visits to the doors in a fault, so that pods that start meanwhile have it too."""
DOOR_TIMEOUT_S = 2.0
"""Real."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    begin_s: float
    end_s: float
    rate: float
    """Share of requests that fail."""
    kinds: tuple[str, ...] = ("server_error",)


def plan_faults(hours: float) -> tuple[Fault, ...]:
    """One burst of ten minutes, three tenths into the run, cut short where the run is short."""
    begin_s = hours * 3600 * 0.3
    length_s = min(600.0, hours * 3600 * 0.2)
    return (Fault(begin_s=begin_s, end_s=begin_s + length_s, rate=0.5),)


async def play(
    faults: Sequence[Fault], clock: Clock, start: float, doors: Callable[[], Sequence[str]]
) -> None:
    """Play each fault at its time; ``doors`` gives the admin URLs of the servers that run now."""
    timeout = aiohttp.ClientTimeout(total=DOOR_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        for fault in sorted(faults, key=lambda f: f.begin_s):
            await clock.sleep(max(0.0, start + fault.begin_s - clock.now()))
            while (rest_s := start + fault.end_s - clock.now()) > 0:
                await _set(
                    http, doors(), {"failure_rate": fault.rate, "failure_types": fault.kinds}
                )
                await clock.sleep(min(REFRESH_S, rest_s))
            await _set(http, doors(), {"failure_rate": 0.0})


async def _set(http: aiohttp.ClientSession, doors: Sequence[str], control: object) -> None:
    await asyncio.gather(*(_knock(http, door, json.dumps(control)) for door in doors))


async def _knock(http: aiohttp.ClientSession, door: str, body: str) -> None:
    try:
        async with http.post(f"{door}/control", data=body) as answer:
            await answer.read()
    except (aiohttp.ClientError, TimeoutError):
        pass  # the pod is on its way out; the next visit knows
