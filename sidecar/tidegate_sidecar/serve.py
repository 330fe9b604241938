"""One sidecar's life: stand up, serve, leave.

Law: the ports are bound before anything else is tried, so that a taken one is known at once;
nobody is served before the first attempt to get a config has ended, so that a standing order to
block is not missed; and after that nothing but a signal ends the process.
"""

import asyncio
import gc
import secrets
import signal
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any
from urllib.request import getproxies

from tidegate_sidecar import bounds
from tidegate_sidecar.admin import Doors, open_doors
from tidegate_sidecar.agent import ConfigAgent, FileAgent, HubAgent
from tidegate_sidecar.dial import Dialer
from tidegate_sidecar.exposition import exposition
from tidegate_sidecar.inforce import ConfigInForce
from tidegate_sidecar.leave import Leaving, Told
from tidegate_sidecar.listen import Listener
from tidegate_sidecar.logs import Log, RanOut, Uncaught
from tidegate_sidecar.meter import Meter
from tidegate_sidecar.proxy import Proxy
from tidegate_sidecar.scrape import EngineScraper
from tidegate_sidecar.settings import Address, InvalidSettingError, SidecarSettings
from tidegate_sidecar.version import data_path
from tidegate_sidecar.ways import Way
from tidegate_wire.clock import Clock
from tidegate_wire.config import SidecarConfig
from tidegate_wire.stats import SidecarStats

FIRST_CONFIG_REAL_S = 3.0
"""Longest wait for a first config before serving without one, in real seconds: a
pod's start should take no longer.
"""
HURRIED = 1
"""Exit code after a second signal: requests may have been cut."""


async def serve(settings: SidecarSettings, clock: Clock, log: Log) -> int:
    """Run until told to leave; returns the exit code. Raises ``InvalidSettingError`` where it
    cannot start.
    """
    sidecar = _Sidecar(settings, clock, log)
    try:
        await sidecar.stand_up()
        return await sidecar.stay()
    finally:
        await sidecar.close()


class _Sidecar:
    """The parts, joined."""

    def __init__(self, settings: SidecarSettings, clock: Clock, log: Log) -> None:
        self._settings = settings
        self._clock = clock
        self._log = log
        self._boot = secrets.token_hex(8)
        self._loop = asyncio.get_running_loop()
        self._meter = Meter()
        self._proxy = _proxy(settings, clock, self._meter, log, self._loop)
        self._in_force = ConfigInForce(
            apply=self._apply,
            failed=self._meter.failures,
            log=log,
            state_dir=settings.state_dir,
        )
        self._agent = self._choose_agent()
        self._on_exit = AsyncExitStack()
        self._told = Told(self._stats)
        self._has_policy = False
        self._loop.set_exception_handler(Uncaught(log, self._meter.failures))
        self._asked, self._hurried = asyncio.Event(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._on_signal)

    def _apply(self, config: SidecarConfig) -> None:
        had_policy, self._has_policy = self._has_policy, bool(config.policy)
        self._proxy.configure(config)
        if had_policy and not config.policy:
            self._told.policy_gone()

    async def stand_up(self) -> None:
        settings = self._settings
        self._on_exit.push_async_callback(self._proxy.close)
        proxy = self._proxy
        self._inbound = await self._bind("--listen", settings.listen, proxy.client)
        self._outbound = await self._bind(
            "--outbound", settings.outbound_listen, proxy.outbound_client
        )
        self._leaving = Leaving(
            proxy=proxy,
            stop_listening=self._stop_listening,
            told=self._told,
            clock=self._clock,
            log=self._log,
            accept_s=settings.drain_accept_s,
            linger_s=settings.linger_s,
        )
        doors = Doors(
            metrics=lambda openmetrics: exposition(self._meter, openmetrics=openmetrics),
            told=self._told,
            leaving=self._leaving,
        )
        try:
            runner, admin = await open_doors(doors, settings.admin)
        except OSError as error:
            raise _unusable("--admin", settings.admin, error) from error
        self._on_exit.push_async_callback(runner.cleanup)
        await self._first_config()
        places: dict[str, str] = {}
        if self._inbound is not None:
            places |= {"listen": self._inbound.begin(), "upstream": settings.upstream}
        if self._outbound is not None:
            places["outbound"] = self._outbound.begin()
            places["openai_upstream"] = settings.openai_upstream
            places["anthropic_upstream"] = settings.anthropic_upstream
        self._watch_engine()
        self._log("started", **places, admin=str(admin), data_path=data_path())
        doors.started = True
        # What start-up made lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()

    async def _bind(
        self, flag: str, address: Address | None, client: Callable[[], asyncio.Protocol]
    ) -> "_Listener | None":
        """Take the port, without letting anyone in."""
        if address is None:
            return None
        door = Listener(self._proxy, client, self._loop)
        try:
            await door.bind(*address)
        except OSError as error:
            raise _unusable(flag, address, error) from error
        self._on_exit.callback(door.close)
        return _Listener(door, flag, address)

    def _stop_listening(self) -> None:
        if self._inbound is not None:
            self._inbound.close()
        if self._asked.is_set():
            self._stop_calls_out()

    def _stop_calls_out(self) -> None:
        """Not before we are told to end: an app calls out until it ends, and the kubelet tells
        sidecars last."""
        if self._outbound is not None:
            self._outbound.close()

    async def stay(self) -> int:
        """Serve until told to leave, then leave; a second signal stops at once."""
        first = await _first(self._leave(), self._leaving.unclaimed(), self._hurried.wait())
        code = HURRIED if first == 2 else 0
        # Without a reader nothing was owed; with one, whether anything is not known to be kept.
        owed = self._told.anyone and not self._told.everything
        self._log("stopped", in_flight=self._proxy.in_flight, code=code, unread=owed)
        return code

    async def close(self) -> None:
        await self._on_exit.aclose()

    def _on_signal(self) -> None:
        (self._hurried if self._asked.is_set() else self._asked).set()

    async def _leave(self) -> None:
        await self._asked.wait()
        if self._leaving.begun:
            self._stop_calls_out()
        await self._leaving.drained()
        await self._leaving.counted()

    async def _first_config(self) -> None:
        self._in_force.restore()
        if self._agent is None:
            return
        self._on_exit.callback(asyncio.create_task(self._agent.run()).cancel)
        if self._in_force.hash and self._settings.config_file is None:
            return
        try:
            await asyncio.wait_for(self._agent.tried.wait(), FIRST_CONFIG_REAL_S)
        except TimeoutError:
            pass  # The agent goes on, and says itself what it waits for.

    def _watch_engine(self) -> None:
        """By its own metrics; behind TLS a model server is taken for none of the pod's."""
        settings = self._settings
        if self._inbound is None or not settings.upstream.startswith("http://"):
            return
        if not settings.engine_metrics_s:
            return
        scraper = EngineScraper(
            settings.upstream, self._clock, self._meter.set_engine, settings.engine_metrics_s
        )
        self._on_exit.callback(asyncio.create_task(scraper.run()).cancel)

    def _choose_agent(self) -> ConfigAgent | None:
        settings = self._settings
        if settings.config_file:
            return FileAgent(file=settings.config_file, clock=self._clock, in_force=self._in_force)
        if settings.hub_url:
            return HubAgent(
                settings=settings, clock=self._clock, in_force=self._in_force, log=self._log
            )
        return None

    def _stats(self) -> SidecarStats:
        return self._meter.stats(
            pod_uid=self._settings.pod_uid,
            boot=self._boot,
            config_hash=self._in_force.hash,
            config_state=self._in_force.state,
            config_error=self._in_force.error,
        )


