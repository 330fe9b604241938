"""The hub's process: starts everything, ends everything.

Law: the page and the health doors open first and stay open whatever the API server does; the TLS
door opens once there is a certificate. No kopf here: a webhook and sidecars' config must survive
what ends a reconciler.
"""

import asyncio
import os
import signal
import ssl
from datetime import UTC, datetime
from importlib.metadata import version

import uvloop
from aiohttp import web

from tidegate_operator import logs
from tidegate_operator.cluster.client import ApiError, describe
from tidegate_operator.cluster.lists import Kube
from tidegate_operator.cluster.mirror import Mirror
from tidegate_operator.hub.autoscalers import AutoscalerDoors
from tidegate_operator.hub.board import Board
from tidegate_operator.hub.certs import Bundle, load_into
from tidegate_operator.hub.config import ConfigIndex, Gatekeeper, SidecarDoor
from tidegate_operator.hub.measure import Measures
from tidegate_operator.hub.page import Page
from tidegate_operator.hub.registration import ensure_bundle, ensure_webhooks, hub_url
from tidegate_operator.hub.webhook import Webhook, read_minor
from tidegate_operator.inject.patch import Sidecar
from tidegate_operator.settings import Settings
from tidegate_wire.clock import CLOCK_VARIABLE, Clock
from tidegate_wire.names import (
    GROUP,
    PART,
    PART_CONFIG,
    PART_HISTORY,
    PLURAL,
    VERSION,
)

MAX_REVIEW_BYTES = 8 * 1024 * 1024
"""An object has at most 1.5 MiB in etcd, and an update's review carries two, with JSON escapes."""
ENSURE_S = 15.0
"""Between two looks at the certificate and the registration; real seconds, as certificates are. It
is also how long pods go without a sidecar after somebody applies the registration without a CA."""
ENSURE_RETRY_S = 2.0
LEAVE_S = 3.0
"""For open answers to be finished when told to stop; real seconds."""


