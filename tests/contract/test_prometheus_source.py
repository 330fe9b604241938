"""Demand and its history come whole out of a real Prometheus and a real VictoriaMetrics, and each
kind of answer is told apart, whichever of the two gives it."""

import asyncio
import math
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from debian_server import debian_tool
from prometheus_process import PrometheusProcess
from tidegate_operator.crd.spec import TargetRef
from tidegate_operator.sources.prometheus import (
    Answer,
    Kind,
    Prometheus,
    PrometheusError,
    Server,
    history,
)
from tidegate_operator.sources.promql import sidecar_query
from victoria_process import VictoriaProcess

DAYS = 8
"""More minutes than one request may ask for."""
ODD = 'quo"te\\back\nline'
"""A model's name that a query must not break on."""
POD = "llama-7c9f8b5d6-x2x4z"
FRESH_S = 600
"""How far back the series of the present reach."""


@dataclass(frozen=True)
class Series:
    """Samples of one series, oldest first."""

    name: str
    labels: str
    samples: list[tuple[int, float]]


def rps_at(at: float) -> float:
    """A day's rhythm, different on each day, and nothing for an hour at its lowest."""
    day = at / 86400
    hour = day % 1 * 24
    return 0.0 if 3 <= hour < 4 else 5 + 4 * math.sin(day * 2 * math.pi) + int(day) % 3


def written(now: int) -> list[Series]:
    """What both servers are given, up to ``now``, a whole minute."""
    minutes = range(now - DAYS * 86400, now + 1, 60)
    # An outage of three hours, two days ago.
    known = [at for at in minutes if not 0 < at - (now - 2 * 86400) < 3 * 3600]
    lately = range(now - FRESH_S, now + 1, 15)
    long_ago = range(now - 3 * FRESH_S, now - FRESH_S + 1, 15)
    just_now = range(now - FRESH_S, now - 239, 15)
    labels = f'namespace="shop",pod="{POD}"'
    odd = ODD.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    plain = f'outcome="ok",model="big",{labels}'
    return [
        Series("demand_rps", "", [(at, rps_at(at)) for at in known]),
        Series("zero_rps", "", [(at, 0.0) for at in lately]),
        Series("old_rps", "", [(at, 7.0) for at in long_ago]),
        Series("late_rps", "", [(at, 8.0) for at in just_now]),
        Series("nan_rps", "", [(at, math.nan) for at in lately]),
        Series("pods_rps", 'pod="a"', [(at, 1.0) for at in lately]),
        Series("pods_rps", 'pod="b"', [(at, 2.0) for at in lately]),
        counter(plain, lately, 3.0),
        counter(f'outcome="ok",model="{odd}",{labels}', lately, 1.0),
        counter(f'outcome="blocked",model="big",{labels}', lately, 50.0),
        # Another workload, whose name begins alike, and one of another namespace.
        counter(plain.replace(POD, "llama-chat-7c9f8b5d6-x2x4z"), lately, 70.0),
        counter(plain.replace('"shop"', '"test"'), lately, 90.0),
    ]


def counter(labels: str, times: Iterable[int], rps: float) -> Series:
    samples = [(at, (n + 1) * 15 * rps) for n, at in enumerate(times)]
    return Series("tidegate_requests_total", labels, samples)


def lines(series: list[Series], ms: int = 1) -> str:
    """Text, or with ``ms=1`` OpenMetrics, whose times are seconds."""
    return "".join(
        f"{one.name}{{{one.labels}}} {value} {at * ms}\n"
        for one in series
        for at, value in one.samples
    )