class _Listener:
    """A port that is ours, and whom it is for."""

    def __init__(self, door: Listener, flag: str, address: Address) -> None:
        self._door = door
        self._flag = flag
        self._address = address
        self.close = door.close

    def begin(self) -> str:
        """Let clients in; where, as ``host:port``."""
        place = Address(*self._door.address)
        try:
            self._door.start()
        except OSError as error:
            # Two that have bound but not yet listen do not see each other; the later hears it now.
            raise _unusable(self._flag, self._address, error) from error
        return str(place)


def _proxy(
    settings: SidecarSettings,
    clock: Clock,
    meter: Meter,
    log: Log,
    loop: asyncio.AbstractEventLoop,
) -> Proxy:
    outbound = None
    if settings.outbound_listen is not None:
        outbound = Way(settings.openai_upstream, settings.anthropic_upstream)
    room = bounds.room_within(
        bounds.raise_descriptors(),
        bounds.memory_limit(),
        max_bytes=settings.max_buffered_bytes,
        max_connections=settings.max_connections,
    )
    try:
        return Proxy(
            local_upstream=settings.upstream,
            clock=clock,
            meter=meter,
            loop=loop,
            dialer=Dialer(getproxies(), ca=settings.upstream_ca),
            outbound=outbound,
            room=room,
            ran_out=RanOut(log, meter.failures, clock),
        )
    except ValueError as error:
        raise InvalidSettingError(str(error)) from error


async def _first(*ways: Coroutine[Any, Any, object]) -> int:
    """Index of the coroutine that returns first; the others are cancelled."""
    tasks = [asyncio.create_task(way) for way in ways]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    for task in done:
        task.result()
    return min(tasks.index(task) for task in done)


def _unusable(flag: str, address: Address, error: OSError) -> InvalidSettingError:
    # The event loop's own text repeats the address and more; the system's reason is what helps.
    reason = (error.strerror or str(error)).rpartition(": ")[2].lower()
    return InvalidSettingError(
        f"{flag} must be an address that is free ({reason}), was: {address}"
    )
