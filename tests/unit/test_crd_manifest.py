"""The CRD as people read it with ``kubectl explain``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CRD = yaml.safe_load((Path(__file__).parents[2] / "crds" / "llmqualitypolicies.yaml").read_text())
(VERSION,) = CRD["spec"]["versions"]
ROOT = VERSION["schema"]["openAPIV3Schema"]


def fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property below ``schema``, with its path."""
    for name, field in schema.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        yield here, field
        yield from fields(field, here)
        yield from fields(field.get("items", {}), f"{here}[]")


def test_every_field_says_what_it_is() -> None:
    silent = [p for p, f in fields(ROOT) if p != "metadata" and len(f.get("description", "")) < 3]
    assert silent == []
    assert len(list(fields(ROOT))) > 100


def test_a_duration_a_share_and_a_rate_say_their_unit() -> None:
    units = (
        "duration",
        "percent",
        "decimal",
        "quantity",
        "second",
        "zone",
        "URL",
        "header",
        "ISO",
    )
    spec = ROOT["properties"]["spec"]
    patterned = [(p, f) for p, f in fields(spec) if f.get("type") == "string" and "pattern" in f]
    named = ("name", "header")
    silent = [
        p
        for p, f in patterned
        if p.rpartition(".")[2] not in named and not any(u in f["description"] for u in units)
    ]
    assert silent == []


def test_lists_are_bounded_so_that_rules_have_a_price() -> None:
    """The API server refuses a rule whose estimated cost is too high (KEP-2876)."""
    spec = ROOT["properties"]["spec"]
    unbounded = [p for p, f in fields(spec) if f.get("type") == "array" and "maxItems" not in f]
    unbounded += [
        p
        for p, f in fields(spec)
        if f.get("type") == "string" and not {"maxLength", "enum"} & f.keys()
    ]
    assert unbounded == []


def test_it_is_what_people_type() -> None:
    names = CRD["spec"]["names"]
    assert (names["kind"], names["shortNames"]) == ("LLMQualityPolicy", ["lqp"])
    assert CRD["spec"]["scope"] == "Namespaced"
    assert VERSION["subresources"] == {"status": {}}
    columns = [c["name"] for c in VERSION["additionalPrinterColumns"] if not c.get("priority")]
    assert columns == [
        *("Mode", "Phase", "Model", "Replicas", "Desired", "Budget", "Ready", "Age"),
    ]
