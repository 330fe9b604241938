"""Structural schemas: what a custom object may hold, is filled in with, and is told when it is
wrong.

Law: pure; defaulting and pruning give a new object, validation gives every broken rule at once,
in the words of the real API server (which users search the web for).
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tidegate_operator.demo.kubeapi.errors import Cause, Object
from tidegate_operator.demo.kubeapi.rules import (
    InvalidRuleError,
    Rule,
    RuleFailedError,
    typed_value,
)

_ROOT = {
    "apiVersion": {"type": "string"},
    "kind": {"type": "string"},
    "metadata": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
}
_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_INT_OR_STRING = "x-kubernetes-int-or-string"
_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}
_Causes = Iterator[Cause]
_BLOCKING = frozenset(
    {
        "FieldValueNotSupported",
        "FieldValueRequired",
        "FieldValueTooLong",
        "FieldValueTooMany",
        "FieldValueTypeInvalid",
    }
)
_NOT_ASKED = Cause(
    "<nil>",
    "Invalid value: null: some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation",
)


class Schema:
    """One version's ``openAPIV3Schema``, with its rules compiled; InvalidRuleError says which
    rule cannot be."""

    def __init__(self, raw: Object) -> None:
        self.root: Object = {**raw, "properties": {**(raw.get("properties") or {}), **_ROOT}}
        self._rules: dict[int, tuple[Rule, ...]] = {}
        self._compile(self.root, "")

    def _compile(self, node: Object, where: str) -> None:
        rules = []
        for index, raw in enumerate(node.get("x-kubernetes-validations") or ()):
            try:
                rules.append(Rule.parse(raw))
            except InvalidRuleError as error:
                place = f"{where}.x-kubernetes-validations[{index}].rule"
                raise InvalidRuleError(f"Invalid value: {error}", place) from error
        if rules:
            self._rules[id(node)] = tuple(rules)
        self._compile_children(node, where)
        if "default" in node:
            self._check_default(node, where)

    def _compile_children(self, node: Object, where: str) -> None:
        for name, child in (node.get("properties") or {}).items():
            self._compile(child, f"{where}.properties[{name}]")
        for name in ("items", "additionalProperties"):
            if isinstance(node.get(name), dict):
                self._compile(node[name], f"{where}.{name}")

    def _check_default(self, node: Object, where: str) -> None:
        """A default must hold as it is written: those of the fields below it are not yet in it."""
        value = node["default"]
        broken = list(_check(value, None, node, "")) or list(
            self._check_rules(value, None, node, "")
        )
        if broken:
            raise InvalidRuleError(broken[0].message, f"{where}.default")

    def default(self, obj: Object) -> Object:
        """The object with every absent field that has a default; a null where null is not
        allowed counts as absent."""
        filled: Object = _default(obj, self.root)
        return filled

    def prune(self, obj: Object) -> tuple[Object, list[str]]:
        """The object without the fields that the schema does not know, and their paths."""
        unknown: list[str] = []
        pruned: Object = _prune(obj, self.root, "", unknown)
        return pruned, unknown

    def validate(self, obj: Object, old: Object | None = None) -> list[Cause]:
        """Every broken rule.

        As upstream, some broken rules keep CEL ones from being asked, which is said; and what an
        update leaves as it was is not held against it: an object may outlive a stricter schema.
        """
        plain = list(_check(obj, old, self.root, ""))
        if any(cause.reason in _BLOCKING for cause in plain):
            return [*plain, _NOT_ASKED]
        return plain + list(self._check_rules(obj, old, self.root, ""))

    def _check_rules(self, value: Any, old: Any, node: Object, path: str) -> _Causes:
        if value is None:
            return
        is_new = old is None or value != old
        rules = [
            rule
            for rule in self._rules.get(id(node), ())
            if (old is not None if rule.is_transition else is_new)
        ]
        if rules:
            variables = {"self": typed_value(value, node)}
            if old is not None:
                variables["oldSelf"] = typed_value(old, node)
            for rule in rules:
                yield from _ask(rule, variables, value, node, path)
        for child, child_old, schema, where in _children(value, old, node, path):
            yield from self._check_rules(child, child_old, schema, where)


def _ask(rule: Rule, variables: Mapping[str, Any], value: Any, node: Object, path: str) -> _Causes:
    try:
        message = rule.broken_message(variables)
    except RuleFailedError as error:
        yield Cause(path or "<nil>", f'Invalid value: "{node.get("type", "")}": {error}')
        return
    if message is None:
        return
    where = f"{path}{rule.field_path}".lstrip(".") or "<nil>"
    # Objects and lists are too long to repeat.
    shown = "" if node.get("type") in ("object", "array") else f": {_shown(value)}"
    spelled = {
        "FieldValueForbidden": f"Forbidden: {message}",
        "FieldValueRequired": f"Required value: {message}",
        "FieldValueDuplicate": f"Duplicate value{shown}",
    }
    yield Cause(where, spelled.get(rule.reason, f"Invalid value{shown}: {message}"), rule.reason)


def _children(
    value: Any, old: Any, node: Object, path: str
) -> Iterator[tuple[Any, Any, Object, str]]:
    """(value, old value or None, schema, path) of all that lies right below."""
    if isinstance(value, dict):
        known = node.get("properties") or {}
        rest = node.get("additionalProperties")
        for key, child in value.items():
            before = old.get(key) if isinstance(old, dict) else None
            if key in known:
                yield child, before, known[key], f"{path}.{key}".lstrip(".")
            elif isinstance(rest, dict):
                yield child, before, rest, f"{path}[{key}]"
    elif isinstance(value, list) and isinstance(node.get("items"), dict):
        correlated = _correlate(old, node)
        for index, child in enumerate(value):
            yield child, correlated(child), node["items"], f"{path}[{index}]"


def _correlate(old: Any, node: Object) -> Callable[[Any], Any]:
    """Finds an item's old self: only lists of type ``map`` have one."""
    keys = node.get("x-kubernetes-list-map-keys")
    if node.get("x-kubernetes-list-type") != "map" or not keys or not isinstance(old, list):
        return lambda item: None
    before = {_key_of(item, keys): item for item in old}
    return lambda item: before.get(_key_of(item, keys))


