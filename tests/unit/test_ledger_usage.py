"""The ledger: growth counts, once; and windows as a calendar has them."""

import json
import math
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar_looks import CountingSidecar
from tidegate_operator.decide.rungs import Budget, BudgetUse, ModelCounts, Scope
from tidegate_operator.ledger.usage import InvalidStateError, Ledger, Usage
from tidegate_operator.ledger.windows import InvalidWindowError, window_of
from tidegate_wire.names import Outcome
from tidegate_wire.stats import Series, SidecarStats

NOON = datetime(2026, 3, 10, 12, tzinfo=ZoneInfo("UTC")).timestamp()
MIDNIGHT = NOON + 12 * 3600
DAY = Budget(name="day", limit_tokens=1000)
PER_TENANT = Budget(name="per-tenant", scope=Scope.TENANT, limit_tokens=1000)
PER_MODEL = Budget(name="per-model", scope=Scope.MODEL, limit_cost=10.0)


def used(ledger: Ledger, now: float, *budgets: Budget) -> dict[str, tuple[int, float]]:
    return {
        f"{use.budget}/{use.key}": (use.used_tokens, use.used_cost)
        for use in ledger.budget_uses(budgets or (DAY,), now)
    }


# --- growth -----------------------------------------------------------------------------------


def test_a_look_gives_what_the_counters_grew_by() -> None:
    ledger, pod = Ledger(), CountingSidecar()
    assert ledger.look(pod.serve(3), NOON) == Usage(
        ended=3, tokens_in=30, tokens_out=60, cost=0.75
    )
    assert ledger.look(pod.serve(1), NOON + 15).tokens == 30
    assert ledger.look(pod.look(), NOON + 30) == Usage()
    assert ledger.totals() == Usage(ended=4, tokens_in=40, tokens_out=80, cost=1.0)


def test_an_adopted_process_counts_from_where_it_stands() -> None:
    ledger, pod = Ledger(), CountingSidecar()
    assert not ledger.begun
    ledger.adopt(pod.serve(1000), NOON)
    assert ledger.begun
    assert ledger.totals() == Usage()
    assert used(ledger, NOON) == {"day/": (0, 0.0)}
    assert ledger.look(pod.serve(2), NOON + 15).tokens == 60
    assert ledger.totals().tokens == 60
    restored = Ledger(json.loads(json.dumps(ledger.to_state())))
    assert restored.begun
    assert restored.look(pod.serve(1), NOON + 30).tokens == 30


def test_a_process_that_starts_anew_counts_from_zero() -> None:
    ledger = Ledger()
    ledger.look(CountingSidecar(boot="a").serve(5), NOON)
    assert ledger.look(CountingSidecar(boot="b").serve(2), NOON + 15).ended == 2
    assert ledger.totals().ended == 7


def test_a_look_that_comes_late_changes_nothing() -> None:
    ledger, pod = Ledger(), CountingSidecar()
    early, late = pod.serve(3), pod.serve(4)
    ledger.look(late, NOON)
    assert ledger.look(early, NOON + 15) == Usage()
    assert ledger.look(late, NOON + 30) == Usage()
    assert ledger.totals().ended == 7


def test_a_reseed_multiplies_nothing() -> None:
    """Usage was added anew whenever a store was filled again from its source (litellm#28247)."""
    ledger, pod = Ledger(), CountingSidecar()
    ledger.look(pod.serve(3), NOON)
    for i in range(5):
        ledger = Ledger(json.loads(json.dumps(ledger.to_state())))
        ledger.look(pod.look(), NOON + i)
    assert ledger.totals().ended == 3
    assert used(ledger, NOON + 60) == {"day/": (90, 0.75)}


def test_many_sidecars_spend_one_budget() -> None:
    """N replicas had N budgets (bifrost#3547)."""
    ledger = Ledger()
    for i in range(10):
        ledger.look(CountingSidecar(pod_uid=f"pod-{i}").serve(2), NOON)
    assert used(ledger, NOON) == {"day/": (600, 5.0)}


