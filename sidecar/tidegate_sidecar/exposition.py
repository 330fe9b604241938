"""The page that Prometheus scrapes: its text format 0.0.4, or OpenMetrics 1.0.

Law: pure, and in pieces, since every stream waits while one is made: 0.6 ms instead of 4, with 200
models (``benchmarks/metrics_stall.py``). A row is told as it is at one moment, the page is not.
There are no ``_created`` lines: Prometheus would keep each as a series of its own.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from tidegate_sidecar.histogram import Histogram
from tidegate_sidecar.labels import escaped
from tidegate_sidecar.meter import Meter, Series, Timings
from tidegate_wire.names import Metric

PIECE_CHARS: Final = 8192
"""At most, but for the last line. With 200 models, all changed, a scrape takes 14 ms of CPU so,
and 12 with pieces of any length above."""

_Family = tuple[Metric, str, str, Iterable[str]]
"""Name, type, help, and lines; each ends its own line."""


def exposition(meter: Meter, *, openmetrics: bool) -> Iterator[str]:
    """The whole page, piece by piece; the meter may go on counting in between."""
    piece: list[str] = []
    size = 0
    for metric, kind, help_text, lines in _families(meter, openmetrics):
        piece.append(_head(metric, kind, help_text, openmetrics))
        for line in lines:
            piece.append(line)
            size += len(line)
            if size >= PIECE_CHARS:
                yield "".join(piece)
                piece.clear()
                size = 0
    if openmetrics:
        piece.append("# EOF\n")
    yield "".join(piece)


def _head(metric: Metric, kind: str, help_text: str, openmetrics: bool) -> str:
    if not openmetrics:
        # The older format knows no infos, and calls counters by the name of their one sample.
        kind = "gauge" if kind == "info" else kind
        return f"# HELP {metric} {help_text}\n# TYPE {metric} {kind}\n"
    name = metric.removesuffix("_total").removesuffix("_info")
    unit = f"# UNIT {name} seconds\n" if name.endswith("_seconds") else ""
    return f"# TYPE {name} {kind}\n{unit}# HELP {name} {help_text}\n"


def _families(meter: Meter, openmetrics: bool) -> Iterator[_Family]:
    series = meter.series()
    yield Metric.REQUESTS, "counter", "Requests ended, by how they ended.", _requests(series)
    yield Metric.IN_FLIGHT, "gauge", "Requests let through and not ended.", _in_flight(series)
    told = "Tokens, as the server reported or we estimated."
    yield Metric.TOKENS, "counter", told, _tokens(series)
    told = "Of those, what was cheaper or dearer than the rest; no tokens beside them."
    yield Metric.TOKEN_PARTS, "counter", told, _token_parts(series)
    yield Metric.COST, "counter", "Cost in the policy's currency.", _cost(series)
    yield from _histograms(meter.timings(), openmetrics)
    for metric, kind, told, label, counts in (
        (Metric.REFUSED, "counter", "Requests refused by us.", "reason", meter.refusals),
        (Metric.LABEL_OVERFLOW, "counter", "Requests told as other.", "label", meter.overflows()),
        (Metric.SIDECAR_FAILURES, "counter", "Our own failures.", "reason", meter.own_failures),
        (Metric.CONFIG_INFO, "info", "The config in force.", "hash", {meter.config_hash: 1}),
        (Metric.ACTIVE_MODEL, "info", "Who answers.", "model", {meter.active_model: 1}),
    ):
        lines = [f'{metric}{{{label}="{escaped(v)}"}} {n}\n' for v, n in counts.items()]
        yield metric, kind, told, lines
    yield from _engine(meter)


def _engine(meter: Meter) -> Iterator[_Family]:
    """What the model server says of itself, under one name for all engines."""
    load = meter.engine
    if load is None:
        return
    for metric, told, value in (
        (Metric.ENGINE_WAITING, "Requests in the model server's own queue.", load.waiting),
        (Metric.ENGINE_RUNNING, "Requests that the model server works on.", load.running),
        (Metric.ENGINE_KV_CACHE, "Share of its KV cache in use.", load.kv_cache_usage),
    ):
        if value is not None:
            yield metric, "gauge", told, [f'{metric}{{engine="{load.engine}"}} {value}\n']


def _histograms(timings: list[Timings], openmetrics: bool) -> Iterator[_Family]:
    for metric, told, histograms in (
        (
            Metric.REQUEST_DURATION,
            "From the whole request to the end of its answer.",
            [one.duration for one in timings],
        ),
        (
            Metric.TIME_TO_FIRST_TOKEN,
            "From the whole request to the first event with output.",
            [one.first_token for one in timings],
        ),
        (
            Metric.TIME_PER_OUTPUT_TOKEN,
            "After the first token, by token.",
            [one.per_token for one in timings],
        ),
        (
            Metric.TOKEN_USAGE,
            "Tokens of a request.",
            [part for one in timings for part in (one.tokens_in, one.tokens_out)],
        ),
    ):
        yield metric, "histogram", told, _rendered(histograms, openmetrics)


def _rendered(histograms: list[Histogram], openmetrics: bool) -> Iterator[str]:
    # Not a generator expression: compiled, it would be a list, and all be rendered at once.
    for one in histograms:
        yield one.render(exemplars=openmetrics)


def _requests(series: list[Series]) -> Iterator[str]:
    for one in series:
        for outcome, count in list(one.outcomes.items()):
            yield f'{Metric.REQUESTS}{{{one.labels},outcome="{outcome}"}} {count}\n'


def _in_flight(series: list[Series]) -> Iterator[str]:
    for one in series:
        yield f"{Metric.IN_FLIGHT}{{{one.labels}}} {one.in_flight}\n"


def _tokens(series: list[Series]) -> Iterator[str]:
    for one in series:
        for kind, source, count in (
            ("input", "reported", one.reported_in),
            ("output", "reported", one.reported_out),
            ("input", "estimated", one.estimated_in),
            ("output", "estimated", one.estimated_out),
        ):
            if count:
                yield (
                    f'{Metric.TOKENS}{{{one.labels},type="{kind}",source="{source}"}} {count}\n'
                )


def _token_parts(series: list[Series]) -> Iterator[str]:
    for one in series:
        for part, count in (
            ("cached_input", one.cached_input),
            ("cache_creation", one.cache_creation),
            ("reasoning", one.reasoning),
        ):
            if count:
                yield f'{Metric.TOKEN_PARTS}{{{one.labels},part="{part}"}} {count}\n'


def _cost(series: list[Series]) -> Iterator[str]:
    for one in series:
        if one.cost:
            yield f"{Metric.COST}{{{one.labels}}} {one.cost!r}\n"
