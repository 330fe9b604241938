"""The page for Prometheus is right to the letter in both formats, whatever was counted."""

from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import Metric as Family
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tidegate_sidecar.dialect.shape import Operation
from tidegate_sidecar.dialect.usage import Usage
from tidegate_sidecar.exposition import PIECE_CHARS, exposition
from tidegate_sidecar.histogram import DURATION, FIRST_TOKEN, PER_TOKEN, TOKENS, Buckets
from tidegate_sidecar.labels import Labels
from tidegate_sidecar.meter import Meter
from tidegate_wire.names import OTHER, Metric, Outcome, Refusal

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def traced(trace: str) -> bytes:
    """The header of a recorded trace."""
    return f"00-{trace}-00f067aa0ba902b7-01".encode()


SIDECARS = [
    name
    for name in Metric
    if name.startswith("gen_ai")
    or name
    in {
        *(Metric.REQUESTS, Metric.REFUSED, Metric.IN_FLIGHT, Metric.TOKENS, Metric.TOKEN_PARTS),
        Metric.COST,
        *(Metric.LABEL_OVERFLOW, Metric.SIDECAR_FAILURES, Metric.CONFIG_INFO, Metric.ACTIVE_MODEL),
    }
]


def openmetrics_families(text: str) -> Iterator[Family]:
    """Strict: raises ValueError on whatever OpenMetrics does not allow."""
    yield from openmetrics_parser.text_string_to_metric_families(text)  # type: ignore[no-untyped-call]


def page(meter: Meter, *, openmetrics: bool) -> str:
    return "".join(exposition(meter, openmetrics=openmetrics))


def families(meter: Meter, *, openmetrics: bool) -> dict[str, Family]:
    text = page(meter, openmetrics=openmetrics)
    read = openmetrics_families if openmetrics else text_string_to_metric_families
    return {family.name: family for family in read(text)}


def samples(meter: Meter, *, openmetrics: bool) -> dict[tuple[object, ...], float]:
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in families(meter, openmetrics=openmetrics).values()
        for sample in family.samples
    }


def serve(
    meter: Meter,
    *,
    model: str = "big",
    tenant: str = "acme",
    duration_s: float = 3.0,
    ttft_s: float | None = 1.0,
    traceparent: bytes = b"",
    at: float = 0.0,
) -> None:
    meter.ended(
        meter.arrived(model, tenant),
        Operation.CHAT,
        Outcome.OK,
        duration_s,
        ttft_s=ttft_s,
        usage=Usage(100, 11, cached_input=60, cache_creation=30, reasoning=9),
        cost=0.5,
        traceparent=traceparent,
        at=at,
    )


def full() -> Meter:
    """Has counted something of everything."""
    meter = Meter()
    serve(meter, traceparent=traced(TRACE), at=1700000000.25)
    serve(meter, model="small", tenant="")
    meter.ended(
        meter.arrived("big", "zoo"),
        Operation.CHAT,
        Outcome.BROKEN,
        0.3,
        usage=Usage(7, 3, estimated=True),
    )
    meter.arrived("big", "acme")
    meter.passed(Operation.MODELS, 0.1)
    meter.blocked("big", "acme", Refusal.BLOCKED_BUDGET)
    meter.refused(Refusal.TOO_LARGE)
    meter.failures("measure")
    meter.set_config("abc", "big")
    return meter


@pytest.mark.parametrize("openmetrics", [False, True], ids=["text", "OpenMetrics"])
def test_all_metrics_are_told(openmetrics: bool) -> None:
    told = {name for name, *_ in samples(full(), openmetrics=openmetrics)}
    for name in SIDECARS:
        assert {name, f"{name}_count"} & told, name


def test_parts_of_tokens_are_told_apart_so_that_a_sum_counts_each_token_once() -> None:
    meter = Meter()
    serve(meter)
    told = samples(meter, openmetrics=True)
    assert sum(value for key, value in told.items() if key[0] == Metric.TOKENS) == 111
    who = (("model", "big"), ("part", "reasoning"), ("tenant", "acme"))
    assert told[Metric.TOKEN_PARTS, *who] == 9


