"""What the operator tells a sidecar to do.

Law: a config is a value with a hash; the same value has the same hash on both sides.
``from_json`` either returns a whole config or raises ``WireError`` with field, rule and value;
nothing half-read is ever applied. Orders carry ``expires_at``, so that a dead operator leaves no
fleet degraded.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

from tidegate_wire import base_url

SCHEMA_VERSION = 1


class WireError(ValueError):
    """A message on the wire cannot be read as this contract."""


def _coerce_floats(value: Any) -> None:
    """60 and 60.0 are one number and must give one hash."""
    for name, field_ in value.__dataclass_fields__.items():
        if field_.type is float:
            object.__setattr__(value, name, float(getattr(value, name)))


class Do(StrEnum):
    """What an order asks for, mildest first."""

    SWITCH = "Switch"
    BLOCK = "Block"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model that requests can be sent to."""

    name: str
    upstream: str = ""
    """Base URL (``base_url``); empty means where requests go without a policy: the model server
    in this pod, or what the outbound way was set up with."""
    input_price_per_mtok: float = 0.0
    """Price of a million input tokens, in the policy's currency."""
    output_price_per_mtok: float = 0.0

    def __post_init__(self) -> None:
        _coerce_floats(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A departure from the normal model, until it expires."""

    do: Do
    model: str = ""
    """Where ``Switch`` sends requests that would have gone to the first model; empty with
    ``Block``."""
    reason: str
    """A reason code, such as ``ErrorRateHigh`` or ``BudgetExhausted``; shown to the caller of a
    blocked request."""
    expires_at: float
    """Unix seconds; past it the order is as if it were not there."""
    retry_after_s: float = 0.0
    """What a blocked caller is told to wait; 0 means until ``expires_at``."""
    probe_share: float = 0.0
    """With ``Switch``, the share of requests in [0, 1] that still goes to the first model, as a
    probe."""

    def __post_init__(self) -> None:
        _coerce_floats(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Limits on one upstream call, in seconds."""

    connect_s: float = 3.0
    first_token_s: float = 30.0
    idle_s: float = 60.0
    total_s: float = 600.0

    def __post_init__(self) -> None:
        _coerce_floats(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarConfig:
    """All that a sidecar needs to know of its policy."""

    policy: str = ""
    """``namespace/name``; empty while no policy covers the pod."""
    models: tuple[Model, ...] = ()
    """In order of preference; the first is the normal one. Empty: everything passes to the server
    in this pod."""
    order: Order | None = None
    """For every tenant."""
    tenant_orders: Mapping[str, Order] = field(default_factory=dict)
    """For one tenant; beside ``order`` the stricter of the two holds."""
    tenant_header: str = ""
    """Request header that names the tenant, lower case; empty: everyone is tenant ``""``."""
    timeouts: Timeouts = field(default_factory=Timeouts)
    max_request_bytes: int = 10 * 1024 * 1024

    def to_json(self) -> bytes:
        """Canonical: equal configs give equal bytes."""
        body = {"schema_version": SCHEMA_VERSION, **asdict(self)}
        return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()

    @property
    def hash(self) -> str:
        """16 hexadecimal digits; the ETag of the config."""
        return hashlib.sha256(self.to_json()).hexdigest()[:16]

    @classmethod
    def from_json(cls, raw: bytes) -> Self:
        """Read a config whole, or raise ``WireError``. Unknown fields are left alone: the other
        side may be newer."""
        try:
            body = json.loads(raw)
        except ValueError as error:
            raise WireError(f"config must be JSON: {error}") from error
        root = _Reader(body, "config")
        version = root.take("schema_version", int)
        if version != SCHEMA_VERSION:
            raise WireError(f"config.schema_version must be {SCHEMA_VERSION}, was: {version}")
        order = root.take("order", dict, None)
        return cls(
            policy=root.take("policy", str, ""),
            models=tuple(
                _read_model(_Reader(item, f"config.models[{i}]"))
                for i, item in enumerate(root.take("models", list, []))
            ),
            order=None if order is None else _read_order(_Reader(order, "config.order")),
            tenant_orders={
                tenant: _read_order(_Reader(item, f"config.tenant_orders[{tenant!r}]"))
                for tenant, item in root.take("tenant_orders", dict, {}).items()
            },
            tenant_header=root.take("tenant_header", str, "").lower(),
            timeouts=_read_timeouts(_Reader(root.take("timeouts", dict, {}), "config.timeouts")),
            max_request_bytes=root.take("max_request_bytes", int, 10 * 1024 * 1024, _positive),
        ).checked()

    def checked(self) -> Self:
        """This config, or ``WireError`` where its parts contradict each other."""
        names = [model.name for model in self.models]
        if len(set(names)) != len(names):
            raise WireError(f"config.models must have distinct names, was: {names}")
        for order in (self.order, *self.tenant_orders.values()):
            if order is not None and order.do is Do.SWITCH and order.model not in names:
                raise WireError(f"order.model must be one of {names}, was: {order.model!r}")
        return self


def _positive(value: float) -> str:
    return "" if value > 0 else "must be above 0"


def _share(value: float) -> str:
    return "" if 0 <= value <= 1 else "must be between 0 and 1"


def _not_negative(value: float) -> str:
    return "" if value >= 0 else "must not be negative"


_MISSING: Any = object()


class _Reader:
    """Takes typed fields out of a decoded JSON object, naming each fault by its path."""

    def __init__(self, body: Any, path: str) -> None:
        if not isinstance(body, dict):
            raise WireError(f"{path} must be an object, was: {body!r:.80}")
        self._body = body
        self._path = path

    def take(
        self,
        name: str,
        kind: type,
        default: Any = _MISSING,
        rule: Callable[[Any], str] | None = None,
    ) -> Any:
        value = self._body.get(name, default)
        path = f"{self._path}.{name}"
        if value is _MISSING:
            raise WireError(f"{path} is missing")
        if value is None and default is None:
            return None
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise WireError(f"{path} must be {kind.__name__}, was: {value!r:.80}")
        if isinstance(value, float) and not math.isfinite(value):
            raise WireError(f"{path} must be finite, was: {value}")
        if rule is not None and (problem := rule(value)):
            raise WireError(f"{path} {problem}, was: {value!r}")
        return value


def _read_model(raw: _Reader) -> Model:
    return Model(
        name=raw.take("name", str),
        upstream=raw.take("upstream", str, "", _upstream),
        input_price_per_mtok=raw.take("input_price_per_mtok", float, 0.0, _not_negative),
        output_price_per_mtok=raw.take("output_price_per_mtok", float, 0.0, _not_negative),
    )


def _upstream(value: str) -> str:
    return base_url.problem(value) if value else ""


def _read_order(raw: _Reader) -> Order:
    do = raw.take("do", str)
    if do not in list(Do):
        raise WireError(f"order.do must be one of {[str(d) for d in Do]}, was: {do!r}")
    return Order(
        do=Do(do),
        model=raw.take("model", str, ""),
        reason=raw.take("reason", str),
        expires_at=raw.take("expires_at", float),
        retry_after_s=raw.take("retry_after_s", float, 0.0, _not_negative),
        probe_share=raw.take("probe_share", float, 0.0, _share),
    )


def _read_timeouts(raw: _Reader) -> Timeouts:
    fields = Timeouts.__dataclass_fields__
    return Timeouts(**{n: raw.take(n, float, f.default, _positive) for n, f in fields.items()})
