"""The messages of KEDA's external scaler, between bytes and values.

Law: names and numbers are those of KEDA's published interface (externalscaler.proto, package
``externalscaler``, KEDA 2.20), written down as a table and made into classes as this is loaded:
four calls are not worth a compiler and its output in the repository. Fields that are not in the
table are passed over, as protobuf has it, so that a newer KEDA is understood.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

SERVICE = "externalscaler.ExternalScaler"

_PACKAGE = SERVICE.partition(".")[0]
_ENTRY = "ScalerMetadataEntry"
_FIELDS: Mapping[str, Mapping[str, tuple[int, str]]] = {
    f"ScaledObjectRef.{_ENTRY}": {"key": (1, "string"), "value": (2, "string")},
    "ScaledObjectRef": {
        "name": (1, "string"),
        "namespace": (2, "string"),
        "scalerMetadata": (3, f"repeated ScaledObjectRef.{_ENTRY}"),
    },
    "IsActiveResponse": {"result": (1, "bool")},
    "MetricSpec": {
        "metricName": (1, "string"),
        "targetSize": (2, "int64"),
        "targetSizeFloat": (3, "double"),
    },
    "GetMetricSpecResponse": {"metricSpecs": (1, "repeated MetricSpec")},
    "GetMetricsRequest": {"scaledObjectRef": (1, "ScaledObjectRef"), "metricName": (2, "string")},
    "MetricValue": {
        "metricName": (1, "string"),
        "metricValue": (2, "int64"),
        "metricValueFloat": (3, "double"),
    },
    "GetMetricsResponse": {"metricValues": (1, "repeated MetricValue")},
}
"""Message -> field -> its number and type."""


@dataclass(frozen=True, slots=True)
class ScaledObject:
    """Who asks."""

    namespace: str
    name: str
    metadata: Mapping[str, str]
    """Of the trigger, as the user wrote it."""


@dataclass(frozen=True, slots=True)
class Question:
    """What ``GetMetrics`` asks."""

    of: ScaledObject
    metric: str


def read_scaled_object(raw: bytes) -> ScaledObject:
    return _scaled_object(MESSAGES["ScaledObjectRef"].FromString(raw))


def read_question(raw: bytes) -> Question:
    message = MESSAGES["GetMetricsRequest"].FromString(raw)
    return Question(of=_scaled_object(message.scaledObjectRef), metric=message.metricName)


def write_active(active: bool) -> bytes:
    return _bytes("IsActiveResponse", result=active)


def write_target(named: tuple[str, int]) -> bytes:
    """A metric's name, and the value of it that one replica stands for."""
    metric, target = named
    # Both: the whole number is deprecated, but all that an older KEDA knows.
    spec = {"metricName": metric, "targetSize": target, "targetSizeFloat": float(target)}
    return _bytes("GetMetricSpecResponse", metricSpecs=[spec])


def write_value(named: tuple[str, int]) -> bytes:
    """A metric's name and value."""
    metric, value = named
    answer = {"metricName": metric, "metricValue": value, "metricValueFloat": float(value)}
    return _bytes("GetMetricsResponse", metricValues=[answer])


def _scaled_object(message: Any) -> ScaledObject:
    return ScaledObject(message.namespace, message.name, dict(message.scalerMetadata))


def _bytes(message: str, **fields: Any) -> bytes:
    made: bytes = MESSAGES[message](**fields).SerializeToString()
    return made


def _build() -> dict[str, Any]:
    file = FileDescriptorProto(name="externalscaler.proto", package=_PACKAGE, syntax="proto3")
    tops: dict[str, DescriptorProto] = {}
    for name, fields in sorted(_FIELDS.items()):  # an outer message before the one inside it
        top, _, inner = name.partition(".")
        if inner:
            made = tops[top].nested_type.add(name=inner)
            made.options.map_entry = True
        else:
            made = tops[top] = file.message_type.add(name=top)
        for field, (number, kind) in fields.items():
            made.field.append(_field(field, number, kind))
    pool = DescriptorPool()
    pool.Add(file)
    return {top: GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{top}")) for top in tops}


def _field(name: str, number: int, kind: str) -> FieldDescriptorProto:
    repeated, _, kind = kind.rpartition(" ")
    field = FieldDescriptorProto(name=name, number=number)
    field.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
    if kind[0].isupper():
        field.type, field.type_name = field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    else:
        field.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")
    return field


MESSAGES = _build()
"""Message -> its class."""
