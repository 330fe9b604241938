"""What was measured: by model and tenant, and for each operation of a model in time.

Law: pure; counters only grow. No label takes a client's free text without bound (``labels.py``),
nor do two labels together: the rows that they make are capped as well.
"""

from typing import Final

from tidegate_sidecar.dialect.usage import Usage
from tidegate_sidecar.histogram import DURATION, FIRST_TOKEN, PER_TOKEN, TOKENS, Histogram
from tidegate_sidecar.labels import Labels, escaped
from tidegate_wire.names import OTHER, ConfigState, Outcome, Refusal
from tidegate_wire.stats import EngineLoad, SidecarStats
from tidegate_wire.stats import Series as WireSeries

MAX_SERIES: Final = 1000
"""Rows of a model and a tenant; from here on a new pair shares the row of its model and ``other``,
of which there are as many as models. A row is some 8 lines of 100 bytes on a page."""
MAX_TIMINGS: Final = 300
"""Rows of an operation and a model; from here on a new model of an operation is ``other``. A row
is some 90 lines of 130 bytes."""


class Timings:
    """The histograms of one operation and model."""

    __slots__ = ("duration", "first_token", "per_token", "tokens_in", "tokens_out")

    def __init__(self, operation: str, model: str) -> None:
        labels = f'gen_ai_operation_name="{operation}",gen_ai_request_model="{escaped(model)}"'
        self.duration = Histogram(DURATION, labels)
        self.first_token = Histogram(FIRST_TOKEN, labels)
        self.per_token = Histogram(PER_TOKEN, labels)
        self.tokens_in = Histogram(TOKENS, labels + ',gen_ai_token_type="input"')
        self.tokens_out = Histogram(TOKENS, labels + ',gen_ai_token_type="output"')


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
        "labels",
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
        self.labels = f'model="{escaped(model)}",tenant="{escaped(tenant)}"'
        """As they are told to Prometheus."""
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

    def charge(self, usage: Usage, cost: float) -> None:
        if usage.estimated_in:
            self.estimated_in += usage.incoming
        else:
            self.reported_in += usage.incoming
        if usage.estimated_out:
            self.estimated_out += usage.outgoing
        else:
            self.reported_out += usage.outgoing
        self.cached_input += usage.cached_input
        self.cache_creation += usage.cache_creation
        self.reasoning += usage.reasoning
        self.cost += cost

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


class Meter:
    """All that one sidecar counts."""

    def __init__(self) -> None:
        self.models = Labels()
        self.tenants = Labels()
        self._arrived = 0
        self._in_flight = 0
        self._series: dict[tuple[str, str], Series] = {}
        self._timings: dict[tuple[str, str], Timings] = {}
        self._shared_series = 0
        self._shared_timings = 0
        self.refusals: dict[str, int] = {}
        """Requests by the reason for which we refused them."""
        self.own_failures: dict[str, int] = {}
        self.config_hash = ""
        self.active_model = ""
        self.engine: EngineLoad | None = None
        """What the model server last said of itself; ``None``: nothing."""

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
        usage: Usage | None = None,
        cost: float = 0.0,
        traceparent: bytes = b"",
        at: float = 0.0,
    ) -> None:
        """A request that ``arrived`` is over. ``ttft_s`` is None unless it was a stream that had a
        first token; ``cost`` is in the policy's currency, ``at`` in Unix seconds."""
        series.in_flight -= 1
        self._in_flight -= 1
        series.count(outcome)
        series.duration_s += duration_s
        timings = self._timings_of(operation, series.model)
        timings.duration.observe(duration_s, traceparent, at)
        if usage is not None:
            series.charge(usage, cost)
            timings.tokens_in.observe(usage.incoming)
            timings.tokens_out.observe(usage.outgoing)
        if ttft_s is None:
            return
        series.ttft_s += ttft_s
        series.ttft_count += 1
        timings.first_token.observe(ttft_s, traceparent, at)
        if usage is not None and usage.outgoing > 1:
            timings.per_token.observe((duration_s - ttft_s) / (usage.outgoing - 1))

    def passed(
        self, operation: str, duration_s: float, traceparent: bytes = b"", at: float = 0.0
    ) -> None:
        """A request that asked no model for anything is over; it is no demand and no budget's
        business."""
        self._timings_of(operation, "").duration.observe(duration_s, traceparent, at)

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

    def turned_away(self, reason: Refusal) -> None:
        """A request that had ``arrived`` is refused after all; ``ended`` follows."""
        self._count_refusal(reason)

    def _count_refusal(self, reason: Refusal) -> None:
        self.refusals[reason] = self.refusals.get(reason, 0) + 1

    def failures(self, reason: str) -> None:
        """Something of ours went wrong; ``reason`` is a word of ours, never a message."""
        self.own_failures[reason] = self.own_failures.get(reason, 0) + 1

    def set_config(self, hash: str, active_model: str) -> None:  # noqa: A002 - the config's own word
        """Which config is in force (empty: none), and which model it makes answer."""
        self.config_hash = hash
        self.active_model = active_model

    def set_engine(self, load: EngineLoad | None) -> None:
        """What the model server says of itself now."""
        self.engine = load

    def _of(self, model: str, tenant: str) -> Series:
        series = self._series.get((model, tenant))
        if series is None:
            series = self._open(self.models.take(model), self.tenants.take(tenant))
        return series

    def _open(self, model: str, tenant: str) -> Series:
        """A row that is not there yet, or, past the bound, one to share."""
        kept_tenant = self.tenants.keeps(tenant)
        key = (model, tenant)
        if len(self._series) >= MAX_SERIES and not (kept_tenant and self.models.keeps(model)):
            self._shared_series += 1
            # An order goes by the tenant, so its count must stay whole.
            key = (OTHER, tenant) if kept_tenant else (model, OTHER)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = Series(*key)
        return series

    def _timings_of(self, operation: str, model: str) -> Timings:
        timings = self._timings.get((operation, model))
        return self._open_timings(operation, model) if timings is None else timings

    def _open_timings(self, operation: str, model: str) -> Timings:
        if len(self._timings) >= MAX_TIMINGS and not self.models.keeps(model):
            self._shared_timings += 1
            model = OTHER
        timings = self._timings.get((operation, model))
        if timings is None:
            timings = self._timings[operation, model] = Timings(operation, model)
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
        ttft_counts = [0] * (len(FIRST_TOKEN.bounds) + 1)
        for timings in self._timings.values():
            timings.first_token.add_to(ttft_counts)
        return SidecarStats(
            pod_uid=pod_uid,
            boot=boot,
            arrived=self._arrived,
            in_flight=self._in_flight,
            config_hash=config_hash,
            config_state=config_state,
            config_error=config_error,
            series=tuple(series.to_wire() for series in self._series.values()),
            ttft_counts=tuple(ttft_counts),
            engine=self.engine,
        )

    def series(self) -> list[Series]:
        """The rows as they are now, going on to count."""
        return list(self._series.values())

    def timings(self) -> list[Timings]:
        """The rows as they are now, going on to count."""
        return list(self._timings.values())

    def overflows(self) -> dict[str, int]:
        """Requests that had to share a row, by what there was too much of."""
        return {
            "model": self.models.overflowed,
            "tenant": self.tenants.overflowed,
            "model_tenant": self._shared_series,
            "operation_model": self._shared_timings,
        }
