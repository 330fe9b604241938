"""``spec.metrics``: where demand comes from, where that is not the sidecars.

Law: as of the whole spec: read whole, or refused with field, rule and value.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tidegate_operator.crd.fields import Fields, not_empty
from tidegate_wire import base_url


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusSpec:
    """``spec.metrics.prometheus``."""

    url: str
    """Without a slash at its end."""
    query: str = ""
    """Empty: what the target's sidecars count."""
    headers_secret: str = ""
    """Name of a Secret in the policy's namespace; empty: no headers."""


def read_source(metrics: Fields) -> PrometheusSpec | None:
    """``None``: the sidecars, whatever server may be named beside it."""
    sources = {"Sidecar": False, "Prometheus": True}
    if not metrics.choice("source", sources, "Sidecar"):
        return None
    if "prometheus" not in metrics:
        raise metrics.fault("prometheus", "is required with source Prometheus")
    return _read_server(metrics)


def read_regressors(metrics: Fields, forecast: Fields) -> Mapping[str, PrometheusSpec]:
    """Server and query of each series beside the demand, by its name."""
    found: dict[str, PrometheusSpec] = {}
    for item in forecast.each("regressors"):
        if "prometheus" not in metrics:
            raise metrics.fault("prometheus", "is required by scaling.forecast.regressors")
        name = not_empty(item, "name")
        if name in found:
            raise item.fault("name", f"must differ from the other regressors', was: {name}")
        found[name] = replace(_read_server(metrics), query=not_empty(item, "query").strip())
    return found


def _read_server(metrics: Fields) -> PrometheusSpec:
    server = metrics.below("prometheus")
    url = server.text("url")
    if problem := base_url.problem(url):
        raise server.fault("url", f"{problem}, was: {url:.80}")
    return PrometheusSpec(
        url=url.rstrip("/"),
        query=server.text("query", "").strip(),
        headers_secret=_secret_name(server) if "headersSecretRef" in server else "",
    )


def _secret_name(server: Fields) -> str:
    ref = server.below("headersSecretRef")
    name = ref.text("name")
    if not name:
        raise ref.fault("name", "must not be empty")
    return name
