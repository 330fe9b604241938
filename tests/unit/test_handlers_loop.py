"""The loop over all policies: who has a target, what a slow or failing one does to others."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import kopf
import pytest

from fake_cluster import START, FakeForecasts, pod, policy
from stage import Stage
from tidegate_operator.cluster.client import NAMESPACE_ENDS
from tidegate_operator.cluster.observe import Pod, World, read_pod
from tidegate_operator.crd.spec import read_spec
from tidegate_operator.decide.words import Reason
from tidegate_operator.forecast.known import Event, Holidays, Known
from tidegate_operator.handlers.ahead import Ahead, without_windows
from tidegate_operator.handlers.look import ColdStarts
from tidegate_operator.handlers.loop import find_takers
from tidegate_operator.handlers.watch import EndlessBackoffs, build_registry, build_settings
from tidegate_operator.sources.sidecars import Address
from tidegate_wire.names import INJECTED
from tidegate_wire.stats import SidecarStats

# --- whose target -------------------------------------------------------------------------------


def takers(*manifests: dict[str, Any]) -> dict[str, str]:
    return find_takers({m["metadata"]["uid"]: m for m in manifests})


@pytest.mark.parametrize(
    ("manifests", "taken"),
    [
        pytest.param([policy("a")], {}, id="one alone"),
        pytest.param(
            [policy("a", created="2026-01-02T00:00:00Z"), policy("b")],
            {"uid-a": "b"},
            id="the oldest has it",
        ),
        pytest.param(
            [policy("b"), policy("a")], {"uid-b": "a"}, id="of one age, the first by name"
        ),
        pytest.param(
            [policy("a"), policy("b"), policy("c")], {"uid-b": "a", "uid-c": "a"}, id="three"
        ),
        pytest.param(
            [policy("a"), policy("b", targetRef={"kind": "Deployment", "name": "other"})],
            {},
            id="two targets",
        ),
        pytest.param(
            [policy("a"), policy("b", targetRef={"kind": "StatefulSet", "name": "llama"})],
            {},
            id="one name, two kinds",
        ),
        pytest.param(
            [policy("a", models=[]), policy("b")],
            {"uid-b": "a"},
            id="a typo in the older does not hand its target over",
        ),
        pytest.param(
            [policy("a", targetRef={}), policy("b")], {}, id="one that points at nothing readable"
        ),
    ],
)
def test_who_has_the_target(manifests: list[dict[str, Any]], taken: dict[str, str]) -> None:
    assert takers(*manifests) == taken


def test_the_same_name_in_another_namespace_is_another_target() -> None:
    other = policy("b")
    other["metadata"]["namespace"] = "studio"
    assert takers(policy("a"), other) == {}


# --- slow and failing ---------------------------------------------------------------------------


class Slow:
    """Sidecars that answer when they are told to."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.looks = 0

    async def look(self, pods: Iterable[Address]) -> Mapping[str, SidecarStats | None]:
        self.looks += 1
        await self.go.wait()
        return {}


async def test_a_tick_that_is_not_done_is_not_begun_again() -> None:
    stage = Stage()
    slow = Slow()
    stage.sidecars.look = slow.look  # type: ignore[method-assign]
    for _ in range(3):
        stage.loop.begin_round()
        await asyncio.sleep(0.01)
    assert slow.looks == 1
    assert stage.metrics.registry.get_sample_value("tidegate_reconcile_skipped_total") == 2.0
    slow.go.set()
    await stage.loop.round()
    await stage.loop.round()
    assert slow.looks >= 2


