"""The wish of a Deployment or StatefulSet, copied from its own metadata onto its pod template.

Law: a function of values, applied at admission only; applying it twice is applying it once. A pod
webhook never sees what stands in a Deployment's metadata, so it is copied to where it will. What
we copied is named in ``tidegate.io/inject-copied``, so that it follows the original, off again
too; a template's own word is left alone.
"""

from typing import Any

from tidegate_operator.inject.options import Manifest, annotation
from tidegate_operator.inject.patch import Operation, escape
from tidegate_wire.names import COPIED, INJECT, OPTIONS

_TEMPLATE = "/spec/template"


def patch_workload(workload: Manifest) -> list[Operation]:
    """Operations on the workload, in the order to apply them in."""
    template = (workload.get("spec") or {}).get("template")
    if not template:
        return []
    return _difference(template, *_copied_maps(workload, template))


def pod_of(workload: Manifest) -> dict[str, Any]:
    """The pod that the workload will ask for, with what is copied to it."""
    template = (workload.get("spec") or {}).get("template") or {}
    labels, annotations = _copied_maps(workload, template)
    metadata = {"labels": labels, "annotations": annotations}
    return {"metadata": metadata, "spec": template.get("spec") or {}}


def wish_problem(workload: Manifest) -> str:
    """A sentence where the annotation says something other than true or false; else empty."""
    wish = _annotations(workload).get(INJECT)
    if wish in (None, "true", "false"):
        return ""
    return f'no sidecar: {annotation(INJECT)} must be "true" or "false", was: {wish!r}'


def _annotations(manifest: Manifest) -> dict[str, str]:
    return dict((manifest.get("metadata") or {}).get("annotations") or {})


def _copied_maps(workload: Manifest, template: Manifest) -> tuple[dict[str, str], dict[str, str]]:
    """The template's labels and annotations as they should be."""
    labels = dict((template.get("metadata") or {}).get("labels") or {})
    annotations = _annotations(template)
    for name in filter(None, annotations.pop(COPIED, "").split(",")):
        (labels if name == INJECT else annotations).pop(name, None)
    original = _annotations(workload)
    names = []
    if original.get(INJECT) in ("true", "false") and INJECT not in labels:
        # As a label, since a webhook's objectSelector matches nothing else.
        labels[INJECT] = original[INJECT]
        names.append(INJECT)
    for option in OPTIONS:
        # Without the wish as well: a namespace's label may be what asks.
        if option in original and option not in annotations:
            annotations[option] = original[option]
            names.append(option)
    if names:
        annotations[COPIED] = ",".join(names)
    return labels, annotations


def _difference(
    template: Manifest, labels: dict[str, str], annotations: dict[str, str]
) -> list[Operation]:
    metadata: dict[str, Any] | None = template.get("metadata")
    if metadata is None:
        maps = {k: v for k, v in (("labels", labels), ("annotations", annotations)) if v}
        return [{"op": "add", "path": f"{_TEMPLATE}/metadata", "value": maps}] if maps else []
    operations: list[Operation] = []
    for name, wanted in (("labels", labels), ("annotations", annotations)):
        operations += _map_difference(metadata.get(name), wanted, f"{_TEMPLATE}/metadata/{name}")
    return operations


def _map_difference(
    before: dict[str, str] | None, after: dict[str, str], path: str
) -> list[Operation]:
    if before is None:
        return [{"op": "add", "path": path, "value": after}] if after else []
    gone = [{"op": "remove", "path": f"{path}/{escape(k)}"} for k in before if k not in after]
    new = [
        {"op": "add", "path": f"{path}/{escape(key)}", "value": value}
        for key, value in after.items()
        if before.get(key) != value
    ]
    return gone + new
