"""docs/policy.md: nothing that people may write is missing, and it is what the CRD says."""

import copy
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import policy_reference as reference  # noqa: E402
import policy_words  # noqa: E402

from tidegate_operator.crd.conditions import _QUESTIONS  # noqa: E402
from tidegate_operator.decide.words import Reason  # noqa: E402

CRD = yaml.safe_load((ROOT / reference.SOURCE).read_text())
EXAMPLE = (ROOT / reference.EXAMPLE).read_text()
TOP = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
PAGE = reference.render(CRD, EXAMPLE)


def paths(schema: dict[str, Any], path: str) -> Iterator[str]:
    """Every property below ``schema``."""
    for name, field in schema.get("properties", {}).items():
        here = f"{path}.{name}"
        yield here
        yield from paths(field, here)
        yield from paths(field.get("items", {}), f"{here}[]")


FIELDS = [*paths(TOP["spec"], "spec"), *paths(TOP["status"], "status")]


def test_every_field_has_its_place_to_link_to() -> None:
    anchors = re.findall(r'<a id="([^"]+)"', PAGE)
    assert [p for p in FIELDS if reference.anchor(p) not in anchors] == []
    assert len(FIELDS) > 120
    assert sorted({a for a in anchors if anchors.count(a) > 1}) == []


def test_every_link_within_the_page_leads_somewhere() -> None:
    targets = set(re.findall(r'<a id="([^"]+)"', PAGE))
    headings = re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)
    targets |= {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
    assert [link for link in re.findall(r"\]\(#([^)]+)\)", PAGE) if link not in targets] == []


def test_the_page_in_the_repository_is_the_one_that_is_made() -> None:
    assert (ROOT / reference.PAGE).read_text() == reference.page(ROOT), "run scripts/generate"


def test_a_new_field_turns_up_with_its_type_default_and_bounds() -> None:
    crd = copy.deepcopy(CRD)
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["patience"] = {
        "description": "How long to wait",
        "type": "integer",
        "minimum": 3,
        "maximum": 9,
        "default": 5,
    }
    row = '| <a id="spec-patience"></a>`patience` | integer | `5` | How long to wait. 3 to 9. |'
    assert row in reference.render(crd, EXAMPLE)


def test_every_rule_between_fields_is_told_in_the_words_of_the_api_server() -> None:
    def messages(schema: dict[str, Any]) -> Iterator[str]:
        for rule in schema.get("x-kubernetes-validations", ()):
            yield rule["message"]
        for below in [*schema.get("properties", {}).values(), schema.get("items", {})]:
            yield from messages(below) if below else ()

    told = PAGE.lower()
    found = list(messages(TOP["spec"]))
    assert len(found) > 10
    assert [m for m in found if m.lower() not in told] == []


def test_every_condition_and_reason_has_its_words_and_none_is_left_over() -> None:
    assert sorted(policy_words.CONDITIONS) == sorted(_QUESTIONS)
    assert sorted(policy_words.REASONS) == sorted(map(str, Reason))


def test_the_example_at_the_top_shows_every_field() -> None:
    shown = set(walk(yaml.safe_load(EXAMPLE)["spec"], "spec"))
    assert [p for p in paths(TOP["spec"], "spec") if p not in shown] == []


def walk(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, below in value.items():
            yield f"{path}.{key}"
            yield from walk(below, f"{path}.{key}")
    elif isinstance(value, list):
        for below in value:
            yield from walk(below, f"{path}[]")