@pytest.mark.parametrize("openmetrics", [False, True], ids=["text", "OpenMetrics"])
def test_before_the_first_request_the_page_is_valid(openmetrics: bool) -> None:
    assert ("tidegate_config_info", ("hash", "")) in samples(Meter(), openmetrics=openmetrics)


def test_both_formats_say_the_same() -> None:
    meter = full()
    assert samples(meter, openmetrics=True) == samples(meter, openmetrics=False)


def test_openmetrics_names_types_and_units_as_it_wants_them() -> None:
    told = families(full(), openmetrics=True)
    assert {name: (family.type, family.unit) for name, family in told.items()} == {
        "tidegate_requests": ("counter", ""),
        "tidegate_requests_in_flight": ("gauge", ""),
        "tidegate_tokens": ("counter", ""),
        "tidegate_token_parts": ("counter", ""),
        "tidegate_cost": ("counter", ""),
        "gen_ai_server_request_duration_seconds": ("histogram", "seconds"),
        "gen_ai_server_time_to_first_token_seconds": ("histogram", "seconds"),
        "gen_ai_server_time_per_output_token_seconds": ("histogram", "seconds"),
        "gen_ai_client_token_usage": ("histogram", ""),
        "tidegate_refused": ("counter", ""),
        "tidegate_label_overflow": ("counter", ""),
        "tidegate_sidecar_failures": ("counter", ""),
        "tidegate_config": ("info", ""),
        "tidegate_active_model": ("info", ""),
    }
    assert all(family.documentation.endswith(".") for family in told.values())


def test_openmetrics_ends_where_it_says_and_nothing_else_does() -> None:
    assert page(full(), openmetrics=True).endswith("\n# EOF\n")
    assert "# EOF" not in page(full(), openmetrics=False)


@pytest.mark.parametrize("buckets", [DURATION, FIRST_TOKEN, PER_TOKEN, TOKENS])
def test_bounds_rise_and_are_written_as_go_writes_them(buckets: Buckets) -> None:
    assert [*buckets.bounds] == sorted(set(buckets.bounds))
    written = [
        line.split('le="')[1].split('"')[0]
        for line in buckets.lines.splitlines()
        if "_bucket" in line
    ]
    assert [*map(float, written)] == [*buckets.bounds, float("inf")]
    assert all(("." in limit) or limit == "+Inf" for limit in written)
    assert not any(len(limit.split(".")[0]) > 6 for limit in written)


# --- exemplars -----------------------------------------------------------------------------------


def exemplars(meter: Meter, metric: Metric) -> list[Sample]:
    family = families(meter, openmetrics=True)[metric]
    return [sample for sample in family.samples if sample.exemplar]


def test_a_traced_request_is_the_example_of_its_two_buckets() -> None:
    meter = Meter()
    serve(meter)
    serve(meter, traceparent=traced(TRACE), at=1700000000.25)
    for metric, bucket, value in (
        (Metric.REQUEST_DURATION, "5.12", 3.0),
        (Metric.TIME_TO_FIRST_TOKEN, "1.0", 1.0),
    ):
        (sample,) = exemplars(meter, metric)
        assert (sample.name, sample.labels["le"]) == (f"{metric}_bucket", bucket)
        assert sample.exemplar is not None
        assert sample.exemplar.labels == {"trace_id": TRACE}
        assert sample.exemplar.value == value
        assert str(sample.exemplar.timestamp) == "1700000000.250000000"


def test_an_answer_that_is_no_stream_has_no_example_of_a_first_token() -> None:
    meter = Meter()
    serve(meter, ttft_s=None, traceparent=traced(TRACE), at=1.0)
    assert len(exemplars(meter, Metric.REQUEST_DURATION)) == 1
    assert not families(meter, openmetrics=True)[Metric.TIME_TO_FIRST_TOKEN].samples


def test_each_bucket_keeps_its_newest_example() -> None:
    meter = Meter()
    for n, duration_s in enumerate((3.0, 4.0, 500.0)):
        serve(meter, duration_s=duration_s, traceparent=traced(f"{n:032x}"), at=float(n))
    told = {
        sample.labels["le"]: sample.exemplar.labels["trace_id"]
        for sample in exemplars(meter, Metric.REQUEST_DURATION)
        if sample.exemplar
    }
    assert told == {"5.12": f"{1:032x}", "+Inf": f"{2:032x}"}


