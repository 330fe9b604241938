"""What a policy's past looks like on a chart: one point a minute, for a day.

Law: pure values; what can't be read is left out, never guessed. The reconciler's checkpoint is the
past; what policies' statuses have said since is its newest end.
"""

import base64
import gzip
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_POINTS = 24 * 60
MAX_BYTES = 32 * 1024 * 1024
"""Of an unpacked checkpoint: a ConfigMap holds 1 MiB, and a packed bomb must not fill the hub."""
POINT_S = 60.0
GAP_S = 150.0
"""Points further apart are not joined: nothing is known in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One minute. ``None`` is "not known"."""

    t: float
    """Unix seconds."""
    rps: float | None = None
    q50: float | None = None
    q95: float | None = None
    """Quantiles of the highest demand between ``t`` and ``t`` plus the horizon."""
    wanted: int | None = None
    ready: int | None = None
    hpa: int | None = None
    """Pods that a plain HPA would have wanted."""
    model: str = ""

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def number(value: object) -> float | None:
    """A finite number, also where it is spelled as text; else ``None``."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _count(value: object) -> int | None:
    found = number(value)
    return None if found is None else int(found)


def read_checkpoint(config_map: Mapping[str, Any] | None) -> list[Point]:
    """The last day of a history ConfigMap, oldest first; empty where there is none to be read.

    ``recent`` tells all of a minute; before it begins, ``counts`` still tells the demand.
    """
    packed = ((config_map or {}).get("binaryData") or {}).get("history")
    if not packed:
        return []
    try:
        stream = zlib.decompressobj(wbits=31)
        body = json.loads(stream.decompress(base64.b64decode(packed), MAX_BYTES))
        recent = body.get("recent") or []
        points = [read_point(item) for item in recent[-MAX_POINTS:] if isinstance(item, dict)]
        known = sorted((p for p in points if p is not None), key=lambda point: point.t)
        return [*_demand_before(body, known), *known][-MAX_POINTS:]
    except (ValueError, zlib.error, AttributeError, TypeError, KeyError):
        return []


def _demand_before(body: Mapping[str, Any], known: Sequence[Point]) -> list[Point]:
    """Minutes of ``counts`` that are older than every known point."""
    counts = body.get("counts") or []
    if not counts:
        return []
    start = int(body["start_minute"])
    end = int(known[0].t // POINT_S) if known else start + len(counts)
    first = max(0, min(end - start, len(counts)) - MAX_POINTS)
    return [
        Point(t=(start + i) * POINT_S, rps=None if count is None else count / POINT_S)
        for i, count in enumerate(counts[first : max(0, end - start)], first)
    ]


def pack(body: Mapping[str, Any]) -> str:
    """The ``history`` value of a ConfigMap, as ``read_checkpoint`` reads it."""
    return base64.b64encode(gzip.compress(json.dumps(body).encode())).decode()


def read_point(item: Mapping[str, Any]) -> Point | None:
    t = number(item.get("t"))
    if t is None:
        return None
    return Point(
        t=t,
        rps=number(item.get("rps")),
        q50=number(item.get("q50")),
        q95=number(item.get("q95")),
        wanted=_count(item.get("wanted")),
        ready=_count(item.get("ready")),
        hpa=_count(item.get("hpa")),
        model=str(item.get("model") or ""),
    )


def point_of_status(status: Mapping[str, Any], now: float) -> Point:
    """What a status says of the minute in which it was seen."""
    demand = _mapping(status.get("demand"))
    replicas = _mapping(status.get("replicas"))
    quantiles = _mapping(_mapping(status.get("forecast")).get("quantiles"))
    present = demand.get("state") in (None, "Present")
    return Point(
        t=now,
        rps=number(demand.get("rps")) if present else None,
        q50=number(quantiles.get("0.5")),
        q95=number(quantiles.get("0.95")),
        wanted=_count(replicas.get("desired")),
        ready=_count(replicas.get("ready")),
        hpa=_count(replicas.get("hpa")),
        model=str(status.get("activeModel") or ""),
    )


def joined(past: Sequence[Point], tail: Sequence[Point]) -> list[Point]:
    """The past, and of the tail what is newer: one line without doubled minutes."""
    edge = past[-1].t // POINT_S if past else -math.inf
    return [*past, *(point for point in tail if point.t // POINT_S > edge)][-MAX_POINTS:]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
