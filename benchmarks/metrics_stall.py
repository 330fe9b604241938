"""How long a scrape keeps every stream waiting: ``python -m benchmarks.metrics_stall``.

The sidecar's own doors on its own event loop, a meter that has counted streams of 200 models
since the last scrape, and a scraper in another process. The longest that one callback holds the
loop is told, in CPU time of the loop's thread: on a shared machine a wall clock would count other
people's work.
"""

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Sequence

import uvloop

from tidegate_sidecar.admin import Doors, open_doors
from tidegate_sidecar.dialect.shape import Operation
from tidegate_sidecar.dialect.usage import Usage
from tidegate_sidecar.exposition import exposition
from tidegate_sidecar.leave import Leaving, Told
from tidegate_sidecar.meter import Meter
from tidegate_sidecar.settings import Address
from tidegate_wire.clock import Clock
from tidegate_wire.names import ConfigState, Outcome
from tidegate_wire.stats import SidecarStats

MODELS = 200
SCRAPES = 20
_SCRAPE = """
import sys, urllib.request
accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
with urllib.request.urlopen(urllib.request.Request(sys.argv[1], headers=accept)) as page:
    print(len(page.read()))
"""
"""Run anew for each scrape: in this process it would hold the loop itself."""


async def metrics_stall_ms(*, models: int = MODELS, scrapes: int = SCRAPES) -> float:
    """Milliseconds that a scrape holds the loop at most: the median of so many scrapes."""
    meter = Meter()
    runner, address = await open_doors(_doors(meter), Address("127.0.0.1", 0))
    try:
        return statistics.median(
            [await _one_scrape(meter, models, f"http://{address}/metrics") for _ in range(scrapes)]
        )
    finally:
        await runner.cleanup()


async def _one_scrape(meter: Meter, models: int, url: str) -> float:
    for n in range(models):
        _stream(meter, f"model-{n}")
    longest = Longest(asyncio.get_running_loop())
    scraper = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _SCRAPE, url, stdout=asyncio.subprocess.PIPE
    )
    longest.begin()
    told, _ = await scraper.communicate()
    longest.end()
    if scraper.returncode or int(told) < models * 1000:
        raise RuntimeError(f"the scraper read {told!r} bytes of a page of {models} models")
    return longest.held_s * 1000


class Longest:
    """The longest stretch of CPU time between two turns of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.held_s = 0.0
        self._loop = loop
        self._last = 0.0
        self._going = False

    def begin(self) -> None:
        self._going = True
        self._last = time.thread_time()
        self._loop.call_soon(self._turn)

    def end(self) -> None:
        self._going = False

    def _turn(self) -> None:
        now = time.thread_time()
        self.held_s = max(self.held_s, now - self._last)
        self._last = now
        if self._going:
            self._loop.call_soon(self._turn)


def _stream(meter: Meter, model: str) -> None:
    """A stream of this model with all that is ever observed of one, a trace included."""
    usage = Usage(1000, 200, cached_input=500)
    meter.ended(
        meter.arrived(model, "acme"),
        Operation.CHAT,
        Outcome.OK,
        3.0,
        ttft_s=0.2,
        usage=usage,
        cost=0.01,
        traceparent=b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        at=1.7e9,
    )


def _doors(meter: Meter) -> Doors:
    def stats() -> SidecarStats:
        return meter.stats(
            pod_uid="", boot="", config_hash="", config_state=ConfigState.NONE, config_error=""
        )

    told = Told(stats)
    return Doors(
        metrics=lambda openmetrics: exposition(meter, openmetrics=openmetrics),
        told=told,
        leaving=Leaving(
            proxy=_NoTraffic(),
            stop_listening=lambda: None,
            told=told,
            clock=Clock(),
            log=lambda event, /, **fields: None,
            accept_s=0.0,
            linger_s=0.0,
        ),
    )


class _NoTraffic:
    """A data path on which nothing runs."""

    in_flight = 0
    clients: Sequence[object] = ()

    def drain(self) -> None:
        """There is nothing to finish."""

    def close_quiet(self) -> None:
        """There is nothing to close."""


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--models", type=int, default=MODELS)
    words.add_argument("--scrapes", type=int, default=SCRAPES)
    given = words.parse_args()
    held_ms = uvloop.run(metrics_stall_ms(models=given.models, scrapes=given.scrapes))
    print(f"metrics_stall_ms {held_ms:.3f} ({given.models} models, median of {given.scrapes})")


if __name__ == "__main__":
    main()
