"""What the API server is told of the webhook, and the Secret that its certificate lives in.

Law: the hub makes and mends both by itself, and writes only where something differs. Several hubs
may try at once: whoever is late (409) reads again and agrees.
"""

import base64
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from tidegate_operator.cluster.client import ApiError, Object
from tidegate_operator.hub.certs import Bundle, InvalidBundleError, issue, renewed
from tidegate_operator.hub.kube import Kube
from tidegate_operator.settings import Settings
from tidegate_wire.names import COPIED, INJECT, PATH_MUTATE

SECRET = "tidegate-hub-tls"
CONFIGURATION = "tidegate"
NAMESPACE_SUFFIX = "/namespace"
"""Added to the webhook's path where the namespace's label asks, which the review does not tell."""
TIMEOUT_S = 5
ATTEMPTS = 5

_CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
_SYSTEM = ["kube-system", "kube-public", "kube-node-lease"]
_NAME_LABEL = "kubernetes.io/metadata.name"


def hub_url(settings: Settings) -> str:
    """Where injected sidecars find the hub."""
    service = f"{settings.hub_service}.{settings.namespace}.svc"
    return settings.hub_url or f"https://{service}:{settings.hub_port}"


def serving_hosts(settings: Settings) -> list[str]:
    """All names and addresses that the hub is called by."""
    service = settings.hub_service
    inside = f"{service}.{settings.namespace}.svc"
    hosts = [service, f"{service}.{settings.namespace}", inside, f"{inside}.cluster.local"]
    urls = (settings.hub_url, settings.webhook_url)
    return hosts + [host for url in urls if url and (host := urlsplit(url).hostname)]


async def ensure_bundle(kube: Kube, settings: Settings, now: datetime) -> Bundle:
    """The certificate that every hub serves; made or renewed where need be."""
    hosts = serving_hosts(settings)

    def wanted(found: Object | None) -> Object | None:
        if found is None:
            return _secret(settings, issue(now, hosts))
        bundle = _read_secret(found)
        better = issue(now, hosts) if bundle is None else renewed(bundle, now, hosts)
        return None if better is None else {**found, **_secret(settings, better, found)}

    path = f"/api/v1/namespaces/{settings.namespace}/secrets"
    stored = await _ensure(kube, path, SECRET, wanted)
    bundle = _read_secret(stored)
    if bundle is None:
        raise ApiError(0, "InvalidSecret", f"Secret {SECRET} was not stored as written")
    return bundle


def _read_secret(secret: Object) -> Bundle | None:
    try:
        data = {k: base64.b64decode(v) for k, v in (secret.get("data") or {}).items()}
        return Bundle.from_data(data)
    except (InvalidBundleError, ValueError):
        return None


def _secret(settings: Settings, bundle: Bundle, found: Object | None = None) -> Object:
    metadata = {"name": SECRET, "namespace": settings.namespace}
    data = {k: base64.b64encode(v).decode() for k, v in bundle.to_data().items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": found["metadata"] if found else metadata,
        "data": data,
    }


async def ensure_webhooks(kube: Kube, settings: Settings, ca_pem: str) -> None:
    """The MutatingWebhookConfiguration as it should be."""
    desired = webhook_configuration(settings, ca_pem)

    def wanted(found: Object | None) -> Object | None:
        if found is None:
            return desired
        if covers(found.get("webhooks"), desired["webhooks"]):
            return None
        return {**found, "webhooks": desired["webhooks"]}

    await _ensure(kube, _CONFIGURATIONS, CONFIGURATION, wanted)


async def _ensure(
    kube: Kube, path: str, name: str, wanted: Callable[[Object | None], Object | None]
) -> Object:
    for _ in range(ATTEMPTS):
        found: Object | None
        try:
            found = await kube.get(f"{path}/{name}")
        except ApiError as error:
            if error.status != 404:
                raise
            found = None
        body = wanted(found)
        if body is None and found is not None:
            return found
        try:
            if found is None:
                return await kube.create(path, body or {})
            return await kube.replace(f"{path}/{name}", body or {})
        except ApiError as error:
            if error.status != 409:
                raise
    raise ApiError(409, "Conflict", f"{name} changed {ATTEMPTS} times while it was being written")


