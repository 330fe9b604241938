"""What is known beside the counts, as arrays: which minutes are holidays, how many times the usual
demand an event brings, what other series said.

Law: everything is found by unix minute, so that a part of a series takes it along as it is. What
lies outside of what is known is usual: no holiday, factor 1, NaN.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

from tidegate_operator.forecast.arrays import DAY, Bools, Floats, Indices
from tidegate_operator.forecast.known import Event, Holidays, Known, Regressor

Spans = tuple[tuple[int, int], ...]
"""Half-open, in unix minutes, in order."""


class HolidaysError(ValueError):
    """The holidays of a country can't be told."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A regressor with running sums, so that a mean over any window is one subtraction."""

    start_minute: int
    sums: Floats
    counted: Indices
    """How many minutes of the sum were known."""

    def mean(self, minutes: Floats, width: int) -> Floats:
        """Of the known ones of the ``width`` minutes up to and with each of ``minutes``; NaN where
        none is."""
        after = minutes.astype(np.int64) + 1 - self.start_minute
        end, begin = (np.clip(at, 0, len(self.sums) - 1) for at in (after, after - width))
        counted = self.counted[end] - self.counted[begin]
        total = self.sums[end] - self.sums[begin]
        out: Floats = np.where(counted > 0, total / np.maximum(counted, 1), np.nan)
        return out


@dataclass(frozen=True, slots=True)
class Beside:
    """For one workload."""

    holidays: Spans = ()
    events: tuple[Event, ...] = ()
    regressors: tuple[tuple[str, Reading], ...] = ()

    def is_holiday(self, minutes: Floats) -> Bools:
        found = np.zeros(len(minutes), dtype=np.bool_)
        for start, end in self.holidays:
            found |= (minutes >= start) & (minutes < end)
        return found

    def factors(self, minutes: Floats) -> Floats:
        """How many times the usual demand each minute has; events that meet multiply."""
        factors = np.ones(len(minutes))
        for event in self.events:
            on = (minutes >= event.start_minute) & (minutes < event.end_minute)
            factors[on] *= event.factor
        return factors

    def highest_factor(self, minute: int, horizon: int) -> float:
        """Over the ``horizon`` minutes after ``minute``."""
        return float(self.factors(np.arange(minute + 1.0, minute + horizon + 1.0)).max())


ALONE = Beside()


def beside(known: Known, start_minute: int, end_minute: int) -> Beside:
    """``known`` for forecasts that look at [start, end) and the days after it.

    Raises:
        HolidaysError: the country is not known.
    """
    spans: Spans = ()
    if known.holidays is not None:
        spans = holiday_spans(known.holidays, start_minute, end_minute + 2 * DAY)
    readings = tuple((r.name, _reading(r)) for r in known.regressors if r.values)
    return Beside(spans, known.events, readings)


def _reading(regressor: Regressor) -> Reading:
    said = [np.nan if value is None else max(0.0, value) for value in regressor.values]
    values = np.array(said, dtype=np.float64)
    known = np.isfinite(values)
    return Reading(
        regressor.start_minute,
        np.concatenate(([0.0], np.cumsum(np.where(known, values, 0.0)))),
        np.concatenate(([0], np.cumsum(known))),
    )


def holiday_spans(holidays: Holidays, start_minute: int, end_minute: int) -> Spans:
    """The holidays that touch [start, end), from midnight to midnight of their own time zone.

    Raises:
        HolidaysError: no such country or subdivision, or the library ``holidays`` is missing.
    """
    zone = ZoneInfo(holidays.timezone)
    first, last = (
        datetime.fromtimestamp(60 * minute, UTC).astimezone(zone).date()
        for minute in (start_minute, end_minute)
    )
    years = tuple(range(first.year, last.year + 1))
    spans = (
        (_midnight(d, zone), _midnight(d + timedelta(1), zone))
        for d in _dates(holidays.country, years)
    )
    return tuple(span for span in spans if span[1] > start_minute and span[0] < end_minute)


def _midnight(day: date, zone: ZoneInfo) -> int:
    return int(datetime.combine(day, time(), zone).timestamp() // 60)


@lru_cache(maxsize=64)
def _dates(code: str, years: Sequence[int]) -> tuple[date, ...]:
    try:
        from holidays import country_holidays
    except ImportError as error:
        raise HolidaysError(
            f"holidays of {code} need the package holidays, which is not installed"
        ) from error
    country, _, subdivision = code.partition("-")
    try:
        found = country_holidays(country, subdiv=subdivision or None, years=years)
    except NotImplementedError as error:
        raise HolidaysError(f"no holidays are known of {code}: {error}") from error
    return tuple(sorted(found))
