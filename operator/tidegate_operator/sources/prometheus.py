"""Demand and its history, asked of a server that speaks Prometheus' HTTP API.

Law: an answer is a value, and what kind it is stands in it: a number (0 is one), none at all, not
a number, several, too old, or a failure. None of these is ever taken for another. What a request
carries in its headers is in no message.
"""

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Self

import aiohttp

from tidegate_operator.decide.words import DataState
from tidegate_operator.replay.trace import Counts, Trace, TraceError, parse_trace

MAX_POINTS = 11_000
"""Of one range request; Prometheus refuses more ("exceeded maximum resolution of 11,000 points
per timeseries", web/api/v1/api.go)."""
MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""One series of 11,000 points takes a third of a megabyte: more is a query without its sum()."""
TRIES = 2
RETRY_AFTER_S = 0.5
"""Real seconds; a tick comes again soon anyway."""
TIMEOUT_S = 5.0
"""Real seconds for one try of an instant query: a third of a tick."""
HISTORY_TIMEOUT_S = 60.0
"""For one try of a range query; Prometheus itself gives up after two minutes."""
STEP_S = 60
MIN_LOOKBACK_S = 150.0
"""A sample is at least so long as good as new: Prometheus scrapes every minute unless it is told
otherwise, and one scrape that is missed is no outage."""
LAST_SEEN_WITHIN_S = 3600.0
"""How far back an answer that is missing now is looked for, to say since when."""
WHOLE = {"partial_response": "false", "deny_partial_response": "1"}
"""A part of the demand is no demand: tells Thanos and a VictoriaMetrics cluster to fail where a
store is away, rather than to answer with what the others have."""
_TRANSIENT = (429, 502, 503, 504)
_MAX_NAMED = 3
_MAX_TEXT = 200


class Kind(StrEnum):
    """What an instant query came to."""

    VALUE = "Value"
    EMPTY = "Empty"
    """No series, now or in the last hour."""
    STALE = "Stale"
    """No series now; there was one."""
    NOT_A_NUMBER = "NotANumber"
    SEVERAL = "SeveralSeries"
    FAILED = "Failed"


_STATES = {
    Kind.VALUE: DataState.PRESENT,
    Kind.EMPTY: DataState.ABSENT,
    Kind.STALE: DataState.STALE,
    Kind.NOT_A_NUMBER: DataState.ERROR,
    Kind.SEVERAL: DataState.ERROR,
    Kind.FAILED: DataState.ERROR,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Of one instant query."""

    kind: Kind
    value: float | None = None
    """Only of ``VALUE``, and of ``STALE`` the last one."""
    age_s: float = 0.0
    message: str = ""
    """Why there is no value, for people."""

    @property
    def state(self) -> DataState:
        return _STATES[self.kind]


class PrometheusError(Exception):
    """A query has no usable answer; the text says which server, what and why, and no secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Whom to ask, and with which headers."""

    url: str
    """Base of the API, without ``/api/v1`` and without a slash at its end."""
    headers: Mapping[str, str] | None = None

    def __repr__(self) -> str:
        return f"Server({self.url})"


Points = Sequence[tuple[float, float]]
"""(unix seconds, value), oldest first; where the server has no number there is no point."""