def covers(live: Any, desired: Any) -> bool:
    """Whether all that is desired stands in the live value, which the server may have added to."""
    if isinstance(desired, dict):
        return isinstance(live, dict) and all(covers(live.get(k), v) for k, v in desired.items())
    if isinstance(desired, list):
        same = isinstance(live, list) and len(live) == len(desired)
        return same and all(covers(a, b) for a, b in zip(live, desired, strict=True))
    return bool(live == desired)


def webhook_configuration(settings: Settings, ca_pem: str) -> Object:
    """One entry for each way of asking, since a selector can say "and" but not "or"."""
    ca = base64.b64encode(ca_pem.encode()).decode()
    not_out = {"key": INJECT, "operator": "NotIn", "values": ["false"]}
    elsewhere = {"key": _NAME_LABEL, "operator": "NotIn", "values": [*_SYSTEM, settings.namespace]}
    anywhere = {"matchExpressions": [elsewhere, not_out]}
    asking = {"matchLabels": {INJECT: "true"}, "matchExpressions": [elsewhere]}

    def entry(name: str, path: str, rules: list[Object], **selectors: Any) -> Object:
        return {
            "name": f"{name}.tidegate.io",
            "admissionReviewVersions": ["v1"],
            "clientConfig": {**_where(settings, path), "caBundle": ca},
            "rules": rules,
            "failurePolicy": "Ignore",
            "timeoutSeconds": TIMEOUT_S,
            "sideEffects": "None",
            "reinvocationPolicy": "IfNeeded",
            **selectors,
        }

    by_label = {"matchLabels": {INJECT: "true"}}
    in_namespace = PATH_MUTATE + NAMESPACE_SUFFIX
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": CONFIGURATION},
        "webhooks": [
            entry(
                "labelled-pods",
                PATH_MUTATE,
                _PODS,
                namespaceSelector=anywhere,
                objectSelector=by_label,
            ),
            entry(
                "annotated-pods",
                PATH_MUTATE,
                _PODS,
                namespaceSelector=anywhere,
                matchConditions=[_ANNOTATED_POD],
            ),
            entry(
                "pods-of-namespaces",
                in_namespace,
                _PODS,
                namespaceSelector=asking,
                objectSelector={"matchExpressions": [not_out]},
            ),
            entry(
                "workloads",
                PATH_MUTATE,
                _WORKLOADS,
                namespaceSelector=anywhere,
                matchConditions=[_ANNOTATED_WORKLOAD],
            ),
        ],
    }


def _where(settings: Settings, path: str) -> Object:
    if settings.webhook_url:
        base = settings.webhook_url.rstrip("/").removesuffix(PATH_MUTATE)
        return {"url": base + path}
    service = {"name": settings.hub_service, "namespace": settings.namespace}
    return {"service": {**service, "path": path, "port": settings.hub_port}}


_PODS: list[Object] = [
    {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}
]
_WORKLOADS: list[Object] = [
    {
        "apiGroups": ["apps"],
        "apiVersions": ["v1"],
        "resources": ["deployments", "statefulsets"],
        "operations": ["CREATE", "UPDATE"],
    }
]
_ANNOTATED_POD = {
    "name": "annotated",
    "expression": (
        "has(object.metadata.annotations) && "
        f"'{INJECT}' in object.metadata.annotations && "
        f"object.metadata.annotations['{INJECT}'] == 'true'"
    ),
}
# The second half lets the annotation be taken off again: what was copied must follow.
_ANNOTATED_WORKLOAD = {
    "name": "annotated-or-copied",
    "expression": (
        f"(has(object.metadata.annotations) && '{INJECT}' in object.metadata.annotations) || "
        "(has(object.spec.template.metadata) && "
        "has(object.spec.template.metadata.annotations) && "
        f"'{COPIED}' in object.spec.template.metadata.annotations)"
    ),
}
