"""CEL expressions: validation rules of custom objects, and match conditions of webhooks.

Law: an expression that this library cannot parse, whose functions it does not know, or that
fails on a value is an error in the answer, never a rule that silently holds. Kubernetes'
extension functions that stand here are the ones of its strings, lists and regex libraries;
optional syntax (``a.?b``), quantities and URLs are not there, and are refused when the
definition is written. What a rule may cost is not estimated: whether a definition is cheap enough
only a real API server tells.
"""

import functools
import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import celpy
import lark
from celpy import celtypes
from celpy.celparser import CELParseError
from celpy.evaluation import CELEvalError, base_functions

CelValue = Any
"""A value of celpy.celtypes, or None."""

_RESERVED = frozenset(
    {
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
    }
)
_MACROS = frozenset(
    {"all", "exists", "exists_one", "filter", "map", "has", "dyn", "reduce", "min"}
)
_NO_KEY = re.compile(r"no such member in mapping: '(.*)'")
_ESCAPES = (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__"))


class InvalidRuleError(ValueError):
    """A rule cannot be used; ``where`` is its path below the schema that holds it."""

    def __init__(self, message: str, where: str = "") -> None:
        super().__init__(message)
        self.where = where


class RuleFailedError(ValueError):
    """A good expression has no value for these variables: no such key, index out of bounds,
    overflow."""


def _comparison(name: str) -> Callable[[Any, Any], Any]:
    """Kubernetes compares across int, uint and double; celpy alone refuses to."""
    plain = base_functions[name]

    def compare(left: Any, right: Any) -> Any:
        if isinstance(left, celtypes.DoubleType) is not isinstance(right, celtypes.DoubleType):
            number = (celtypes.IntType, celtypes.UintType, celtypes.DoubleType)
            if isinstance(left, number) and isinstance(right, number):
                left, right = celtypes.DoubleType(left), celtypes.DoubleType(right)
        return plain(left, right)

    return compare


def _text(value: str) -> Any:
    return celtypes.StringType(value)


def _index_of(items: Any, item: Any, start: int = 0) -> Any:
    if isinstance(items, str):
        return celtypes.IntType(str(items).find(str(item), int(start)))
    return celtypes.IntType(next((i for i, each in enumerate(items) if each == item), -1))


def _last_index_of(items: Any, item: Any) -> Any:
    if isinstance(items, str):
        return celtypes.IntType(str(items).rfind(str(item)))
    places = [i for i, each in enumerate(items) if each == item]
    return celtypes.IntType(places[-1] if places else -1)


def _substring(text: Any, start: Any, end: Any = None) -> Any:
    stop = len(text) if end is None else int(end)
    if not 0 <= start <= stop <= len(text):
        raise ValueError(f"index out of range: {start}")
    return _text(str(text)[int(start) : stop])


def _char_at(text: Any, place: Any) -> Any:
    if not 0 <= place <= len(text):
        raise ValueError(f"index out of range: {place}")
    return _text(str(text)[int(place) : int(place) + 1])


def _replace(text: Any, old: Any, new: Any, limit: Any = -1) -> Any:
    return _text(str(text).replace(str(old), str(new), int(limit)))


def _split(text: Any, separator: Any, limit: Any = -1) -> Any:
    if limit == 0:
        return celtypes.ListType([])
    parts = str(text).split(str(separator), int(limit) - 1 if limit > 0 else -1)
    return celtypes.ListType([_text(part) for part in parts])


def _join(parts: Any, separator: Any = "") -> Any:
    return _text(str(separator).join(str(part) for part in parts))


def _find(text: Any, pattern: Any) -> Any:
    found = re.search(str(pattern), str(text))
    return _text(found[0] if found else "")


def _find_all(text: Any, pattern: Any, limit: Any = -1) -> Any:
    found = [_text(each[0]) for each in re.finditer(str(pattern), str(text))]
    return celtypes.ListType(found if limit < 0 else found[: int(limit)])


def _is_sorted(items: Any) -> Any:
    return celtypes.BoolType(all(a <= b for a, b in itertools.pairwise(items)))


def _slice(items: Any, start: Any, end: Any) -> Any:
    if not 0 <= start <= end <= len(items):
        raise ValueError(f"index out of bounds: {start}:{end}")
    return celtypes.ListType(items[int(start) : int(end)])


def _sum(items: Any) -> Any:
    total: Any = celtypes.IntType(0)
    for place, item in enumerate(items):
        total = item if place == 0 else total + item
    return total


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    **{name: _comparison(name) for name in ("_<_", "_<=_", "_>_", "_>=_", "_==_", "_!=_")},
    "charAt": _char_at,
    "find": _find,
    "findAll": _find_all,
    "indexOf": _index_of,
    "isSorted": _is_sorted,
    "join": _join,
    "lastIndexOf": _last_index_of,
    "lowerAscii": lambda text: _text(str(text).lower()),
    "max": lambda items: max(items),
    "replace": _replace,
    "slice": _slice,
    "split": _split,
    "substring": _substring,
    "sum": _sum,
    "trim": lambda text: _text(str(text).strip()),
    "upperAscii": lambda text: _text(str(text).upper()),
}


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled expression; equal texts share one."""

    text: str
    names: frozenset[str]
    """Every identifier in it."""
    run: Callable[[Mapping[str, CelValue]], CelValue]

    def evaluate(self, variables: Mapping[str, CelValue]) -> CelValue:
        """Raises RuleFailedError."""
        try:
            return self.run(variables)
        except CELEvalError as error:
            # celpy adds a dump of every name that it knows.
            why = str(error.args[0] if error.args else error).partition(" (in activation")[0]
            why = _NO_KEY.sub(r"no such key: \1", why)
            raise RuleFailedError(why) from error
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise RuleFailedError(str(error)) from error


@functools.lru_cache(maxsize=1)
def _environment() -> Any:
    return celpy.Environment()


@functools.lru_cache(maxsize=1024)
def compile_expression(text: str) -> Program:
    """Raises InvalidRuleError for what cannot be parsed and for functions that are not known
    here."""
    try:
        tree = _environment().compile(text)
    except CELParseError as error:
        raise InvalidRuleError(f"compilation failed: syntax error in: {text}") from error
    known = _MACROS | FUNCTIONS.keys() | base_functions.keys()
    for name in _called(tree):
        if name not in known:
            raise InvalidRuleError(
                f"compilation failed: undeclared reference to '{name}' in: {text}"
            )
    names = tree.scan_values(lambda token: getattr(token, "type", "") == "IDENT")
    runner = _environment().program(tree, functions=dict(FUNCTIONS))
    return Program(text, frozenset(str(name) for name in names), runner.evaluate)


def _called(tree: lark.Tree[lark.Token]) -> Iterator[str]:
    """Names of all functions and methods in an expression."""
    for node in tree.iter_subtrees():
        if node.data == "member_dot_arg":
            yield str(node.children[1])
        elif node.data == "ident_arg":
            yield str(node.children[0])


def escape(name: str) -> str:
    """A property's name as CEL spells it: ``for`` is ``__for__``, ``a-b`` is ``a__dash__b``."""
    if name in _RESERVED:
        return f"__{name}__"
    for plain, escaped in _ESCAPES:
        name = name.replace(plain, escaped)
    return name


