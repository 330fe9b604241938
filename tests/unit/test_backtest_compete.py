"""A backtest is fair: all meet the same requests and limits, whoever computes them in whatever
order, and nobody's forecast or margin knows what comes later."""

import io
import math
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from tidegate_operator.backtest import field
from tidegate_operator.backtest.assume import Asked, Assumptions, Measured, assume
from tidegate_operator.backtest.compete import Backtest, backtest
from tidegate_operator.backtest.document import document
from tidegate_operator.backtest.field import Job, Kind, Outcome
from tidegate_operator.backtest.history import History, split
from tidegate_operator.cli import backtest_run
from tidegate_operator.cli.backtest_run import Bar, Players
from tidegate_operator.cli.backtest_screen import screen
from tidegate_operator.crd.spec import read_spec
from tidegate_operator.replay.trace import Trace

HOUR_S = 3600.0


def policy(low: int, high: int) -> Assumptions:
    spec = {
        "targetRef": {"kind": "Deployment", "name": "llama"},
        "models": [{"name": "m"}],
        "scaling": {"minReplicas": low, "maxReplicas": high, "capacityPerReplica": "2"},
    }
    return assume(Asked(), read_spec({"spec": spec}), Measured())


def hours(*rps: float, each_minutes: int = 30) -> History:
    counts = [60.0 * value for value in rps for _ in range(each_minutes)]
    return split(Trace(name="t", start=0.0, step_s=60, requests=tuple(counts)), 48 * HOUR_S)


def compete(history: History, assumed: Assumptions, *, backwards: bool = False) -> Backtest:
    def play(jobs: Sequence[Job]) -> Iterable[Outcome]:
        order = list(jobs)[::-1] if backwards else list(jobs)
        done = {id(job): field.play(job, assumed.plant, 0) for job in order}
        return [done[id(job)] for job in jobs]

    return backtest(history, assumed, play, allowed=0.005)


def rows(played: Backtest) -> list[object]:
    found = document(played, price=None, unmet=())
    return [found["results"], found["verdict"]]


SWELL = hours(2, 8, 14, 6, 3, each_minutes=12)


@pytest.fixture(scope="module")
def swell() -> Backtest:
    return compete(SWELL, policy(1, 20))


def test_the_order_in_which_replays_are_done_is_nobodys_business(swell: Backtest) -> None:
    assert rows(swell) == rows(compete(SWELL, policy(1, 20), backwards=True))


@pytest.fixture
def processes() -> Iterable[Players]:
    console = Console(file=io.StringIO())
    with backtest_run._bar(console) as bar, backtest_run._players(2) as pool:
        yield Players(pool, policy(1, 20), 0, bar)


def test_other_processes_come_to_the_same(processes: Players) -> None:
    assert processes.pool is not None
    jobs = [Job(entry=entry, trace=SWELL.judged) for entry in field.hpa_sweep(policy(1, 20))[:3]]
    there = list(processes.play(jobs))
    assert there == [field.play(job, processes.assumed.plant, 0) for job in jobs]
    bar: Bar = processes.bar
    assert (bar.replays, bar.replayed) == (3, 3)


@given(st.lists(st.floats(0.0, 30.0), min_size=2, max_size=5), st.integers(1, 4))
@settings(max_examples=6)
def test_all_meet_the_same_requests_and_limits(rps: list[float], low: int) -> None:
    played = compete(hours(*rps, each_minutes=6), policy(low, low + 5))
    requests = {outcome.result.requests for outcome in played.outcomes}
    assert len(requests) == 1
    for outcome in played.outcomes:
        result = outcome.result
        assert result.served + result.dropped + result.waiting == result.requests
        if outcome.kind is not Kind.ORACLE:
            assert {event.after for event in result.events} <= set(range(low, low + 6))


def test_every_kind_is_told_once_and_ours_first(swell: Backtest) -> None:
    kinds = [outcome.kind for outcome in swell.outcomes]
    assert kinds == list(Kind)


def test_keda_and_hpa_aim_at_the_users_target() -> None:
    assumed = policy(1, 20)
    assert field.hpa(assumed).label == "HPA at 70%"
    assert field.keda(assumed).controller.name == "KEDA at 1.4 requests/s a pod"


def test_what_was_learned_before_is_known_when_it_counts() -> None:
    assumed = policy(1, 20)
    before, after = hours(2, 8, 2, 8).whole, hours(2, 8).whole
    after = Trace(name="t", start=before.end, step_s=60, requests=after.requests)
    entry = field.reactive(assumed)
    outcome = field.play(Job(entry=entry, trace=after, before=before), assumed.plant, 0)
    assert outcome.before is not None
    assert outcome.before.requests == sum(c for c in before.requests if c)
    assert outcome.result.minutes.start == before.end


def told(played: Backtest, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), highlight=False)
    console.print(screen(played, 2.0, width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 110, 160])
def test_no_figure_of_the_table_is_cut_off(swell: Backtest, width: int) -> None:
    text = told(swell, width)
    assert "…" not in text
    table = text[text.index("CONTROLLER") :]
    for outcome in swell.outcomes:
        line = next(line for line in table.splitlines() if line.startswith(outcome.label))
        assert f"{outcome.violations:.2%}" in line
        assert f"{2.0 * outcome.pod_hours:,.0f}" in line


def test_waits_and_scale_events_are_told_where_there_is_room(swell: Backtest) -> None:
    assert "DOWNS" in told(swell, 110)
    assert "DOWNS" not in told(swell, 80)


def test_figures_are_numbers(swell: Backtest) -> None:
    for row in document(swell, price=1.0, unmet=())["results"]:
        figures = [value for value in row.values() if not isinstance(value, str)]
        assert all(math.isfinite(value) for value in figures)
