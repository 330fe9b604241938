"""Writing a replica count.

Law: the scale subresource only, with the resourceVersion that the decision was made on; if
somebody wrote in between, nothing is written and the next tick looks again.
"""

from tidegate_operator.cluster import paths
from tidegate_operator.cluster.client import Api, ApiError
from tidegate_operator.cluster.observe import Scale
from tidegate_operator.crd.spec import TargetRef
from tidegate_operator.decide.hands import MANAGER


async def write_scale(
    api: Api, namespace: str, target: TargetRef, seen: Scale, replicas: int
) -> None:
    """Ask for ``replicas``; ``ApiError`` with status 409 where the scale is no longer as seen."""
    body = dict(seen.manifest)
    body["spec"] = {**(seen.manifest.get("spec") or {}), "replicas": replicas}
    await api.replace(paths.scale(namespace, target.plural, target.name), body)


async def read_manager(api: Api, namespace: str, target: TargetRef) -> str:
    """Who set the target's replica count, by the API server's own notes; empty where that can't
    be known."""
    try:
        found = await api.get(paths.workload(namespace, target.plural, target.name))
    except ApiError as error:
        if error.status in (403, 404):
            return ""
        raise
    owners = [
        entry
        for entry in (found.get("metadata") or {}).get("managedFields") or ()
        if "f:replicas" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
    ]
    names = [str(e.get("manager", "")) for e in sorted(owners, key=lambda e: str(e.get("time")))]
    # Whoever applies the very count that we wrote owns it with us.
    return MANAGER if MANAGER in names else names[-1] if names else ""