def plain_value(value: Any) -> CelValue:
    """JSON as CEL sees it where no schema gives a type: in match conditions of webhooks."""
    return celpy.json_to_cel(value)


def typed_value(value: Any, schema: Mapping[str, Any]) -> CelValue:
    """JSON as CEL sees it under a schema: ``number`` is a double even when written ``5``,
    properties are escaped."""
    if isinstance(value, dict):
        properties = schema.get("properties") or {}
        rest = schema.get("additionalProperties")
        others: Mapping[str, Any] = rest if isinstance(rest, dict) else {}
        return celtypes.MapType(
            {
                _text(escape(key) if key in properties else key): typed_value(
                    item, properties.get(key, others)
                )
                for key, item in value.items()
            }
        )
    if isinstance(value, list):
        items = schema.get("items") or {}
        return celtypes.ListType([typed_value(item, items) for item in value])
    if schema.get("type") == "number" and isinstance(value, int | float):
        return celtypes.DoubleType(value)
    if isinstance(value, str) and schema.get("format") == "date-time":
        return celtypes.TimestampType(value)
    if isinstance(value, str) and schema.get("format") == "duration":
        return celtypes.DurationType(value)
    return celpy.json_to_cel(value)


@dataclass(frozen=True, slots=True)
class Rule:
    """One of ``x-kubernetes-validations``."""

    program: Program
    message: str
    """Empty where the definition gives none."""
    message_program: Program | None
    reason: str
    field_path: str
    """Below the value that the rule stands on: ``.minReplicas``, or empty."""

    @property
    def is_transition(self) -> bool:
        """Whether it compares with the old value, and so only holds for an update."""
        return "oldSelf" in self.program.names

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> "Rule":
        if raw.get("optionalOldSelf"):
            raise InvalidRuleError("optionalOldSelf is not supported by this server")
        text = str(raw["rule"]).strip()
        message_expression = raw.get("messageExpression")
        return cls(
            program=compile_expression(text),
            message=str(raw.get("message") or "").strip(),
            message_program=message_expression and compile_expression(message_expression.strip()),
            reason=raw.get("reason") or "FieldValueInvalid",
            field_path=raw.get("fieldPath") or "",
        )

    def broken_message(self, variables: Mapping[str, CelValue]) -> str | None:
        """Why the rule does not hold, or None if it does; RuleFailedError if it has no value."""
        try:
            if self.program.evaluate(variables):
                return None
        except RuleFailedError as error:
            shown = self.message or self.program.text
            raise RuleFailedError(f"{error} evaluating rule: {shown}") from error
        plain = self.message or f"failed rule: {self.program.text}"
        if self.message_program is None:
            return plain
        try:
            return str(self.message_program.evaluate(variables)).strip() or plain
        except RuleFailedError:
            # As upstream: the rule is broken either way, and `message` says so less precisely.
            return plain
