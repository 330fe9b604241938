"""Reading one manifest's fields, each fault named by its path in the user's spelling.

Law: whatever stands in a manifest, only ``InvalidSpecError`` comes out. The API server's schema
catches most of it; but the CRD that is installed may be older than this program.
"""

import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Self, TypeVar
from zoneinfo import ZoneInfo

T = TypeVar("T")

_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|s|m|h|d))+")
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_QUANTITY = re.compile(r"([1-9][0-9]*)(Ki|Mi|Gi)?")
_QUANTITY_UNIT = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]+)?)%")
_DECIMAL = re.compile(r"[0-9]+(?:\.[0-9]+)?")

MAX_DURATION_S = 400 * 86400.0
"""Longer than any window that a policy can mean; keeps absurd input from overflowing elsewhere."""


class InvalidSpecError(ValueError):
    """A policy asks for what cannot be done; trying again will not help."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path} {problem}")
        self.path = path
        self.problem = problem


class Fields:
    """One object of a manifest; every ``take`` either answers in the wanted type or names the
    field."""

    __slots__ = ("_body", "path")

    def __init__(self, body: Any, path: str) -> None:
        if not isinstance(body, Mapping):
            raise InvalidSpecError(path, f"must be an object, was: {body!r:.80}")
        self._body = body
        self.path = path

    def __contains__(self, name: str) -> bool:
        return self._body.get(name) is not None

    def fault(self, name: str, problem: str) -> InvalidSpecError:
        return InvalidSpecError(f"{self.path}.{name}", problem)

    def _raw(self, name: str, default: Any) -> Any:
        value = self._body.get(name)
        if value is None:
            value = default
        if value is None:
            raise self.fault(name, "is required")
        return value

    def below(self, name: str) -> Self:
        """The object ``name``; absent is as if it were empty."""
        return type(self)(self._body.get(name) or {}, f"{self.path}.{name}")

    def each(self, name: str) -> list[Self]:
        """The objects of the list ``name``; absent is as if it were empty."""
        items = self._body.get(name) or []
        if not isinstance(items, Sequence) or isinstance(items, str):
            raise self.fault(name, f"must be a list, was: {items!r:.80}")
        return [type(self)(item, f"{self.path}.{name}[{i}]") for i, item in enumerate(items)]

    def texts(self, name: str) -> list[str]:
        """The texts of the list ``name``; absent is as if it were empty."""
        items = self._body.get(name) or []
        if not isinstance(items, Sequence) or isinstance(items, str):
            raise self.fault(name, f"must be a list, was: {items!r:.80}")
        for item in items:
            if not isinstance(item, str):
                raise self.fault(name, f"must be a list of texts, was: {item!r:.80}")
        return list(items)

    def text(self, name: str, default: str | None = None) -> str:
        value = self._raw(name, default)
        if not isinstance(value, str):
            raise self.fault(name, f"must be text, was: {value!r:.80}")
        return value

    def choice(self, name: str, among: Mapping[str, T], default: str | None = None) -> T:
        value = self.text(name, default)
        if value not in among:
            raise self.fault(name, f"must be one of {', '.join(among)}, was: {value}")
        return among[value]

    def given(self, name: str, default: str) -> Any:
        """What stands there, of whatever type."""
        return self._raw(name, default)

    def flag(self, name: str, default: bool) -> bool:
        value = self._raw(name, default)
        if not isinstance(value, bool):
            raise self.fault(name, f"must be true or false, was: {value!r:.80}")
        return value

    def whole(self, name: str, default: int | None = None, *, at_least: int = 1) -> int:
        value = self._raw(name, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.fault(name, f"must be a whole number, was: {value!r:.80}")
        if value < at_least:
            raise self.fault(name, f"must be at least {at_least}, was: {value}")
        return value

    def decimal(self, name: str, default: str | None = None) -> float:
        """A decimal of at least 0, written as text (Kubernetes API conventions) or as a number."""
        value = self._raw(name, default)
        try:
            if isinstance(value, bool) or not _DECIMAL.fullmatch(str(value)):
                raise InvalidOperation
            number = float(Decimal(str(value)))
        except InvalidOperation:
            raise self.fault(
                name, f'must be a decimal such as "2.5", was: {value!r:.80}'
            ) from None
        if not math.isfinite(number):
            raise self.fault(name, f"must be finite, was: {value!r:.80}")
        return number

    def above_zero(self, name: str, default: str | None = None) -> float:
        number = self.decimal(name, default)
        if number <= 0:
            raise self.fault(name, f"must be above 0, was: {self._raw(name, default)}")
        return number

    def factor(self, name: str, default: str) -> float:
        number = self.decimal(name, default)
        if number < 1:
            raise self.fault(name, f"must be at least 1, was: {self._raw(name, default)}")
        return number

    def share(self, name: str, default: str | None = None) -> float:
        """A percentage such as ``5%``, as a share in [0, 1]."""
        value = self._raw(name, default)
        match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise self.fault(name, f'must be a percentage such as "5%", was: {value!r:.80}')
        share = float(Decimal(match[1]) / 100)
        if share > 1:
            raise self.fault(name, f"must be at most 100%, was: {value:.80}")
        return share

    def share_above_zero(self, name: str, default: str | None = None) -> float:
        share = self.share(name, default)
        if share <= 0:
            raise self.fault(name, f"must be above 0%, was: {self._raw(name, default)}")
        return share

    def duration_s(self, name: str, default: str | None = None) -> float:
        """A duration above 0 in Go's spelling, or with ``d`` for days."""
        value = self._raw(name, default)
        seconds = parse_duration_s(value) if isinstance(value, str) else None
        if seconds is None:
            raise self.fault(
                name, f'must be a duration such as "90s", "15m" or "1h30m", was: {value!r:.80}'
            )
        if seconds <= 0:
            raise self.fault(name, f"must be above 0s, was: {value:.80}")
        if seconds > MAX_DURATION_S:
            raise self.fault(name, f"must be at most 400d, was: {value:.80}")
        return seconds

    def size_bytes(self, name: str, default: str) -> int:
        value = self._raw(name, default)
        match = _QUANTITY.fullmatch(str(value))
        if match is None or isinstance(value, bool):
            raise self.fault(name, f'must be a quantity such as "10Mi", was: {value!r:.80}')
        size = int(match[1]) * _QUANTITY_UNIT[match[2] or ""]
        if size > 1 << 40:
            raise self.fault(name, f"must be at most 1024Gi, was: {value}")
        return size


def not_empty(fields: Fields, name: str) -> str:
    value = fields.text(name)
    if not value:
        raise fields.fault(name, "must not be empty")
    return value


def read_timezone(fields: Fields) -> str:
    name = fields.text("timezone", "UTC")
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; not a key at all; a folder of the database
        raise fields.fault(
            "timezone", f"must be an IANA time zone such as Europe/Berlin, was: {name:.80}"
        ) from None
    return name


def distinct(fields: Fields, name: str, values: Sequence[str]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise fields.fault(name, f"must be distinct, but {value} stands there twice")


def parse_duration_s(text: str) -> float | None:
    """Seconds of ``1h30m``; ``None`` where it is not a duration."""
    if len(text) > 40 or not _DURATION.fullmatch(text):
        return None
    return sum(float(n) * _UNIT_S[unit] for n, unit in _DURATION_PART.findall(text))


def format_duration(seconds: float) -> str:
    """As Go prints it: ``6m0s``, ``1h30m0s``, ``45s``."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return f"{hours}h{minutes}m{left}s"
    return f"{minutes}m{left}s" if minutes else f"{left}s"
