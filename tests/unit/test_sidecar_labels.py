"""Whatever clients make up, what we hold and tell of it is bounded, whole, and counted."""

import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate_sidecar.dialect.shape import Operation
from tidegate_sidecar.dialect.usage import Usage
from tidegate_sidecar.exposition import exposition
from tidegate_sidecar.labels import Labels
from tidegate_sidecar.meter import MAX_SERIES, MAX_TIMINGS, Meter
from tidegate_wire.names import MAX_LABEL_VALUES, OTHER, ConfigState, Outcome, Refusal
from tidegate_wire.stats import Series

FLOOD = 10_000
MAX_HELD_BYTES = 12_000_000
MAX_PAGE_BYTES = 8_000_000


def serve(
    meter: Meter, model: str, tenant: str, operation: Operation = Operation.CHAT, times: int = 1
) -> None:
    for _ in range(times):
        series = meter.arrived(model, tenant)
        usage = Usage(10, 5)
        meter.ended(series, operation, Outcome.OK, 1.0, ttft_s=0.1, usage=usage, cost=0.001)


def told(meter: Meter) -> tuple[Series, ...]:
    return meter.stats(
        pod_uid="", boot="", config_hash="", config_state=ConfigState.NONE, config_error=""
    ).series


def pages(meter: Meter) -> Iterator[str]:
    for openmetrics in (False, True):
        yield "".join(exposition(meter, openmetrics=openmetrics))


def flood(meter: Meter) -> None:
    """Random names, then those that have a place in all their pairs, then in all operations."""
    for n in range(FLOOD):
        serve(meter, f"model-{n}", f"tenant-{(n * 7919) % FLOOD}")
    for n in range(FLOOD):
        serve(meter, f"model-{n % MAX_LABEL_VALUES}", f"tenant-{(n // 50 * 7919) % FLOOD}")
    for operation in Operation:
        for n in range(MAX_LABEL_VALUES):
            serve(meter, f"model-{n}", "", operation)


def test_a_flood_of_10_000_models_and_tenants_is_bounded_in_rows_memory_and_page() -> None:
    tracemalloc.start()
    meter = Meter()
    flood(meter)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < MAX_HELD_BYTES
    series = told(meter)
    assert len(series) <= MAX_SERIES + MAX_LABEL_VALUES + 1
    assert len({one.model for one in series}) <= MAX_LABEL_VALUES + 1
    assert len({one.tenant for one in series}) <= MAX_LABEL_VALUES + 2
    assert len(meter.timings()) <= MAX_TIMINGS + len(Operation)
    for page in pages(meter):
        assert len(page.encode()) < MAX_PAGE_BYTES
    overflows = meter.overflows()
    assert overflows["model"] == overflows["tenant"] == FLOOD - MAX_LABEL_VALUES
    assert overflows["model_tenant"] > 0
    assert overflows["operation_model"] > 0


def test_nothing_of_a_flood_is_lost_or_counted_twice() -> None:
    meter = Meter()
    flood(meter)
    requests = 2 * FLOOD + len(Operation) * MAX_LABEL_VALUES
    series = told(meter)
    assert sum(one.ended for one in series) == requests
    assert sum(one.tokens_in for one in series) == 10 * requests
    for page in pages(meter):
        counts = [
            int(line.rsplit(" ", 1)[1])
            for line in page.splitlines()
            if line.startswith("gen_ai_server_request_duration_seconds_count")
        ]
        assert sum(counts) == requests


def test_names_of_the_policy_have_their_place_before_and_after_a_flood() -> None:
    meter = Meter()
    meter.models.keep(["big", "small"])
    meter.tenants.keep(["acme"])
    serve(meter, "big", "acme")
    flood(meter)
    serve(meter, "big", "acme")
    serve(meter, "small", "acme")
    serve(meter, "model-of-nobody", "acme")
    serve(meter, "big", "tenant-of-nobody")
    rows = {(one.model, one.tenant): one.ended for one in told(meter)}
    assert rows["big", "acme"] == 2
    assert rows["small", "acme"] == 1
    # An order goes by the tenant, so what a kept one does is told as its own ...
    assert rows[OTHER, "acme"] == 1
    # ... and what a kept model does, as that model's.
    assert rows["big", OTHER] == 1
    assert 'gen_ai_request_model="small"' in next(pages(meter))


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("uvwxyz")), max_size=60),
    st.sets(st.sampled_from("abcdef")),
    st.sets(st.sampled_from("uvwxyz")),
)
def test_totals_are_those_of_the_requests_whatever_is_kept(
    requests: list[tuple[str, str]], models: set[str], tenants: set[str]
) -> None:
    meter = Meter()
    meter.models.keep(models)
    meter.tenants.keep(tenants)
    for model, tenant in requests:
        serve(meter, model, tenant)
    rows = {(one.model, one.tenant): one.ended for one in told(meter)}
    assert rows == {pair: requests.count(pair) for pair in requests}


@pytest.mark.parametrize("reason", list(Refusal))
def test_a_reason_is_a_word_of_ours(reason: Refusal) -> None:
    meter = Meter()
    meter.refused(reason)
    meter.blocked("m", "t", reason)
    for page in pages(meter):
        assert f'tidegate_refused_total{{reason="{reason}"}} 2\n' in page


def test_a_name_that_the_policy_no_longer_gives_keeps_its_rows_and_takes_no_new_place() -> None:
    labels = Labels()
    for n in range(MAX_LABEL_VALUES):
        labels.take(f"model-{n}")
    labels.keep(["big"])
    assert labels.take("big") == "big"
    labels.keep(["small"])
    assert labels.take("big") == OTHER
    assert labels.take("model-7") == "model-7"
    assert labels.take("") == ""
    assert labels.overflowed == 1
