"""The checkpoint of a policy: what a restart must not forget, compressed into one ConfigMap.

Law: encoding is pure and keeps everything; decoding never raises on what it finds but says what it
could not use. A checkpoint that can't be read for a fault of the API server is not an empty one:
that is raised, and the policy waits.
"""

import base64
import binascii
import gzip
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from tidegate_operator.cluster.client import Api
from tidegate_operator.cluster.config_maps import PolicyConfigMap, config_map
from tidegate_operator.decide.words import Memory
from tidegate_wire.names import PART_HISTORY

SCHEMA_VERSION = 1
HISTORY_KEY = "history"
NAME_PREFIX = "tidegate-history"
MAX_CHECKPOINT_BYTES = 900 * 1024
"""A ConfigMap ends at 1 MiB; 14 days of minutes take some 30 KB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """All that a policy's loop remembers."""

    start_minute: int = 0
    """Unix minute of ``counts[0]``."""
    counts: Sequence[float | None] = ()
    """Requests per minute; ``None``: not known."""
    recent: Sequence[Mapping[str, Any]] = ()
    """For the page: ``t, rps, q50, q95, wanted, ready, hpa, model`` per minute of the last day."""
    looks: Any = None
    """State of the demand history besides ``counts``."""
    ledger: Any = None
    memory: Memory = field(default_factory=Memory)
    cold_starts: Sequence[float] = ()
    """Seconds from Pod created to Ready, oldest first."""
    calibration: Any = None
    """State of the forecast."""


def encode_checkpoint(checkpoint: Checkpoint) -> bytes:
    """Equal checkpoints give equal bytes."""
    body = {
        "v": SCHEMA_VERSION,
        "start_minute": checkpoint.start_minute,
        "counts": list(checkpoint.counts),
        "recent": [dict(item) for item in checkpoint.recent],
        "looks": checkpoint.looks,
        "ledger": checkpoint.ledger,
        "memory": msgspec.to_builtins(checkpoint.memory, str_keys=True),
        "cold_starts": [round(seconds, 1) for seconds in checkpoint.cold_starts],
        "calibration": checkpoint.calibration,
    }
    raw = json.dumps(body, separators=(",", ":"), default=float).encode()
    return gzip.compress(raw, compresslevel=6, mtime=0)


def decode_checkpoint(packed: bytes) -> tuple[Checkpoint, str]:
    """What can be used of it, and what could not (empty: all could)."""
    try:
        body = json.loads(gzip.decompress(packed))
        version = body["v"]
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError) as error:
        return Checkpoint(), f"can't be read: {type(error).__name__}: {error}"
    if version != SCHEMA_VERSION:
        return Checkpoint(), f"has version {version}, not {SCHEMA_VERSION}"
    problem, memory = "", Memory()
    try:
        memory = msgspec.convert(body.get("memory") or {}, Memory, strict=False)
    except (msgspec.ValidationError, TypeError) as error:
        problem = f"memory can't be used: {error}"
    checkpoint = Checkpoint(
        start_minute=int(body.get("start_minute") or 0),
        counts=tuple(body.get("counts") or ()),
        recent=tuple(body.get("recent") or ()),
        looks=body.get("looks"),
        ledger=body.get("ledger"),
        memory=memory,
        cold_starts=tuple(body.get("cold_starts") or ()),
        calibration=body.get("calibration"),
    )
    return checkpoint, problem


def encode_history(meta: Mapping[str, Any], checkpoint: Checkpoint) -> dict[str, Any]:
    """A whole ConfigMap for the policy with this metadata (``name``, ``namespace``, ``uid``)."""
    return config_map(meta, PART_HISTORY, NAME_PREFIX) | {
        "binaryData": {HISTORY_KEY: base64.b64encode(encode_checkpoint(checkpoint)).decode()}
    }


def decode_history(manifest: Mapping[str, Any]) -> tuple[Checkpoint, str]:
    """The checkpoint in such a ConfigMap, and what could not be used of it."""
    return _decode_data(manifest.get("binaryData") or {})


def _decode_data(data: Mapping[str, Any]) -> tuple[Checkpoint, str]:
    if HISTORY_KEY not in data:
        return Checkpoint(), ""
    try:
        return decode_checkpoint(base64.b64decode(data[HISTORY_KEY]))
    except (binascii.Error, ValueError) as error:
        return Checkpoint(), f"can't be read: {error}"


class HistoryKeeper:
    """Loads and saves the checkpoint of one policy."""

    def __init__(self, meta: Mapping[str, Any]) -> None:
        self._map = PolicyConfigMap(meta, PART_HISTORY, NAME_PREFIX)

    async def load(self, api: Api) -> tuple[Checkpoint, str]:
        """Raises ``ApiError`` where it may be there but can't be had now."""
        return _decode_data(await self._map.read(api))

    async def save(self, api: Api, checkpoint: Checkpoint) -> bool:
        """Write it if it differs; whether it did."""
        packed = encode_checkpoint(checkpoint)
        if len(packed) > MAX_CHECKPOINT_BYTES:
            # The page can do without; the forecast, the ledger and the ladder can't.
            checkpoint = replace(checkpoint, recent=())
            packed = encode_checkpoint(checkpoint)
        return await self._map.write(api, binary={HISTORY_KEY: base64.b64encode(packed).decode()})
