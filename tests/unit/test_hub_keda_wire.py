"""Messages are those of KEDA's published interface: bytes put together here by protobuf's own
rules, from the numbers in externalscaler.proto, mean the same."""

import struct

import pytest
from google.protobuf.message import DecodeError

from tidegate_operator.hub.keda_wire import (
    Question,
    ScaledObject,
    read_question,
    read_scaled_object,
    write_active,
    write_target,
    write_value,
)

VARINT, FIXED64, BYTES = 0, 1, 2
"""Wire types."""


def field(number: int, value: bytes | int | float) -> bytes:
    if isinstance(value, bytes):
        return bytes([number << 3 | BYTES, len(value)]) + value
    if isinstance(value, float):
        return bytes([number << 3 | FIXED64]) + struct.pack("<d", value)
    assert value < 128
    return bytes([number << 3 | VARINT, value])


def entry(key: bytes, value: bytes) -> bytes:
    return field(3, field(1, key) + field(2, value))


CHAT = field(1, b"llama") + field(2, b"shop") + entry(b"policy", b"chat") + entry(b"a", b"")
LLAMA = ScaledObject(namespace="shop", name="llama", metadata={"policy": "chat", "a": ""})


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        pytest.param(CHAT, LLAMA, id="a trigger with its metadata"),
        pytest.param(b"", ScaledObject("", "", {}), id="nothing at all"),
        pytest.param(CHAT + field(9, b"new"), LLAMA, id="a field of a later version"),
    ],
)
def test_who_asks(raw: bytes, found: ScaledObject) -> None:
    assert read_scaled_object(raw) == found


def test_what_is_asked() -> None:
    raw = field(1, CHAT) + field(2, b"tidegate-desired-replicas")
    assert read_question(raw) == Question(of=LLAMA, metric="tidegate-desired-replicas")


def test_bytes_that_are_no_message_are_refused() -> None:
    with pytest.raises(DecodeError):
        read_scaled_object(b"\x0a\xff")


@pytest.mark.parametrize(
    ("written", "raw"),
    [
        pytest.param(write_active(True), field(1, 1), id="active"),
        pytest.param(write_active(False), b"", id="not active, which proto3 leaves out"),
        pytest.param(
            write_target(("m", 1)),
            field(1, field(1, b"m") + field(2, 1) + field(3, 1.0)),
            id="a target, whole and as a float",
        ),
        pytest.param(
            write_value(("m", 7)),
            field(1, field(1, b"m") + field(2, 7) + field(3, 7.0)),
            id="a value, whole and as a float",
        ),
    ],
)
def test_what_is_answered(written: bytes, raw: bytes) -> None:
    assert written == raw