@pytest.mark.parametrize(
    ("later_s", "kept"),
    [
        pytest.param(0.9, "a" * 32, id="the first within a second"),
        pytest.param(1.0, "b" * 32, id="the newer one after it"),
    ],
)
def test_a_bucket_keeps_its_example_for_a_second(later_s: float, kept: str) -> None:
    meter = Meter()
    serve(meter, traceparent=traced("a" * 32), at=10.0)
    serve(meter, traceparent=traced("b" * 32), at=10.0 + later_s)
    (sample,) = exemplars(meter, Metric.REQUEST_DURATION)
    assert sample.exemplar is not None
    assert sample.exemplar.labels == {"trace_id": kept}


def test_a_trace_that_is_not_recorded_takes_no_place() -> None:
    meter = Meter()
    serve(meter, traceparent=traced(TRACE), at=10.0)
    serve(meter, traceparent=traced("b" * 32)[:-1] + b"0", at=20.0)
    (sample,) = exemplars(meter, Metric.REQUEST_DURATION)
    assert sample.exemplar is not None
    assert sample.exemplar.labels == {"trace_id": TRACE}


def test_the_older_format_has_no_examples() -> None:
    assert TRACE not in page(full(), openmetrics=False)


# --- whatever it is called, and however it is cut ------------------------------------------------


@given(st.text(max_size=20), st.text(max_size=20))
@example("\0", "%d")
def test_any_name_is_told_as_it_is(model: str, tenant: str) -> None:
    meter = Meter()
    serve(meter, model=model, tenant=tenant, traceparent=traced(TRACE), at=1.0)
    told = samples(meter, openmetrics=True)
    assert told == samples(meter, openmetrics=False)
    labels = (("model", model), ("outcome", "ok"), ("tenant", tenant))
    assert told[Metric.REQUESTS, *labels] == 1


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("a\ud800b", id="half a character, which has no bytes"),
        pytest.param("a" * 129, id="a name without end"),
    ],
)
def test_a_name_that_would_spoil_the_page_is_other(name: str) -> None:
    meter = Meter()
    meter.models.keep([name])
    serve(meter, model=name, tenant=name)
    text = page(meter, openmetrics=False)
    assert f'{Metric.REQUESTS}{{model="other",tenant="other",outcome="ok"}} 1' in text
    labels = Labels()
    labels.keep([name])
    assert (labels.take(name), labels.overflowed) == (OTHER, 1)


def test_a_long_page_comes_in_pieces_that_grow_no_longer_than_a_line_past_their_size() -> None:
    meter = Meter()
    for n in range(200):
        serve(meter, model=f"model-{n}")
    pieces = [*exposition(meter, openmetrics=True)]
    assert len(pieces) > 10
    assert max(map(len, pieces)) < PIECE_CHARS + 5000


def test_what_is_counted_between_two_pieces_spoils_nothing() -> None:
    meter = Meter()
    for n in range(50):
        serve(meter, model=f"model-{n}")
    pieces = []
    for n, piece in enumerate(exposition(meter, openmetrics=True)):
        pieces.append(piece)
        serve(meter, model=f"new-{n}", tenant=f"new-{n}")
        serve(meter, model="model-7")
        meter.refused(Refusal.BAD_REQUEST)
    assert [*openmetrics_families("".join(pieces))]


def test_a_row_is_made_in_its_own_piece_and_not_with_the_first() -> None:
    """Made at once, all rows of a metric would hold the loop together; compiled, they once did."""
    meter = Meter()
    for n in range(200):
        serve(meter, model=f"model-{n}")
    counted = False
    pieces = []
    for piece in exposition(meter, openmetrics=True):
        pieces.append(piece)
        if not counted and f"{Metric.REQUEST_DURATION}_count" in piece:
            counted = True
            serve(meter, model="model-199")
    lines = "".join(pieces).splitlines()
    labels = '{gen_ai_operation_name="chat",gen_ai_request_model="model-199"}'
    assert f"{Metric.REQUEST_DURATION}_count{labels} 2" in lines
