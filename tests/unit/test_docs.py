"""What the documents point at is there: files, headings, conditions, reasons, annotations."""

import re
from pathlib import Path

import pytest

from tidegate_operator.crd.conditions import _QUESTIONS
from tidegate_operator.decide.words import Reason
from tidegate_wire import names

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md")])


def anchors(page: Path) -> set[str]:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    made = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return made | set(re.findall(r'<a id="([^"]+)"', text))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    lost = []
    prose = re.sub(r"```.*?```|`[^`\n]*`", "code", page.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert lost == []


INSTALL = (ROOT / "docs" / "install.md").read_text()


def test_trouble_is_told_by_conditions_and_reasons_that_there_are() -> None:
    conditions = set(re.findall(r"`([A-Z]\w+)=(?:True|False)`", INSTALL))
    assert len(conditions) > 5
    assert conditions <= set(_QUESTIONS)
    table = INSTALL[INSTALL.index("## Trouble") :]
    first_cells = re.findall(r"^\| (.+?) \|", table, re.MULTILINE)
    reasons = {r for cell in first_cells for r in re.findall(r"`([A-Z]\w+)`", cell)}
    assert len(reasons) > 8
    assert reasons <= {str(reason) for reason in Reason}


def test_every_annotation_that_people_may_write_is_told() -> None:
    assert [n for n in (names.INJECT, *names.OPTIONS) if n not in INSTALL] == []
