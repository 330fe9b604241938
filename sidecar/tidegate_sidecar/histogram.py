"""Counts by upper bound, and their lines in Prometheus' text formats.

Law: pure; counts only grow. Own lists, since a request costs 1.6 us so and 22 us with
prometheus_client's ``labels()``, and 600 of its histograms take 85 ms to render.
"""

from bisect import bisect_left
from itertools import accumulate
from typing import Final

from tidegate_sidecar.trace import sampled_trace
from tidegate_wire.names import Metric
from tidegate_wire.stats import TTFT_BOUNDS_S

EXAMPLE_S: Final = 1.0
"""So long a bucket keeps its example from newer ones: scrapes come every few seconds, and reading
a trace's header costs as much as two histograms."""
_EXEMPLAR: Final = ' # {trace_id="%s"} %r %.3f'
_LABELS: Final = "\0"
"""Where the labels go in the lines of ``Buckets``."""


class Buckets:
    """What all histograms of one metric share: their bounds, and how they are told."""

    __slots__ = ("bounds", "exemplified", "lines")

    def __init__(self, metric: Metric, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        limits = [*(_limit(bound) for bound in bounds), "+Inf"]
        buckets = [f'{metric}_bucket{{{_LABELS},le="{limit}"}} %d' for limit in limits]
        ends = [f"{metric}_sum{{{_LABELS}}} %r", f"{metric}_count{{{_LABELS}}} %d", ""]
        self.lines = "\n".join([*buckets, *ends])
        self.exemplified = "\n".join([*(bucket + "%s" for bucket in buckets), *ends])


class Example:
    """An observation of a bucket whose trace is recorded; of late the newest."""

    __slots__ = ("_text", "_trace", "_value", "at")

    def __init__(self, value: float, trace: str, at: float) -> None:
        self._value = value
        self._trace = trace
        self.at = at
        """When its request ended, in Unix seconds."""
        self._text = ""

    def text(self) -> str:
        """As OpenMetrics tells it; made when it is first told, which most never are."""
        if not self._text:
            self._text = _EXEMPLAR % (self._trace, self._value, self.at)
        return self._text


class Histogram:
    """The observations of one row of labels."""

    __slots__ = ("_buckets", "_counts", "_examples", "_labels", "_sum")

    def __init__(self, buckets: Buckets, labels: str) -> None:
        """``labels`` as they are told, without braces."""
        self._buckets = buckets
        self._labels = labels.replace("%", "%%")
        self._counts = [0] * (len(buckets.bounds) + 1)
        self._sum = 0.0
        self._examples: list[Example | None] | None = None
        """By bucket; None before the first."""

    def observe(self, value: float, traceparent: bytes = b"", at: float = 0.0) -> None:
        """``traceparent``: of the request that was observed, as it came; ``at``: when it ended,
        in Unix seconds."""
        place = bisect_left(self._buckets.bounds, value)
        self._counts[place] += 1
        self._sum += value
        if traceparent:
            self._remember(place, value, traceparent, at)

    def _remember(self, place: int, value: float, traceparent: bytes, at: float) -> None:
        if self._examples is None:
            self._examples = [None] * len(self._counts)
        kept = self._examples[place]
        if kept is None or at - kept.at >= EXAMPLE_S:
            trace = sampled_trace(traceparent)
            if trace:
                self._examples[place] = Example(value, trace, at)

    def add_to(self, counts: list[int]) -> None:
        """Add its counts, by bucket and not summed up, to those of others of its metric."""
        for place, count in enumerate(self._counts):
            counts[place] += count

    def render(self, *, exemplars: bool) -> str:
        """The lines; empty while nothing was observed. Only OpenMetrics knows exemplars."""
        counts = tuple(accumulate(self._counts))
        if not counts[-1]:
            return ""
        ends = (self._sum, counts[-1])
        # One format for all lines: four times as fast as one for each.
        if not exemplars or self._examples is None:
            return self._buckets.lines.replace(_LABELS, self._labels) % (*counts, *ends)
        texts = ["" if example is None else example.text() for example in self._examples]
        pairs = [part for pair in zip(counts, texts, strict=True) for part in pair]
        return self._buckets.exemplified.replace(_LABELS, self._labels) % (*pairs, *ends)


def _limit(bound: float) -> str:
    """A bound as Go writes floats, which OpenMetrics asks for: the same in both formats, or one
    bucket would be two series to whoever scraped it both ways."""
    if bound < 1e6:
        return repr(float(bound))
    digits, exponent = f"{bound:.15e}".split("e")
    return f"{digits.rstrip('0').rstrip('.')}e{exponent}"


DURATION: Final = Buckets(
    Metric.REQUEST_DURATION,
    (
        *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
        *(163.84, 327.68),
    ),
)
"""OpenTelemetry's GenAI buckets, and two more for long streams."""
FIRST_TOKEN: Final = Buckets(Metric.TIME_TO_FIRST_TOKEN, TTFT_BOUNDS_S)
PER_TOKEN: Final = Buckets(
    Metric.TIME_PER_OUTPUT_TOKEN,
    (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5),
)
TOKENS: Final = Buckets(Metric.TOKEN_USAGE, tuple(4.0**n for n in range(14)))
