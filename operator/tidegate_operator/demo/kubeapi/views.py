"""Other forms in which a kept object is shown: Scale, Table rows, the two kinds of Event.

Law: pure; what is kept stays as it is.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from tidegate_operator.demo.kubeapi.errors import Object, bad_request
from tidegate_operator.demo.kubeapi.kinds import Column, Kind, ScalePaths
from tidegate_operator.demo.kubeapi.matching import selector_text, value_at
from tidegate_operator.demo.kubeapi.strategies import clone

_STEP = re.compile(
    r"\.([\w-]+)|\[\?\(@\.([\w-]+)==[\"']([^\"']*)[\"']\)\]|\[(\d+)\]|\['([^']+)'\]"
)
_EVENT_FIELDS: Mapping[str, str] = {
    "message": "note",
    "involvedObject": "regarding",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
"""Field of a core Event -> the same in events.k8s.io, by the API's own conversion."""


def as_version(kind: Kind, obj: Object) -> Object:
    """A kept object as one version of its kind shows it; the same object if that is how it is
    kept."""
    if obj["apiVersion"] == kind.api_version:
        return obj
    shown = {**obj, "apiVersion": kind.api_version}
    return _rename(shown, _EVENT_FIELDS) if kind.stored_as else shown


def as_stored(kind: Kind, obj: Any) -> Any:
    """The inverse of ``as_version``, for what a client sends."""
    if kind.stored_as is None or not isinstance(obj, dict):
        return obj
    if obj.get("apiVersion") not in (None, kind.api_version):
        return obj  # not of this kind: whoever keeps it will say so
    back = {new: old for old, new in _EVENT_FIELDS.items()}
    return _rename({**obj, "apiVersion": "v1"}, back)


def _rename(obj: Object, names: Mapping[str, str]) -> Object:
    return {names.get(field, field): value for field, value in obj.items()}


def find_path(obj: Any, path: str) -> Any:
    """The value under a simple JSONPath, or None."""
    for key, field, wanted, index, quoted in _STEP.findall(path):
        if key or quoted:
            obj = obj.get(key or quoted) if isinstance(obj, dict) else None
        elif field:
            items = obj if isinstance(obj, list) else ()
            obj = next((item for item in items if str(item.get(field)) == wanted), None)
        elif index:
            obj = obj[int(index)] if isinstance(obj, list) and len(obj) > int(index) else None
    return obj


def scale_of(kind: Kind, obj: Object) -> Object:
    """The ``/scale`` of an object."""
    paths = kind.scale or ScalePaths()
    status: Object = {"replicas": find_path(obj, paths.status) or 0}
    selector = (
        find_path(obj, paths.selector)
        if paths.selector
        else selector_text((obj.get("spec") or {}).get("selector"))
    )
    if selector:
        status["selector"] = selector
    metadata = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {field: metadata[field] for field in kept if field in metadata},
        "spec": {"replicas": find_path(obj, paths.spec) or 0},
        "status": status,
    }


def with_scale(kind: Kind, obj: Object, scale: Any) -> Object:
    """The object with the replicas, and under the resourceVersion, that a client wrote to
    ``/scale``."""
    replicas = value_at(scale, ("spec", "replicas")) or 0
    if isinstance(replicas, bool) or not isinstance(replicas, int):
        raise bad_request("json: cannot unmarshal into ScaleSpec.spec.replicas of type int32")
    scaled: Object = clone(obj)
    *way, last = (kind.scale or ScalePaths()).spec.lstrip(".").split(".")
    place = scaled
    for key in way:
        place = place.setdefault(key, {})
    place[last] = replicas
    version = value_at(scale, ("metadata", "resourceVersion"))
    scaled["metadata"]["resourceVersion"] = version or obj["metadata"]["resourceVersion"]
    return scaled


def table_of(kind: Kind, objects: Iterable[Object], metadata: Object, now: float) -> Object:
    """What ``kubectl get`` prints."""
    custom = [column for column in kind.columns if column.name != "Age"]
    name = {
        "name": "Name",
        "type": "string",
        "format": "name",
        "description": "",
        "priority": 0,
    }
    age = {"name": "Age", "type": "string", "format": "", "description": "", "priority": 0}
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": [name, *(_definition(column) for column in custom), age],
        "rows": [_row(custom, obj, now) for obj in objects],
    }


def _definition(column: Column) -> Object:
    return {
        "name": column.name,
        "type": column.type,
        "format": "",
        "description": column.description,
        "priority": column.priority,
    }


def _row(columns: Iterable[Column], obj: Object, now: float) -> Object:
    cells = [_cell(column, find_path(obj, column.path), now) for column in columns]
    metadata = obj["metadata"]
    return {
        "cells": [metadata["name"], *cells, _age(metadata["creationTimestamp"], now)],
        "object": metadata_of(obj),
    }


def _cell(column: Column, value: Any, now: float) -> Any:
    if column.type == "date" and isinstance(value, str):
        return _age(value, now)
    return value


def _age(text: str, now: float) -> str:
    """``45s``, ``12m``, ``5h``, ``3d``: two units are shown upstream only for small counts."""
    seconds = max(0, int(now - datetime.fromisoformat(text).timestamp()))
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def metadata_of(obj: Object) -> Object:
    """Only the metadata, for clients that cache nothing else."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": obj["metadata"],
    }
