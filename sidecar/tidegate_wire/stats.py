"""What a sidecar tells the operator when it is looked at: cumulative counters, never rates.

Law: every number only grows until the process ends, so a look that is missed loses nothing and a
look that is repeated counts nothing twice. ``boot`` tells two lives of one pod apart.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from tidegate_wire.config import WireError
from tidegate_wire.names import ERROR_OUTCOMES, ConfigState, Outcome

SCHEMA_VERSION = 1
TTFT_BOUNDS_S = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5),
    *(10.0, 15.0, 20.0, 30.0, 45.0, 60.0),
)
"""Upper bounds of ``ttft_counts``: OpenTelemetry's for the time to first token, carried on to 60 s
as Envoy AI Gateway does, since queues are longer than 10 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Counters of one (model, tenant); the model is the one that answered, or would have."""

    model: str
    tenant: str
    outcomes: Mapping[str, int] = field(default_factory=dict)
    """Requests ended, by ``Outcome``."""
    tokens_in: int = 0
    tokens_out: int = 0
    tokens_estimated: int = 0
    """Those of ``tokens_in + tokens_out`` that came from our estimate and not from the server's
    usage."""
    cost: float = 0.0
    """In the policy's currency."""
    duration_s: float = 0.0
    """Sum over ended requests that reached an upstream."""
    ttft_s: float = 0.0
    """Sum over answers that had a first token."""
    ttft_count: int = 0

    @property
    def ended(self) -> int:
        """Requests that were let through and ended, however."""
        return sum(n for outcome, n in self.outcomes.items() if outcome != Outcome.BLOCKED)

    @property
    def errors(self) -> int:
        return sum(self.outcomes.get(outcome, 0) for outcome in ERROR_OUTCOMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLoad:
    """What the model server says of itself, by its own metrics; gauges, not counters."""

    engine: str
    """``vllm``, ``sglang``, ``tgi`` or ``llamacpp``."""
    waiting: int | None = None
    """Requests in its queue; of any of these ``None``: it does not say."""
    running: int | None = None
    kv_cache_usage: float | None = None
    """Share of its KV cache that is in use, in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarStats:
    """One look at a sidecar."""

    pod_uid: str
    boot: str
    """Random for each life of the process."""
    arrived: int = 0
    """Requests that arrived and were not blocked, ended or not: the demand."""
    in_flight: int = 0
    look: str = ""
    """Names what these counters stand at, until they move; for ``QUERY_SAVED``."""
    leaving: bool = False
    """Whether the process is on its way out, and will end when these counters are saved."""
    config_hash: str = ""
    """Of the config in force; empty before the first."""
    config_state: ConfigState = ConfigState.NONE
    config_error: str = ""
    series: tuple[Series, ...] = ()
    ttft_counts: tuple[int, ...] = ()
    """Answers by time to first token, one count for each of ``TTFT_BOUNDS_S`` and one for what is
    beyond; empty: a sidecar of a version that does not tell."""
    engine: EngineLoad | None = None
    """Lately; ``None``: it tells nothing that is understood."""

    def to_json(self) -> bytes:
        body = {"schema_version": SCHEMA_VERSION, **_values(self)}
        body["series"] = [_values(one) for one in self.series]
        body["engine"] = None if self.engine is None else _values(self.engine)
        return json.dumps(body, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, raw: bytes) -> Self:
        """Read a look, or raise ``WireError``; fields that this version does not know are left
        alone."""
        try:
            body: dict[str, Any] = json.loads(raw)
            version = body["schema_version"]
            if version != SCHEMA_VERSION:
                raise WireError(f"stats.schema_version must be {SCHEMA_VERSION}, was: {version!r}")
            series = tuple(_series(item) for item in body["series"])
            values = _known(cls, body) | {
                "series": series,
                "ttft_counts": _counts(body.get("ttft_counts", ())),
                "config_state": ConfigState(body["config_state"]),
                "engine": _engine(body.get("engine")),
            }
            return cls(**values)
        except WireError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise WireError(
                f"stats can't be read: {type(error).__name__}: {error}; was: {raw[:80]!r}"
            ) from error


def _values(row: SidecarStats | Series | EngineLoad) -> dict[str, Any]:
    # Not ``asdict``: it copies in depth, and 1,000 rows would hold a sidecar's streams for 18 ms.
    return {name: getattr(row, name) for name in row.__dataclass_fields__}


def _series(item: Mapping[str, Any]) -> Series:
    """A row whose counters can be added up: none is text, or less than nothing."""
    values = _known(Series, item)
    outcomes = values.get("outcomes", {})
    counters = {n: v for n, v in values.items() if n not in ("model", "tenant", "outcomes")}
    for name, value in [*outcomes.items(), *counters.items()]:
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            raise WireError(f"stats.series.{name} must be a number from 0 up, was: {value!r:.80}")
    return Series(**values)


def _counts(values: Any) -> tuple[int, ...]:
    counts = tuple(values)
    if counts and len(counts) != len(TTFT_BOUNDS_S) + 1:
        raise WireError(
            f"stats.ttft_counts must have {len(TTFT_BOUNDS_S) + 1} entries, had: {len(counts)}"
        )
    for count in counts:
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise WireError(f"stats.ttft_counts must be counts from 0 up, was: {count!r:.80}")
    return counts


def _engine(item: Any) -> EngineLoad | None:
    """A part that can't be understood is left out: the counters beside it are worth more."""
    if not isinstance(item, Mapping) or not isinstance(item.get("engine"), str):
        return None
    numbers: dict[str, Any] = {
        name: value
        for name in ("waiting", "running", "kv_cache_usage")
        if isinstance(value := item.get(name), int | float)
        and not isinstance(value, bool)
        and 0 <= value < math.inf
    }
    return EngineLoad(engine=item["engine"], **numbers)


def _known(cls: type[Any], body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name in cls.__dataclass_fields__}