def test_estimated_tokens_are_tokens() -> None:
    """Streams without usage were charged nothing (LLMKube#1852)."""
    ledger, pod = Ledger(), CountingSidecar()
    added = ledger.look(pod.serve(2, estimated=True), NOON)
    assert (added.tokens, added.tokens_estimated) == (60, 60)
    assert used(ledger, NOON) == {"day/": (60, 0.5)}


def test_a_pod_that_is_gone_takes_nothing_with_it() -> None:
    ledger = Ledger()
    ledger.look(CountingSidecar(pod_uid="gone").serve(3), NOON)
    ledger.look(CountingSidecar(pod_uid="here").serve(1), NOON + 2 * 86400)
    assert ledger.totals().ended == 4
    assert [p[0] for p in ledger.to_state()["processes"]] == ["here"]


def test_a_pod_that_is_back_within_a_day_goes_on() -> None:
    ledger, pod = Ledger(), CountingSidecar(pod_uid="away")
    ledger.look(pod.serve(3), NOON)
    ledger.look(CountingSidecar(pod_uid="here").serve(1), NOON + 23 * 3600)
    assert ledger.look(pod.serve(1), NOON + 23 * 3600).ended == 1


def test_counts_are_by_model_and_know_errors() -> None:
    ledger, pod = Ledger(), CountingSidecar()
    pod.serve(8)
    pod.serve(1, outcome=Outcome.TIMEOUT, tenant="zeta")
    pod.serve(1, outcome=Outcome.BROKEN)
    pod.serve(4, outcome=Outcome.CLIENT_ERROR, model="small")
    pod.serve(9, outcome=Outcome.BLOCKED)
    ledger.look(pod.look(), NOON)
    assert ledger.counts() == {
        "big": ModelCounts(ended=10, errors=2),
        "small": ModelCounts(ended=4, errors=0),
    }
    assert ledger.totals().blocked == 9


def test_tenants_are_capped_and_nothing_is_lost_by_it() -> None:
    ledger, pod = Ledger(), CountingSidecar()
    for i in range(300):
        pod.serve(1, tenant=f"tenant-{i}")
    ledger.look(pod.look(), NOON)
    ledger = Ledger(json.loads(json.dumps(ledger.to_state())))
    for i in range(310):
        pod.serve(1, tenant=f"tenant-{i}")
    ledger.look(pod.look(), NOON + 15)
    uses = used(ledger, NOON + 15, PER_TENANT)
    assert len(uses) == 201
    assert uses["per-tenant/tenant-0"] == (60, 0.5)
    assert uses["per-tenant/other"][0] == (100 + 110) * 30
    assert ledger.totals().ended == 610


def test_a_counter_that_can_not_be_one_is_nothing() -> None:
    broken = Series(
        model="big", tenant="", outcomes={"ok": -3}, tokens_in=-5, tokens_out=7, cost=math.nan
    )
    ledger = Ledger()
    ledger.look(SidecarStats(pod_uid="p", boot="b", series=(broken,)), NOON)
    assert ledger.totals() == Usage(tokens_out=7)


# --- windows ----------------------------------------------------------------------------------


def at(zone: str, *when: int) -> float:
    return datetime(*when, tzinfo=ZoneInfo(zone)).timestamp()  # type: ignore[arg-type, misc]


