"""What was measured, and how it is told: as Prometheus text and as one look for the operator.

Law: pure; counters only grow. No label takes a client's free text without bound: tenants and
models are capped each, the rest shares ``other``; those that the policy names always have their
own place. Own lists, since a request costs 1.6 us so and 22 us with prometheus_client's
``labels()``, whose rendering of 600 histograms stops every stream for 85 ms.
"""

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate
from typing import Final

from tidegate_wire.names import MAX_LABEL_VALUES, OTHER, ConfigState, Metric, Outcome, Refusal
from tidegate_wire.stats import Series as WireSeries
from tidegate_wire.stats import SidecarStats

SECONDS: Final[tuple[float, ...]] = (
    *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
    *(163.84, 327.68),
)
"""OpenTelemetry's GenAI buckets, and two more for long streams."""
FIRST_TOKEN_SECONDS: Final[tuple[float, ...]] = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(15.0, 20.0, 30.0, 45.0, 60.0),
)
"""OpenTelemetry's, carried on to 60 s as Envoy AI Gateway does: queues are longer than 10 s."""
PER_TOKEN_SECONDS: Final[tuple[float, ...]] = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5),
)
TOKENS: Final[tuple[float, ...]] = tuple(4**n for n in range(14))

MAX_LABEL_CHARS: Final = 128
"""A longer name is ``other``: 200 of them must not make a page of megabytes."""


