"""Which workload a pod belongs to, read off the pod alone.

Law: at admission nothing can be asked; a ReplicaSet's name is its Deployment's and the template's
hash.
"""

from collections.abc import Mapping
from typing import Any

TEMPLATE_HASH = "pod-template-hash"


def workload_of(pod: Mapping[str, Any]) -> str:
    """``Deployment/llama``: what a policy that covers the pod has in ``spec.targetRef``."""
    metadata = pod.get("metadata") or {}
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller"):
            return _workload(owner["kind"], owner["name"], metadata.get("labels") or {})
    # A bare pod that the API server has yet to name still has the beginning of its name.
    return f"Pod/{metadata.get('name') or metadata.get('generateName', '').rstrip('-')}"


def _workload(kind: str, name: str, labels: Mapping[str, str]) -> str:
    suffix = f"-{labels.get(TEMPLATE_HASH, '')}"
    if kind == "ReplicaSet" and len(suffix) > 1 and name.endswith(suffix):
        return f"Deployment/{name.removesuffix(suffix)}"
    return f"{kind}/{name}"
