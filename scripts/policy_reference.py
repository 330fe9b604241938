"""docs/policy.md: every field of LLMQualityPolicy, for people, from what the machines read.

Law: nothing here is known twice. Fields, bounds, defaults and rules come from the CRD, conditions
and reason codes from the code that gives them; the sentences beside those two are in
``policy_words``.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from policy_words import CONDITIONS, REASONS

from tidegate_operator.crd.conditions import _QUESTIONS
from tidegate_operator.decide.words import Reason

Schema = Mapping[str, Any]

SOURCE = Path("crds/llmqualitypolicies.yaml")
EXAMPLE = Path("examples/all-fields.yaml")
PAGE = Path("docs/policy.md")

_KINDS = {
    r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$": "duration",
    r"^([0-9]+(\.[0-9]+)?(s|m|h))+$": "duration",
    r"^([0-9]+(m|h|d))+$": "duration in days",
    r"^[0-9]+(\.[0-9]+)?$": "decimal",
    r"^(100|[1-9][0-9]?)%$": "percentage",
    r"^[0-9]{1,2}(\.[0-9]+)?%$": "percentage",
    r"^(100|[1-9][0-9]?)(\.[0-9]+)?%$": "percentage",
    r"^(100|[0-9]{1,2})(\.[0-9]+)?%$": "percentage",
    r"^[1-9][0-9]*(Ki|Mi|Gi)?$": "size",
}
"""What the schema's patterns are called; one that is not here is shown as it is."""

_INTRO = """\
<!-- Written by scripts/generate from crds/llmqualitypolicies.yaml and the code: change those. -->
# LLMQualityPolicy

One policy stands for one workload: what its users are promised, how many replicas it may have,
what its tokens may cost, and what happens when one of these is at risk. This page has every
field. `kubectl explain lqp.spec --recursive` lists them in a terminal.

- [A policy with everything in it](#a-policy-with-everything-in-it)
- [How values are written](#how-values-are-written)
- [spec](#spec): what you write
- [status](#status): what Tidegate answers
- [Conditions](#conditions) and [reason codes](#reason-codes)
- [What `kubectl get lqp` shows](#what-kubectl-get-lqp-shows)

## A policy with everything in it

Most policies need a quarter of this: `targetRef` and `models` are all that is required, and
whatever has a default may be left out.
[examples/](../examples/README.md) has shorter ones for single situations.
"""

_VALUES = """\
## How values are written

| kind | written as | such as |
|---|---|---|
| duration | numbers with a unit (`s`, `m`, `h`; some `ms`), in a string | `90s`, `1h30m` |
| duration in days | whole numbers with a unit (`m`, `h`, `d`), in a string | `14d`, `1d12h` |
| decimal | a decimal number in a string, since YAML's own are not exact | `"2.5"` |
| percentage | a number with its sign, in a string | `80%`, `0.5%` |
| size | bytes, with `Ki`, `Mi` or `Gi` | `10Mi` |

The API server refuses what breaks a bound, a pattern or a rule of this page, and names the field,
the rule and the value. What only
the operator can know (a time zone that does not exist) ends in the condition `Ready=False` with
reason `InvalidSpec`.
"""


def page(root: Path) -> str:
    """The page, from the files of the checkout at ``root``."""
    crd = yaml.safe_load((root / SOURCE).read_text(encoding="utf-8"))
    return render(crd, (root / EXAMPLE).read_text(encoding="utf-8"))


def render(crd: Schema, example: str) -> str:
    """The page as Markdown; ``example`` is a whole policy as YAML."""
    (version,) = crd["spec"]["versions"]
    top = version["schema"]["openAPIV3Schema"]["properties"]
    parts = [
        _INTRO,
        f"```yaml\n{example.strip()}\n```\n",
        _VALUES,
        *_objects(top["spec"], "spec"),
        *_objects(top["status"], "status"),
        _conditions(),
        _reasons(),
        _columns(version["additionalPrinterColumns"]),
    ]
    return "\n".join(parts)


def _objects(schema: Schema, path: str) -> Iterator[str]:
    """One section for the object at ``path`` and for each object below it, in the file's order."""
    depth = "##" if "." not in path else "###"
    title = path if depth == "##" else f"`{path}`"
    fields = schema["properties"]
    required = schema.get("required", ())
    lines = [f'{depth} <a id="{anchor(path)}"></a>{title}' if depth == "###" else f"## {title}"]
    lines += ["", _prose(schema["description"]), ""]
    lines += ["| field | type | default | what it is |", "|---|---|---|---|"]
    lines += [_row(f"{path}.{name}", field, name in required) for name, field in fields.items()]
    if rules := list(_rules(schema, path)):
        lines += ["", "Rules:", "", *rules]
    yield "\n".join(lines) + "\n"
    for name, field in fields.items():
        below, where = _object_in(field, f"{path}.{name}")
        if below is not None:
            yield from _objects({"description": field["description"], **below}, where)


