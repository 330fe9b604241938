"""The doors that autoscalers ask at: opened once there is a certificate, kept registered.

Law: a door that nobody wants is not opened, and what it needs is not loaded. What the external
metrics lack in a cluster (an APIService, a front proxy) is told and never ends the hub.
"""

import ssl
from collections.abc import Awaitable, Callable

from aiohttp import web

from tidegate_operator import logs
from tidegate_operator.cluster.lists import Kube
from tidegate_operator.cluster.mirror import Mirror
from tidegate_operator.hub.certs import Bundle, load_into
from tidegate_operator.hub.external_metrics import ExternalMetrics
from tidegate_operator.hub.front_proxy import FrontProxy, Guard, find_front_proxy
from tidegate_operator.hub.measure import Measures
from tidegate_operator.hub.registration import ensure_api_service
from tidegate_operator.hub.wanted import Wanted
from tidegate_operator.settings import Settings
from tidegate_wire.clock import Clock

MAX_REQUEST_BYTES = 1024
"""They are questions without a body."""

Close = Callable[[float], Awaitable[None]]
Serve = Callable[[web.Application, int, ssl.SSLContext], Awaitable[None]]


class AutoscalerDoors:
    """Of one hub."""

    def __init__(
        self,
        kube: Kube,
        settings: Settings,
        clock: Clock,
        policies: Mirror,
        measures: Measures,
        serve: Serve,
    ) -> None:
        self._kube = kube
        self._settings = settings
        self._clock = clock
        self._measures = measures
        self._serve = serve
        self._wanted = Wanted(policies.objects, policies.synced, clock, settings.count_max_age_s)
        self._bundle: Bundle | None = None
        self._guard: Guard | None = None
        self._close_keda: Close | None = None

    async def open(self, bundle: Bundle) -> None:
        """Answer KEDA, from now on with this certificate."""
        self._bundle = bundle
        if self._settings.keda_port and self._close_keda is None:
            self._close_keda = await self._open_keda(self._settings.keda_port)

    async def ensure(self, bundle: Bundle) -> None:
        """Answer HPAs with this certificate, and have the API server trust it. ``ApiError`` where
        the cluster lacks what that needs."""
        if not self._settings.external_metrics:
            return
        front = await find_front_proxy(self._kube)
        if self._guard is None:
            await self._open_external_metrics(front, bundle)
        else:
            self._guard.trust(front)
            load_into(self._guard.context, bundle)
        await ensure_api_service(self._kube, self._settings, bundle.ca_pem)

    async def close(self, grace_s: float) -> None:
        """``grace_s``: for open answers to be finished, in real seconds."""
        if self._close_keda is not None:
            await self._close_keda(grace_s)

    async def _open_keda(self, port: int) -> Close:
        from tidegate_operator.hub.keda import KedaDoor  # 14 MB with what it loads

        door = KedaDoor(self._wanted, self._clock, self._measures)
        tls = self._settings.keda_tls
        await door.open(f"{self._settings.host}:{port}", self._newest if tls else None)
        logs.event("listening", host=self._settings.host, port=port, tls=tls)
        return door.close

    def _newest(self) -> Bundle:
        assert self._bundle is not None
        return self._bundle

    async def _open_external_metrics(self, front: FrontProxy, bundle: Bundle) -> None:
        guard = Guard()
        guard.trust(front)
        load_into(guard.context, bundle)
        app = web.Application(client_max_size=MAX_REQUEST_BYTES, middlewares=[guard.middleware])
        ExternalMetrics(self._wanted, self._measures).add_routes(app)
        await self._serve(app, self._settings.external_metrics_port, guard.context)
        self._guard = guard