async def test_a_bug_in_one_tick_is_shown_and_mended_by_the_next() -> None:
    stage = Stage()
    await stage.tick(2)

    async def broken(pods: Iterable[Address]) -> Mapping[str, SidecarStats | None]:
        raise ZeroDivisionError("a bug")

    look, stage.sidecars.look = stage.sidecars.look, broken  # type: ignore[method-assign]
    await stage.tick(2)
    assert stage.condition("Ready") == ("False", "ReconcileFailed")
    ready = next(c for c in stage.status()["conditions"] if c["type"] == "Ready")
    assert "ZeroDivisionError: a bug" in ready["message"]
    stage.sidecars.look = look  # type: ignore[method-assign]
    await stage.tick(1)
    assert stage.condition("Ready") == ("True", "Ready")


async def test_a_forecaster_with_a_bug_leaves_scaling_reactive() -> None:
    class Broken(FakeForecasts):
        async def forecast(self, *args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("no worker")

    stage = Stage()
    stage.forecasts = Broken()
    stage.restart()
    await stage.tick(4, rps=2.0)
    await stage.tick(2, rps=12.0)
    assert stage.replicas > 2
    assert stage.condition("ForecastReliable") == ("False", "ForecastFailed")


async def test_a_forecast_under_way_is_not_waited_for() -> None:
    forecasts = FakeForecasts()
    gate = asyncio.Event()

    async def slow(*args: Any, **kwargs: Any) -> Any:
        await gate.wait()
        return await FakeForecasts.forecast(forecasts, *args, **kwargs)

    forecasts.forecast = slow  # type: ignore[method-assign]
    ahead = Ahead(forecasts, "uid", None)
    spec = read_spec(policy())
    for minute in range(3):
        now = START + 60 * minute
        ahead.ask(spec, start_minute=0, counts=[1], cold_starts=(), now=now)
        await asyncio.sleep(0)
    assert ahead.newest is not None
    assert (ahead.newest.reliable, ahead.newest.reason) == (False, Reason.TRAINING)
    gate.set()
    await ahead.settled()
    assert ahead.newest is not None
    assert ahead.newest.reason is Reason.HISTORY_SHORT
    assert len(forecasts.asked) == 1


async def test_history_older_than_the_policy_wants_is_not_learned_from() -> None:
    forecasts = FakeForecasts()
    scaling = {"capacityPerReplica": "1", "forecast": {"history": "1h"}}
    ahead = Ahead(forecasts, "uid", None)
    spec = read_spec(policy(scaling=scaling))
    ahead.ask(spec, start_minute=100, counts=[1] * 500, cold_starts=(), now=START)
    await ahead.settled()
    assert forecasts.asked[0][2] == 60


async def test_nothing_is_learned_from_windows_that_the_policy_excludes() -> None:
    forecasts = FakeForecasts()
    ahead = Ahead(forecasts, "uid", None)
    minute = int(START // 60)
    window = {"start": "2026-01-01T00:02:00Z", "end": "2026-01-01T00:03:30Z"}
    forecast = {"excludeWindows": [window]}
    spec = read_spec(policy(scaling={"capacityPerReplica": "1", "forecast": forecast}))
    kept = without_windows(minute, [1] * 6, spec.forecast.exclude)
    assert kept == [1, 1, None, None, 1, 1], "a minute that is touched is out"
    ahead.ask(spec, start_minute=minute, counts=[1] * 6, cold_starts=(), now=START + 360)
    await ahead.settled()
    assert forecasts.counts == kept


async def test_the_forecaster_is_told_of_events_and_holidays() -> None:
    forecasts = FakeForecasts()
    ahead, minute = Ahead(forecasts, "uid", None), int(START // 60)
    launch = {"name": "launch", "start": "00:02", "end": "00:04", "expectFactor": "3"}
    office = {"name": "office", "minReplicas": 2}
    holidays = {"country": "DE", "timezone": "Europe/Berlin"}
    scaling = {
        "capacityPerReplica": "1",
        "schedules": [launch, office],
        "forecast": {"holidays": holidays},
    }
    spec = read_spec(policy(scaling=scaling))
    ahead.ask(spec, start_minute=minute, counts=[1] * 6, cold_starts=(), now=START + 360)
    await ahead.settled()
    assert forecasts.known == Known(
        events=(Event(minute + 2, minute + 4, 3.0),), holidays=Holidays("DE", "Europe/Berlin")
    )


@pytest.mark.parametrize(
    ("start", "end", "kept"),
    [
        pytest.param(-600, -60, [1, 1, 1], id="before all history"),
        pytest.param(600, 900, [1, 1, 1], id="in the future"),
        pytest.param(-600, 60, [None, 1, 1], id="over its begin"),
        pytest.param(120, 900, [1, 1, None], id="over its end"),
        pytest.param(-600, 900, [None] * 3, id="all of it"),
    ],
)
def test_a_window_may_reach_beyond_the_history(
    start: int, end: int, kept: list[int | None]
) -> None:
    minute = int(START // 60)
    assert without_windows(minute, [1, 1, 1], [(START + start, START + end)]) == kept


# --- cold starts --------------------------------------------------------------------------------


def seen_pod(uid: str, *, ready_at: float | None, created_at: float = START, **more: Any) -> Pod:
    return Pod(
        uid=uid,
        namespace="shop",
        name=uid,
        labels={},
        created_at=created_at,
        ready=ready_at is not None,
        ready_at=ready_at,
        **more,
    )


def test_a_pod_is_measured_once_when_it_becomes_ready() -> None:
    starts = ColdStarts([], START)
    starts.look([seen_pod("p", ready_at=None)])
    starts.look([seen_pod("p", ready_at=START + 80)])
    starts.look([seen_pod("p", ready_at=START + 80)])
    assert starts.samples == [80.0]


def test_a_pod_that_was_ready_before_this_process_is_not_measured() -> None:
    starts = ColdStarts([], START)
    starts.look([seen_pod("p", ready_at=START - 10, created_at=START - 5000)])
    starts.look([seen_pod("p", ready_at=None, created_at=START - 5000)])
    starts.look([seen_pod("p", ready_at=START + 60, created_at=START - 5000)])
    assert starts.samples == []


def test_a_pod_that_was_ready_and_fell_before_this_process_looked_is_not_measured() -> None:
    starts = ColdStarts([], START)
    starts.look([seen_pod("p", ready_at=None, created_at=START - 5000, fell=True)])
    starts.look([seen_pod("p", ready_at=START + 60, created_at=START - 5000)])
    assert starts.samples == []


def test_a_pod_that_is_ready_again_after_a_failed_probe_is_not_measured_again() -> None:
    starts = ColdStarts([], START)
    starts.look([seen_pod("p", ready_at=None)])
    starts.look([seen_pod("p", ready_at=START + 80)])
    starts.look([seen_pod("p", ready_at=None, fell=True)])
    starts.look([seen_pod("p", ready_at=START + 900)])
    assert starts.samples == [80.0]


def test_a_pod_that_restarted_a_container_on_its_way_is_not_measured() -> None:
    starts = ColdStarts([], START)
    starts.look([seen_pod("p", ready_at=None)])
    starts.look([seen_pod("p", ready_at=START + 400, restarts=2)])
    starts.look([seen_pod("p", ready_at=START + 400, restarts=2)])
    assert starts.samples == []


@pytest.mark.parametrize(
    ("before", "took_s", "sample"),
    [
        pytest.param([], 1500, 1500, id="the first is what it is"),
        pytest.param([60, 60], 1500, 1500, id="so is the third"),
        pytest.param([60, 70, 80], 200, 200, id="one that is longer, within reason, as well"),
        pytest.param([60, 70, 80], 1500, 210, id="an image that was pulled counts as 3 medians"),
        pytest.param([60, 70, 80], 5, 5, id="a short one is no outlier"),
    ],
)
def test_of_the_cold_starts(before: list[float], took_s: float, sample: float) -> None:
    starts = ColdStarts(before, START)
    starts.look([seen_pod("p", ready_at=START + took_s)])
    assert starts.samples == [*before, sample]


def test_starts_that_have_become_slower_are_followed() -> None:
    starts = ColdStarts([60.0] * 10, START)
    for n in range(12):
        starts.look([seen_pod(f"p{n}", ready_at=START + 600)])
    assert starts.samples[-1] == 540
    assert len(starts.samples) == 22


def test_cold_starts_outlive_a_restart() -> None:
    starts = ColdStarts([], START)
    starts.look([seen_pod("p", ready_at=START + 80)])
    again = ColdStarts(starts.samples, START + 500)
    again.look([seen_pod("p", ready_at=START + 80)])
    assert again.samples == [80.0]


def test_a_pod_that_came_and_was_ready_between_two_ticks_is_measured() -> None:
    starts = ColdStarts([70.0], START)
    starts.look([seen_pod("p", created_at=START + 10, ready_at=START + 14)])
    assert starts.samples == [70.0, 4.0]


# --- kopf ---------------------------------------------------------------------------------------


def test_backoffs_never_end_never_stop_and_are_not_in_step() -> None:
    waits = list(islice(EndlessBackoffs(), 200))
    assert len(waits) == 200
    assert all(0 < wait <= 15 for wait in waits)
    assert len(set(waits[-100:])) > 90
    assert list(islice(EndlessBackoffs(), 20)) != list(islice(EndlessBackoffs(), 20))


def test_kopf_is_told_to_leave_nothing_on_anybodys_objects() -> None:
    settings = build_settings()
    assert not settings.posting.enabled
    assert settings.peering.standalone
    assert dict(settings.watching.label_selectors).values()
    assert set(dict(settings.watching.label_selectors).values()) == {f"{INJECTED}=true"}
    # They stand in a query, where the API server takes whole numbers alone.
    assert isinstance(settings.watching.server_timeout, int)


async def test_events_level_the_tables_and_nothing_else_is_registered() -> None:
    world = World()
    registry = build_registry(world)
    handlers = {h.id: h for h in registry._watching.get_all_handlers()}
    assert set(handlers) == {"on_policy", "on_pod"}
    assert not list(registry._changing.get_all_handlers())
    assert not list(registry._spawning.get_all_handlers())
    assert not list(registry._indexing.get_all_handlers())
    on_pod: Any = handlers["on_pod"].fn
    on_policy: Any = handlers["on_policy"].fn
    for kind in (None, "ADDED", "MODIFIED", "MODIFIED"):
        await on_pod(event={"type": kind, "object": pod("p1")})
        await on_policy(event={"type": kind, "object": policy()})
    assert (set(world.pods), set(world.policies)) == ({"p1"}, {"uid-chat"})
    await on_pod(event={"type": "DELETED", "object": pod("p1")})
    await on_policy(event={"type": "DELETED", "object": policy()})
    assert (world.pods, world.policies) == ({}, {})
    assert isinstance(registry, kopf.OperatorRegistry)
    assert read_pod(pod("p1")).uid == "p1"


# --- weight -------------------------------------------------------------------------------------


def test_the_process_loads_no_numerics_and_no_second_client() -> None:
    code = (
        "import sys, tidegate_operator.handlers.main\n"
        "heavy = {'numpy', 'scipy', 'sklearn', 'kubernetes_asyncio', 'typer', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- a namespace that goes ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        pytest.param(NAMESPACE_ENDS, False, id="what goes with its namespace is no fault"),
        pytest.param("Forbidden", True, id="any other refusal is"),
    ],
)
async def test_what_cannot_be_created_any_more(
    reason: str, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    stage = Stage(policy("chat"))
    stage.api.reason = reason
    stage.api.refuse = {("POST", "/api"): 403}
    with caplog.at_level(logging.INFO, logger="tidegate"):
        await stage.tick()
    faults = {"tick_failed", "event_lost"} & {record.message for record in caplog.records}
    assert bool(faults) is told
