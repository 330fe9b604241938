"""What the API server is told of the webhook, and the Secret that its certificate lives in.

Law: written only where something differs. The Secret is the hub's own. The registration is too,
unless something else keeps it (Helm, Argo CD: ``webhook_create`` off): then the hub fills in its
CA and touches nothing else. Several hubs may try at once: whoever is late (409) reads again and
agrees.
"""

import base64
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from tidegate_operator.cluster.client import Api, ApiError, Object
from tidegate_operator.hub.certs import Bundle, InvalidBundleError, issue, renewed
from tidegate_operator.settings import Settings
from tidegate_wire.names import GROUP, INJECT, PATH_MUTATE

SECRET = "tidegate-hub-tls"
CONFIGURATION = "tidegate"
API_SERVICE = "v1beta1.external.metrics.k8s.io"
NAMESPACE_SUFFIX = "/namespace"
"""Added to the webhook's path where the namespace's label asks, which the review does not tell."""
TIMEOUT_S = 5
ATTEMPTS = 5

_CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
_API_SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
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


async def ensure_bundle(kube: Api, settings: Settings, now: datetime) -> Bundle:
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


async def ensure_webhooks(kube: Api, settings: Settings, ca_pem: str) -> None:
    """The MutatingWebhookConfiguration as it should be; ``ApiError`` where somebody else is to
    make it and has not."""
    if not settings.webhook_create:
        await _ensure(kube, _CONFIGURATIONS, CONFIGURATION, lambda found: _trusting(found, ca_pem))
        return
    desired = webhook_configuration(settings, ca_pem)

    def wanted(found: Object | None) -> Object | None:
        if found is None:
            return desired
        if covers(found.get("webhooks"), desired["webhooks"]):
            return None
        return {**found, "webhooks": desired["webhooks"]}

    await _ensure(kube, _CONFIGURATIONS, CONFIGURATION, wanted)


def _trusting(found: Object | None, ca_pem: str) -> Object | None:
    """``found`` with our CA in each entry; ``None`` where it has it.

    It is sent back whole with its resourceVersion, not as a server-side apply of the CA alone.
    Either way the API server notes as ours only the fields that change, here each ``caBundle``:
    a Helm upgrade (three-way merge or server-side apply) and an Argo CD sync, whose manifests
    have none, neither take it out nor find a conflict. But an applied ``caBundle`` outlives the
    entry that an upgrade takes away, and what is left, a stub, has the API server refuse the
    upgrade (tried on 1.36); one that came by PUT goes with its entry.
    """
    if found is None:
        missing = (
            f"MutatingWebhookConfiguration {CONFIGURATION} does not exist, so no pod gets a "
            "sidecar: install it with the chart, or let the hub (TIDEGATE_WEBHOOK_CREATE=true)"
        )
        raise ApiError(404, "NotFound", missing)
    ca = base64.b64encode(ca_pem.encode()).decode()
    entries = [
        {**entry, "clientConfig": {**(entry.get("clientConfig") or {}), "caBundle": ca}}
        for entry in found.get("webhooks") or []
    ]
    return None if entries == (found.get("webhooks") or []) else {**found, "webhooks": entries}


async def ensure_api_service(kube: Api, settings: Settings, ca_pem: str) -> None:
    """Our CA in the APIService of external metrics, as in the webhooks; ``ApiError`` where it is
    missing, or is not ours: a cluster has one server of external metrics, often KEDA."""
    ca = base64.b64encode(ca_pem.encode()).decode()

    def wanted(found: Object | None) -> Object | None:
        if found is None:
            missing = (
                f"APIService {API_SERVICE} does not exist, so no HPA can ask for replicas:"
                " install it with the chart (externalMetrics.enabled)"
            )
            raise ApiError(404, "NotFound", missing)
        spec = found.get("spec") or {}
        service = spec.get("service") or {}
        owner = f"{service.get('namespace')}/{service.get('name')}"
        if owner != f"{settings.namespace}/{settings.hub_service}":
            taken = (
                f"APIService {API_SERVICE} must lead to {settings.namespace}/"
                f"{settings.hub_service}, was: {owner}; a cluster has one server of external"
                " metrics. With KEDA use spec.scaling.actuator: KEDA"
            )
            raise ApiError(409, "Conflict", taken)
        return None if spec.get("caBundle") == ca else {**found, "spec": {**spec, "caBundle": ca}}

    await _ensure(kube, _API_SERVICES, API_SERVICE, wanted)


