"""The sidecars' config, where the hub finds it.

Law: written only if it says something else than what stands there; on start the one that stands is
read first, so that orders given before a restart go on.
"""

from collections.abc import Mapping
from typing import Any

from tidegate_operator.cluster.client import Api
from tidegate_operator.cluster.config_maps import PolicyConfigMap
from tidegate_operator.crd.spec import TargetRef
from tidegate_wire.config import SidecarConfig, WireError
from tidegate_wire.names import CONFIG_KEY, PART_CONFIG, TARGET_KEY


class ConfigWriter:
    """Of one policy."""

    def __init__(self, meta: Mapping[str, Any]) -> None:
        self._map = PolicyConfigMap(meta, PART_CONFIG, "tidegate-config")
        self._read = False
        self.current: SidecarConfig | None = None
        """What sidecars are offered; ``None`` before the first."""
        self.changed_at = float("-inf")
        """When its hash last changed, unix seconds."""

    async def look(self, api: Api) -> None:
        """Take up what an earlier process wrote; a config that can't be read is as if absent."""
        if self._read:
            return
        data = await self._map.read(api)
        try:
            if CONFIG_KEY in data:
                self.current = SidecarConfig.from_json(data[CONFIG_KEY].encode())
        except WireError:
            self.current = None
        self._read = True

    async def write(self, api: Api, config: SidecarConfig, target: TargetRef, now: float) -> bool:
        """Offer ``config`` to the pods of ``target``; whether anything was written."""
        data = {CONFIG_KEY: config.to_json().decode(), TARGET_KEY: str(target)}
        written = await self._map.write(api, data)
        if self.current is None or self.current.hash != config.hash:
            self.changed_at = now
        self.current = config
        return written

    async def withdraw(self, api: Api) -> bool:
        """Offer nothing any more; whether there was something."""
        self.current = None
        return await self._map.remove(api)

    def forget(self) -> None:
        """Compare with the API server again before the next write."""
        self._map.forget()
