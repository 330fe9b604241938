"""Kubernetes quantities: ``100m``, ``1.5``, ``256Mi``, ``1e3``.

Law: exact, and only those that a container's resources may hold: nothing below zero.
"""

import re
from decimal import Decimal

_QUANTITY = re.compile(
    r"\+?(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
    r"(?:(?P<suffix>[KMGTPE]i|[numkMGTPE])|[eE](?P<exponent>[+-]?[0-9]{1,2}))?"
)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {f"{letter}i": 1 << 10 * power for power, letter in enumerate("KMGTPE", 1)}
MAX_LENGTH = 40


def parse_quantity(text: str) -> Decimal | None:
    """In cores or bytes; ``None`` where it is no quantity."""
    match = _QUANTITY.fullmatch(text) if text.isascii() and len(text) <= MAX_LENGTH else None
    if match is None:
        return None
    number, suffix = Decimal(match["number"]), match["suffix"] or ""
    if suffix in _BINARY:
        return number * _BINARY[suffix]
    return number.scaleb(int(match["exponent"] or _DECIMAL[suffix]))