class Hub:
    """All parts of one hub, and what they hold in common."""

    def __init__(self, settings: Settings, clock: Clock, kube: Kube) -> None:
        self._settings = settings
        self._clock = clock
        self._kube = kube
        self._bundle: Bundle | None = None
        self._open = False
        """Whether the TLS door answers."""
        self._server_minor: int | None = None
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._measures = Measures()
        self._board = Board(clock)
        self._index = ConfigIndex()
        self._runners: list[web.AppRunner] = []
        self.policies, self.configs, self.histories = self._mirrors()
        keeper = Gatekeeper(kube, clock)
        self._door = SidecarDoor(self._index, keeper, self.configs.synced, clock, self._measures)
        self._autoscalers = AutoscalerDoors(
            kube, settings, clock, self.policies, self._measures, self._serve
        )
        self._webhook = Webhook(
            self._sidecar, settings.namespace, self._measures, lambda: self._server_minor
        )

    def _mirrors(self) -> tuple[Mirror, Mirror, Mirror]:
        maps = "/api/v1/configmaps"
        return (
            Mirror(
                self._kube,
                f"/apis/{GROUP}/{VERSION}/{PLURAL}",
                self._clock,
                on_change=self._board.on_policy,
            ),
            Mirror(
                self._kube,
                maps,
                self._clock,
                selector=f"{PART}={PART_CONFIG}",
                on_change=self._index.on_change,
            ),
            Mirror(
                self._kube,
                maps,
                self._clock,
                selector=f"{PART}={PART_HISTORY}",
                on_change=self._board.on_history,
            ),
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until told to stop."""
        try:
            await self._serve(self._page_app(), self._settings.page_port)
            async with asyncio.TaskGroup() as group:
                mirrors = (self.policies, self.configs, self.histories)
                tasks = [group.create_task(mirror.run()) for mirror in mirrors]
                tasks.append(group.create_task(self._keep_registered()))
                await stop.wait()
                self._door.leave()
                for task in tasks:
                    task.cancel()
        finally:
            await self._autoscalers.close(LEAVE_S)
            for runner in reversed(self._runners):
                await runner.cleanup()
            await self._kube.close()

    async def _serve(
        self, app: web.Application, port: int, context: ssl.SSLContext | None = None
    ) -> None:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=LEAVE_S)
        self._runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, self._settings.host, port, ssl_context=context).start()
        logs.event("listening", host=self._settings.host, port=port, tls=context is not None)

    async def _keep_registered(self) -> None:
        """Certificate and registration, for as long as the process lives."""
        told = ""
        while True:
            try:
                await self._ensure()
                if told:
                    logs.event("registration_back")
                told = ""
                await asyncio.sleep(ENSURE_S)
            except ApiError as error:
                # A fault that lasts, such as a registration that nobody makes, is told once.
                if str(error) != told:
                    logs.event("registration_failed", status=error.status, message=str(error))
                told = str(error)
                await asyncio.sleep(ENSURE_RETRY_S)

    async def _ensure(self) -> None:
        bundle = await ensure_bundle(self._kube, self._settings, datetime.now(UTC))
        if self._open:
            # Trusted first, served second: nobody meets a certificate that they can't check.
            await ensure_webhooks(self._kube, self._settings, bundle.ca_pem)
        self._use(bundle)
        await self._autoscalers.open(bundle)
        if not self._open:
            self._server_minor = read_minor(await self._kube.get("/version"))
            await self._serve(self._tls_app(), self._settings.hub_port, self._context)
            self._open = True
            # Announced when it answers, so that no review meets a closed door.
            await ensure_webhooks(self._kube, self._settings, bundle.ca_pem)
        await self._autoscalers.ensure(bundle)

    def _use(self, bundle: Bundle) -> None:
        if self._bundle is not None and bundle.to_data() == self._bundle.to_data():
            return
        load_into(self._context, bundle)
        self._bundle = bundle
        serial = f"{bundle.certificate.serial_number:x}"
        until = bundle.certificate.not_valid_after_utc.isoformat()
        logs.event("certificate_loaded", serial=serial[:16], until=until)

    def _tls_app(self) -> web.Application:
        app = web.Application(client_max_size=MAX_REVIEW_BYTES)
        self._webhook.add_routes(app)
        self._door.add_routes(app)
        return app

    def _page_app(self) -> web.Application:
        app = web.Application(client_max_size=1024)
        Page(self._board, self._clock, self._problem).add_routes(app)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        return app

    def _problem(self) -> str:
        problem = self.policies.problem
        if problem is not None and problem.status == 404:
            crds = "kubectl apply -f crds/llmqualitypolicies.yaml"
            return f"LLMQualityPolicy is not installed in this cluster: {crds}"
        if problem is not None:
            return f"Figures may be behind, the API server can't be asked: {problem}"
        return "" if self.policies.synced.is_set() else "The cluster is being read."

    def _sidecar(self) -> Sidecar:
        given = {
            CLOCK_VARIABLE: os.environ.get(CLOCK_VARIABLE),
            "TIDEGATE_UPSTREAM_CA": self._settings.sidecar_upstream_ca,
        }
        return Sidecar(
            image=self._settings.sidecar_image,
            version=version("tidegate"),
            hub_url=hub_url(self._settings),
            hub_ca=self._bundle.ca_pem if self._bundle else "",
            resources=self._settings.sidecar_resources,
            env={name: value for name, value in given.items() if value},
        )

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        missing = [
            what
            for what, there in (
                ("certificate", self._open),
                ("configs", self.configs.synced.is_set()),
            )
            if not there
        ]
        text = f"waiting for: {', '.join(missing)}\n" if missing else "ok\n"
        return web.Response(status=503 if missing else 200, text=text)

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(
            body=self._measures.render(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )


def run(settings: Settings, clock: Clock) -> int:
    """Be a hub until SIGTERM or SIGINT; 1 where it can't begin."""
    logs.setup("hub", clock)
    return uvloop.run(_main(settings, clock))


async def _main(settings: Settings, clock: Clock) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        kube = await Kube.connect()
        await Hub(settings, clock, kube).run(stop)
    except ApiError as error:
        logs.event("cannot_start", message=str(error))
        return 1
    except OSError as error:
        logs.event("cannot_start", message=f"cannot listen: {error}")
        return 1
    except ExceptionGroup as group:
        # One part has ended in a way that it doesn't know: better a new process than half a hub.
        logs.failure("ended", message=describe(group.exceptions[0]))
        return 1
    return 0