@pytest.mark.parametrize(
    ("unit", "zone", "now", "begin", "hours"),
    [
        pytest.param("Hour", "UTC", (2026, 3, 10, 12, 59), (2026, 3, 10, 12), 1, id="an hour"),
        pytest.param("Day", "UTC", (2026, 3, 10, 12), (2026, 3, 10), 24, id="a day"),
        pytest.param("Day", "UTC", (2026, 3, 10), (2026, 3, 10), 24, id="begins at midnight"),
        pytest.param("Week", "UTC", (2026, 3, 15, 23), (2026, 3, 9), 168, id="Sunday ends a week"),
        pytest.param("Month", "UTC", (2028, 2, 29), (2028, 2, 1), 29 * 24, id="a leap February"),
        pytest.param("Month", "UTC", (2026, 12, 31), (2026, 12, 1), 31 * 24, id="a December"),
        pytest.param(
            "Day",
            "Europe/Berlin",
            (2026, 3, 29, 12),
            (2026, 3, 29),
            23,
            id="summer begins: 23 hours",
        ),
        pytest.param(
            "Day",
            "Europe/Berlin",
            (2026, 10, 25, 2),
            (2026, 10, 25),
            25,
            id="summer ends: 25 hours",
        ),
        pytest.param(
            "Week", "Europe/Berlin", (2026, 3, 24), (2026, 3, 23), 167, id="and so is the week"
        ),
        pytest.param(
            "Hour",
            "Asia/Kolkata",
            (2026, 3, 10, 12, 10),
            (2026, 3, 10, 12),
            1,
            id="an hour of a zone that is half an hour off",
        ),
        pytest.param(
            "Day",
            "America/Sao_Paulo",
            (2018, 11, 4, 12),
            (2018, 11, 4, 1),
            23,
            id="a day without a midnight begins at one",
        ),
    ],
)
def test_window_of(
    unit: str, zone: str, now: tuple[int, ...], begin: tuple[int, ...], hours: int
) -> None:
    start, end = window_of(unit, zone, at(zone, *now))
    assert start == at(zone, *begin)
    assert end - start == hours * 3600


ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/Sao_Paulo", "Asia/Kolkata", "Pacific/Apia", "America/Havana"]
)


@given(st.sampled_from(["Hour", "Day", "Week", "Month"]), ZONES, st.floats(1.2e9, 2.0e9))
def test_any_moment_lies_in_its_window_and_the_next_begins_where_it_ends(
    unit: str, zone: str, now: float
) -> None:
    start, end = window_of(unit, zone, now)
    assert start <= now < end
    assert window_of(unit, zone, start) == (start, end)
    assert window_of(unit, zone, end)[0] == end


def test_a_zone_that_is_none_is_named() -> None:
    with pytest.raises(InvalidWindowError, match="must be an IANA time zone, was: Mars/Olympus"):
        window_of("Day", "Mars/Olympus", NOON)


def test_a_new_window_begins_with_nothing_used() -> None:
    ledger, pod = Ledger(), CountingSidecar()
    ledger.look(pod.serve(3), NOON)
    assert used(ledger, NOON) == {"day/": (90, 0.75)}
    assert used(ledger, MIDNIGHT - 1) == {"day/": (90, 0.75)}
    assert used(ledger, MIDNIGHT) == {"day/": (0, 0.0)}
    ledger.look(pod.serve(1), MIDNIGHT + 1)
    assert used(ledger, MIDNIGHT + 2) == {"day/": (30, 0.25)}


def test_what_is_first_seen_after_midnight_belongs_to_the_new_day() -> None:
    ledger, pod = Ledger(), CountingSidecar()
    ledger.look(pod.serve(3), NOON)
    used(ledger, NOON)
    ledger.look(pod.serve(2), MIDNIGHT + 5)
    assert used(ledger, MIDNIGHT + 5) == {"day/": (60, 0.5)}


def test_a_use_says_when_its_window_ends() -> None:
    ledger = Ledger()
    ledger.look(CountingSidecar().serve(1), NOON)
    assert ledger.budget_uses((DAY,), NOON) == (
        BudgetUse(
            budget="day",
            key="",
            used_tokens=30,
            used_cost=0.25,
            window_start=MIDNIGHT - 86400,
            window_end=MIDNIGHT,
        ),
    )


def test_keys_are_by_scope() -> None:
    ledger, pod = Ledger(), CountingSidecar()
    pod.serve(1, tenant="acme", model="big")
    pod.serve(2, tenant="zeta", model="small")
    pod.serve(3, tenant="acme", model="small")
    ledger.look(pod.look(), NOON)
    assert used(ledger, NOON, DAY, PER_TENANT, PER_MODEL) == {
        "day/": (180, 1.5),
        "per-tenant/acme": (120, 1.0),
        "per-tenant/zeta": (60, 0.5),
        "per-model/big": (30, 0.25),
        "per-model/small": (150, 1.25),
    }


