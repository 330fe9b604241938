"""What kind of load a history shows: how high, how uneven, how much like the day before.

Law: facts about the history alone; what follows from them is the verdict's business.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tidegate_operator.decide.words import Forecast
from tidegate_operator.replay.trace import DAY_S, MINUTE_S, Trace

QUARTER = 15
"""Minutes over which days are compared: single minutes are mostly noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Of the judged minutes."""

    mean_rps: float
    busiest_rps: float
    """Of the busiest minute."""
    daily: float | None
    """Correlation of each quarter of an hour with the day before's, over the whole history;
    ``None`` where less than two days or nothing but one value is known."""
    above: float
    """Share of the minutes whose load is more than what the most pods carry."""


def describe(whole: Trace, judged: Trace, *, most_rps: float) -> Load:
    """``most_rps`` is what the policy's most pods carry, in requests per second."""
    known = [count / MINUTE_S for count in judged.minutes().requests if count is not None]
    return Load(
        mean_rps=statistics.fmean(known) if known else 0.0,
        busiest_rps=max(known, default=0.0),
        daily=_daily(whole.minutes().requests),
        above=sum(rps > most_rps for rps in known) / len(known) if known else 0.0,
    )


def _daily(counts: Sequence[float | None]) -> float | None:
    quarters = [_mean(counts[at : at + QUARTER]) for at in range(0, len(counts), QUARTER)]
    day = DAY_S // MINUTE_S // QUARTER
    pairs = [
        (before, after)
        for before, after in zip(quarters, quarters[day:], strict=False)
        if before is not None and after is not None
    ]
    if len(pairs) < day:
        return None
    try:
        return statistics.correlation([a for a, _ in pairs], [b for _, b in pairs])
    except statistics.StatisticsError:
        return None  # one of them never changes


def _mean(counts: Sequence[float | None]) -> float | None:
    known = [count for count in counts if count is not None]
    return statistics.fmean(known) if known else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """How far the forecasts of the judged minutes were to be relied on."""

    share: float
    """Of the minutes, those with a forecast that was trusted."""
    doubt: str
    """What the last one that was not trusted said of itself; empty where all were."""


def trust(forecast: Callable[[float], Forecast | None], judged: Trace) -> Trust:
    """Ask for the forecast of each judged minute."""
    trusted, doubt = 0, ""
    minutes = int((judged.end - judged.start) // MINUTE_S)
    for minute in range(minutes):
        found = forecast(judged.start + minute * MINUTE_S)
        if found is not None and found.reliable:
            trusted += 1
        else:
            doubt = found.message if found is not None else doubt or "there was no forecast"
    return Trust(share=trusted / minutes, doubt=doubt)