async def _ensure(
    kube: Api, path: str, name: str, wanted: Callable[[Object | None], Object | None]
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
    """One entry for each way of asking, since a selector can say "and" but not "or".

    What the API server would add by itself is spelled out, so that whoever compares the live
    object with this one finds no difference. ``ca_pem`` empty: no ``caBundle``, as in the chart.
    """
    trust = {"caBundle": base64.b64encode(ca_pem.encode()).decode()} if ca_pem else {}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": CONFIGURATION},
        "webhooks": [
            {
                "name": f"{name}.tidegate.io",
                "admissionReviewVersions": ["v1"],
                "clientConfig": {**_where(settings, path), **trust},
                "rules": rules,
                "failurePolicy": "Ignore",
                "matchPolicy": "Equivalent",
                "timeoutSeconds": TIMEOUT_S,
                "sideEffects": "None",
                "reinvocationPolicy": "IfNeeded",
                "objectSelector": {},
                **selectors,
            }
            for name, path, rules, selectors in _ways_of_asking(settings.namespace)
        ],
    }


def _ways_of_asking(own_namespace: str) -> list[tuple[str, str, list[Object], Object]]:
    """Name, path, rules and selectors of each entry."""
    not_out = {"key": INJECT, "operator": "NotIn", "values": ["false"]}
    elsewhere = {"key": _NAME_LABEL, "operator": "NotIn", "values": [*_SYSTEM, own_namespace]}
    anywhere = {"namespaceSelector": {"matchExpressions": [elsewhere, not_out]}}
    asking = {
        "namespaceSelector": {"matchLabels": {INJECT: "true"}, "matchExpressions": [elsewhere]}
    }
    labelled = {"objectSelector": {"matchLabels": {INJECT: "true"}}}
    not_opted_out = {"objectSelector": {"matchExpressions": [not_out]}}
    annotated = {"matchConditions": [_ANNOTATED_POD]}
    of_ours = {"matchConditions": [_WORKLOAD_OF_OURS]}
    in_namespace = PATH_MUTATE + NAMESPACE_SUFFIX
    return [
        ("labelled-pods", PATH_MUTATE, _PODS, anywhere | labelled),
        ("annotated-pods", PATH_MUTATE, _PODS, anywhere | annotated),
        ("pods-of-namespaces", in_namespace, _PODS, asking | not_opted_out),
        ("workloads", PATH_MUTATE, _WORKLOADS, anywhere | of_ours),
        ("workloads-of-namespaces", in_namespace, _WORKLOADS, asking),
    ]


def _where(settings: Settings, path: str) -> Object:
    if settings.webhook_url:
        base = settings.webhook_url.rstrip("/").removesuffix(PATH_MUTATE)
        return {"url": base + path}
    service = {"name": settings.hub_service, "namespace": settings.namespace}
    return {"service": {**service, "path": path, "port": settings.hub_port}}


_PODS: list[Object] = [
    {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "resources": ["pods"],
        "operations": ["CREATE"],
        "scope": "Namespaced",
    }
]
_WORKLOADS: list[Object] = [
    {
        "apiGroups": ["apps"],
        "apiVersions": ["v1"],
        "resources": ["deployments", "statefulsets"],
        "operations": ["CREATE", "UPDATE"],
        "scope": "Namespaced",
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
# Any name of ours, also one that doesn't exist: whoever mistypes one is told at once. What was
# copied to the template counts too, since it must follow when the original is taken off.
_OURS = f"exists(k, k.startsWith('{GROUP}/'))"
_WORKLOAD_OF_OURS = {
    "name": "names-of-ours",
    "expression": " || ".join(
        f"({' && '.join(f'has({part})' for part in parts)} && {parts[-1]}.{_OURS})"
        for parts in (
            ("object.metadata.annotations",),
            ("object.metadata.labels",),
            ("object.spec.template.metadata", "object.spec.template.metadata.annotations"),
            ("object.spec.template.metadata", "object.spec.template.metadata.labels"),
        )
    ),
}