def _object_in(field: Schema, path: str) -> tuple[Schema | None, str]:
    """The object that a field is, or is a list of, with its path."""
    if "properties" in field:
        return field, path
    items = field.get("items", {})
    return (items, f"{path}[]") if "properties" in items else (None, path)


def _row(path: str, field: Schema, required: bool) -> str:
    below, where = _object_in(field, path)
    name = path.rpartition(".")[2]
    shown = f"`{name}`" if below is None else f"[`{name}`](#{anchor(where)})"
    # An object has its own section, which the anchor of its path belongs to.
    mark = f'<a id="{anchor(path)}"></a>' if below is None else ""
    words = [_prose(field["description"]), *_bounds(field)]
    return f"| {mark}{shown} | {_type(field)} | {_default(field, required)} | {' '.join(words)} |"


def _type(field: Schema) -> str:
    kind = field.get("type", "any")
    if kind == "array":
        items = field["items"]
        return f"list of {'objects' if 'properties' in items else _type(items) + 's'}"
    if kind == "object" and "additionalProperties" in field:
        return f"map to {_type(field['additionalProperties'])}"
    if field.get("format") == "date-time":
        return "time"
    if pattern := field.get("pattern"):
        return _KINDS.get(pattern, "string")
    return str(kind)


def _default(field: Schema, required: bool) -> str:
    if required:
        return "**required**"
    default = field.get("default")
    if default is None or default == {}:
        return ""
    text = str(default).lower() if isinstance(default, bool) else str(default)
    return f"`{text}`"


def _bounds(field: Schema) -> Iterator[str]:
    """What the schema allows besides the type, each as a sentence."""
    if names := field.get("enum"):
        yield "One of " + ", ".join(f"`{name}`" for name in names) + "."
    low, high = field.get("minimum"), field.get("maximum")
    if low is not None and high is not None:
        yield f"{low} to {high}."
    elif low is not None:
        yield f"At least {low}."
    fewest, most = field.get("minItems"), field.get("maxItems")
    if most is not None:
        yield f"{fewest} to {most} entries." if fewest else f"At most {most} entries."
    pattern = field.get("pattern")
    if pattern and pattern not in _KINDS:
        yield f"Matches `{_cell(pattern)}`."
    if keys := field.get("x-kubernetes-list-map-keys"):
        yield f"Entries differ in `{', '.join(keys)}`."
    yield from (f"{_sentence(rule['message'])}." for rule in _own_rules(field))


def _own_rules(field: Schema) -> Sequence[Schema]:
    """Rules on a plain value: they stand with the field, since it has no section of its own."""
    is_plain = field.get("type") not in ("object",) and "properties" not in field
    return field.get("x-kubernetes-validations", ()) if is_plain else ()


def _rules(schema: Schema, path: str) -> Iterator[str]:
    for rule in schema.get("x-kubernetes-validations", ()):
        field = f"{path}{rule.get('fieldPath', '')}"
        cel = " ".join(rule["rule"].split())
        yield f"- [`{field}`](#{anchor(field)}) {rule['message']} (`{cel}`)"


def _conditions() -> str:
    lines = [
        "## Conditions",
        "",
        "Each condition is a question with an answer, a reason code and words. `kubectl describe",
        "lqp` shows them all; `kubectl wait --for=condition=Ready lqp/chat` waits for one.",
        "",
        "| condition | question | all is well |",
        "|---|---|---|",
    ]
    for kind in _QUESTIONS:
        question, good = CONDITIONS.get(kind, ("", ""))
        lines.append(
            f'| <a id="{anchor("condition-" + kind)}"></a>`{kind}` | {question} | {good} |'
        )
    return "\n".join(lines) + "\n"


def _reasons() -> str:
    lines = [
        "## Reason codes",
        "",
        "The same codes stand in conditions, in Events, in `status.decisions`, in `tidegate",
        "explain`, in the log and in the label `reason` of `tidegate_decisions_total`.",
        "",
        "| reason | what it means |",
        "|---|---|",
    ]
    for reason in Reason:
        lines.append(
            f'| <a id="{anchor("reason-" + reason)}"></a>`{reason}` | {REASONS.get(reason, "")} |'
        )
    return "\n".join(lines) + "\n"


def _columns(columns: Sequence[Schema]) -> str:
    lines = [
        "## What `kubectl get lqp` shows",
        "",
        "| column | from | what it is |",
        "|---|---|---|",
    ]
    for column in columns:
        wide = " With `-o wide`." if column.get("priority") else ""
        words = _prose(column.get("description", "Time since the policy was made"))
        lines.append(f"| {column['name']} | `{_cell(column['jsonPath'])}` | {words}{wide} |")
    return "\n".join(lines) + "\n"


def anchor(path: str) -> str:
    """What a link to the field at ``path`` ends in."""
    return re.sub(r"[^a-z0-9]+", "-", path.lower()).strip("-")


def _prose(text: str) -> str:
    words = _cell(" ".join(text.split()))
    return words if words.endswith(".") else f"{words}."


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _cell(text: str) -> str:
    """As a table's cell takes it."""
    return text.replace("|", r"\|")
