"""How the operator's processes are set up: read once at start-up, then passed as a value.

Law: policy comes only from objects; this is where processes stand and how patient they are.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from tidegate_operator.inject.options import Resources, resources_problem
from tidegate_wire.names import PORT_HUB, PORT_OPERATOR


class InvalidSettingError(ValueError):
    """An environment variable cannot be used as given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One field per environment variable: ``TIDEGATE_`` plus the name in capitals."""

    tick_s: float = 15.0
    """Time between two decisions on one policy; HPA's sync period."""
    namespace: str = "tidegate-system"
    """Where the operator's own objects (Lease, certificate Secret) live."""
    checkpoint_s: float = 300.0
    """Time between two writes of an unchanged policy's history: at 30 KB a piece the API's bound,
    not ours. What lies between is read back from the sidecars' cumulative counters."""
    status_s: float = 60.0
    """Least time between two status writes in which only measured figures differ."""
    order_ttl_s: float = 900.0
    """How long a sidecar obeys an order to switch or block without hearing it again."""
    manual_hold_s: float = 900.0
    """How long a replica count that somebody set by hand stands before a policy decides again:
    long enough to look into what they were after, and to change the policy; short enough that one
    who forgot wakes up to a target that follows its load."""
    pod_deletion_cost_in: str = ""
    """Namespaces, comma-separated, in which pods are annotated before a scale-down, so that those
    with the fewest requests in flight go. Empty: no pod is ever written. The right to patch pods
    is one to change more than that, so whoever runs the operator says where."""
    pull_timeout_s: float = 3.0
    """For one look at one sidecar."""
    host: str = "0.0.0.0"
    hub_port: int = PORT_HUB
    operator_port: int = PORT_OPERATOR
    hub_service: str = "tidegate-hub"
    """DNS name, without namespace, that the API server and sidecars reach the hub by."""
    hub_url: str = ""
    """Where injected sidecars find the hub; empty: ``https://SERVICE.NAMESPACE.svc:PORT``."""
    webhook_url: str = ""
    """Where the API server finds the webhook; empty: by the Service."""
    webhook_create: bool = True
    """Whether the hub makes and mends the whole MutatingWebhookConfiguration; off: something else
    does, such as the chart, and the hub only fills in its CA."""
    page_port: int = 14131
    """Plain HTTP: status page, health, metrics."""
    keda_port: int = 14132
    """gRPC for KEDA, which asks for the counts of policies with ``actuator: KEDA``; 0: none."""
    keda_tls: bool = False
    """Whether KEDA is served by TLS, with the hub's own certificate."""
    external_metrics: bool = False
    """Whether HPAs may ask for the counts of policies with ``actuator: ExternalMetric``: a cluster
    has one server of external metrics, which may be somebody else."""
    external_metrics_port: int = 14133
    sidecar_image: str = "tidegate-sidecar:0.1.0"
    sidecar_cpu_request: str = "50m"
    """Of every injected sidecar whose pod says nothing else by annotation, as the next three; a
    Kubernetes quantity. Empty: none."""
    sidecar_cpu_limit: str = ""
    sidecar_memory_request: str = "64Mi"
    sidecar_memory_limit: str = "256Mi"
    sidecar_upstream_ca: str = ""
    """PEM; authorities that injected sidecars believe beside the system's, of upstreams by TLS."""
    leader_election: bool = True
    train_timeout_s: float = 120.0
    """For one training in the worker process; past it the worker is ended and started anew."""

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        values: dict[str, Any] = {}
        for name, field in cls.__dataclass_fields__.items():
            variable = f"TIDEGATE_{name.upper()}"
            if variable in env:
                values[name] = _read(variable, env[variable], field.type)
        settings = cls(**values)
        names = {f.name: f"TIDEGATE_SIDECAR_{f.name.upper()}" for f in fields(Resources)}
        if problem := resources_problem(settings.sidecar_resources, names):
            raise InvalidSettingError(problem)
        return settings

    @property
    def count_max_age_s(self) -> float:
        """Oldest decision whose count is handed to autoscalers. A status in which only the time of
        the decision is new is written each ``status_s``; four ticks more let one fail."""
        return self.status_s + 4 * self.tick_s

    @property
    def sidecar_resources(self) -> Resources:
        return Resources(
            cpu_request=self.sidecar_cpu_request,
            cpu_limit=self.sidecar_cpu_limit,
            memory_request=self.sidecar_memory_request,
            memory_limit=self.sidecar_memory_limit,
        )


def _read(variable: str, raw: str, kind: object) -> object:
    value: object = raw
    try:
        if kind is bool:
            value = {"true": True, "1": True, "false": False, "0": False}[raw.lower()]
        elif kind is int:
            value = int(raw)
        elif kind is float:
            value = float(raw)
    except (KeyError, ValueError):
        wanted = "true or false" if kind is bool else "a number"
        raise InvalidSettingError(f"{variable} must be {wanted}, was: {raw!r}") from None
    if isinstance(value, float) and not 0 < value < math.inf:
        raise InvalidSettingError(f"{variable} must be above 0 and finite, was: {raw}")
    return value
