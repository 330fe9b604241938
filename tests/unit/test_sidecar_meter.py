"""What is counted, and that Prometheus and the operator read it as it was meant."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tidegate_sidecar.admit import Route
from tidegate_sidecar.dialect.openai import CHAT
from tidegate_sidecar.dialect.shape import Operation
from tidegate_sidecar.dialect.usage import Usage
from tidegate_sidecar.exposition import exposition
from tidegate_sidecar.h1 import parse_response
from tidegate_sidecar.labels import MAX_LABEL_CHARS
from tidegate_sidecar.measure import Measurement
from tidegate_sidecar.meter import Meter
from tidegate_wire.config import Model
from tidegate_wire.names import MAX_LABEL_VALUES, OTHER, ConfigState, Metric, Outcome, Refusal
from tidegate_wire.stats import TTFT_BOUNDS_S, SidecarStats

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read(meter: Meter) -> Samples:
    samples: Samples = {}
    text = "".join(exposition(meter, openmetrics=False))
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in samples, f"twice: {key}"
            samples[key] = sample.value
    return samples


def labels(**values: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(values.items()))


def look(meter: Meter) -> SidecarStats:
    return meter.stats(
        pod_uid="u", boot="b", config_hash="h", config_state=ConfigState.APPLIED, config_error=""
    )


def run(meter: Meter, model: str = "big", tenant: str = "acme") -> None:
    series = meter.arrived(model, tenant)
    usage = Usage(100, 11)
    meter.ended(series, Operation.CHAT, Outcome.OK, 3.0, ttft_s=1.0, usage=usage, cost=0.5)


def test_the_operator_is_told_first_tokens_of_all_models_by_bucket() -> None:
    meter = Meter()
    assert sum(look(meter).ttft_counts) == 0
    for model, ttft_s in (("big", 0.05), ("small", 0.05), ("big", 100.0), ("big", None)):
        series = meter.arrived(model, "t")
        meter.ended(series, Operation.CHAT, Outcome.OK, 101.0, ttft_s=ttft_s)
    counts = look(meter).ttft_counts
    assert (len(counts), sum(counts)) == (len(TTFT_BOUNDS_S) + 1, 3)
    assert (counts[TTFT_BOUNDS_S.index(0.06)], counts[-1]) == (2, 1)


def test_a_stream_is_told_in_all_its_metrics() -> None:
    meter = Meter()
    run(meter)
    samples = read(meter)
    genai = {"gen_ai_operation_name": "chat", "gen_ai_request_model": "big"}
    who = {"model": "big", "tenant": "acme"}
    assert samples[Metric.REQUESTS, labels(**who, outcome="ok")] == 1
    assert samples[Metric.IN_FLIGHT, labels(**who)] == 0
    assert samples[Metric.TOKENS, labels(**who, type="output", source="reported")] == 11
    assert samples[Metric.COST, labels(**who)] == 0.5
    for metric, total in (
        (Metric.REQUEST_DURATION, 3.0),
        (Metric.TIME_TO_FIRST_TOKEN, 1.0),
        (Metric.TIME_PER_OUTPUT_TOKEN, 0.2),
    ):
        assert samples[f"{metric}_count", labels(**genai)] == 1
        assert samples[f"{metric}_sum", labels(**genai)] == pytest.approx(total)
        assert samples[f"{metric}_bucket", labels(**genai, le="+Inf")] == 1
    kinds = labels(**genai, gen_ai_token_type="input")
    assert samples[f"{Metric.TOKEN_USAGE}_sum", kinds] == 100


def test_buckets_are_cumulative_and_those_of_opentelemetry() -> None:
    meter = Meter()
    run(meter)
    text = "".join(exposition(meter, openmetrics=False))
    buckets = [
        line.split('le="')[1].split('"')[0]
        for line in text.splitlines()
        if line.startswith(f"{Metric.TOKEN_USAGE}_bucket") and 'type="input"' in line
    ]
    assert [*map(float, buckets)] == [*(4.0**n for n in range(14)), float("inf")]
    durations = [
        (float(dict(key[1])["le"]), value)
        for key, value in read(meter).items()
        if key[0] == f"{Metric.REQUEST_DURATION}_bucket"
    ]
    assert [value for limit, value in sorted(durations)] == [0.0] * 9 + [1.0] * 8


def test_one_look_carries_what_was_counted() -> None:
    meter = Meter()
    run(meter)
    meter.arrived("big", "acme")
    meter.blocked("big", "acme", Refusal.BLOCKED_BUDGET)
    stats = look(meter)
    assert (stats.arrived, stats.in_flight) == (2, 1)
    (series,) = stats.series
    assert series.outcomes == {Outcome.OK: 1, Outcome.BLOCKED: 1}
    assert (series.tokens_in, series.tokens_out, series.tokens_estimated) == (100, 11, 0)
    assert (series.cost, series.duration_s, series.ttft_s, series.ttft_count) == (0.5, 3.0, 1.0, 1)
    assert SidecarStats.from_json(stats.to_json()) == stats


def test_what_we_refuse_tells_its_reason_and_only_an_order_takes_it_out_of_demand() -> None:
    meter = Meter()
    meter.blocked("big", "acme", Refusal.BLOCKED_ERRORS)
    meter.blocked("big", "acme", Refusal.BLOCKED_ERRORS)
    meter.refused(Refusal.TOO_LARGE, "acme")
    assert look(meter).arrived == 1
    samples = read(meter)
    assert samples[Metric.REFUSED, labels(reason="upstream_blocked")] == 2
    assert samples[Metric.REFUSED, labels(reason="request_too_large")] == 1
    ended = labels(model="", tenant="acme", outcome="client_error")
    assert samples[Metric.REQUESTS, ended] == 1


def test_requests_that_ask_no_model_are_no_demand() -> None:
    meter = Meter()
    meter.passed(Operation.MODELS, 0.1)
    assert (look(meter).arrived, look(meter).series) == (0, ())
    key = labels(gen_ai_operation_name="models", gen_ai_request_model="")
    assert read(meter)[f"{Metric.REQUEST_DURATION}_count", key] == 1


def test_client_labels_are_capped() -> None:
    """llm-d-router#1625: client labels as metric labels are a denial of service."""
    meter = Meter()
    meter.models.keep(["big"])
    meter.tenants.keep(["acme"])
    for i in range(2 * MAX_LABEL_VALUES):
        run(meter, f"model-{i}", f"tenant-{i}")
    run(meter, "big", "acme")
    run(meter, "x" * (MAX_LABEL_CHARS + 1), "acme")
    series = look(meter).series
    tenants = {one.tenant for one in series}
    assert len(tenants - {OTHER, "acme"}) == MAX_LABEL_VALUES
    assert len({one.model for one in series} - {OTHER, "big"}) == MAX_LABEL_VALUES
    assert ("big", "acme") in {(one.model, one.tenant) for one in series}
    assert sum(one.tokens_in for one in series) == 100 * (2 * MAX_LABEL_VALUES + 2)
    samples = read(meter)
    assert samples[Metric.LABEL_OVERFLOW, labels(label="model")] == MAX_LABEL_VALUES + 1
    assert samples[Metric.LABEL_OVERFLOW, labels(label="tenant")] == MAX_LABEL_VALUES


