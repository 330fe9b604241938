"""Where a budget's calendar window begins and ends.

Law: a window is what a person's calendar calls an hour, a day, a week or a month in the budget's
time zone, so a day that loses an hour to summer time is 23 hours long. Any moment lies in exactly
one window.
"""

from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo


class InvalidWindowError(ValueError):
    """A budget's window names no calendar unit or no time zone."""


def window_of(unit: str, timezone: str, now: float) -> tuple[float, float]:
    """Begin and end, in unix seconds, of the window that ``now`` lies in: begin <= now < end.

    ``unit`` is Hour, Day, Week (from Monday) or Month; ``timezone`` an IANA name.
    """
    zone = _zone(timezone)
    local = datetime.fromtimestamp(now, zone)
    if unit == "Hour":
        begin = now - (local.minute * 60 + local.second + local.microsecond / 1e6)
        return float(round(begin)), float(round(begin)) + 3600.0
    first, following = _days(unit, local.date())
    return _midnight(first, zone), _midnight(following, zone)


def _days(unit: str, today: date) -> tuple[date, date]:
    """First day of the window and of the one after it."""
    if unit == "Day":
        return today, today + timedelta(days=1)
    if unit == "Week":
        monday = today - timedelta(days=today.weekday())
        return monday, monday + timedelta(days=7)
    if unit == "Month":
        first = today.replace(day=1)
        return first, (first + timedelta(days=32)).replace(day=1)
    raise InvalidWindowError(f"window.unit must be Hour, Day, Week or Month, was: {unit}")


def _midnight(day: date, zone: tzinfo) -> float:
    """Where a clock is put forward at midnight there is none: the moment of the change stands for
    it."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()


@lru_cache(maxsize=64)
def _zone(timezone: str) -> tzinfo:
    if timezone == "UTC":
        return UTC  # needs no time zone database, which a slim image may lack
    try:
        return ZoneInfo(timezone)
    except (KeyError, ValueError, OSError):
        raise InvalidWindowError(
            f"window.timezone must be an IANA time zone, was: {timezone}"
        ) from None
