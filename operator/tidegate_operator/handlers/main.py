"""``tidegate-operator reconcile``: one process that watches, decides, scales and tells.

Law: it writes only while it leads. Asked to end it saves what a restart needs, gives the Lease
back and exits 0 within a few seconds; whatever else ends it exits 1, for a new start to mend.
"""

import asyncio
import logging
import signal
from typing import Any

from tidegate_operator import logs
from tidegate_operator.cluster.autoscalers import mirror_autoscalers
from tidegate_operator.cluster.client import ApiError, describe
from tidegate_operator.cluster.leader import Leadership, own_identity
from tidegate_operator.cluster.lists import Kube
from tidegate_operator.cluster.observe import World, sweep_pods, sweep_policies
from tidegate_operator.handlers.door import Door
from tidegate_operator.handlers.loop import Loop
from tidegate_operator.handlers.metrics import Metrics
from tidegate_operator.handlers.policy import Surroundings
from tidegate_operator.handlers.watch import sweep, watch
from tidegate_operator.settings import Settings
from tidegate_operator.sources.forecaster import Forecaster
from tidegate_operator.sources.prometheus import Prometheus
from tidegate_operator.sources.sidecars import Sidecars
from tidegate_wire.clock import Clock

END_S = 5.0
"""Real seconds for the last writes; Kubernetes gives 30 before it kills."""
AUTOSCALERS_S = 10.0
"""Real seconds that the first decisions wait for the list of autoscalers, which may never come."""
FIRST_LIST_S = 2.0
"""Real seconds between two tries of the first list, such as before the CRD is there."""


def run(settings: Settings, clock: Clock) -> int:
    """Run until SIGTERM (0), a lost Lease or a fault (1)."""
    logs.setup("reconcile", clock)
    # kopf tells each object it watches; what matters of that is told by the loop.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    # It repeats a fault every two seconds; the lock tells it once.
    logging.getLogger("kubernetes.aio.leaderelection").setLevel(logging.CRITICAL)
    return asyncio.run(serve(settings, clock, asyncio.Event()))


async def serve(settings: Settings, clock: Clock, stop: asyncio.Event) -> int:
    """The whole process on the running event loop; ends when ``stop`` is set."""
    try:
        api = await Kube.connect()
    except ApiError as error:
        logs.event("cannot_start", error=str(error))
        return 1
    asyncio.get_running_loop().set_exception_handler(_tell_stray)
    forecaster = Forecaster(clock, train_timeout_s=settings.train_timeout_s)
    try:
        async with (
            Sidecars(clock, settings.pull_timeout_s) as sidecars,
            Prometheus() as prometheus,
        ):
            around = Surroundings(
                api=api,
                clock=clock,
                settings=settings,
                world=World(),
                source=sidecars,
                prometheus=prometheus,
                forecasts=forecaster,
                metrics=Metrics(),
            )
            return await _Process(around, api, stop).run()
    finally:
        await forecaster.close()
        await api.close()


def _tell_stray(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What nobody waited for, such as kopf's own tasks at its end; without the headers in its
    repr."""
    error = context.get("exception")
    said = "" if error is None else describe(error)
    logs.event("stray_error", message=str(context.get("message", ""))[:100], error=said)


class _Process:
    """The parts, and the order in which they come and go."""

    def __init__(self, around: Surroundings, api: Kube, stop: asyncio.Event) -> None:
        self._around = around
        self._api = api
        self._stop = stop
        self._loop = Loop(around)
        tick_real_s = around.clock.real_s(around.settings.tick_s)
        self._door = Door(around.metrics, lambda: self._loop.ticked_at, tick_real_s)
        self._leadership = Leadership(api.client, around.settings.namespace, own_identity())

    async def run(self) -> int:
        settings = self._around.settings
        try:
            port = await self._door.open(settings.host, settings.operator_port)
        except OSError as error:
            logs.event("cannot_start", error=f"{settings.host}:{settings.operator_port}: {error}")
            return 1
        logs.event("started", port=port, tick_s=settings.tick_s, speed=self._around.clock.speed)
        self._obey_signals()
        stopping = asyncio.create_task(self._stop.wait(), name="stop")
        working = asyncio.create_task(self._lead(), name="work")
        await asyncio.wait({stopping, working}, return_when=asyncio.FIRST_COMPLETED)
        asked = self._stop.is_set()
        for task in (stopping, working):
            task.cancel()
        _, outcome = await asyncio.gather(stopping, working, return_exceptions=True)
        if not asked:
            fault = describe(outcome) if isinstance(outcome, Exception) else "no longer leads"
            logs.event("ended", fault=fault)
        await self._end()
        return 0 if asked else 1

    async def _lead(self) -> None:
        if self._around.settings.leader_election:
            await self._leadership.run(self._work)
        else:
            await self._work()

    async def _work(self) -> None:
        """Watch and tick, until one of them ends."""
        await self._first_list()
        ready = asyncio.Event()
        around = self._around
        hpas = mirror_autoscalers(self._api, around.world.autoscalers, around.clock)
        # Before kopf: it takes every task that is younger than itself for one of its own at its
        # end.
        parts = [
            asyncio.create_task(self._begin(ready, hpas.tried), name="loop"),
            asyncio.create_task(hpas.run(), name="autoscalers"),
            asyncio.create_task(sweep(self._api, self._around.world), name="sweep"),
        ]
        parts.append(asyncio.create_task(watch(self._around.world, ready), name="kopf"))
        try:
            await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await self._end_loop(parts[0])
            for part in parts:
                part.cancel()
            results = await asyncio.gather(*parts, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _end_loop(self, ticking: asyncio.Task[None]) -> None:
        """Before kopf ends, which would cancel ticks under way."""
        ticking.cancel()
        if self._around.settings.leader_election and not self._leadership.leads:
            return
        try:
            async with asyncio.timeout(END_S):
                await self._loop.end()
        except TimeoutError:
            logs.event("ended_late", after_s=END_S)

    async def _begin(self, ready: asyncio.Event, listed: asyncio.Event) -> None:
        await ready.wait()
        try:
            async with asyncio.timeout(AUTOSCALERS_S):
                await listed.wait()
        except TimeoutError:
            logs.event("autoscalers_unknown", after_s=AUTOSCALERS_S)
        # kopf has put its own handlers in place of ours by now.
        self._obey_signals()
        await self._loop.run()

    async def _first_list(self) -> None:
        """Fill the tables, so that the first tick sees the whole world."""
        told = False
        while True:
            try:
                await sweep_policies(self._api, self._around.world)
                await sweep_pods(self._api, self._around.world)
                return
            except ApiError as error:
                if not told:
                    logs.event("waiting_for_api", status=error.status, error=str(error)[:300])
                told = True
                await asyncio.sleep(FIRST_LIST_S)

    def _obey_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)

    async def _end(self) -> None:
        try:
            async with asyncio.timeout(END_S):
                await self._leadership.release(self._api)
        except TimeoutError:
            logs.event("ended_late", after_s=END_S)
        await self._door.close()
