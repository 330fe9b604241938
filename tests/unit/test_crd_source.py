"""Where a policy says its demand comes from, and what is said where that can't be."""

from typing import Any

import pytest

from fake_cluster import policy
from tidegate_operator.crd.spec import InvalidSpecError, read_spec
from tidegate_operator.crd.spec_source import PrometheusSpec

SERVER = {"url": "http://prometheus.monitoring.svc:9090/", "query": " sum(rate(a[2m]))\n"}


def with_metrics(metrics: dict[str, Any]) -> dict[str, Any]:
    manifest = policy()
    manifest["spec"]["metrics"] = metrics
    return manifest


@pytest.mark.parametrize(
    ("metrics", "read"),
    [
        pytest.param({}, None, id="the sidecars, where nothing is said"),
        pytest.param(
            {"source": "Sidecar", "prometheus": SERVER},
            None,
            id="the sidecars, though a server is named",
        ),
        pytest.param(
            {"source": "Prometheus", "prometheus": {"url": "https://mimir.example/prometheus"}},
            PrometheusSpec(url="https://mimir.example/prometheus"),
            id="a server alone: what the sidecars count",
        ),
        pytest.param(
            {
                "source": "Prometheus",
                "prometheus": {**SERVER, "headersSecretRef": {"name": "mimir"}},
            },
            PrometheusSpec(
                url="http://prometheus.monitoring.svc:9090",
                query="sum(rate(a[2m]))",
                headers_secret="mimir",
            ),
            id="a server with query and headers",
        ),
    ],
)
def test_demand_comes_from(metrics: dict[str, Any], read: PrometheusSpec | None) -> None:
    assert read_spec(with_metrics(metrics)).prometheus == read


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        pytest.param(
            {"source": "Guesses"},
            "spec.metrics.source must be one of Sidecar, Prometheus, was: Guesses",
            id="nowhere",
        ),
        pytest.param(
            {"source": "Prometheus"},
            "spec.metrics.prometheus is required with source Prometheus",
            id="a Prometheus that is not named",
        ),
        pytest.param(
            {"source": "Prometheus", "prometheus": {"query": "a"}},
            "spec.metrics.prometheus.url is required",
            id="a Prometheus without a URL",
        ),
        pytest.param(
            {"source": "Prometheus", "prometheus": {"url": "http://u:p@a:9090"}},
            "spec.metrics.prometheus.url must be like http://host:8000 or https://host/path, "
            "was: http://u:p@a:9090",
            id="a Prometheus whose password stands where everybody reads it",
        ),
        pytest.param(
            {
                "source": "Prometheus",
                "prometheus": {"url": "http://a", "headersSecretRef": {"name": ""}},
            },
            "spec.metrics.prometheus.headersSecretRef.name must not be empty",
            id="a Secret without a name",
        ),
        pytest.param(
            {
                "source": "Prometheus",
                "prometheus": {"url": "http://a", "headersSecretRef": "mimir"},
            },
            "spec.metrics.prometheus.headersSecretRef must be an object, was: 'mimir'",
            id="a Secret that is a word",
        ),
    ],
)
def test_demand_cannot_come_from(metrics: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSpecError) as error:
        read_spec(with_metrics(metrics))
    assert str(error.value) == message
