"""``external.metrics.k8s.io/v1beta1``: the wanted count as a metric that a plain HPA asks for.

Law: one metric, one policy at a time. An answer is a count that is wanted now, or a Kubernetes
Status with the reason, on which an HPA stands still; an empty list would say the same with less.
Who may ask what, the API server has settled before it passes a request on.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from tidegate_operator.decide.words import Actuator
from tidegate_operator.hub.measure import Measures
from tidegate_operator.hub.wanted import Count, NoCountError, Wanted, Why
from tidegate_wire.names import METRIC_DESIRED

GROUP = "external.metrics.k8s.io"
VERSION = "v1beta1"
SELECTOR = "policy"
"""Label that names the policy."""

_ROOT = f"/apis/{GROUP}"
_EQUALS = re.compile(rf"\s*{SELECTOR}\s*==?\s*(?P<name>[a-z0-9]([a-z0-9.-]*[a-z0-9])?)\s*")
_STATUS = {
    Why.INVALID: (400, "BadRequest"),
    Why.NOT_FOUND: (404, "NotFound"),
    Why.NOT_MEANT: (409, "Conflict"),
    Why.UNAVAILABLE: (503, "ServiceUnavailable"),
}


class ExternalMetrics:
    """The routes."""

    def __init__(self, wanted: Wanted, measures: Measures) -> None:
        self._wanted = wanted
        self._measures = measures

    def add_routes(self, app: web.Application) -> None:
        # Neither /apis nor /openapi: the API server falls back to these two.
        app.router.add_get(_ROOT, self._group)
        app.router.add_get(f"{_ROOT}/{VERSION}", self._resources)
        app.router.add_get(f"{_ROOT}/{VERSION}/namespaces/{{namespace}}/{{metric}}", self._values)

    async def _group(self, request: web.Request) -> web.Response:
        version = {"groupVersion": f"{GROUP}/{VERSION}", "version": VERSION}
        return _json(
            {
                "kind": "APIGroup",
                "apiVersion": "v1",
                "name": GROUP,
                "versions": [version],
                "preferredVersion": version,
            }
        )

    async def _resources(self, request: web.Request) -> web.Response:
        metric = {
            "name": METRIC_DESIRED,
            "singularName": "",
            "namespaced": True,
            "kind": "ExternalMetricValueList",
            "verbs": ["get"],
        }
        return _json(
            {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": f"{GROUP}/{VERSION}",
                "resources": [metric],
            }
        )

    async def _values(self, request: web.Request) -> web.Response:
        namespace, metric = request.match_info["namespace"], request.match_info["metric"]
        try:
            if metric != METRIC_DESIRED:
                words = f"the one metric here is {METRIC_DESIRED}, was: {metric[:80]}"
                raise NoCountError(Why.NOT_FOUND, words)
            policy = read_selector(request.query.get("labelSelector", ""))
            count = self._wanted.count(namespace, policy, Actuator.EXTERNAL_METRIC)
        except NoCountError as error:
            self._measures.asked(Actuator.EXTERNAL_METRIC, error.why)
            code, reason = _STATUS[error.why]
            return status(code, reason, str(error))
        self._measures.asked(Actuator.EXTERNAL_METRIC, None)
        return _json(_value_list(policy, count))


def read_selector(selector: str) -> str:
    """The policy's name in a label selector, or ``NoCountError``."""
    found = _EQUALS.fullmatch(selector)
    if found is None:
        was = selector[:80] or "absent"
        words = f"labelSelector must be {SELECTOR}=NAME (an LLMQualityPolicy's), was: {was}"
        raise NoCountError(Why.INVALID, words)
    return found["name"]


def status(code: int, reason: str, message: str) -> web.Response:
    """A refusal as Kubernetes' clients read it."""
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }
    return _json(body, code)


def _value_list(policy: str, count: Count) -> dict[str, Any]:
    decided_at = datetime.fromtimestamp(count.decided_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "kind": "ExternalMetricValueList",
        "apiVersion": f"{GROUP}/{VERSION}",
        "metadata": {},
        "items": [
            {
                "metricName": METRIC_DESIRED,
                "metricLabels": {SELECTOR: policy},
                "timestamp": decided_at,
                "value": str(count.replicas),
            }
        ],
    }


def _json(body: Mapping[str, Any], code: int = 200) -> web.Response:
    return web.Response(
        status=code, body=json.dumps(body).encode(), content_type="application/json"
    )