def _key_of(item: Any, keys: list[str]) -> str:
    return json.dumps({key: item.get(key) for key in keys}, separators=(",", ":"))


def _default(value: Any, node: Object) -> Any:
    if isinstance(value, dict):
        known = node.get("properties") or {}
        rest = node.get("additionalProperties")
        filled = {}
        for key, child in value.items():
            schema = known.get(key) or (rest if isinstance(rest, dict) else {})
            if child is None and not schema.get("nullable") and "default" in schema:
                continue
            filled[key] = _default(child, schema)
        for key, schema in known.items():
            if key not in filled and "default" in schema:
                filled[key] = _default(schema["default"], schema)
        return filled
    if isinstance(value, list):
        return [_default(item, node.get("items") or {}) for item in value]
    return value


def _prune(value: Any, node: Object, path: str, unknown: list[str]) -> Any:
    if isinstance(value, dict):
        known = node.get("properties") or {}
        rest = node.get("additionalProperties")
        keeps = node.get(_PRESERVE) or rest is True or (not known and "type" not in node)
        kept = {}
        for key, child in value.items():
            where = f"{path}.{key}".lstrip(".")
            if key in known:
                kept[key] = _prune(child, known[key], where, unknown)
            elif isinstance(rest, dict):
                kept[key] = _prune(child, rest, where, unknown)
            elif keeps:
                kept[key] = child
            else:
                unknown.append(where)
        return kept
    if isinstance(value, list) and isinstance(node.get("items"), dict):
        return [
            _prune(item, node["items"], f"{path}[{index}]", unknown)
            for index, item in enumerate(value)
        ]
    return value


