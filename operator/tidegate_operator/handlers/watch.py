"""kopf, as thin as it can be: events into the tables, nothing back out.

Law (architecture, kopf rules): ``on.event`` only; no finalizers, timers, daemons, indexes,
peering, posting or annotations; handlers patch nothing. What a broken watch loses, a sweep finds.
"""

import asyncio
import random
from collections.abc import Iterator
from typing import Any, cast

import kopf

from tidegate_operator import logs
from tidegate_operator.cluster.client import Api, ApiError
from tidegate_operator.cluster.observe import World, sweep_pods, sweep_policies
from tidegate_wire.names import GROUP, INJECTED, PLURAL

SWEEP_S = 60.0
"""Real seconds between two sweeps: they guard against faults of connections."""
POD_SWEEPS = 5
"""Pods are swept every so many times: ten thousand of them are a long list."""
_FIRST_BACKOFFS_S = (0.2, 0.5, 1.0, 2.0, 5.0)
_LAST_BACKOFF_S = 10.0
IDENTITY = "tidegate"
"""Towards peers, of which there are none: who leads is the Lease's matter."""


class EndlessBackoffs:
    """Waits between tries of a request to the API server: longer, never giving up, never in step.

    kopf ends its process when they run out. It asks for an iterable and reads it once a request.
    """

    def __iter__(self) -> Iterator[float]:
        for backoff_s in _FIRST_BACKOFFS_S:
            yield backoff_s * random.uniform(0.5, 1.5)
        while True:
            yield _LAST_BACKOFF_S * random.uniform(0.5, 1.5)


def build_registry(world: World) -> kopf.OperatorRegistry:
    """Handlers that keep ``world`` level with the API server."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def log_in(**kwargs: Any) -> kopf.ConnectionInfo | None:
        # In this order, as the rest of the process does; kopf's own would import a second client.
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.event(GROUP, PLURAL, registry=registry, id="on_policy")
    async def on_policy(event: Any, **_: Any) -> None:
        world.see_policy(dict(event["object"]), gone=event["type"] == "DELETED")

    @kopf.on.event("", "v1", "pods", registry=registry, id="on_pod")
    async def on_pod(event: Any, **_: Any) -> None:
        world.see_pod(dict(event["object"]), gone=event["type"] == "DELETED")

    return registry


def build_settings() -> kopf.OperatorSettings:
    """kopf's settings by the rules above."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.networking.error_backoffs = EndlessBackoffs()
    settings.networking.connect_timeout = 10.0
    settings.process.ultimate_exiting_timeout = None
    # Whole numbers: it stands in the query as it is written here, and 300.0 is refused there.
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 10.0
    # Filtered by the server: without this every pod of the cluster would pass through here.
    settings.watching.label_selectors["", "v1", "pods"] = f"{INJECTED}=true"
    return settings


async def watch(world: World, ready: asyncio.Event) -> None:
    """Run kopf until cancelled, or until it gives up; what ended it is raised."""
    await kopf.operator(
        registry=build_registry(world),
        settings=build_settings(),
        # Without one kopf asks who it runs as, and a container's user by number has no name.
        identity=cast(Any, IDENTITY),
        clusterwide=True,
        ready_flag=ready,
    )


async def sweep(api: Api, world: World) -> None:
    """Compare the tables with the API server now and then, until cancelled."""
    for turn in range(1, 1 << 62):
        await asyncio.sleep(SWEEP_S * random.uniform(0.9, 1.1))
        try:
            await sweep_policies(api, world)
            if turn % POD_SWEEPS == 0:
                await sweep_pods(api, world)
        except ApiError as error:
            logs.event("sweep_failed", status=error.status, error=str(error)[:300])
