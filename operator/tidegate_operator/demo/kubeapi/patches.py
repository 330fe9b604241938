"""The three ways to patch an object.

Law: pure functions of (object, patch); none changes what it was given. Server-side apply is
refused (415): no client of this project uses it, and field ownership half done would lie.
"""

from collections.abc import Mapping
from typing import Any

import jsonpatch
import jsonpointer

from tidegate_operator.demo.kubeapi.errors import (
    ApiError,
    Object,
    bad_request,
    rejected,
    unsupported_media_type,
)

JSON = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
BUILTIN_TYPES = (JSON, MERGE, STRATEGIC)
CUSTOM_TYPES = (JSON, MERGE)

MERGE_KEYS: Mapping[str, tuple[str, ...]] = {
    "addresses": ("type",),
    "conditions": ("type",),
    "containers": ("name",),
    "env": ("name",),
    "ephemeralContainers": ("name",),
    "hostAliases": ("ip",),
    "imagePullSecrets": ("name",),
    "initContainers": ("name",),
    "ownerReferences": ("uid",),
    "podIPs": ("ip",),
    "ports": ("containerPort", "port"),
    "secrets": ("name",),
    "topologySpreadConstraints": ("topologyKey",),
    "volumeDevices": ("devicePath",),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
    "webhooks": ("name",),
}
"""``patchMergeKey`` of k8s.io/api, by field; a Service's ports merge by ``port``, a container's by
``containerPort``. A list that is not here is replaced whole."""

MERGED_SETS = frozenset({"finalizers"})
_DIRECTIVES = ("$setElementOrder/", "$deleteFromPrimitiveList/", "$retainKeys")


def apply_patch(content_type: str, current: Object, patch: Any, *, builtin: bool) -> Object:
    """The patched object.

    Raises 415 for a type that the kind does not take, 400 for a patch of the wrong shape, 422
    for a JSON patch that does not apply (a failed ``test`` among them).
    """
    accepted = BUILTIN_TYPES if builtin else CUSTOM_TYPES
    if content_type == APPLY:
        message = "server-side apply is not available on this server; use a client-side apply"
        raise ApiError(415, "UnsupportedMediaType", message)
    if content_type not in accepted:
        raise unsupported_media_type(accepted)
    if content_type == JSON:
        return _apply_json(current, patch)
    if not isinstance(patch, dict):
        raise bad_request("error decoding patch: json: cannot unmarshal into a map")
    if content_type == MERGE:
        merged: Object = merge(current, patch)
        return merged
    return strategic_merge(current, patch)


def _apply_json(current: Object, patch: Any) -> Object:
    if not isinstance(patch, list):
        raise bad_request("error decoding patch: json: cannot unmarshal object into a list")
    try:
        patched: Object = jsonpatch.apply_patch(current, patch)
    except jsonpatch.JsonPatchTestFailed as error:
        raise rejected(f"testing path failed: {error}") from error
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError) as error:
        raise rejected(str(error)) from error
    return patched


def merge(current: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(current) if isinstance(current, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def strategic_merge(current: Any, patch: Object) -> Object:
    """Kubernetes' own merge, which knows lists by their merge keys."""
    if patch.get("$patch") == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    merged: Object = dict(current) if isinstance(current, dict) else {}
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            field = key.partition("/")[2]
            merged[field] = [item for item in merged.get(field) or () if item not in value]
    for key, value in patch.items():
        if key == "$patch" or key.startswith(_DIRECTIVES):
            continue
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            if value.get("$patch") == "delete":
                merged.pop(key, None)
            else:
                merged[key] = strategic_merge(merged.get(key), value)
        elif isinstance(value, list):
            merged[key] = _merge_list(key, merged.get(key), value)
        else:
            merged[key] = value
    return merged


def _merge_list(field: str, current: Any, patch: list[Any]) -> list[Any]:
    before = current if isinstance(current, list) else []
    if field in MERGED_SETS:
        return [*before, *(item for item in patch if item not in before)]
    key = _merge_key(field, patch)
    if key is None:
        return patch
    if any(item.get("$patch") == "replace" for item in patch):
        return [item for item in patch if "$patch" not in item]
    merged = list(before)
    for item in patch:
        place = next((i for i, old in enumerate(merged) if old.get(key) == item.get(key)), None)
        if item.get("$patch") == "delete":
            if place is not None:
                merged.pop(place)
        elif place is None:
            merged.append(strategic_merge({}, item))
        else:
            merged[place] = strategic_merge(merged[place], item)
    return merged


def _merge_key(field: str, patch: list[Any]) -> str | None:
    """The field that tells this list's items apart; None if the list is atomic."""
    if not all(isinstance(item, dict) for item in patch):
        return None
    for key in MERGE_KEYS.get(field, ()):
        if all(key in item or item.get("$patch") == "replace" for item in patch):
            return key
    return None
