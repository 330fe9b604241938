"""The CLI's way to the API server: policies as plain objects, faults as one clear line.

Law: read only. Whatever goes wrong on the way becomes a ``ClusterError`` whose text says what to
do; nothing of the client's own exceptions gets through.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
import yaml
from kubernetes import client as kube_client
from kubernetes import config as kube_config
from kubernetes.client.exceptions import ApiException

from tidegate_operator.cli.faults import ClusterError
from tidegate_operator.cluster.history import NAME_PREFIX
from tidegate_wire.names import GROUP, PLURAL, VERSION

TIMEOUT_S = (5.0, 15.0)
"""To connect, and for an answer; in real seconds."""
_RAW: dict[str, Any] = {"_preload_content": False, "_request_timeout": TIMEOUT_S}
"""As the server wrote it, and not as the client's own classes."""
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

Object = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Which cluster, and as whom."""

    kubeconfig: str | None = None
    context: str | None = None


class Policies:
    """LLMQualityPolicy objects of one cluster."""

    def __init__(self, access: Access) -> None:
        """Raises ``ClusterError`` where no cluster is configured."""
        self.namespace, configuration = _configure(access)
        # One try: a person waits, and the line that says why is worth more than a second attempt.
        configuration.retries = False
        self._host = configuration.host
        client = kube_client.ApiClient(configuration)
        self._api = kube_client.CustomObjectsApi(client)
        self._core = kube_client.CoreV1Api(client)
        self._scalers = kube_client.AutoscalingV2Api(client)

    def list(self, namespace: str | None) -> list[Object]:
        """Policies of a namespace, or with ``None`` of all, sorted by namespace and name."""

        def ask() -> Any:
            if namespace is None:
                return self._api.list_cluster_custom_object(
                    GROUP, VERSION, PLURAL, _request_timeout=TIMEOUT_S
                )
            return self._api.list_namespaced_custom_object(
                GROUP, VERSION, namespace, PLURAL, _request_timeout=TIMEOUT_S
            )

        items: list[Object] = self._ask(ask).get("items") or []
        return sorted(items, key=key_of)

    def get(self, namespace: str, name: str) -> Object:
        """One policy; where it is not there, the text names those that are."""
        found = self.list(namespace)
        for policy in found:
            if key_of(policy)[1] == name:
                return policy
        there = ", ".join(key_of(policy)[1] for policy in found)
        hint = f"there: {there}" if there else "there are none; -A looks in all namespaces"
        raise ClusterError(f"no policy {name} in namespace {namespace} ({hint})")

    def history(self, namespace: str, policy: str) -> Object | None:
        """The ConfigMap with a policy's checkpoint; ``None`` where there is none yet."""

        def ask() -> Any:
            name = f"{NAME_PREFIX}-{policy}"
            answer = self._core.list_namespaced_config_map(
                namespace, field_selector=f"metadata.name={name}", **_RAW
            )
            return json.loads(answer.data)

        items: list[Object] = self._ask(ask, "configmaps").get("items") or []
        return items[0] if items else None

    def autoscalers(self, namespace: str) -> tuple[Object, ...]:
        """HorizontalPodAutoscalers, sorted by name."""

        def ask() -> Any:
            answer = self._scalers.list_namespaced_horizontal_pod_autoscaler(namespace, **_RAW)
            return json.loads(answer.data)

        what = "horizontalpodautoscalers.autoscaling"
        items: list[Object] = self._ask(ask, what).get("items") or []
        return tuple(sorted(items, key=key_of))

    def _ask(self, ask: Callable[[], Any], what: str = f"{PLURAL}.{GROUP}") -> Object:
        try:
            answer = ask()
        except ApiException as error:
            raise ClusterError(_refusal(error, self._host, what)) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ClusterError(
                f"cannot reach the cluster at {self._host}: {_why(error)}"
            ) from error
        except ValueError as error:
            raise ClusterError(f"{self._host} does not answer like a Kubernetes API") from error
        if not isinstance(answer, dict):
            raise ClusterError(f"{self._host} does not answer like a Kubernetes API")
        return answer


def key_of(policy: Object) -> tuple[str, str]:
    """Namespace and name."""
    metadata = policy.get("metadata") or {}
    return str(metadata.get("namespace", "")), str(metadata.get("name", ""))


def _configure(access: Access) -> tuple[str, Any]:
    configuration = kube_client.Configuration()
    try:
        if access.kubeconfig is None and access.context is None and _NAMESPACE_FILE.exists():
            kube_config.load_incluster_config(client_configuration=configuration)
            return _NAMESPACE_FILE.read_text(encoding="utf-8").strip(), configuration
        kube_config.load_kube_config(
            access.kubeconfig, access.context, configuration, persist_config=False
        )
        contexts, active = kube_config.list_kube_config_contexts(access.kubeconfig)
    except (
        kube_config.ConfigException,
        yaml.YAMLError,
        OSError,
        ValueError,
        TypeError,
        AttributeError,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ClusterError(
            f"no cluster is configured: {reason} (set KUBECONFIG, or --kubeconfig and --context)"
        ) from error
    chosen = next((c for c in contexts if c.get("name") == access.context), active)
    return str((chosen.get("context") or {}).get("namespace") or "default"), configuration


def _refusal(error: ApiException, host: str, what: str) -> str:
    message = _message(error)
    if error.status == 401:
        return f"{host} does not accept your credentials: log in again or try another --context"
    if error.status == 403:
        return f"you may not read {what} there: {message}"
    if error.status == 404:
        return (
            f"LLMQualityPolicy is not installed in the cluster at {host}: "
            "kubectl apply -f crds/llmqualitypolicies.yaml"
        )
    return f"the API server at {host} answered {error.status}: {message}"


def _message(error: ApiException) -> str:
    try:
        return str(json.loads(error.body or "{}").get("message") or error.reason)
    except (ValueError, AttributeError):
        return str(error.reason)


def _why(error: BaseException) -> str:
    """The innermost cause, without the client's own wrapping."""
    inner: BaseException = error
    while (reason := getattr(inner, "reason", None)) and isinstance(reason, BaseException):
        inner = reason
    text = str(inner)
    return text.rpartition(": ")[2] if "object at 0x" in text or "HTTP" in text else text
