"""Manifests that the end-to-end tests put on the cluster: the simulated model server, a policy.

Law: each is what a user would write, in a namespace that enforces Pod Security ``restricted``.
"""

from typing import Any

from real_cluster import VERSION

Object = dict[str, Any]

MODEL_SERVER = f"localhost/tidegate-model-server:{VERSION}"
GRACE_S = 10
"""Above the 5 s in which a leaving sidecar still takes requests. Short, since a pod that is
deleted in its first moments lasts as long: a first process without a handler hears no SIGTERM."""
RESTRICTED: Object = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def model_container(*arguments: str, model: str = "llama-70b") -> Object:
    """The simulated model server; ``arguments`` are its options, see its ``--help``."""
    return {
        "name": "model-server",
        "image": MODEL_SERVER,
        "imagePullPolicy": "IfNotPresent",
        "args": ["--model", model, "--time-to-first-token", "0.02", *arguments],
        "ports": [{"name": "http", "containerPort": 8000}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 1},
        # A minute, since the node is small and the tests are many.
        "livenessProbe": {
            "httpGet": {"path": "/health", "port": "http"},
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        "resources": {"requests": {"cpu": "20m", "memory": "48Mi"}},
        "securityContext": RESTRICTED,
    }


def patient(container: Object) -> Object:
    """The same, given three minutes to start: on a busy machine a liveness probe alone ends it
    before it listens."""
    probe = {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 1}
    return container | {"startupProbe": {**probe, "failureThreshold": 180}}


def pod_template(
    container: Object, app: str, *, annotations: Object | None = None, grace_s: int = GRACE_S
) -> Object:
    return {
        "metadata": {"labels": {"app": app}, "annotations": annotations or {}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": grace_s},
    }


def deployment(
    name: str = "llama",
    *,
    container: Object | None = None,
    replicas: int | None = 1,
    inject: bool = True,
    kind: str = "Deployment",
    grace_s: int = GRACE_S,
) -> Object:
    """``inject``: by the annotation on the workload itself, as people set it."""
    spec: Object = {
        "selector": {"matchLabels": {"app": name}},
        "template": pod_template(container or model_container(), name, grace_s=grace_s),
    }
    if replicas is not None:
        spec["replicas"] = replicas
    if kind == "StatefulSet":
        spec["serviceName"] = name
    annotations = {"tidegate.io/inject": "true"} if inject else {}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "labels": {"app": name}, "annotations": annotations},
        "spec": spec,
    }


def service(name: str = "llama", target_port: str | int = "http") -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "selector": {"app": name},
            "ports": [{"port": 80, "targetPort": target_port}],
        },
    }


def policy(name: str = "chat", target: str = "llama", **spec: Any) -> Object:
    """A policy with the least that one needs; ``spec`` adds to it."""
    return {
        "apiVersion": "tidegate.io/v1alpha1",
        "kind": "LLMQualityPolicy",
        "metadata": {"name": name},
        "spec": {
            "targetRef": {"kind": "Deployment", "name": target},
            "models": [{"name": "llama-70b"}],
            **spec,
        },
    }
