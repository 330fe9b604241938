"""A history split into what is learned from and what is judged.

Law: every controller is judged on the same minutes. The forecast needs two days before it may say
anything; so what is judged begins there, and those two days are counted apart, as they would have
been: reactive.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tidegate_operator.replay.load import mean_service_s
from tidegate_operator.replay.plant import PlantRules
from tidegate_operator.replay.trace import DAY_S, MINUTE_S, Trace

MIN_JUDGED_S = DAY_S
"""Less than a day has not seen what it is to be judged by: the daily pattern."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A trace, in the steps that it came in."""

    whole: Trace
    judged: Trace
    """The whole of it where it is too short to forecast."""
    learning: Trace | None
    """What lies before ``judged``; ``None`` where nothing does."""
    notes: tuple[str, ...] = ()

    @property
    def forecasts(self) -> bool:
        """Whether it is long enough to learn from and be judged by."""
        return self.learning is not None

    @property
    def days(self) -> float:
        return (self.judged.end - self.judged.start) / DAY_S


def split(trace: Trace, min_history_s: float) -> History:
    """The learning period, and the judged one after it."""
    notes = tuple(_notes(trace))
    step_s = max(MINUTE_S, trace.step_s)
    begin = trace.start + math.ceil(min_history_s / step_s) * step_s
    if trace.end - begin < MIN_JUDGED_S:
        return History(whole=trace, judged=trace, learning=None, notes=notes)
    return History(
        whole=trace,
        judged=trace.between(begin, trace.end),
        learning=trace.between(trace.start, begin),
        notes=notes,
    )


def _notes(trace: Trace) -> list[str]:
    notes, minutes = [], trace.minutes()
    if trace.step_s > MINUTE_S:
        notes.append(
            f"the history has steps of {trace.step_s:g} s: their requests are spread evenly over"
            " their minutes, so bursts within a step are not seen, and all controllers look"
            " better than they would be"
        )
    missing = sum(count is None for count in minutes.requests)
    if missing:
        notes.append(
            f"{missing} of {len(minutes)} minutes are missing: there the load of the minute"
            " before is played, and forecasts neither learn from them nor are scored on them"
        )
    return notes


def without(trace: Trace, windows: Sequence[tuple[float, float]]) -> Trace:
    """In minutes, with those of ``windows`` (unix seconds, [start, end)) missing: nothing is
    learned from them, and they are played all the same."""
    minutes = trace.minutes()
    counts = list(minutes.requests)
    for start, end in windows:
        first = max(0, math.floor((start - minutes.start) / MINUTE_S))
        last = max(first, min(len(counts), math.ceil((end - minutes.start) / MINUTE_S)))
        counts[first:last] = [None] * (last - first)
    return replace(minutes, requests=tuple(counts))


def token_service_s(trace: Trace) -> float | None:
    """Mean time that a request holds a slot, by its tokens; ``None`` where the trace has none."""
    there = any(trace.prompt_tokens) and any(trace.output_tokens)
    return mean_service_s(trace, PlantRules()) if there else None


def tokens_per_request(trace: Trace) -> float | None:
    """Mean of input and output together; ``None`` where the trace has none."""
    requests = sum(count or 0.0 for count in trace.requests)
    tokens = sum(count or 0.0 for count in (*trace.prompt_tokens, *trace.output_tokens))
    return tokens / requests if tokens and requests else None
