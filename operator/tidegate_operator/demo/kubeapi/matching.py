"""Label and field selectors, as a query string spells them and as objects do.

Law: parsing is done once and raises 400 in the API server's words; the result is a function of
one object.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from tidegate_operator.demo.kubeapi.errors import Object, bad_request

Matcher = Callable[[Object], bool]
Labels = Mapping[str, str]
LabelTest = Callable[[Labels], bool]

_SET = re.compile(r"(?P<key>\S+)\s+(?P<op>in|notin)\s*\((?P<values>[^)]*)\)")
_EQUAL = re.compile(r"(?P<key>[^=!\s]+)\s*(?P<op>==|=|!=)\s*(?P<value>[^\s=!]*)")
_EXISTS = re.compile(r"(?P<not>!?)\s*(?P<key>[^=!\s()]+)")
_PARTS = re.compile(r"[^,(]+(?:\([^)]*\))?")


def label_test(key: str, operator: str, values: frozenset[str]) -> LabelTest:
    """One requirement; ``NotIn`` also holds where the label is absent, as upstream."""
    match operator:
        case "In":
            return lambda labels: labels.get(key) in values
        case "NotIn":
            return lambda labels: labels.get(key) not in values
        case "Exists":
            return lambda labels: key in labels
        case "DoesNotExist":
            return lambda labels: key not in labels
    raise bad_request(f'"{operator}" is not a valid label selector operator')


def _parse_label_part(part: str) -> LabelTest:
    if found := _SET.fullmatch(part):
        values = frozenset(value.strip() for value in found["values"].split(","))
        return label_test(found["key"], "In" if found["op"] == "in" else "NotIn", values)
    if found := _EQUAL.fullmatch(part):
        operator = "NotIn" if found["op"] == "!=" else "In"
        return label_test(found["key"], operator, frozenset([found["value"]]))
    if found := _EXISTS.fullmatch(part):
        return label_test(found["key"], "DoesNotExist" if found["not"] else "Exists", frozenset())
    raise bad_request(f"unable to parse requirement: found '{part}'")


def labels_of(obj: Object) -> Labels:
    labels: Labels | None = (obj.get("metadata") or {}).get("labels")
    return labels or {}


def label_matcher(selector: str | None) -> Matcher:
    """``app=llama,tier in (a, b),!old``."""
    tests = [_parse_label_part(part.strip()) for part in _PARTS.findall(selector or "")]
    return lambda obj: all(test(labels_of(obj)) for test in tests)


def selector_matches(selector: Mapping[str, Any] | None, labels: Labels) -> bool:
    """A ``LabelSelector`` object; None matches nothing, an empty one everything."""
    if selector is None:
        return False
    wanted = (selector.get("matchLabels") or {}).items()
    if any(labels.get(key) != value for key, value in wanted):
        return False
    return all(
        label_test(each["key"], each["operator"], frozenset(each.get("values") or ()))(labels)
        for each in selector.get("matchExpressions") or ()
    )


def selector_text(selector: Mapping[str, Any] | None) -> str:
    """A ``LabelSelector`` object as a query string: what ``/scale`` shows."""
    labels = (selector or {}).get("matchLabels") or {}
    terms = [(key, f"{key}={value}") for key, value in labels.items()]
    for expression in (selector or {}).get("matchExpressions") or ():
        key, values = expression["key"], ",".join(sorted(expression.get("values") or ()))
        spelled = {
            "In": f"{key} in ({values})",
            "NotIn": f"{key} notin ({values})",
            "Exists": key,
            "DoesNotExist": f"!{key}",
        }
        terms.append((key, spelled[expression["operator"]]))
    return ",".join(text for _, text in sorted(terms, key=lambda term: term[0]))


def value_at(obj: Any, path: tuple[str, ...]) -> Any:
    """The value under a path of keys, or None."""
    for key in path:
        obj = obj.get(key) if isinstance(obj, dict) else None
    return obj


def field_matcher(selector: str | None, supported: frozenset[str] | None = None) -> Matcher:
    """``metadata.name=x,status.phase!=Running``; 400 for a field that this kind does not index."""
    tests: list[tuple[tuple[str, ...], bool, str]] = []
    for part in filter(None, (selector or "").split(",")):
        found = re.fullmatch(r"([^=!]+)(==|=|!=)(.*)", part)
        if found is None:
            raise bad_request(f"invalid selector: '{part}'; can't understand '{part}'")
        if supported is not None and found[1] not in supported:
            raise bad_request(f'field label not supported: "{found[1]}"')
        tests.append((tuple(found[1].split(".")), found[2] != "!=", found[3]))
    return lambda obj: all(
        (str(_or_empty(value_at(obj, path))) == value) is equal for path, equal, value in tests
    )


def _or_empty(value: Any) -> Any:
    return "" if value is None else value
