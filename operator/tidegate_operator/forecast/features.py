"""What a model may look at when it stands at the end of minute ``t``: the last hours, the same
hour of other days, the calendar.

Law: a feature at ``t`` depends on ``values[0..t]`` alone, and ``row()`` (one minute, cheap) gives
what ``table()`` (all of them) gives. All levels are log ratios to the mean of the last 15 minutes,
so a model carries over from a small workload to a large one and from July to August; the one
absolute figure is that mean itself.
"""

import numpy as np

from tidegate_operator.forecast.series import DAY, Floats, Series

BASE_MINUTES = 15
LAGS = 5
MEANS = (5, 60, 180)
DEVIATIONS = (15, 60)
PEAK_MINUTES = 60
SEASONS = (DAY, 2 * DAY, 7 * DAY)
CENTRED_HALF_MINUTES = 7
WARM_UP = max(MEANS)
"""Minutes before the first row that can be built."""

COLUMNS = (
    *(f"lag_{k}" for k in range(LAGS)),
    "level",
    *(f"mean_{m}" for m in MEANS),
    *(f"deviation_{m}" for m in DEVIATIONS),
    f"peak_{PEAK_MINUTES}",
    *(f"{what}_{s // DAY}d" for s in SEASONS for what in ("then", "window", "rise")),
)
CALENDAR = ("minute_of_day", "minute_of_hour", "day_of_week")
DAY_HARMONICS = 4
HOUR_HARMONICS = 3


def base(values: Floats, t: int) -> float:
    """Mean of the last ``BASE_MINUTES`` up to and with ``t``: what every target is a ratio to."""
    return float(values[max(0, t - BASE_MINUTES + 1) : t + 1].mean())


def row(series: Series, t: int, horizon: int, c: float) -> Floats:
    """Features at index ``t``; NaN where the history does not reach back.

    Args:
        horizon: minutes ahead, below ``DAY``.
        c: added to counts before a logarithm is taken.
    """
    y = series.values
    level = float(np.log(base(y, t) + c))
    out = [np.log(y[t - k] + c) - level for k in range(LAGS)]
    out.append(level)
    out += [np.log(y[t - m + 1 : t + 1].mean() + c) - level for m in MEANS]
    out += [_relative(y[t - m + 1 : t + 1].std(), level) for m in DEVIATIONS]
    out.append(np.log(y[t - PEAK_MINUTES + 1 : t + 1].max() + c) - level)
    for season in SEASONS:
        at = t - season
        if at < CENTRED_HALF_MINUTES:
            out += [np.nan, np.nan, np.nan]
            continue
        then = np.log(y[at - CENTRED_HALF_MINUTES : at + CENTRED_HALF_MINUTES + 1].mean() + c)
        window = np.log(y[at + 1 : at + horizon + 1].max() + c)
        out += [then - level, window - level, window - then]
    return np.array(out, dtype=np.float64)


def _relative(deviation: float, level: float) -> float:
    return float(np.log1p(deviation / np.exp(level)))


def table(series: Series, horizon: int, c: float) -> Floats:
    """``row()`` for every index, one per line; NaN throughout for the first ``WARM_UP``."""
    y = series.values
    size = len(y)
    sums = np.concatenate(([0.0], np.cumsum(y)))
    level = np.log(_trailing_mean(sums, BASE_MINUTES) + c)
    columns = [np.log(_delayed(y, k) + c) - level for k in range(LAGS)]
    columns.append(level)
    columns += [np.log(_trailing_mean(sums, m) + c) - level for m in MEANS]
    columns += [np.log1p(_trailing(y, m, np.std) / np.exp(level)) for m in DEVIATIONS]
    columns.append(np.log(_trailing(y, PEAK_MINUTES, np.max) + c) - level)
    centred = _delayed(_trailing_mean(sums, 2 * CENTRED_HALF_MINUTES + 1), -CENTRED_HALF_MINUTES)
    ahead = _delayed(_trailing(y, horizon, np.max), -horizon)
    for season in SEASONS:
        then = np.log(_delayed(centred, season) + c)
        window = np.log(_delayed(ahead, season) + c)
        window[: min(size, season + CENTRED_HALF_MINUTES)] = np.nan
        columns += [then - level, window - level, window - then]
    out = np.column_stack(columns)
    out[: min(size, WARM_UP)] = np.nan
    return out


def _delayed(values: Floats, by: int) -> Floats:
    """``out[t] = values[t - by]``, NaN outside."""
    out = np.full(len(values), np.nan)
    if by >= 0:
        out[by:] = values[: max(0, len(values) - by)]
    else:
        out[:by] = values[-by:]
    return out


def _trailing_mean(sums: Floats, width: int) -> Floats:
    out = np.full(len(sums) - 1, np.nan)
    if len(sums) > width:
        out[width - 1 :] = (sums[width:] - sums[:-width]) / width
    return out


def _trailing(values: Floats, width: int, what: object) -> Floats:
    out = np.full(len(values), np.nan)
    if len(values) >= width:
        windows = np.lib.stride_tricks.sliding_window_view(values, width)
        out[width - 1 :] = what(windows, axis=1)  # type: ignore[operator]
    return out


def target(series: Series, horizon: int, c: float) -> Floats:
    """Log ratio of the highest minute ahead to the mean of the last 15; NaN where a minute ahead
    was not counted."""
    ahead = peak_ahead(series, horizon)
    sums = np.concatenate(([0.0], np.cumsum(series.values)))
    out: Floats = np.log(ahead + c) - np.log(_trailing_mean(sums, BASE_MINUTES) + c)
    return out


def peak_ahead(series: Series, horizon: int) -> Floats:
    """``max(y[t+1 .. t+horizon])`` in requests per minute; NaN where any of them was not counted
    or is yet to come."""
    counted = np.where(series.known, series.values, np.nan)
    return _delayed(_trailing(counted, horizon, np.max), -horizon)


def calendar(minutes: Floats) -> Floats:
    """``CALENDAR`` of unix minutes, for trees: the day in UTC, the week from Thursday (as 1970
    began)."""
    return np.column_stack((minutes % DAY, minutes % 60, minutes // DAY % 7))


def fourier(minutes: Floats) -> Floats:
    """The calendar as waves, for the linear model."""
    waves = []
    for period, harmonics in ((DAY, DAY_HARMONICS), (60, HOUR_HARMONICS)):
        for k in range(1, harmonics + 1):
            angle = 2 * np.pi * k * (minutes % period) / period
            waves += [np.sin(angle), np.cos(angle)]
    return np.column_stack(waves)