def _shown(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _type_name(value: Any) -> str:
    for name in ("object", "array", "string", "boolean", "integer", "number"):
        if _is_type(value, name):
            return name
    return "null"


def _is_type(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[name])


def _check(value: Any, old: Any, node: Object, path: str) -> _Causes:
    """Everything but CEL."""
    if (value is None and node.get("nullable")) or (old is not None and value == old):
        return
    wrong = _check_type(value, node, path)
    if wrong:
        yield wrong
        return
    yield from _check_enum(value, node, path)
    if isinstance(value, dict):
        yield from _check_object(value, node, path)
    elif isinstance(value, list):
        yield from _check_list(value, node, path)
    elif isinstance(value, str):
        yield from _check_text(value, node, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _check_number(value, node, path)
    yield from _check_junctors(value, node, path)
    for child, child_old, schema, where in _children(value, old, node, path):
        yield from _check(child, child_old, schema, where)


def _check_type(value: Any, node: Object, path: str) -> Cause | None:
    if node.get(_INT_OR_STRING):
        accepted: tuple[str, ...] = ("integer", "string")
    elif "type" in node:
        accepted = (node["type"],)
    else:
        return None
    if any(_is_type(value, name) for name in accepted):
        return None
    found, wanted = _type_name(value), ",".join(accepted)
    message = f'Invalid value: "{found}": {path} in body must be of type {wanted}: "{found}"'
    return Cause(path, message, "FieldValueTypeInvalid")


def _check_enum(value: Any, node: Object, path: str) -> _Causes:
    allowed = node.get("enum")
    if allowed is not None and value not in allowed:
        listed = ", ".join(_shown(each) for each in allowed)
        message = f"Unsupported value: {_shown(value)}: supported values: {listed}"
        yield Cause(path, message, "FieldValueNotSupported")


def _check_object(value: Object, node: Object, path: str) -> _Causes:
    for name in node.get("required") or ():
        if name not in value:
            yield Cause(f"{path}.{name}".lstrip("."), "Required value", "FieldValueRequired")
    yield from _check_count(len(value), node, path, "Properties")


def _check_count(count: int, node: Object, path: str, what: str) -> _Causes:
    most, least = node.get(f"max{what}"), node.get(f"min{what}")
    if most is not None and count > most:
        yield Cause(
            path, f"Too many: {count}: must have at most {most} items", "FieldValueTooMany"
        )
    if least is not None and count < least:
        noun = "items" if what == "Items" else "properties"
        message = f"Invalid value: {count}: {path} in body should have at least {least} {noun}"
        yield Cause(path, message)


def _check_list(value: list[Any], node: Object, path: str) -> _Causes:
    yield from _check_count(len(value), node, path, "Items")
    kind = node.get("x-kubernetes-list-type")
    if kind not in ("map", "set"):
        return
    keys = node.get("x-kubernetes-list-map-keys") or []
    seen: set[str] = set()
    for index, item in enumerate(value):
        if kind == "map" and not isinstance(item, dict):
            continue
        key = _key_of(item, keys) if kind == "map" else _shown(item)
        if key in seen:
            yield Cause(f"{path}[{index}]", f"Duplicate value: {key}", "FieldValueDuplicate")
        seen.add(key)


def _check_text(value: str, node: Object, path: str) -> _Causes:
    most, least = node.get("maxLength"), node.get("minLength")
    if most is not None and len(value) > most:
        message = f"Too long: may not be more than {most} bytes"
        yield Cause(path, message, "FieldValueTooLong")
    shown = f"Invalid value: {_shown(value)}: {path} in body should"
    if least is not None and len(value) < least:
        yield Cause(path, f"{shown} be at least {least} chars long")
    pattern = node.get("pattern")
    # RE2's `$` is the end of the text; Python's also stands before a last newline.
    if pattern is not None and not re.search(re.sub(r"(?<!\\)\$$", r"\\Z", pattern), value):
        yield Cause(path, f"{shown} match '{pattern}'")


def _check_number(value: float, node: Object, path: str) -> _Causes:
    shown = f"Invalid value: {_shown(value)}: {path} in body should be"
    least, most = node.get("minimum"), node.get("maximum")
    if least is not None:
        open_end = node.get("exclusiveMinimum", False)
        if value < least or (open_end and value == least):
            yield Cause(path, f"{shown} greater than {'' if open_end else 'or equal to '}{least}")
    if most is not None:
        open_end = node.get("exclusiveMaximum", False)
        if value > most or (open_end and value == most):
            yield Cause(path, f"{shown} less than {'' if open_end else 'or equal to '}{most}")
    if (step := node.get("multipleOf")) is not None and value % step:
        yield Cause(path, f"{shown} a multiple of {step}")


def _check_junctors(value: Any, node: Object, path: str) -> _Causes:
    def holding(name: str) -> int:
        return sum(not any(_check(value, None, each, path)) for each in node.get(name) or ())

    shown = f'Invalid value: "": "{path}" must'
    for each in node.get("allOf") or ():
        yield from _check(value, None, each, path)
    if node.get("anyOf") and not holding("anyOf"):
        yield Cause(path, f"{shown} validate at least one schema (anyOf)")
    if node.get("oneOf") and holding("oneOf") != 1:
        yield Cause(path, f"{shown} validate one and only one schema (oneOf)")
    if "not" in node and not any(_check(value, None, node["not"], path)):
        yield Cause(path, f"{shown} not validate the schema (not)")
