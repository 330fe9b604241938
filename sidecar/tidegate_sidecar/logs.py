"""What the sidecar says of itself: one JSON line on stdout for each change of its world.

Law: names, hashes, addresses and reasons only. A header, a prompt, an answer, a key or a token
never reaches this module; nothing is said of single requests, nor of a tick on which nothing
changed.
"""

import asyncio
import json
import sys
import traceback
from collections.abc import Callable
from typing import Any, Protocol, TextIO

from tidegate_wire.clock import Clock

PROCESS = "tidegate-sidecar"
CALM_S = 60.0
"""What has not run out for so long has been mended; the next time is news again."""
MAX_FAULTS = 100
"""Places of errors that are told apart; a process with more of them has said enough."""


class Log(Protocol):
    """Takes an event's name and its fields."""

    def __call__(self, event: str, /, **fields: str | float | bool) -> None: ...


class LineLog:
    """A ``Log`` that writes lines."""

    def __init__(self, clock: Clock, stream: TextIO | None = None) -> None:
        self._clock = clock
        self._stream = stream or sys.stdout

    def __call__(self, event: str, /, **fields: str | float | bool) -> None:
        head = {"ts": round(self._clock.now(), 3), "process": PROCESS, "event": event}
        try:
            self._stream.write(json.dumps(head | fields, separators=(",", ":")) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            # Whoever read our lines is gone (closed pipe); traffic matters more than telling of
            # it.
            pass


class RanOut:
    """Tells what has run out: once, until it has not for a while."""

    def __init__(self, log: Log, failed: Callable[[str], None], clock: Clock) -> None:
        """``failed`` counts each time, by what there was none of."""
        self._log = log
        self._failed = failed
        self._clock = clock
        self._last: dict[str, float] = {}

    def __call__(self, what: str) -> None:
        self._failed(what)
        now = self._clock.monotonic()
        since = self._last.get(what)
        if since is None or now - since > CALM_S:
            self._log("ran_out", of=what)
        self._last[what] = now


class Uncaught:
    """An event loop's handler for errors that nobody caught: each is counted, and each place where
    one came from told once. By place only, since an error's own text may quote what was proxied.
    """

    def __init__(self, log: Log, failed: Callable[[str], None]) -> None:
        """``failed`` counts an error of our own, by its reason."""
        self._log = log
        self._failed = failed
        self._known: set[tuple[str, str]] = set()

    def __call__(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._failed("internal")
        error = context.get("exception")
        frames = traceback.extract_tb(error.__traceback__) if error else None
        place = f"{frames[-1].name}:{frames[-1].lineno}" if frames else "unknown"
        fault = (type(error).__name__, place)
        if fault not in self._known and len(self._known) < MAX_FAULTS:
            self._known.add(fault)
            self._log("internal_error", kind=fault[0], place=place)