def test_any_text_survives_as_a_label() -> None:
    meter = Meter()
    name = '50% a"b\\n\\\nc\u2028ä{}=,'
    run(meter, name, name)
    who = labels(model=name, tenant=name, outcome="ok")
    assert read(meter)[Metric.REQUESTS, who] == 1


def test_the_config_in_force_and_own_failures_are_told() -> None:
    meter = Meter()
    meter.set_config("abc", "big")
    meter.failures("hub")
    meter.failures("hub")
    samples = read(meter)
    assert samples[Metric.CONFIG_INFO, labels(hash="abc")] == 1
    assert samples[Metric.ACTIVE_MODEL, labels(model="big")] == 1
    assert samples[Metric.SIDECAR_FAILURES, labels(reason="hub")] == 2


# --- measuring one request -----------------------------------------------------------------------

PRICED = Route("big", Model(name="big", input_price_per_mtok=2.0, output_price_per_mtok=10.0))
TOKEN = b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n'


def measured(
    meter: Meter,
    body: bytes,
    *,
    stream: bool,
    outcome: Outcome | None = None,
    tenant: str = "acme",
) -> Outcome:
    measurement = Measurement(meter, CHAT, 100)
    measurement.arrived(PRICED, tenant)
    kind = b"text/event-stream" if stream else b"application/json"
    head = parse_response(b"HTTP/1.1 200 OK\r\nContent-Type: " + kind)
    assert measurement.answered(head, take_usage=True) is stream
    measurement.feed(body)
    outcome = outcome or measurement.finish()
    measurement.close(outcome, 1.0, None, b"", 0.0)
    return outcome


def test_reported_usage_is_priced() -> None:
    meter = Meter()
    measured(meter, b'{"usage":{"prompt_tokens":1000,"completion_tokens":500}}', stream=False)
    (series,) = look(meter).series
    assert series.cost == pytest.approx(0.002 + 0.005)
    assert series.tokens_estimated == 0


def test_a_stream_without_usage_is_estimated_and_not_free() -> None:
    """LLMKube#1852: streams without usage were charged 0."""
    meter = Meter()
    assert measured(meter, TOKEN * 9 + b"data: [DONE]\n\n", stream=True) is Outcome.OK
    (series,) = look(meter).series
    assert (series.tokens_in, series.tokens_out, series.tokens_estimated) == (100, 9, 109)
    assert series.cost == pytest.approx((200 + 90) / 1e6)


def test_a_cancelled_stream_is_charged_what_it_gave() -> None:
    meter = Meter()
    measured(meter, TOKEN * 9, stream=True, outcome=Outcome.CANCELLED)
    (series,) = look(meter).series
    assert (series.tokens_out, series.tokens_estimated) == (9, 109)


def test_a_stream_that_does_not_say_that_it_ends_is_broken() -> None:
    assert measured(Meter(), TOKEN * 3, stream=True) is Outcome.BROKEN


class Uncountable(str):
    """A tenant's name that no set can take: what goes wrong in us, goes wrong as it is counted."""

    def __hash__(self) -> int:
        raise RuntimeError


def test_a_fault_of_ours_is_counted_and_passes_the_request() -> None:
    meter = Meter()
    body = TOKEN + b"data: [DONE]\n\n"
    assert measured(meter, body, stream=True, tenant=Uncountable("acme")) is Outcome.OK
    assert read(meter)[Metric.SIDECAR_FAILURES, labels(reason="measure")] == 1


@pytest.mark.parametrize("digits", [20, 400, 5000])
def test_a_usage_beyond_reckoning_costs_no_count_of_its_request(digits: int) -> None:
    meter = Meter()
    body = b'{"usage":{"prompt_tokens":1%b,"completion_tokens":5}}' % (b"0" * digits)
    assert measured(meter, body, stream=False) is Outcome.OK
    stats = look(meter)
    assert (stats.arrived, stats.in_flight, stats.series[0].ended) == (1, 0, 1)
    assert SidecarStats.from_json(stats.to_json()) == stats
    assert read(meter)