class Prometheus:
    """A shared session towards all servers that policies name."""

    def __init__(self, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(trust_env=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def instant(self, server: Server, query: str, *, now: float, max_age_s: float) -> Answer:
        """The query's one value at ``now``; samples older than ``max_age_s`` (and
        ``MIN_LOOKBACK_S``) don't count.

        How far back a server looks for a series' last sample is asked of it: ``lookback_delta`` of
        Prometheus, ``max_lookback`` of VictoriaMetrics. Where a server doesn't know that, such as
        Prometheus 2.42, it is 5 min. A range within the query, such as ``[2m]``, looks back on its
        own.
        """
        lookback = _lookback(max_age_s)
        try:
            asked: dict[str, str | float] = {"query": query, "time": now, **lookback}
            data = await self._ask(server, "query", asked, self._timeout_s)
            answer = read_instant(data)
            if answer.kind is not Kind.EMPTY:
                return answer
            start = now - LAST_SEEN_WITHIN_S
            points = await self._range(
                server, query, start, now, STEP_S, lookback, self._timeout_s
            )
        except PrometheusError as error:
            return Answer(kind=Kind.FAILED, message=str(error))
        if not points:
            return answer
        at, value = points[-1]
        words = f"the query has had no answer for {_minutes(now - at)}"
        return Answer(kind=Kind.STALE, value=value, age_s=now - at, message=words)

    async def range(
        self, server: Server, query: str, *, start: float, end: float, step_s: int = STEP_S
    ) -> Points:
        """The query's one series in [``start``, ``end``], in as many requests as it takes.

        Raises:
            PrometheusError: any of the requests has no usable answer.
        """
        points: list[tuple[float, float]] = []
        for first, last in chunks(start, end, step_s):
            points += await self._range(server, query, first, last, step_s, {}, HISTORY_TIMEOUT_S)
        return points

    async def _range(
        self,
        server: Server,
        query: str,
        start: float,
        end: float,
        step_s: int,
        options: Mapping[str, str],
        timeout_s: float,
    ) -> Points:
        # Without ``nocache`` VictoriaMetrics moves start and end to suit its cache.
        asked: dict[str, str | float] = {"query": query, "nocache": "1", **options}
        asked |= {"start": start, "end": end, "step": step_s}
        return read_range(await self._ask(server, "query_range", asked, timeout_s))

    async def _ask(
        self,
        server: Server,
        path: str,
        params: Mapping[str, str | float],
        timeout_s: float,
    ) -> Mapping[str, Any]:
        """``data`` of the answer."""
        for left in reversed(range(TRIES)):
            try:
                status, raw = await self._post(server, path, params, timeout_s)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                problem = f"{server.url} can't be reached: {_describe(error)}"
            else:
                if status not in _TRANSIENT:
                    return _data(server, status, raw)
                problem = f"{server.url} answered {status}: {_said(raw, server)}"
            if left:
                await asyncio.sleep(RETRY_AFTER_S)
        raise PrometheusError(problem)

    async def _post(
        self, server: Server, path: str, params: Mapping[str, str | float], timeout_s: float
    ) -> tuple[int, bytes]:
        if self._session is None:
            raise RuntimeError("Prometheus must be entered before it is asked")
        # By POST a query of any length passes; a redirect would carry the headers elsewhere.
        async with self._session.post(
            f"{server.url}/api/v1/{path}",
            data={name: str(value) for name, value in {**params, **WHOLE}.items()},
            headers=server.headers,
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            allow_redirects=False,
        ) as answer:
            raw = bytearray()
            async for chunk in answer.content.iter_any():
                raw += chunk
                if len(raw) > MAX_ANSWER_BYTES:
                    size = MAX_ANSWER_BYTES >> 20
                    raise PrometheusError(
                        f"{server.url} answered more than {size} MiB: the query must come to one"
                        " series: sum() it"
                    )
            return answer.status, bytes(raw)


async def history(
    url: str,
    query: str,
    days: float,
    headers: Mapping[str, str] | None = None,
    *,
    now: float,
    beside: Mapping[str, str] | None = None,
) -> Trace:
    """The last ``days`` of a query that gives requests per second, as a trace in minutes, and
    series ``beside`` (name to query) that have anything to say of it.

    What the server doesn't have is missing (``None``), not 0; leading such minutes are left out.

    Raises:
        PrometheusError: the server can't be asked, or has no number in that time.
    """
    server = Server(url=url.rstrip("/"), headers=headers)
    end = now - now % STEP_S
    asked = {"": query, **(beside or {})}
    async with Prometheus() as prometheus:
        start = end - days * 86400 + STEP_S
        found = {
            name: await prometheus.range(server, each, start=start, end=end, step_s=STEP_S)
            for name, each in asked.items()
        }
    points = found.pop("")
    try:
        trace = trace_of(f"{server.url}: {query}", points)
        others = ((name, _along(trace, values)) for name, values in found.items() if values)
        return replace(trace, beside=tuple(others))
    except TraceError as error:
        raise PrometheusError(f"{error}; its last {days:g} days were asked for") from error


def _along(trace: Trace, points: Points) -> Counts:
    """What a series says of each minute of ``trace``."""
    said = {round((at - STEP_S - trace.start) / STEP_S): max(0.0, value) for at, value in points}
    return tuple(said.get(minute) for minute in range(len(trace)))


def trace_of(name: str, points: Points) -> Trace:
    """Requests per second at the end of each minute, as requests in that minute.

    Raises:
        TraceError: there are fewer than two.
    """
    rows = (f"{at - STEP_S:.0f},{max(0.0, value) * STEP_S!r}" for at, value in points)
    return parse_trace(["timestamp,requests", *rows], name)


def chunks(start: float, end: float, step_s: int) -> list[tuple[float, float]]:
    """[``start``, ``end``] in steps, cut so that none holds more than ``MAX_POINTS`` and none is
    asked twice; both ends of each are on the grid that begins at ``start``."""
    steps = math.floor((end - start) / step_s + 1e-9)
    return [
        (start + first * step_s, start + min(first + MAX_POINTS - 1, steps) * step_s)
        for first in range(0, steps + 1, MAX_POINTS)
    ]


def read_instant(data: Mapping[str, Any]) -> Answer:
    """One value out of a vector or a scalar.

    Raises:
        PrometheusError: it is neither, or not what the API promises.
    """
    kind, result = data.get("resultType"), data.get("result")
    try:
        if kind == "scalar":
            return _number(result[1])  # type: ignore[index]  # else: TypeError, below
        if kind != "vector" or not isinstance(result, list):
            raise PrometheusError(f"the query must give a vector or a scalar, was: {kind}")
        if not result:
            return Answer(kind=Kind.EMPTY, message="the query has no answer: no series matches")
        if len(result) > 1:
            return Answer(kind=Kind.SEVERAL, message=_several(result))
        return _number(result[0]["value"][1])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise PrometheusError(f"the answer can't be read: {error!r:.80}") from None


def _number(text: Any) -> Answer:
    value = float(text)
    if math.isfinite(value) and value >= 0:
        return Answer(kind=Kind.VALUE, value=value)
    why = "is a division by no traffic in it?" if math.isnan(value) else "it must be a rate"
    return Answer(kind=Kind.NOT_A_NUMBER, message=f"the query gives {text}: {why}")


def read_range(data: Mapping[str, Any]) -> Points:
    """The one series of a matrix; empty where there is none. NaN and infinities are left out.

    Raises:
        PrometheusError: there are several, or the answer is not what the API promises.
    """
    kind, result = data.get("resultType"), data.get("result")
    if kind != "matrix" or not isinstance(result, list):
        raise PrometheusError(f"the answer must be a matrix, was: {kind}")
    if len(result) > 1:
        raise PrometheusError(_several(result))
    try:
        values = [(float(at), float(value)) for one in result for at, value in one["values"]]
    except (KeyError, TypeError, ValueError) as error:
        raise PrometheusError(f"the answer can't be read: {error!r:.80}") from None
    return [(at, value) for at, value in values if math.isfinite(value)]


def _several(result: Sequence[Mapping[str, Any]]) -> str:
    names = ", ".join(_series(one.get("metric") or {}) for one in result[:_MAX_NAMED])
    more = len(result) - _MAX_NAMED
    rest = f" and {more} more" if more > 0 else ""
    return f"the query gives {len(result)} series and must give one: sum() it; {names}{rest}"


def _series(labels: Mapping[str, str]) -> str:
    pairs = [f'{name}="{value}"' for name, value in labels.items() if name != "__name__"]
    return f"{labels.get('__name__', '')}{{{','.join(pairs)}}}"[:_MAX_TEXT]


def _data(server: Server, status: int, raw: bytes) -> Mapping[str, Any]:
    try:
        body = json.loads(raw)
    except ValueError:
        body = None
    if status == 200 and isinstance(body, dict) and body.get("status") == "success":
        data = body.get("data")
        if body.get("isPartial"):
            raise PrometheusError(f"{server.url} answered in part: some of its stores are away")
        if isinstance(data, dict):
            return data
    raise PrometheusError(f"{server.url} answered {status}: {_said(raw, server)}")


def _said(raw: bytes, server: Server) -> str:
    """What a server says of its refusal, without what it was sent: some echo a request's headers.

    Only Prometheus' own error text; any other page is somebody else's business.
    """
    try:
        body = json.loads(raw)
        text = str(body["error"])
    except (ValueError, KeyError, TypeError):
        return "not an answer of Prometheus' API"
    for value in (server.headers or {}).values():
        for part in {value, *value.split()}:
            text = text.replace(part, "***")
    return " ".join(text.split())[:_MAX_TEXT]


def _describe(error: Exception) -> str:
    """Without the ``repr``, which may hold headers."""
    return "no answer in time" if isinstance(error, TimeoutError) else f"{error}"[:_MAX_TEXT]


def _lookback(max_age_s: float) -> dict[str, str]:
    text = f"{round(max(max_age_s, MIN_LOOKBACK_S))}s"
    return {"lookback_delta": text, "max_lookback": text}


def _minutes(seconds: float) -> str:
    return f"{max(1, round(seconds / 60))} min"
