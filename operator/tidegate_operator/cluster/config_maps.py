"""The ConfigMaps that the reconciler keeps for a policy.

Law: owned by the policy, so that they go with it; written only when their content differs. One
that an earlier policy of the same name left behind is not ours: its content is not read, and the
garbage collector may not have come to it yet, so it is made ours before it is filled.
"""

from collections.abc import Mapping
from typing import Any

from tidegate_operator.cluster import paths
from tidegate_operator.cluster.client import Api, ApiError, Object
from tidegate_wire.names import GROUP, KIND, PART, POLICY, VERSION


class PolicyConfigMap:
    """One of them: ``tidegate-config-<policy>`` or ``tidegate-history-<policy>``."""

    def __init__(self, meta: Mapping[str, Any], part: str, prefix: str) -> None:
        self._namespace = str(meta["namespace"])
        self._uid = str(meta["uid"])
        self._path = paths.config_map(self._namespace, f"{prefix}-{meta['name']}")
        self._body = config_map(meta, part, prefix)
        self._content: Mapping[str, Any] | None = None
        self._exists: bool | None = None
        """``None``: not looked at yet."""

    async def read(self, api: Api) -> Mapping[str, Any]:
        """``data`` and ``binaryData`` together; empty where it doesn't exist or isn't ours."""
        try:
            manifest = await api.get(self._path)
        except ApiError as error:
            if error.status != 404:
                raise
            self._exists, self._content = False, {}
            return {}
        self._exists = True
        owners = manifest["metadata"].get("ownerReferences") or []
        foreign = any(o.get("kind") == KIND and o.get("uid") != self._uid for o in owners)
        kept = {} if foreign else {**_part(manifest, "data"), **_part(manifest, "binaryData")}
        # One without an owner was put there by hand for this policy: kept, and to be made ours.
        self._content = kept if owners and not foreign else {}
        return kept

    async def write(
        self,
        api: Api,
        data: Mapping[str, str] | None = None,
        binary: Mapping[str, str] | None = None,
    ) -> bool:
        """Make this its content; whether anything had to be written."""
        wanted = {**(data or {}), **(binary or {})}
        if self._exists is None:
            await self.read(api)
        if self._exists and self._content == wanted:
            return False
        body = self._body | {"data": dict(data or {}), "binaryData": dict(binary or {})}
        try:
            if self._exists:
                await api.merge(self._path, body)
            else:
                await api.create(paths.config_maps(self._namespace), body)
        except ApiError:
            self.forget()
            raise
        self._exists, self._content = True, wanted
        return True

    async def remove(self, api: Api) -> bool:
        """Take it away where it stands; whether it stood."""
        if self._exists is None:
            await self.read(api)
        if not self._exists:
            return False
        try:
            await api.delete(self._path)
        except ApiError as error:
            if error.status != 404:
                raise
        self._exists, self._content = False, {}
        return True

    def forget(self) -> None:
        """Look again before the next write: somebody else may have changed or deleted it."""
        self._exists = self._content = None


def config_map(meta: Mapping[str, Any], part: str, prefix: str) -> Object:
    """The ConfigMap of a policy without its content; ``meta`` is the policy's metadata."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": f"{prefix}-{meta['name']}",
            "namespace": meta["namespace"],
            # A label value ends at 63 characters, an object's name only at 253.
            "labels": {PART: part, POLICY: str(meta["name"])[:63].rstrip("-.")},
            "ownerReferences": [
                {
                    "apiVersion": f"{GROUP}/{VERSION}",
                    "kind": KIND,
                    "name": meta["name"],
                    "uid": meta["uid"],
                    "controller": True,
                }
            ],
        },
    }


def _part(manifest: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return manifest.get(name) or {}