class Histogram:
    """Counts by upper bound."""

    __slots__ = ("_bounds", "_counts", "_sum", "_template", "_text")

    def __init__(self, name: str, labels: str, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        limits = [*(f"{bound:g}" if bound < 1e6 else str(bound) for bound in bounds), "+Inf"]
        labels = labels.replace("%", "%%")
        lines = [f'{name}_bucket{{{labels},le="{limit}"}} %d' for limit in limits]
        lines += [f"{name}_sum{{{labels}}} %r", f"{name}_count{{{labels}}} %d"]
        self._template = "\n".join(lines)
        self._text = ""

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value
        self._text = ""

    def render(self, out: list[str]) -> None:
        """Append the lines; nothing while nothing was observed.

        One format for all of them, kept until the next observation: a scrape stops every stream.
        """
        if not self._text:
            counts = tuple(accumulate(self._counts))
            if not counts[-1]:
                return
            self._text = self._template % (*counts, self._sum, counts[-1])
        out.append(self._text)


class Timings:
    """The histograms of one operation and model."""

    __slots__ = ("duration", "first_token", "per_token", "tokens_in", "tokens_out")

    def __init__(self, operation: str, model: str) -> None:
        labels = f'gen_ai_operation_name="{operation}",gen_ai_request_model="{_escaped(model)}"'
        self.duration = Histogram(Metric.REQUEST_DURATION, labels, SECONDS)
        self.first_token = Histogram(Metric.TIME_TO_FIRST_TOKEN, labels, FIRST_TOKEN_SECONDS)
        self.per_token = Histogram(Metric.TIME_PER_OUTPUT_TOKEN, labels, PER_TOKEN_SECONDS)
        kind = 'gen_ai_token_type="'
        self.tokens_in = Histogram(Metric.TOKEN_USAGE, f'{labels},{kind}input"', TOKENS)
        self.tokens_out = Histogram(Metric.TOKEN_USAGE, f'{labels},{kind}output"', TOKENS)


class Tokens:
    """What one request cost."""

    __slots__ = (
        "cache_creation",
        "cached_input",
        "cost",
        "estimated_in",
        "estimated_out",
        "incoming",
        "outgoing",
        "reasoning",
    )

    def __init__(
        self,
        incoming: int = 0,
        outgoing: int = 0,
        *,
        cached_input: int = 0,
        cache_creation: int = 0,
        reasoning: int = 0,
        estimated: bool = False,
        cost: float = 0.0,
    ) -> None:
        self.incoming = incoming
        self.outgoing = outgoing
        self.cached_input = cached_input
        """Part of ``incoming``, as ``cache_creation``; ``reasoning`` is part of ``outgoing``."""
        self.cache_creation = cache_creation
        self.reasoning = reasoning
        self.estimated_in = estimated
        """``incoming`` is our estimate and was not reported by the server."""
        self.estimated_out = estimated
        self.cost = cost


class Series:
    """Counters of one model and tenant."""

    __slots__ = (
        "cache_creation",
        "cached_input",
        "cost",
        "duration_s",
        "estimated_in",
        "estimated_out",
        "in_flight",
        "model",
        "outcomes",
        "reasoning",
        "reported_in",
        "reported_out",
        "tenant",
        "ttft_count",
        "ttft_s",
    )

    def __init__(self, model: str, tenant: str) -> None:
        self.model = model
        self.tenant = tenant
        self.in_flight = 0
        self.outcomes: dict[str, int] = {}
        self.reported_in = 0
        self.reported_out = 0
        self.estimated_in = 0
        self.estimated_out = 0
        self.cached_input = 0
        self.cache_creation = 0
        self.reasoning = 0
        self.cost = 0.0
        self.duration_s = 0.0
        self.ttft_s = 0.0
        self.ttft_count = 0

    def count(self, outcome: Outcome) -> None:
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    def charge(self, tokens: Tokens) -> None:
        if tokens.estimated_in:
            self.estimated_in += tokens.incoming
        else:
            self.reported_in += tokens.incoming
        if tokens.estimated_out:
            self.estimated_out += tokens.outgoing
        else:
            self.reported_out += tokens.outgoing
        self.cached_input += tokens.cached_input
        self.cache_creation += tokens.cache_creation
        self.reasoning += tokens.reasoning
        self.cost += tokens.cost

    def to_wire(self) -> WireSeries:
        estimated = self.estimated_in + self.estimated_out
        return WireSeries(
            model=self.model,
            tenant=self.tenant,
            outcomes=dict(self.outcomes),
            tokens_in=self.reported_in + self.estimated_in,
            tokens_out=self.reported_out + self.estimated_out,
            tokens_estimated=estimated,
            cost=self.cost,
            duration_s=self.duration_s,
            ttft_s=self.ttft_s,
            ttft_count=self.ttft_count,
        )


class Labels:
    """Turns free text into a bounded number of label values."""

    __slots__ = ("_kept", "_seen", "overflowed")

    def __init__(self) -> None:
        self._kept: frozenset[str] = frozenset()
        self._seen: set[str] = set()
        self.overflowed = 0
        """Requests that had to share ``other``."""

    def keep(self, values: Iterable[str]) -> None:
        """Names that the policy gives: they have their place whatever clients make up."""
        self._kept = frozenset(values)

    def take(self, value: str) -> str:
        if value in self._seen or value in self._kept or not value:
            return value
        if len(self._seen) >= MAX_LABEL_VALUES or len(value) > MAX_LABEL_CHARS:
            self.overflowed += 1
            return OTHER
        self._seen.add(value)
        return value


class Meter:
    """All that one sidecar counts."""

    def __init__(self) -> None:
        self.models = Labels()
        self.tenants = Labels()
        self._arrived = 0
        self._in_flight = 0
        self._series: dict[tuple[str, str], Series] = {}
        self._timings: dict[tuple[str, str], Timings] = {}
        self._refused: dict[str, int] = {}
        self._failures: dict[str, int] = {}
        self._config_hash = ""
        self._active_model = ""

    # what happened

    def arrived(self, model: str, tenant: str) -> Series:
        """A request was let through; ``ended`` must follow with what this returns."""
        series = self._of(model, tenant)
        series.in_flight += 1
        self._in_flight += 1
        self._arrived += 1
        return series

    def ended(
        self,
        series: Series,
        operation: str,
        outcome: Outcome,
        duration_s: float,
        *,
        ttft_s: float | None = None,
        tokens: Tokens | None = None,
    ) -> None:
        """A request that ``arrived`` is over. ``ttft_s`` is None unless it was a stream that had a
        first token."""
        series.in_flight -= 1
        self._in_flight -= 1
        series.count(outcome)
        series.duration_s += duration_s
        timings = self._timings_of(operation, series.model)
        timings.duration.observe(duration_s)
        if tokens is not None:
            series.charge(tokens)
            timings.tokens_in.observe(tokens.incoming)
            timings.tokens_out.observe(tokens.outgoing)
        if ttft_s is None:
            return
        series.ttft_s += ttft_s
        series.ttft_count += 1
        timings.first_token.observe(ttft_s)
        if tokens is not None and tokens.outgoing > 1:
            timings.per_token.observe((duration_s - ttft_s) / (tokens.outgoing - 1))

    def passed(self, operation: str, duration_s: float) -> None:
        """A request that asked no model for anything is over; it is no demand and no budget's
        business."""
        self._timings_of(operation, "").duration.observe(duration_s)

    def blocked(self, model: str, tenant: str, reason: Refusal) -> None:
        """A request was refused by order."""
        self._of(model, tenant).count(Outcome.BLOCKED)
        self._count_refusal(reason)

    def refused(
        self, reason: Refusal, tenant: str = "", outcome: Outcome = Outcome.CLIENT_ERROR
    ) -> None:
        """A request was refused because it can't be served: no HTTP, say, or too large."""
        self._arrived += 1
        self._of("", tenant).count(outcome)
        self._count_refusal(reason)

    def _count_refusal(self, reason: Refusal) -> None:
        self._refused[reason] = self._refused.get(reason, 0) + 1

    def failures(self, reason: str) -> None:
        """Something of ours went wrong; ``reason`` is a word of ours, never a message."""
        self._failures[reason] = self._failures.get(reason, 0) + 1

    def set_config(self, hash: str, active_model: str) -> None:  # noqa: A002 - the config's own word
        """Which config is in force (empty: none), and which model it makes answer."""
        self._config_hash = hash
        self._active_model = active_model

    def _of(self, model: str, tenant: str) -> Series:
        key = (self.models.take(model), self.tenants.take(tenant))
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = Series(*key)
        return series

    def _timings_of(self, operation: str, model: str) -> Timings:
        key = (operation, model)
        timings = self._timings.get(key)
        if timings is None:
            timings = self._timings[key] = Timings(operation, model)
        return timings

    # how it is told

    def stats(
        self,
        *,
        pod_uid: str,
        boot: str,
        config_hash: str,
        config_state: ConfigState,
        config_error: str,
    ) -> SidecarStats:
        """One look for the operator."""
        return SidecarStats(
            pod_uid=pod_uid,
            boot=boot,
            arrived=self._arrived,
            in_flight=self._in_flight,
            config_hash=config_hash,
            config_state=config_state,
            config_error=config_error,
            series=tuple(series.to_wire() for series in self._series.values()),
        )

    def render(self) -> bytes:
        """Prometheus text format 0.0.4."""
        out: list[str] = []
        self._render_counters(out)
        for metric, help_text, parts in _HISTOGRAMS:
            _head(out, metric, "histogram", help_text)
            for timings in self._timings.values():
                for part in parts:
                    histogram: Histogram = getattr(timings, part)
                    histogram.render(out)
        self._render_own(out)
        out.append("")
        return "\n".join(out).encode()

    def _render_counters(self, out: list[str]) -> None:
        series = [
            (f'model="{_escaped(s.model)}",tenant="{_escaped(s.tenant)}"', s)
            for s in self._series.values()
        ]
        _head(out, Metric.REQUESTS, "counter", "Requests ended, by how they ended.")
        for labels, one in series:
            for outcome, count in one.outcomes.items():
                out.append(f'{Metric.REQUESTS}{{{labels},outcome="{outcome}"}} {count}')
        _head(out, Metric.IN_FLIGHT, "gauge", "Requests let through and not ended.")
        out += [f"{Metric.IN_FLIGHT}{{{labels}}} {one.in_flight}" for labels, one in series]
        _head(out, Metric.TOKENS, "counter", _TOKENS_HELP)
        for labels, one in series:
            for kind, source, count in (
                ("input", "reported", one.reported_in),
                ("output", "reported", one.reported_out),
                ("cached_input", "reported", one.cached_input),
                ("cache_creation", "reported", one.cache_creation),
                ("reasoning", "reported", one.reasoning),
                ("input", "estimated", one.estimated_in),
                ("output", "estimated", one.estimated_out),
            ):
                if count:
                    out.append(
                        f'{Metric.TOKENS}{{{labels},type="{kind}",source="{source}"}} {count}'
                    )
        _head(out, Metric.COST, "counter", "Cost in the policy's currency.")
        out += [f"{Metric.COST}{{{labels}}} {one.cost!r}" for labels, one in series if one.cost]

    def _render_own(self, out: list[str]) -> None:
        _head(out, Metric.REFUSED, "counter", "Requests refused by the sidecar itself.")
        for reason, count in self._refused.items():
            out.append(f'{Metric.REFUSED}{{reason="{reason}"}} {count}')
        _head(out, Metric.LABEL_OVERFLOW, "counter", "Requests whose label had to be other.")
        for label, labels in (("model", self.models), ("tenant", self.tenants)):
            out.append(f'{Metric.LABEL_OVERFLOW}{{label="{label}"}} {labels.overflowed}')
        _head(out, Metric.SIDECAR_FAILURES, "counter", "The sidecar's own failures.")
        for reason, count in self._failures.items():
            out.append(f'{Metric.SIDECAR_FAILURES}{{reason="{_escaped(reason)}"}} {count}')
        _head(out, Metric.CONFIG_INFO, "gauge", "The config in force.")
        out.append(f'{Metric.CONFIG_INFO}{{hash="{_escaped(self._config_hash)}"}} 1')
        _head(out, Metric.ACTIVE_MODEL, "gauge", "The model that answers.")
        out.append(f'{Metric.ACTIVE_MODEL}{{model="{_escaped(self._active_model)}"}} 1')


_TOKENS_HELP: Final = (
    "Tokens, as the server reported or we estimated. Of input, cached_input and cache_creation are"
    " parts; of output, reasoning."
)
_HISTOGRAMS: Final = (
    (Metric.REQUEST_DURATION, "From the whole request to the end of its answer.", ("duration",)),
    (Metric.TIME_TO_FIRST_TOKEN, "From the whole request to the first event.", ("first_token",)),
    (Metric.TIME_PER_OUTPUT_TOKEN, "After the first token, by token.", ("per_token",)),
    (Metric.TOKEN_USAGE, "Tokens of a request.", ("tokens_in", "tokens_out")),
)


def _head(out: list[str], metric: str, kind: str, help_text: str) -> None:
    out.append(f"# HELP {metric} {help_text}")
    out.append(f"# TYPE {metric} {kind}")


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
