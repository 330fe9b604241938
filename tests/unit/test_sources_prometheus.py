"""An answer of a Prometheus is never taken for another kind of answer, names that we put into a
query stay names, and what a request carries in its headers is said nowhere."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from tidegate_operator.crd.spec import TargetRef
from tidegate_operator.decide.words import DataState
from tidegate_operator.sources.prometheus import (
    MAX_ANSWER_BYTES,
    MAX_POINTS,
    Answer,
    Kind,
    Prometheus,
    PrometheusError,
    Server,
    chunks,
    history,
    read_instant,
    read_range,
)
from tidegate_operator.sources.promql import quote, quote_regex, sidecar_query

NOW = 1_767_225_600.0
TOKEN = "eyJhbGciOi.topsecret"


def vector(*values: str) -> dict[str, Any]:
    result = [
        {"metric": {"__name__": "rps", "pod": f"p{n}"}, "value": [NOW, value]}
        for n, value in enumerate(values)
    ]
    return {"resultType": "vector", "result": result}


def matrix(*series: list[tuple[float, str]]) -> dict[str, Any]:
    result = [{"metric": {"pod": f"p{n}"}, "values": s} for n, s in enumerate(series)]
    return {"resultType": "matrix", "result": result}


# --- what an answer is --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "kind", "value", "state"),
    [
        pytest.param(vector("12.5"), Kind.VALUE, 12.5, DataState.PRESENT, id="a number is one"),
        pytest.param(vector("0"), Kind.VALUE, 0.0, DataState.PRESENT, id="zero is a number"),
        pytest.param(
            {"resultType": "scalar", "result": [NOW, "3"]},
            *(Kind.VALUE, 3.0, DataState.PRESENT),
            id="a scalar is a number",
        ),
        pytest.param(vector(), Kind.EMPTY, None, DataState.ABSENT, id="no series is no zero"),
        pytest.param(
            vector("NaN"),
            Kind.NOT_A_NUMBER,
            None,
            DataState.ERROR,
            id="NaN is neither",
        ),
        pytest.param(
            vector("+Inf"), Kind.NOT_A_NUMBER, None, DataState.ERROR, id="infinity is no rate"
        ),
        pytest.param(
            vector("-1"),
            Kind.NOT_A_NUMBER,
            None,
            DataState.ERROR,
            id="a rate is not below 0",
        ),
        pytest.param(
            vector("1", "2"),
            *(Kind.SEVERAL, None, DataState.ERROR),
            id="of two series neither is the demand",
        ),
    ],
)
def test_an_answer_is_told_apart(
    data: dict[str, Any], kind: Kind, value: float | None, state: DataState
) -> None:
    answer = read_instant(data)
    assert (answer.kind, answer.value, answer.state) == (kind, value, state)
    assert bool(answer.message) is (kind is not Kind.VALUE)


def test_several_series_are_named_and_the_way_out_is_said() -> None:
    message = read_instant(vector("1", "2", "3", "4", "5")).message
    assert message == (
        "the query gives 5 series and must give one: sum() it; "
        'rps{pod="p0"}, rps{pod="p1"}, rps{pod="p2"} and 2 more'
    )


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({}, id="nothing at all"),
        pytest.param({"resultType": "string", "result": [NOW, "a"]}, id="a string"),
        pytest.param(matrix([(NOW, "1")]), id="a matrix"),
        pytest.param({"resultType": "vector", "result": None}, id="no list"),
        pytest.param({"resultType": "vector", "result": [{}]}, id="a series without a value"),
        pytest.param({"resultType": "vector", "result": [{"value": [NOW, "x"]}]}, id="a word"),
        pytest.param({"resultType": "scalar", "result": []}, id="a scalar without a value"),
    ],
)
def test_what_is_no_answer_of_an_instant_query_is_an_error(data: dict[str, Any]) -> None:
    with pytest.raises(PrometheusError):
        read_instant(data)


def test_of_a_range_what_is_no_number_is_no_point() -> None:
    data = matrix([(NOW, "1"), (NOW + 60, "NaN"), (NOW + 120, "+Inf"), (NOW + 180, "0")])
    assert read_range(data) == [(NOW, 1.0), (NOW + 180, 0.0)]
    assert read_range(matrix()) == []


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(matrix([(NOW, "1")], [(NOW, "2")]), id="two series"),
        pytest.param(vector("1"), id="a vector"),
        pytest.param({"resultType": "matrix", "result": [{"values": [1]}]}, id="no pairs"),
    ],
)
def test_what_is_no_answer_of_a_range_query_is_an_error(data: dict[str, Any]) -> None:
    with pytest.raises(PrometheusError):
        read_range(data)


@given(
    steps=st.integers(0, 60_000),
    step_s=st.sampled_from([15, 60, 300]),
    start=st.integers(0, 2**31),
)
def test_chunks_hold_each_step_once_and_never_more_than_a_server_gives(
    steps: int, step_s: int, start: int
) -> None:
    asked: list[float] = []
    for first, last in chunks(start, start + steps * step_s, step_s):
        points = [first + n * step_s for n in range(round((last - first) / step_s) + 1)]
        assert 1 <= len(points) <= MAX_POINTS
        asked += points
    assert asked == [start + n * step_s for n in range(steps + 1)]


# --- names in queries ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        pytest.param("big", '"big"', id="a plain name"),
        pytest.param('quo"te', r'"quo\"te"', id="a quote"),
        pytest.param("back\\slash", r'"back\\slash"', id="a backslash"),
        pytest.param("line\nend", r'"line\nend"', id="a newline"),
        pytest.param('\\"', r'"\\\""', id="a backslash before a quote"),
        pytest.param("ünï 🌊 {a=b} 'x'", "\"ünï 🌊 {a=b} 'x'\"", id="what needs no escape"),
    ],
)
def test_a_name_stays_within_its_quotes(value: str, literal: str) -> None:
    assert quote(value) == literal


@given(st.text())
def test_a_quoted_name_reads_back_as_itself(value: str) -> None:
    literal = quote(value)
    body = literal[1:-1]
    assert re.fullmatch(r'"(?:[^"\\\n]|\\["\\n])*"', literal)
    assert re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), body) == value


def test_a_name_in_a_regular_expression_means_itself() -> None:
    assert quote_regex("gpt-4.1+x", "-[0-9]+") == r'"gpt\\-4\\.1\\+x-[0-9]+"'


def test_the_sidecars_query_is_of_the_targets_pods_alone() -> None:
    assert sidecar_query("shop", TargetRef(kind="StatefulSet", name="llama.a")) == (
        'sum(rate(tidegate_requests_total{namespace="shop",pod=~"llama\\\\.a-[0-9]+",'
        'outcome!="blocked"}[2m]))'
    )


# --- a server -----------------------------------------------------------------------------------

Handler = Callable[[web.Request, Mapping[str, Any]], web.Response]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """A server of the query API, and what it was asked."""
    asked: list[dict[str, Any]] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append({"path": request.path, **await request.post()})
        return handler(request, asked[-1])

    app = web.Application()
    app.router.add_post("/base/api/v1/{name}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/base", asked
    finally:
        await runner.cleanup()


def good(data: Mapping[str, Any]) -> web.Response:
    return web.json_response({"status": "success", "data": data})


async def ask(handler: Handler, headers: Mapping[str, str] | None = None) -> Answer:
    async with serving(handler) as (url, _), Prometheus() as prometheus:
        server = Server(url=url, headers=headers)
        return await prometheus.instant(server, "rps", now=NOW, max_age_s=60)


async def test_an_answer_that_is_missing_now_is_looked_for_in_the_last_hour() -> None:
    points = [(NOW - 1800, "3"), (NOW - 1200, "7")]

    def handler(_: web.Request, asked: Mapping[str, Any]) -> web.Response:
        return good(matrix(points) if asked["path"].endswith("_range") else vector())

    answer = await ask(handler)
    assert answer == Answer(
        kind=Kind.STALE,
        value=7.0,
        age_s=1200,
        message="the query has had no answer for 20 min",
    )
    assert answer.state is DataState.STALE


async def test_an_overloaded_server_is_asked_once_more() -> None:
    calls = []

    def handler(_: web.Request, asked: Mapping[str, Any]) -> web.Response:
        calls.append(asked)
        return web.Response(status=503) if len(calls) == 1 else good(vector("2"))

    assert (await ask(handler)).value == 2.0
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("status", "body", "calls", "words"),
    [
        pytest.param(
            *(503, "", 2, "answered 503: not an answer of Prometheus' API"),
            id="an overload that lasts",
        ),
        pytest.param(
            *(
                422,
                '{"status":"error","error":"query\\ntimed out"}',
                1,
                "answered 422: query timed",
            ),
            id="a query that can't be executed",
        ),
        pytest.param(
            *(200, "<html>login</html>", 1, "answered 200: not an answer of Prometheus' API"),
            id="somebody's login page",
        ),
        pytest.param(302, "", 1, "answered 302", id="a redirect, which would take the token away"),
        pytest.param(
            *(200, '{"status":"success","data":[]}', 1, "answered 200"),
            id="an answer of another kind",
        ),
    ],
)
async def test_a_refusal_is_a_failure_with_status_and_text(
    status: int, body: str, calls: int, words: str
) -> None:
    count = 0

    def handler(_: web.Request, __: Mapping[str, Any]) -> web.Response:
        nonlocal count
        count += 1
        headers = {"Location": "http://127.0.0.1:1/"} if status == 302 else None
        return web.Response(status=status, text=body, headers=headers)

    answer = await ask(handler)
    assert (answer.kind, answer.state, count) == (Kind.FAILED, DataState.ERROR, calls)
    assert words in answer.message


async def test_a_part_of_the_demand_is_not_taken_for_it() -> None:
    seen = []

    def handler(_: web.Request, asked: Mapping[str, Any]) -> web.Response:
        seen.append(asked)
        return web.json_response({"status": "success", "isPartial": True, "data": vector("2")})

    answer = await ask(handler)
    assert answer.kind is Kind.FAILED
    assert "some of its stores are away" in answer.message
    assert seen[0]["partial_response"] == "false", "Thanos is told to fail"
    assert seen[0]["deny_partial_response"] == "1", "and so is a VictoriaMetrics cluster"


async def test_a_token_is_sent_and_said_nowhere_even_if_the_server_echoes_it() -> None:
    seen = []

    def handler(request: web.Request, _: Mapping[str, Any]) -> web.Response:
        seen.append(request.headers["Authorization"])
        echo = {"status": "error", "error": f"bad credentials: {seen[-1]} ({TOKEN})"}
        return web.json_response(echo, status=401)

    headers = {"Authorization": f"Bearer {TOKEN}"}
    answer = await ask(handler, headers)
    assert seen == [f"Bearer {TOKEN}"]
    assert "answered 401: bad credentials: ***" in answer.message
    assert TOKEN not in answer.message + repr(answer) + repr(Server(url="a", headers=headers))


async def test_an_answer_without_end_is_not_read_to_its_end() -> None:
    big = b" " * (MAX_ANSWER_BYTES + 1)
    answer = await ask(lambda *_: web.Response(body=big))
    assert answer.kind is Kind.FAILED
    assert "more than 16 MiB" in answer.message


async def test_a_history_is_asked_in_pieces_and_what_is_missing_is_no_zero() -> None:
    def handler(_: web.Request, asked: Mapping[str, Any]) -> web.Response:
        start, end, step = (float(asked[name]) for name in ("start", "end", "step"))
        times = [start + n * step for n in range(round((end - start) / step) + 1)]
        return good(matrix([(at, "0.5") for at in times if at != NOW - 600]))

    async with serving(handler) as (url, asked):
        trace = await history(f"{url}/", "rps", 14, {"X-Scope-OrgID": "a"}, now=NOW + 59)
    assert len(asked) == 2
    assert (trace.start, trace.end, trace.step_s) == (NOW - 14 * 86400, NOW, 60)
    assert trace.requests.count(30.0) == 14 * 1440 - 1
    (gap,) = trace.gaps
    assert (gap.start, gap.end) == (NOW - 660, NOW - 600), "the minute that ends there"


async def test_a_server_that_never_answers_holds_nobody_up() -> None:
    async def never(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.sleep(600)

    server = await asyncio.start_server(never, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with Prometheus(timeout_s=0.1) as prometheus, asyncio.timeout(60):
        url = f"http://127.0.0.1:{port}"
        answer = await prometheus.instant(Server(url=url), "rps", now=NOW, max_age_s=60)
    server.close()
    assert answer.kind is Kind.FAILED
    assert answer.message == f"{url} can't be reached: no answer in time"
