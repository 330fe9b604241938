"""Which config is in force, and what became of the last one offered.

Law: a config that does not validate, or that the data path cannot take, never replaces a running
one. The last good one lies on disk whole or not at all (written aside, synced, renamed), so that a
restart needs no hub.
"""

import asyncio
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from tidegate_sidecar.logs import Log
from tidegate_wire.config import SidecarConfig, WireError
from tidegate_wire.names import ConfigState

LAST_GOOD = "config.json"
MAX_ERROR_CHARS = 500
"""Of an error told to the hub: enough for path, rule and value."""


class ConfigInForce:
    """Takes offers of configs; hands the good ones to the data path and to the disk."""

    def __init__(
        self,
        *,
        apply: Callable[[SidecarConfig], None],
        failed: Callable[[str], None],
        log: Log,
        state_dir: Path | None = None,
    ) -> None:
        """``failed`` counts an error of our own, by its reason."""
        self._apply = apply
        self._failed = failed
        self._log = log
        self._file = state_dir / LAST_GOOD if state_dir else None
        self.hash = ""
        """Of the config in force; empty before the first."""
        self.state = ConfigState.NONE
        self.error = ""
        self.offered = ""
        """Hash of the last config offered, good or not: what the hub is asked to improve on."""

    def restore(self) -> None:
        """Start from the last good config, where there is one; a damaged one is told of and passed
        over.
        """
        if self._file is None:
            return
        try:
            raw = self._file.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            self._trouble("state_read", error)
            return
        self._take(raw, "", source="disk")

    async def offer(self, raw: bytes, etag: str = "", *, source: str) -> None:
        """Take a config as bytes; ``etag`` is what the giver calls them."""
        before = self.hash
        if self._take(raw, etag, source=source) and self.hash != before and self._file:
            # In a thread: a sync can take 100 ms on a busy disk, and every stream would wait for
            # it.
            await asyncio.to_thread(self._keep, self._file, raw)

    def reject(self, etag: str, error: str, *, source: str) -> None:
        """What was offered cannot be used; told once per offer."""
        error = error[:MAX_ERROR_CHARS]
        if self.state is ConfigState.FAILED and (self.offered, self.error) == (etag, error):
            return
        self.state, self.error, self.offered = ConfigState.FAILED, error, etag
        self._log("config_rejected", hash=etag, error=error, source=source, in_force=self.hash)

    def _take(self, raw: bytes, etag: str, *, source: str) -> bool:
        # Of the bytes as they came, as the hub takes it: a config of a newer operator, with fields
        # that are dropped here, must still count as the one that it is.
        digest = hashlib.sha256(raw).hexdigest()[:16]
        etag = etag or digest
        try:
            config = SidecarConfig.from_json(raw)
            if digest != self.hash:
                self._apply(config)
        except (WireError, RecursionError) as error:  # the latter: brackets nested without end
            self.reject(etag, str(error), source=source)
            return False
        except Exception as error:  # noqa: BLE001 -- the old one goes on, whatever the new one upsets
            self._failed("config_apply")
            self.reject(etag, f"{type(error).__name__}: {error}", source=source)
            return False
        news = digest != self.hash or self.state is not ConfigState.APPLIED
        self.hash, self.offered = digest, etag
        self.state, self.error = ConfigState.APPLIED, ""
        if news:
            self._log("config_applied", hash=digest, policy=config.policy, source=source)
        return True

    def _keep(self, file: Path, raw: bytes) -> None:
        aside = file.with_suffix(".new")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with aside.open("wb") as out:
                out.write(raw)
                out.flush()
                os.fsync(out.fileno())
            aside.replace(file)
        except OSError as error:
            self._trouble("state_write", error)

    def _trouble(self, reason: str, error: OSError) -> None:
        self._failed(reason)
        self._log(reason + "_failed", file=str(self._file), error=error.strerror or str(error))
