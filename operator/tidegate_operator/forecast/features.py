"""What a model may look at when it stands at the end of minute ``t``: the last hours, the same
hour of other days, the calendar.

Law: a feature at ``t`` depends on ``values[0..t]`` alone, and is made for the rows that are asked
for: one when forecasting, thousands of tens of thousands for a fit. All levels are log ratios to
the mean of the last 15 minutes, so a model carries over from a small workload to a large one and
from July to August; the one absolute figure is that mean itself.
"""

from collections.abc import Sequence

import numpy as np

from tidegate_operator.forecast.arrays import DAY, Bools, Floats, Indices
from tidegate_operator.forecast.beside import Beside, Reading
from tidegate_operator.forecast.series import Series

BASE_MINUTES = 15
LAGS = 5
MEANS = (5, 60, 180)
DEVIATIONS = (15, 60)
PEAK_MINUTES = 60
WEEK = 7 * DAY
SEASONS = (DAY, 2 * DAY, WEEK)
SUNDAY = 3
"""Day of the week, counted from Thursday, as 1970 began."""
CENTRED_HALF_MINUTES = 7
C_SHARE = 0.02
"""Of its mean, added to a regressor before a logarithm is taken."""
TINY = 1e-9
WARM_UP = max(MEANS)
"""Minutes before the first row that can be built."""

COUNTED = (
    *(f"lag_{k}" for k in range(LAGS)),
    "level",
    *(f"mean_{m}" for m in MEANS),
    *(f"deviation_{m}" for m in DEVIATIONS),
    f"peak_{PEAK_MINUTES}",
    *(f"{what}_{s // DAY}d" for s in SEASONS for what in ("then", "window", "rise")),
)
CALENDAR = ("minute_of_day", "minute_of_hour", "day_of_week")
COLUMNS = (*COUNTED, *CALENDAR)
"""Of ``table``; after them come those of regressors."""
PER_REGRESSOR = 2
DAY_HARMONICS = 4
HOUR_HARMONICS = 3


def table(
    series: Series, horizon: int, c: float, rows: Indices, regressors: Sequence[str] = ()
) -> Floats:
    """Features at indices ``rows``, one line each: NaN where the history does not reach back, and
    throughout before ``WARM_UP``.

    Args:
        horizon: minutes ahead, below ``DAY``.
        c: added to counts before a logarithm is taken.
        regressors: names of those of ``series.beside`` that are looked at.
    """
    y, late = series.values, rows[rows >= WARM_UP]
    sums = np.concatenate(([0.0], np.cumsum(y)))
    level = np.log(_mean(sums, late, BASE_MINUTES) + c)
    columns = [np.log(y[late - k] + c) - level for k in range(LAGS)]
    columns.append(level)
    columns += [np.log(_mean(sums, late, m) + c) - level for m in MEANS]
    columns += [np.log1p(_windows(y, late, m).std(axis=1) / np.exp(level)) for m in DEVIATIONS]
    columns.append(np.log(_windows(y, late, PEAK_MINUTES).max(axis=1) + c) - level)
    minutes = (series.start_minute + late).astype(np.float64)
    for back in lookbacks(minutes, series.beside):
        columns += _season(series, horizon, c, late - back, sums, level)
    columns += calendar(minutes, series.beside)
    for name in regressors:
        columns += _beside(dict(series.beside.regressors)[name], minutes)
    out = np.full((len(rows), len(columns)), np.nan)
    out[rows >= WARM_UP] = np.column_stack(columns)
    return out


def _season(
    series: Series, horizon: int, c: float, at: Indices, sums: Floats, level: Floats
) -> tuple[Floats, Floats, Floats]:
    """Then, window and rise where "now" was at the indices ``at``; those out of reach are NaN."""
    within = at >= CENTRED_HALF_MINUTES
    then, window = np.full(len(at), np.nan), np.full(len(at), np.nan)
    at = at[within]
    centred = _mean(sums, at + CENTRED_HALF_MINUTES, 2 * CENTRED_HALF_MINUTES + 1)
    then[within] = np.log(centred + c)
    window[within] = np.log(_windows(series.values, at + horizon, horizon).max(axis=1) + c)
    return then - level, window - level, window - then


