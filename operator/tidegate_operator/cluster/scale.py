"""Writing a replica count.

Law: the scale subresource only, with the resourceVersion that the decision was made on; if
somebody wrote in between, nothing is written and the next tick looks again.
"""

from tidegate_operator.cluster import paths
from tidegate_operator.cluster.client import Api
from tidegate_operator.cluster.observe import Scale
from tidegate_operator.crd.spec import TargetRef


async def write_scale(
    api: Api, namespace: str, target: TargetRef, seen: Scale, replicas: int
) -> None:
    """Ask for ``replicas``; ``ApiError`` with status 409 where the scale is no longer as seen."""
    body = dict(seen.manifest)
    body["spec"] = {**(seen.manifest.get("spec") or {}), "replicas": replicas}
    await api.replace(paths.scale(namespace, target.plural, target.name), body)
