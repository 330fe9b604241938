"""What a person may ask of the demo, checked before anything is started.

Law: pure but for the question whether a port is free. Each fault is one line that names the
option, the rule and the value.
"""

import errno
import os
import re
import socket
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

DATA = Path(__file__).parent / "data"
CITY_TRACE = DATA / "nab_nyc_taxi_30min_d69-86.csv.gz"
"""What is played unless another is asked for: a city's ordinary weeks, whose mornings can be
foreseen."""
LLM_TRACE = DATA / "servegen_m_large_1min_semisynth.csv.gz"
"""A model's own requests, of which less can be foreseen."""
LAST_DAY = 17
"""Of ``CITY_TRACE``, from 0: a Thursday after two weeks and a half."""
MORNING = "05:00"
"""Time of the day at which it is entered."""
DEFAULT_HOURS = 4.0
DEFAULT_PORT = 8080
DEFAULT_SPEED = 60.0
MAX_SPEED = 120.0
"""Above it two cores no longer carry the requests in the time that they are meant to take."""
LEAST_HISTORY_DAYS = 2
MINUTES_A_DAY = 1440
FIRST_DAY = datetime(2026, 5, 4, tzinfo=UTC)
"""The Monday that a trace's first minute is taken for."""
_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


class DemoError(Exception):
    """The demo can't go on; its text is one line for the person who started it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    trace: Path = CITY_TRACE
    speed: float = DEFAULT_SPEED
    day: int = LAST_DAY
    """Of the trace, from 0; what lies before it is the history."""
    from_minute: int = field(default_factory=lambda: read_time_of_day(MORNING))
    """Of the day."""
    hours: float = DEFAULT_HOURS
    port: int = DEFAULT_PORT
    faults: bool = True
    browser: bool = True
    json_path: Path | None = None
    report_path: Path = Path("tidegate-demo.html")
    """Where the HTML report goes."""
    keep: bool = False
    """Leave the run's folder with its logs."""

    def checked(self) -> "Options":
        """These options, or ``DemoError``."""
        if not 1 <= self.speed <= MAX_SPEED:
            raise DemoError(f"--speed must be from 1 to {MAX_SPEED:g}, was: {self.speed:g}")
        if not 0.25 <= self.hours <= 24:
            raise DemoError(f"--hours must be from 0.25 to 24, was: {self.hours:g}")
        if self.day < 0:
            raise DemoError(f"--day must be at least 0, was: {self.day}")
        if not 0 < self.port < 65536:
            raise DemoError(f"--port must be from 1 to 65535, was: {self.port}")
        for option, path in (("--json", self.json_path), ("--report", self.report_path)):
            _check_writable(option, path)
        return self


def _check_writable(option: str, path: Path | None) -> None:
    """Now, and not after the run."""
    if path is None:
        return
    folder = path.resolve().parent
    if not folder.is_dir():
        raise DemoError(f"{option} must be in a folder that exists, was: {path}")
    if path.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
        raise DemoError(f"{option} must be a file that can be written, was: {path}")


def read_time_of_day(text: str) -> int:
    """``06:00`` as a minute of the day; raises ``DemoError``."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise DemoError(f"--from must be a time of day such as 06:00, was: {text}")
    return int(match[1]) * 60 + int(match[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Which minutes of a trace are played."""

    first: int
    """Index of the first minute."""
    minutes: int
    start: float
    """Clock time of that minute, unix seconds."""

    @property
    def history_days(self) -> float:
        return self.first / MINUTES_A_DAY


def choose_slice(total_minutes: int, options: Options) -> Slice:
    """The asked hours on the asked day; in a shorter trace, on its last day that has them."""
    length = round(options.hours * 60)
    last_start = total_minutes - length
    if last_start < 0:
        raise DemoError(
            f"--hours must be at most the trace's length ({total_minutes / 60:.1f} h), "
            f"was: {options.hours:g}"
        )
    day = min(options.day, last_start // MINUTES_A_DAY)
    first = day * MINUTES_A_DAY + options.from_minute
    while first > last_start and first >= MINUTES_A_DAY:
        first -= MINUTES_A_DAY
    if first > last_start:
        raise DemoError(
            f"--from must leave {options.hours:g} h of the trace's "
            f"{total_minutes / 60:.1f} h, was: {_spell(options.from_minute)}"
        )
    return Slice(first=first, minutes=length, start=FIRST_DAY.timestamp() + first * 60.0)


def _spell(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def claim_port(port: int, host: str = "127.0.0.1") -> None:
    """Raise ``DemoError`` where nothing can listen on ``port``."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            why = "is taken" if error.errno == errno.EADDRINUSE else f"can't be used: {error}"
            raise DemoError(f"port {port} {why}; choose another with --port") from None


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