def test_a_budget_that_is_added_later_counts_from_then() -> None:
    ledger, pod = Ledger(), CountingSidecar()
    ledger.look(pod.serve(3), NOON - 86400)
    ledger.look(pod.serve(4), NOON)
    assert used(ledger, NOON) == {"day/": (0, 0.0)}
    ledger.look(pod.serve(1), NOON + 15)
    assert used(ledger, NOON + 15) == {"day/": (30, 0.25)}


def test_a_window_that_is_edited_begins_anew() -> None:
    ledger, pod = Ledger(), CountingSidecar()
    ledger.look(pod.serve(3), NOON - 86400)
    used(ledger, NOON - 86400)
    ledger.look(pod.serve(3), NOON)
    hourly = replace(DAY, unit="Hour")
    assert used(ledger, NOON + 1, hourly) == {"day/": (0, 0.0)}


def test_the_window_survives_a_restart() -> None:
    ledger, pod = Ledger(), CountingSidecar()
    ledger.look(pod.serve(3), NOON)
    used(ledger, NOON, DAY, PER_TENANT)
    used(ledger, MIDNIGHT, DAY, PER_TENANT)
    ledger.look(pod.serve(1), MIDNIGHT + 10)
    again = Ledger(json.loads(json.dumps(ledger.to_state())))
    assert again.look(pod.serve(1), MIDNIGHT + 600).ended == 1, "what lies between is not lost"
    expected = {"day/": (60, 0.5), "per-tenant/acme": (60, 0.5)}
    assert used(again, MIDNIGHT + 600, DAY, PER_TENANT) == expected


@pytest.mark.parametrize(
    "state",
    [
        {"v": 2},
        {"v": 1},
        {"v": 1, "born": 0, "totals": [["a"]], "processes": [], "windows": {}},
        {"v": 1, "born": 0, "totals": [["a", "b", *"1234567"]], "processes": [], "windows": {}},
    ],
)
def test_a_state_that_can_not_be_read_is_refused(state: dict[str, object]) -> None:
    with pytest.raises(InvalidStateError, match="ledger"):
        Ledger(state)


# --- whatever comes ---------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["big", "small"]),
        st.sampled_from(["acme", "zeta"]),
        st.integers(0, 5),
        st.booleans(),
    ),
    max_size=30,
)


def lives(steps: list[tuple[int, str, str, int, bool]]) -> tuple[list[SidecarStats], Usage]:
    """All looks at three pods that serve, and now and then start anew; and what they served."""
    pods = [CountingSidecar(pod_uid=f"pod-{i}", boot="0") for i in range(3)]
    looks, served = [], 0
    for i, (which, model, tenant, requests, restarts) in enumerate(steps):
        if restarts:
            pods[which] = CountingSidecar(pod_uid=f"pod-{which}", boot=str(i + 1))
        served += requests
        looks.append(pods[which].serve(requests, model=model, tenant=tenant))
    return looks, Usage(ended=served, tokens_in=10 * served, tokens_out=20 * served)


@given(STEPS, st.randoms(use_true_random=False), st.integers(0, 30))
def test_duplicates_and_reorders_change_nothing(
    steps: list[tuple[int, str, str, int, bool]], chance: object, cut: int
) -> None:
    """And the sum of all deltas is what the last counters say, restarts of ours included."""
    looks, served = lives(steps)
    shuffled = looks + looks[: len(looks) // 2]
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    plain, mixed = Ledger(), Ledger()
    ended = 0
    for i, look in enumerate(looks):
        ended += plain.look(look, NOON + i).ended
    for i, look in enumerate(shuffled):
        if i == cut:
            mixed = Ledger(json.loads(json.dumps(mixed.to_state())))
        mixed.look(look, NOON + i)
    for ledger in (plain, mixed):
        totals = ledger.totals()
        assert (totals.ended, totals.tokens_in, totals.tokens_out) == (
            served.ended,
            served.tokens_in,
            served.tokens_out,
        )
        assert totals.cost == pytest.approx(0.25 * served.ended)
    assert ended == served.ended
    assert plain.counts() == mixed.counts()
    assert used(plain, NOON, PER_TENANT).keys() == used(mixed, NOON, PER_TENANT).keys()
