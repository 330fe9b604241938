"""What the injection watchdog looks at: a target, its namespace, its pods, the Services there.

Law: read only. The watches hold pods with a sidecar alone, so those without are asked for here.
"""

from tidegate_operator.cluster import paths
from tidegate_operator.cluster.client import Api
from tidegate_operator.crd.spec import TargetRef
from tidegate_operator.inject.watchdog import Surroundings


async def look_around(api: Api, namespace: str, target: TargetRef, selector: str) -> Surroundings:
    """Four reads; ``ApiError`` where one is refused."""
    workload = await api.get(paths.workload(namespace, target.plural, target.name))
    return Surroundings(
        # Lists and some servers leave out what the path says already.
        workload={"kind": target.kind, **workload},
        namespace=await api.get(paths.namespace(namespace)),
        pods=await api.items(paths.pods(namespace), selector) if selector else (),
        services=await api.items(paths.services(namespace)),
    )
