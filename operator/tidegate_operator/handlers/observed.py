"""One policy's demand, asked of the Prometheus that the policy names.

Law: a tick waits for one instant query. A history is asked for in the background; only the first
is waited for, some seconds, so that a restart does not decide a minute long as if there were none.
What a Secret holds goes into headers and nowhere else.
"""

import asyncio
import base64
import binascii
import re
from dataclasses import replace
from typing import Protocol

from tidegate_operator import logs
from tidegate_operator.cluster import paths
from tidegate_operator.cluster.client import Api, ApiError
from tidegate_operator.crd.spec import PolicySpec
from tidegate_operator.crd.spec_source import PrometheusSpec
from tidegate_operator.decide.words import DataState, Demand
from tidegate_operator.ledger.observed import ObservedDemand
from tidegate_operator.sources.prometheus import (
    STEP_S,
    Answer,
    Points,
    PrometheusError,
    Server,
)
from tidegate_operator.sources.promql import sidecar_query

HEADERS_S = 60.0
"""How long headers are used before the Secret is read again; after a failure, at once."""
HISTORY_AGAIN_S = 60.0
"""How long after a history that could not be read it is asked for again."""
FIRST_HISTORY_S = 5.0
"""Real seconds; two weeks of minutes take a Prometheus less than one."""
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[ -~\t]*")


class Servers(Protocol):
    """What is asked of ``sources.prometheus.Prometheus``."""

    async def instant(
        self, server: Server, query: str, *, now: float, max_age_s: float
    ) -> Answer: ...

    async def range(
        self, server: Server, query: str, *, start: float, end: float, step_s: int = STEP_S
    ) -> Points: ...


class SecretError(Exception):
    """A Secret can't be used for headers; the text names it and its keys, never a value."""


class Observed:
    """Asks for one policy."""

    def __init__(self, api: Api, servers: Servers, namespace: str, name: str) -> None:
        self._api = api
        self._servers = servers
        self._namespace = namespace
        self._where = {"namespace": namespace, "policy": name}
        self._source: tuple[PrometheusSpec, str] | None = None
        self._demand = ObservedDemand()
        self._headers: tuple[float, dict[str, str]] | None = None
        """When they were read, and they."""
        self._filling: asyncio.Task[None] | None = None
        self._fill_after = 0.0
        self._fill_problem = ""

    async def look(self, spec: PolicySpec, now: float) -> None:
        """Ask for the present, and begin to ask for what of the past is missing."""
        if spec.prometheus is None:
            return
        query = spec.prometheus.query or sidecar_query(self._namespace, spec.target)
        first = await self._turn_to((spec.prometheus, query))
        try:
            server = await self._server(spec.prometheus, now)
        except SecretError as error:
            self._demand.read(now, DataState.ERROR, None, why=str(error))
            return
        max_age_s = spec.rules.scaling.max_age_s
        answer = await self._servers.instant(server, query, now=now, max_age_s=max_age_s)
        if answer.state is DataState.ERROR:
            self._headers = None
        self._demand.read(now, answer.state, answer.value, age_s=answer.age_s, why=answer.message)
        self._fill(server, query, now)
        if first and self._filling is not None:
            await asyncio.wait({self._filling}, timeout=FIRST_HISTORY_S)

    async def _turn_to(self, source: tuple[PrometheusSpec, str]) -> bool:
        """Begin anew, and say so, where it is another source than before."""
        if source == self._source:
            return False
        await self.close()
        self._source = source
        self._demand, self._headers, self._fill_after = ObservedDemand(), None, 0.0
        return True

    def demand(self, now: float, max_age_s: float, by_sidecars: Demand) -> Demand:
        """As it was told; how long requests take and what they hold, only sidecars know."""
        told = self._demand.demand(now, max_age_s)
        # Where no pod has a sidecar, nobody counts what is in flight: that nothing arrives, for as
        # long as the policy wants, is then all that a target's sleep can go by.
        alone = by_sidecars.state is DataState.ABSENT and by_sidecars.reporting == 0
        return replace(
            by_sidecars,
            state=told.state,
            rps=told.rps,
            peak_rps=told.peak_rps,
            age_s=told.age_s,
            message=told.message,
            in_flight=0 if alone and told.rps == 0 else by_sidecars.in_flight,
            # A query without a series is what no traffic looks like to Prometheus. That sidecars
            # have counted no arrival for minutes bears it out; that they are idle at the moment
            # does not.
            reporting=by_sidecars.reporting if _is_quiet(by_sidecars) else 0,
            estimated=0.0,
        )

    def minutes(self) -> tuple[int, tuple[int | None, ...]]:
        """First unix minute, and requests per minute from there; ``None`` is missing."""
        return self._demand.minutes()

    async def settled(self) -> None:
        """Wait for a history that is being asked for."""
        if self._filling is not None:
            await asyncio.gather(self._filling, return_exceptions=True)

    async def close(self) -> None:
        if self._filling is not None:
            self._filling.cancel()
            await self.settled()
            self._filling = None

    def _fill(self, server: Server, query: str, now: float) -> None:
        busy = self._filling is not None and not self._filling.done()
        if busy or now < self._fill_after:
            return
        span = self._demand.missing(now)
        if span is not None:
            self._fill_after = now + HISTORY_AGAIN_S
            self._filling = asyncio.create_task(self._ask_history(server, query, *span))

    async def _ask_history(self, server: Server, query: str, first: int, last: int) -> None:
        try:
            points = await self._servers.range(
                server, query, start=(first + 1) * 60.0, end=(last + 1) * 60.0
            )
        except PrometheusError as error:
            if str(error) != self._fill_problem:
                self._fill_problem = str(error)
                logs.event("history_unreadable", **self._where, problem=str(error))
            return
        self._fill_problem = ""
        # What is told at a minute's end is of that minute.
        self._demand.fill(first, last, {round(at / 60) - 1: max(0.0, v) for at, v in points})
        logs.event("history_read", **self._where, minutes=len(points))

    async def _server(self, spec: PrometheusSpec, now: float) -> Server:
        if not spec.headers_secret:
            return Server(url=spec.url)
        if self._headers is None or now - self._headers[0] >= HEADERS_S:
            headers = await read_headers(self._api, self._namespace, spec.headers_secret)
            self._headers = now, headers
        return Server(url=spec.url, headers=self._headers[1])


async def read_headers(api: Api, namespace: str, name: str) -> dict[str, str]:
    """A Secret's keys and values as headers; a newline at a value's end is left out, since editors
    and ``base64`` put it there.

    Raises:
        SecretError: it can't be read, or something in it is no header.
    """
    where = f"Secret {namespace}/{name}"
    try:
        secret = await api.get(paths.secret(namespace, name))
    except ApiError as error:
        hint = ": name it in the chart's prometheus.secrets" if error.status == 403 else ""
        raise SecretError(f"{where} can't be read ({error.status} {error.reason}){hint}") from None
    headers = {}
    for key, encoded in (secret.get("data") or {}).items():
        try:
            value = base64.b64decode(encoded, validate=True).decode().rstrip("\r\n")
        except (binascii.Error, UnicodeDecodeError, TypeError, ValueError):
            raise SecretError(f"{where}: key {key} must hold text") from None
        if not _NAME.fullmatch(key) or not _VALUE.fullmatch(value):
            raise SecretError(f"{where}: key {key} and its value must make one HTTP header")
        headers[key] = value
    return headers


def _is_quiet(by_sidecars: Demand) -> bool:
    present = by_sidecars.state is DataState.PRESENT
    return present and by_sidecars.rps == 0 and by_sidecars.peak_rps == 0