def blocks(folder: Path, series: list[Series]) -> None:
    """A data folder of Prometheus that holds them."""
    families = sorted(series, key=lambda one: one.name)
    text, told = "", ""
    for one in families:
        if one.name != told:
            kind = "counter" if one.name.endswith("_total") else "gauge"
            text += f"# TYPE {one.name.removesuffix('_total')} {kind}\n"
            told = one.name
        text += lines([one])
    (folder / "history.om").write_text(text + "# EOF\n")
    made = subprocess.run(
        [
            *(debian_tool("promtool"), "tsdb", "create-blocks-from", "openmetrics"),
            *(folder / "history.om", folder / "data"),
        ],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert made.returncode == 0, made.stderr.decode()[-2000:]


@asynccontextmanager
async def real_prometheus(folder: Path, series: list[Series]) -> AsyncIterator[str]:
    blocks(folder, series)
    async with PrometheusProcess(folder, {}) as process:
        yield process.url


@asynccontextmanager
async def real_victoria(folder: Path, series: list[Series]) -> AsyncIterator[str]:
    async with VictoriaProcess(folder) as process:
        await process.take(lines(series, 1000))
        yield process.url


@pytest.mark.parametrize(
    ("start", "nan"),
    [
        pytest.param(real_prometheus, Kind.NOT_A_NUMBER, id="Prometheus"),
        # It takes what is not a number for no sample at all.
        pytest.param(real_victoria, Kind.EMPTY, id="VictoriaMetrics"),
    ],
)
@pytest.mark.timeout(180)
async def test_each_kind_of_answer_and_the_history_of_a_real(
    start: Callable[..., AbstractAsyncContextManager[str]], nan: Kind, tmp_path: Path
) -> None:
    now = int(time.time()) // 60 * 60
    async with start(tmp_path, written(now)) as url:
        async with Prometheus() as prometheus:
            await check_kinds(prometheus, Server(url=url), now)
            await check_no_number(prometheus, Server(url=url), now, nan)
            await check_sidecar_queries(prometheus, Server(url=url), now)
        await check_history(url, now)


async def check_kinds(prometheus: Prometheus, server: Server, now: int) -> None:
    async def ask(query: str, max_age_s: float = 60.0) -> Answer:
        return await prometheus.instant(server, query, now=now, max_age_s=max_age_s)

    assert await ask("vector(2.5)") == Answer(kind=Kind.VALUE, value=2.5)
    assert await ask("2.5") == Answer(kind=Kind.VALUE, value=2.5), "a scalar"
    zero = await ask("zero_rps")
    assert (zero.kind, zero.value) == (Kind.VALUE, 0.0)
    assert (await ask("no_such_series")).kind is Kind.EMPTY
    assert (await ask("sum(no_such_series)")).kind is Kind.EMPTY, "an empty sum is not 0"
    old = await ask("old_rps")
    assert (old.kind, old.value) == (Kind.STALE, 7.0)
    assert 200 < old.age_s <= FRESH_S
    assert "no answer for" in old.message
    assert (await ask("late_rps", 300.0)).value == 8.0, "for who takes older ones"
    several = await ask("pods_rps")
    assert several.kind is Kind.SEVERAL
    assert "sum() it" in several.message
    assert 'pods_rps{pod="a"}' in several.message
    assert (await ask("sum(pods_rps)")).value == 3.0
    broken = await ask("sum(")
    assert broken.kind is Kind.FAILED
    assert server.url in broken.message
    assert "parse" in broken.message


async def check_no_number(prometheus: Prometheus, server: Server, now: int, nan: Kind) -> None:
    """A division of nothing by nothing is no zero (dynamo#3131)."""
    for query in ("nan_rps", "vector(0) / vector(0)"):
        answer = await prometheus.instant(server, query, now=now, max_age_s=60)
        assert (answer.kind, answer.value) == (nan, None)
        assert answer.message
    assert await prometheus.range(server, "nan_rps", start=now - 300, end=now) == []


async def test_how_old_a_sample_may_be_is_the_policys_to_say(tmp_path: Path) -> None:
    """An older Prometheus, such as Debian's 2.42, looks back 5 minutes whatever it is asked."""
    now = int(time.time()) // 60 * 60
    async with real_victoria(tmp_path, written(now)) as url, Prometheus() as prometheus:
        server = Server(url=url)
        late = await prometheus.instant(server, "late_rps", now=now, max_age_s=60)
        assert (late.kind, late.value) == (Kind.STALE, 8.0)
        late = await prometheus.instant(server, "late_rps", now=now, max_age_s=250)
        assert (late.kind, late.value) == (Kind.VALUE, 8.0)


async def check_sidecar_queries(prometheus: Prometheus, server: Server, now: int) -> None:
    """The target's pods alone, and of them what was not blocked."""
    for model, rps in {"": 4.0, "big": 3.0, ODD: 1.0}.items():
        query = sidecar_query("shop", TargetRef(kind="Deployment", name="llama"), model)
        answer = await prometheus.instant(server, query, now=now, max_age_s=60)
        assert answer.value == pytest.approx(rps, rel=0.01), query


async def check_history(url: str, now: int) -> None:
    trace = await history(url, "demand_rps", DAYS, now=now + 1.5)
    assert (trace.step_s, trace.end) == (60, now)
    assert len(trace) == DAYS * 1440, "more than one request may ask for"
    (gap,) = trace.gaps
    # The last sample before it counts for as long as the server looks back: five minutes, or as
    # VictoriaMetrics sees fit.
    assert 3 * 3600 - 600 <= gap.end - gap.start <= 3 * 3600
    assert gap.end == now - 2 * 86400 + 3 * 3600 - 60
    for n in range(0, len(trace), 97):
        end = trace.start + (n + 1) * 60
        requests = trace.requests[n]
        if requests is not None and not gap.start - 400 < end < gap.end + 400:
            assert requests == pytest.approx(rps_at(end) * 60)
    with pytest.raises(PrometheusError, match=r"sum\(\) it"):
        await history(url, "pods_rps", 1, now=now)
    with pytest.raises(PrometheusError, match="at least two"):
        await history(url, "no_such_series", 1, now=now)


async def test_a_server_that_is_gone_is_a_failure_within_bounds() -> None:
    async with Prometheus() as prometheus, asyncio.timeout(30):
        answer = await prometheus.instant(
            Server(url="http://127.0.0.1:9"), "up", now=time.time(), max_age_s=60
        )
    assert answer.kind is Kind.FAILED
    assert "http://127.0.0.1:9 can't be reached" in answer.message