def lookbacks(minutes: Floats, beside: Beside) -> list[Indices]:
    """How many minutes back each of ``SEASONS`` lies from each of ``minutes``.

    A holiday looks to the last Sunday; on other days a season that would fall on a holiday is
    replaced by another one that does not.
    """
    backs = [np.full(len(minutes), season, dtype=np.int64) for season in SEASONS]
    if not beside.holidays:
        return backs
    ahead = minutes + 1
    festive = beside.is_holiday(ahead)
    sunday = ((ahead // DAY - SUNDAY - 1) % 7 + 1).astype(np.int64) * DAY
    usual = [~beside.is_holiday(ahead - season) for season in SEASONS]
    for column, back in enumerate(backs):
        lost = ~usual[column]
        for other in (2, 1, 0):
            taken = lost & usual[other]
            back[taken] = SEASONS[other]
            lost &= ~taken
        back[festive] = sunday[festive]
    return backs


def _beside(reading: Reading, minutes: Floats) -> tuple[Floats, Floats]:
    """How far a regressor is above its last day, and how it moved within the last hour."""
    day, hour = reading.mean(minutes, DAY), reading.mean(minutes, 60)
    c = C_SHARE * day + TINY
    usual = np.log(reading.mean(minutes, BASE_MINUTES) + c) - np.log(day + c)
    moved = np.log(reading.mean(minutes, 5) + c) - np.log(hour + c)
    return usual, moved


def _mean(sums: Floats, rows: Indices, width: int) -> Floats:
    """Over the ``width`` minutes up to and with each row."""
    out: Floats = (sums[rows + 1] - sums[np.maximum(rows + 1 - width, 0)]) / width
    return out


def _windows(values: Floats, rows: Indices, width: int) -> Floats:
    """The ``width`` minutes up to and with each row, one line a row."""
    if not len(rows):
        return np.empty((0, width))
    return np.lib.stride_tricks.sliding_window_view(values, width)[rows - width + 1]


def target(series: Series, horizon: int, c: float, rows: Indices) -> Floats:
    """Log ratio of the highest minute ahead to the mean of the last 15, at rows whose windows
    have ``matured()``."""
    sums = np.concatenate(([0.0], np.cumsum(series.values)))
    ahead = _windows(series.values, rows + horizon, horizon).max(axis=1)
    out: Floats = np.log(ahead + c) - np.log(_mean(sums, rows, BASE_MINUTES) + c)
    return out


def matured(series: Series, horizon: int) -> Bools:
    """At which indices all of the ``horizon`` minutes ahead have been counted."""
    counted = np.concatenate(([0], np.cumsum(series.known)))
    out = np.zeros(len(series), dtype=np.bool_)
    if len(series) > horizon:
        out[:-horizon] = counted[horizon + 1 :] - counted[1:-horizon] == horizon
    return out


def calendar(minutes: Floats, beside: Beside) -> tuple[Floats, Floats, Floats]:
    """``CALENDAR`` of unix minutes: the day in UTC, a holiday as the Sunday that it is like."""
    weekday = np.where(beside.is_holiday(minutes + 1), SUNDAY, minutes // DAY % 7)
    return minutes % DAY, minutes % 60, weekday


def fourier(minutes: Floats) -> Floats:
    """Minutes of the day as waves, for the linear model."""
    waves = []
    for period, harmonics in ((DAY, DAY_HARMONICS), (60, HOUR_HARMONICS)):
        for k in range(1, harmonics + 1):
            angle = 2 * np.pi * k * (minutes % period) / period
            waves += [np.sin(angle), np.cos(angle)]
    return np.column_stack(waves)
