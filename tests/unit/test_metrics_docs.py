"""``docs/metrics.md`` tells every metric, label, outcome and reason there is, and no other."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tidegate_operator.decide.words import Actuator
from tidegate_operator.handlers.metrics import Metrics
from tidegate_operator.hub.measure import Measures, Review
from tidegate_sidecar.dialect.shape import Operation
from tidegate_sidecar.dialect.usage import Usage
from tidegate_sidecar.exposition import exposition
from tidegate_sidecar.meter import MAX_SERIES, MAX_TIMINGS, Meter
from tidegate_wire.names import ERROR_OUTCOMES, MAX_LABEL_VALUES, Metric, Outcome, Refusal
from tidegate_wire.stats import EngineLoad

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
ROW = re.compile(r"^\| `(\w+)` \| ([^|]*) \|([^|]*)\|", re.MULTILINE)

Labelled = dict[str, tuple[str, frozenset[str]]]


def documented() -> Labelled:
    """Type and labels by name."""
    return {
        name: (kind.split(",")[0], frozenset(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in ROW.findall(PAGE)
        if kind.split(",")[0] in ("counter", "gauge", "histogram")
    }


def told(text: str) -> Labelled:
    found: Labelled = {}
    for family in text_string_to_metric_families(text):
        if family.name.endswith("_created"):  # prometheus_client's own
            continue
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        name = family.name + "_total" * (family.type == "counter")
        found[name] = (family.type, frozenset(labels))
    return found


def sidecar_page() -> str:
    meter = Meter()
    usage = Usage(9, 9, cached_input=1, cache_creation=1, reasoning=1)
    series = meter.arrived("m", "t")
    meter.ended(series, Operation.CHAT, Outcome.OK, 1.0, ttft_s=0.5, usage=usage, cost=1.0)
    meter.refused(Refusal.BAD_REQUEST)
    meter.failures("x")
    meter.set_engine(EngineLoad(engine="vllm", waiting=1, running=1, kv_cache_usage=0.5))
    return "".join(exposition(meter, openmetrics=False))


def operator_pages() -> str:
    metrics = Metrics()
    policy = {"namespace": "n", "policy": "p"}
    for gauge in (metrics.desired, metrics.ready, metrics.demand, metrics.without_sidecar):
        gauge.labels(**policy).set(1)
    metrics.forecast.labels("n", "p", "0.9").set(1)
    metrics.budget.labels("n", "p", "b").set(1)
    metrics.littles_law.labels(**policy).set(1)
    metrics.capacity.labels(**policy, signal="s", source="s").set(1)
    metrics.show_tokens(policy, {"input": 1.0})
    metrics.decisions.labels("n", "p", "a", "r", "true").inc()
    metrics.ticks.labels("ok").observe(1)
    hub = Measures()
    hub.reviewed(Review.INJECTED, 0.1)
    hub.asked(Actuator.KEDA, None)
    return metrics.render().decode() + hub.render().decode()


def test_every_metric_is_documented_with_its_type_and_labels() -> None:
    assert documented() == told(sidecar_page() + operator_pages())
    assert {*documented()} == {*Metric}


def test_every_outcome_is_documented_and_whether_it_is_an_error() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| (yes)? ?\|$", PAGE, re.MULTILINE)
    assert rows == [(o, "yes" if o in ERROR_OUTCOMES else "") for o in _in_order(rows)]
    assert len(rows) == len(Outcome)
    query = re.findall(r'outcome=~"([^"]+)"', PAGE)
    assert [set(words.split("|")) for words in query] == [set(ERROR_OUTCOMES)]


def _in_order(rows: list[tuple[str, str]]) -> list[Outcome]:
    return [Outcome(name) for name, _ in rows]


def test_every_reason_of_a_refusal_is_documented() -> None:
    text = PAGE[PAGE.index("### Refusals") : PAGE.index("### Bounds")]
    failures = {Refusal.CONNECT, Refusal.RESET, Refusal.PROTOCOL, Refusal.TIMEOUT}
    assert set(re.findall(r"`([a-z_]+)`", text)) == {*Refusal} - failures | {"reason"}


def test_the_bounds_are_those_of_the_code() -> None:
    text = PAGE[PAGE.index("### Bounds") : PAGE.index("## OpenMetrics")]
    assert f"At most {MAX_LABEL_VALUES} of each" in text
    assert f"at most {MAX_SERIES:,} pairs" in text
    assert f"and {MAX_TIMINGS} of" in text
