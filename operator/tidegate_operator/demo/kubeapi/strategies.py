"""What a kind asks of an object before it is kept: completion, then checks.

Law: pure. ``complete`` runs before admission and again after it, so it must change nothing the
second time; ``check`` tells every broken rule at once.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from tidegate_operator.demo.kubeapi import defaults
from tidegate_operator.demo.kubeapi.errors import (
    Cause,
    Object,
    WrongTypeError,
    bad_request,
    invalid,
)
from tidegate_operator.demo.kubeapi.kinds import Kind, kinds_of
from tidegate_operator.demo.kubeapi.matching import selector_matches

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, "
    "'-' or '.', and must start and end with an alphanumeric character"
)
_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character"
)
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' "
    "or '.', and must start and end with an alphanumeric character"
)
_SHORT_NAMES = frozenset({"Namespace", "Service"})
_REQUIRED: dict[str, tuple[tuple[str, ...], ...]] = {
    "Deployment": (("spec", "selector"), ("spec", "template")),
    "Pod": (("spec", "containers"),),
    "ReplicaSet": (("spec", "selector"),),
    "Service": (("spec", "ports"),),
    "StatefulSet": (("spec", "selector"), ("spec", "template")),
}
_POD_MUTABLE = (
    "activeDeadlineSeconds",
    "nodeName",
    "terminationGracePeriodSeconds",
    "tolerations",
)


def clone(value: Any) -> Any:
    """A deep copy of JSON."""
    if isinstance(value, dict):
        return {key: clone(item) for key, item in value.items()}
    if isinstance(value, list):
        return [clone(item) for item in value]
    return value


def complete(kind: Kind, namespace: str | None, body: Any) -> tuple[Object, list[str]]:
    """A copy with kind, namespace and defaults, without unknown fields; and the paths of those.

    Raises 400 for a body that is not an object of this kind.
    """
    if not isinstance(body, dict):
        raise bad_request("the object provided is unrecognized (must be of type object)")
    obj = clone(body)
    _check_identity(kind, obj)
    metadata = obj.setdefault("metadata", {})
    _check_text_map(metadata, "labels")
    _check_text_map(metadata, "annotations")
    if kind.kind in ("ConfigMap", "Secret"):
        _check_text_map(obj, "data")
    if kind.namespaced and metadata.setdefault("namespace", namespace) != namespace:
        raise bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    metadata.pop("managedFields", None)
    if kind.schema is None:
        defaults.fill_in(kind.kind, obj)
        return obj, []
    pruned, unknown = kind.schema.prune(obj)
    return kind.schema.default(pruned), unknown


def _check_identity(kind: Kind, obj: Object) -> None:
    if not kind.builtin:
        _check_says_type(kind, obj)
    if obj.get("kind", kind.kind) != kind.kind or (
        obj.get("apiVersion", kind.api_version) != kind.api_version
    ):
        raise bad_request(
            f"the API version in the data ({obj.get('apiVersion')}, Kind={obj.get('kind')}) "
            f"does not match the expected API version ({kind.api_version}, Kind={kind.kind})"
        )
    obj["apiVersion"], obj["kind"] = kind.api_version, kind.kind


def _check_says_type(kind: Kind, obj: Object) -> None:
    """Upstream knows a built-in object's type by the path, a custom one's by what it says."""
    if not obj.get("kind"):
        raise bad_request(
            f"the object provided is unrecognized (must be of type {kind.kind}): "
            "Object 'Kind' is missing"
        )
    if not obj.get("apiVersion"):
        raise bad_request(
            "the API version in the data () does not match the expected API version "
            f"({kind.api_version})"
        )


def _check_text_map(metadata: Object, field: str) -> None:
    values = metadata.get(field)
    if values is None:
        metadata.pop(field, None)
        return
    for value in values.values() if isinstance(values, dict) else (values,):
        if not isinstance(values, dict) or not isinstance(value, str):
            raise WrongTypeError(
                f"json: cannot unmarshal {type(value).__name__} into Go struct field "
                f"{field} of type map[string]string"
            )


def start_status(kind: Kind, obj: Object, now_text: str) -> None:
    """Status as it is right after creation: what a client sent is dropped where the kind owns
    its status."""
    match kind.kind:
        case "Pod":
            obj["status"] = {"phase": "Pending"}
        case "Namespace":
            obj["status"] = {"phase": "Active"}
        case "CustomResourceDefinition":
            obj["status"] = _established(obj["spec"], now_text)
        case "Node":
            pass
        case _ if "status" in kind.subresources:
            obj.pop("status", None)
            if kind.builtin:
                obj["status"] = {}


def _established(spec: Object, now_text: str) -> Object:
    def condition(name: str, reason: str, message: str) -> Object:
        return {
            "type": name,
            "status": "True",
            "reason": reason,
            "message": message,
            "lastTransitionTime": now_text,
        }

    stored = [each["name"] for each in spec["versions"] if each.get("storage")]
    return {
        "acceptedNames": spec["names"],
        "storedVersions": stored,
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition(
                "Established", "InitialNamesAccepted", "the initial names have been accepted"
            ),
        ],
    }


def check(kind: Kind, obj: Object, old: Object | None) -> None:
    """Raises 422 with every broken rule."""
    causes = list(_check_metadata(kind, obj))
    causes.extend(_check_builtin(kind, obj, old) if kind.builtin else ())
    if kind.schema is not None and not causes:
        causes.extend(kind.schema.validate(obj, old))
    if causes:
        raise invalid(kind.group, kind.kind, obj["metadata"].get("name", ""), causes)
    if kind.kind == "CustomResourceDefinition":
        kinds_of(obj)


def check_event(event: Object, old: Object) -> None:
    """What events.k8s.io lets change in an Event: metadata and series; 422 for the rest."""
    mutable = {"apiVersion", "kind", "metadata", "series"}
    causes = [
        Cause(field, f"Invalid value: {json.dumps(event.get(field))}: field is immutable")
        for field in sorted((event.keys() | old.keys()) - mutable)
        if event.get(field) != old.get(field)
    ]
    if causes:
        raise invalid("", "Event", old["metadata"]["name"], causes)


def _check_metadata(kind: Kind, obj: Object) -> Iterator[Cause]:
    metadata = obj["metadata"]
    name = metadata.get("name") or ""
    pattern, rule, longest = (
        (_LABEL_NAME, _LABEL_RULE, 63)
        if kind.kind in _SHORT_NAMES
        else (_SUBDOMAIN, _SUBDOMAIN_RULE, 253)
    )
    if not pattern.fullmatch(name):
        yield Cause("metadata.name", f'Invalid value: "{name}": {rule}')
    elif len(name) > longest:
        message = f'Invalid value: "{name}": must be no more than {longest} characters'
        yield Cause("metadata.name", message)
    for value in (metadata.get("labels") or {}).values():
        if len(value) > 63:
            message = f'Invalid value: "{value}": must be no more than 63 bytes'
            yield Cause("metadata.labels", message)
        elif not _LABEL_VALUE.fullmatch(value):
            yield Cause("metadata.labels", f'Invalid value: "{value}": {_VALUE_RULE}')


def _check_builtin(kind: Kind, obj: Object, old: Object | None) -> Iterator[Cause]:
    spec = obj.get("spec") or {}
    for path in _REQUIRED.get(kind.kind, ()):
        if kind.kind != "Service" and not (obj.get(path[0]) or {}).get(path[1]):
            yield Cause(".".join(path), "Required value", "FieldValueRequired")
    if kind.group == "apps" and "selector" in spec:
        yield from _check_workload(spec, (old or {}).get("spec"))
    if kind.kind == "Pod" and old is not None and _fixed(spec) != _fixed(old["spec"]):
        message = (
            "Forbidden: pod updates may not change fields other than "
            "`spec.containers[*].image`,`spec.initContainers[*].image`,"
            "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing "
            "tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 "
            "if it was previously negative)"
        )
        yield Cause("spec", message, "FieldValueForbidden")
    if kind.kind == "CustomResourceDefinition":
        wanted = f"{spec['names']['plural']}.{spec['group']}"
        if obj["metadata"].get("name") != wanted:
            name = obj["metadata"].get("name")
            message = f'Invalid value: "{name}": must be spec.names.plural+"."+spec.group'
            yield Cause("metadata.name", message)


def _check_workload(spec: Object, old_spec: Object | None) -> Iterator[Cause]:
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
    if not selector_matches(spec["selector"], labels):
        message = f"Invalid value: {labels}: `selector` does not match template `labels`"
        yield Cause("spec.template.metadata.labels", message)
    if old_spec is not None and old_spec["selector"] != spec["selector"]:
        yield Cause("spec.selector", f"Invalid value: {spec['selector']}: field is immutable")
    if isinstance(spec.get("replicas"), int) and spec["replicas"] < 0:
        message = f"Invalid value: {spec['replicas']}: must be greater than or equal to 0"
        yield Cause("spec.replicas", message)


def _fixed(spec: Object) -> Object:
    """What of a pod's spec may not change. ``nodeName`` may be set late: this server has no
    scheduler."""
    kept = {key: value for key, value in spec.items() if key not in _POD_MUTABLE}
    for field in ("containers", "initContainers"):
        kept[field] = [
            {key: value for key, value in each.items() if key not in ("image", "imagePullPolicy")}
            for each in spec.get(field) or ()
        ]
    return kept
