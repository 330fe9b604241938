"""What a calendar says of the load: bounds for hours of the week, and events that are known.

Law: a schedule counts from one cold start before it begins, so that its pods are there when it
does; its maximum counts only while it lasts. It may raise or hold a count, and narrow the policy's
limits, never widen them. Wall clocks are those of the schedule's own time zone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
EVERY_DAY = frozenset(range(7))


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """``spec.scaling.schedules[]``."""

    name: str
    timezone: str = "UTC"
    """An IANA name that exists."""
    days: frozenset[int] = EVERY_DAY
    """Days on which it begins; Monday is 0."""
    start_minute: int = 0
    """Minute of the day."""
    end_minute: int = 0
    """Up to this minute; at or before ``start_minute``: on the day after."""
    min_replicas: int | None = None
    max_replicas: int | None = None
    expect_factor: float = 1.0
    """How many times the demand from before it is expected; 1: as before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """What the schedules mean at one moment."""

    least: int = 0
    least_by: str = ""
    """Name of the schedule that asks for ``least``; empty: none does."""
    most: int | None = None
    most_by: str = ""
    expected: tuple[Schedule, ...] = ()
    """Events that are on or near."""


def read_calendar(schedules: Iterable[Schedule], now: float, lead_s: float) -> Calendar:
    """``lead_s``: how long a pod that is created now takes to be of use."""
    least, least_by, most, most_by = 0, "", None, ""
    expected: list[Schedule] = []
    for schedule in schedules:
        on = is_on(schedule, now)
        if not on and not begins_within(schedule, now, lead_s):
            continue
        if (schedule.min_replicas or 0) > least:
            least, least_by = schedule.min_replicas or 0, schedule.name
        highest = schedule.max_replicas if on else None
        if highest is not None and (most is None or highest < most):
            most, most_by = highest, schedule.name
        if schedule.expect_factor > 1:
            expected.append(schedule)
    return Calendar(
        least=least, least_by=least_by, most=most, most_by=most_by, expected=tuple(expected)
    )


def is_on(schedule: Schedule, now: float) -> bool:
    local = datetime.fromtimestamp(now, _zone(schedule.timezone))
    minute, today = local.hour * 60 + local.minute, local.weekday()
    start, end = schedule.start_minute, schedule.end_minute
    if start < end:
        return today in schedule.days and start <= minute < end
    begun_today = today in schedule.days and minute >= start
    return begun_today or ((today - 1) % 7 in schedule.days and minute < end)


def begins_within(schedule: Schedule, now: float, lead_s: float) -> bool:
    """Whether it begins after ``now`` and within ``lead_s``, at most a day."""
    zone = _zone(schedule.timezone)
    first = datetime.fromtimestamp(now, zone).date()
    for day in (first, first + timedelta(days=1)):
        begin = _at(day, schedule.start_minute, zone)
        if day.weekday() in schedule.days and now < begin <= now + lead_s:
            return True
    return False


def _at(day: date, minute_of_day: int, zone: tzinfo) -> float:
    hour, minute = divmod(minute_of_day, 60)
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone).timestamp()


def occurrences(schedule: Schedule, begin: float, end: float) -> list[tuple[float, float]]:
    """When it is on within [begin, end), in unix seconds; each with its own begin and end."""
    zone = _zone(schedule.timezone)
    day = datetime.fromtimestamp(begin, zone).date() - timedelta(days=1)
    last = datetime.fromtimestamp(end, zone).date()
    over_midnight = schedule.end_minute <= schedule.start_minute
    found = []
    while day <= last:
        if day.weekday() in schedule.days:
            opens = _at(day, schedule.start_minute, zone)
            closes = _at(day + timedelta(days=over_midnight), schedule.end_minute, zone)
            if closes > begin and opens < end:
                found.append((opens, closes))
        day += timedelta(days=1)
    return found


def remember_before(
    before: Mapping[str, float], calendar: Calendar, rps: float | None
) -> Mapping[str, float]:
    """The demand from before each event, by its name: taken when it comes near and kept to its
    end, since from then on demand holds the event itself. ``rps`` is ``None`` where unknown."""
    kept: dict[str, float] = {}
    for schedule in calendar.expected:
        base = before.get(schedule.name, rps)
        if base is not None:
            kept[schedule.name] = base
    return kept


def expected_rps(before: Mapping[str, float], calendar: Calendar) -> tuple[float | None, str]:
    """The highest demand that an event promises, and whose that is; ``None``: there is none."""
    promised = [
        (before[schedule.name] * schedule.expect_factor, schedule.name)
        for schedule in calendar.expected
        if schedule.name in before
    ]
    return max(promised) if promised else (None, "")


@lru_cache(maxsize=64)
def _zone(timezone: str) -> tzinfo:
    # UTC needs no time zone database, which a slim image may lack.
    return UTC if timezone == "UTC" else ZoneInfo(timezone)
