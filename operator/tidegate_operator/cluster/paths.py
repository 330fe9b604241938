"""Where objects stand in the API, by namespace and name.

Law: strings only; whoever builds a path for the API server builds it here.
"""

from tidegate_wire.names import GROUP, PLURAL, VERSION


def policies(namespace: str = "") -> str:
    """All policies of a namespace, or of the cluster."""
    base = f"/apis/{GROUP}/{VERSION}"
    return f"{base}/namespaces/{namespace}/{PLURAL}" if namespace else f"{base}/{PLURAL}"


def policy(namespace: str, name: str) -> str:
    return f"{policies(namespace)}/{name}"


def namespace(name: str) -> str:
    return f"/api/v1/namespaces/{name}"


def services(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/services"


def pods(namespace: str = "") -> str:
    return f"/api/v1/namespaces/{namespace}/pods" if namespace else "/api/v1/pods"


def workload(namespace: str, plural: str, name: str) -> str:
    return f"/apis/apps/v1/namespaces/{namespace}/{plural}/{name}"


def scale(namespace: str, plural: str, name: str) -> str:
    return f"{workload(namespace, plural, name)}/scale"


def autoscalers() -> str:
    """Of the whole cluster."""
    return "/apis/autoscaling/v2/horizontalpodautoscalers"


def secret(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{namespace}/secrets/{name}"


def config_maps(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps"


def config_map(namespace: str, name: str) -> str:
    return f"{config_maps(namespace)}/{name}"


def events(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/events"


def lease(namespace: str, name: str) -> str:
    return f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}"
