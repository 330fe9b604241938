"""A policy's status: what it says, and what in it is news."""

from dataclasses import replace
from typing import Any

import pytest

from fake_cluster import START, policy
from tidegate_operator.crd.conditions import build_conditions, judge_sidecars
from tidegate_operator.crd.fields import InvalidSpecError
from tidegate_operator.crd.seen import Seen, Sidecars, Told
from tidegate_operator.crd.spec import PolicySpec, read_spec
from tidegate_operator.crd.status import build_status, decimal, is_news, percentile, timestamp
from tidegate_operator.decide.rungs import BudgetUse, Rung
from tidegate_operator.decide.words import (
    Change,
    Clamp,
    DataState,
    Decision,
    Demand,
    Forecast,
    Inputs,
    LadderDecision,
    Phase,
    Reason,
    ScalingDecision,
    TenantRung,
)

BUDGET = {
    "name": "team-day",
    "scope": "Tenant",
    "limit": {"tokens": 2_000_000},
    "window": {"unit": "Day"},
    "actions": [{"at": "80%", "do": "Warn"}, {"at": "100%", "do": "Block"}],
}


def spec(**changes: Any) -> PolicySpec:
    identify = {"identify": {"header": "x-tenant-id"}}
    return read_spec(policy(**({"budgets": [BUDGET], "gateway": identify} | changes)))


def use(tenant: str, tokens: int) -> BudgetUse:
    return BudgetUse(
        budget="team-day",
        key=tenant,
        used_tokens=tokens,
        used_cost=0.0,
        window_start=START,
        window_end=START + 86400,
    )


FORECAST = Forecast(
    made_at=START,
    horizon_s=360.0,
    quantiles={0.5: 11.04, 0.95: 19.42},
    reliable=True,
    reason=Reason.FORECAST_GOOD,
    skill=0.314,
    coverage=0.951,
    trained_at=START - 600,
)
INPUTS = Inputs(
    now=START,
    current=3,
    ready=3,
    starting=0,
    demand=Demand(state=DataState.PRESENT, rps=12.13),
    forecast=FORECAST,
    budgets=(use("acme", 1_619_999), use("beta", 10)),
)
DECISION = Decision(
    scaling=ScalingDecision(
        replicas=5,
        reason=Reason.FORECAST_HIGH,
        message="the forecast calls for 9",
        reactive=4,
        forecast=9,
        clamps=(Clamp(reason=Reason.SCALE_UP_LIMIT, before=9, after=5),),
    ),
    ladder=LadderDecision(
        phase=Phase.WARNED,
        active_model="llama-70b",
        rung=Rung.NONE,
        reason=Reason.NORMAL,
        message="",
        tenants={
            "acme": TenantRung(
                rung=Rung.WARN,
                reason=Reason.BUDGET_WARN,
                budget="team-day",
                until=START + 86400,
            )
        },
    ),
)
SCALE_UP = Told(
    change=Change(
        action="ScaleUp",
        reason=Reason.FORECAST_HIGH,
        message="the forecast calls for 9",
        before="3",
        after="5",
    ),
    applied=True,
)


def seen(**changes: Any) -> Seen:
    return Seen(
        **{
            "now": START,
            "generation": 3,
            "spec": spec(),
            "target_found": True,
            "inputs": INPUTS,
            "decision": DECISION,
            "cold_starts": (140.0, 150.0, 210.0),
            "sidecars": Sidecars(expected=3, reporting=3, applied=3),
        }
        | changes
    )


def condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(dict(c) for c in status["conditions"] if c["type"] == kind)


def test_a_tick_reads_as_people_read_it() -> None:
    status = build_status({}, seen(told=[SCALE_UP], hpa=7))
    del status["conditions"]
    assert status == {
        "observedGeneration": 3,
        "phase": "Warned",
        "activeModel": "llama-70b",
        "replicas": {
            "current": 3,
            "ready": 3,
            "desired": 5,
            "reactive": 4,
            "forecast": 9,
            "hpa": 7,
        },
        "demand": {"state": "Present", "rps": "12.1"},
        "forecast": {
            "method": "GradientBoosting+Linear",
            "horizon": "6m0s",
            "demandNow": "12.1",
            "demandAhead": "19.4",
            "quantiles": {"0.5": "11", "0.95": "19.4"},
            "coverage": "0.95",
            "skill": "0.31",
            "trainedAt": "2025-12-31T23:50:00Z",
            "reason": "ForecastReliable",
        },
        "coldStart": {"p50": "2m30s", "p90": "3m18s", "samples": 3},
        "capacity": {
            "perReplica": "2.5",
            "signal": "RequestsPerSecond",
            "source": "Declared",
        },
        "budgets": [
            {
                "name": "team-day",
                "scope": "Tenant",
                "used": "1619999",
                "limit": "2000000",
                "utilization": "80%",
                "windowEnd": "2026-01-02T00:00:00Z",
                "top": [
                    {"key": "acme", "used": "1619999", "utilization": "80%", "rung": "Warn"},
                    {"key": "beta", "used": "10", "utilization": "0%", "rung": "None"},
                ],
            }
        ],
        "tenants": [
            {
                "name": "acme",
                "rung": "Warn",
                "reason": "BudgetWarn",
                "until": "2026-01-02T00:00:00Z",
            }
        ],
        "sidecars": {"expected": 3, "reporting": 3, "applied": 3, "failed": 0},
        "decisions": [
            {
                "time": "2026-01-01T00:00:00Z",
                "action": "ScaleUp",
                "from": "3",
                "to": "5",
                "reason": "ForecastAboveCapacity",
                "message": "the forecast calls for 9",
                "applied": True,
                "inputs": {
                    "demandRps": "12.1",
                    "forecastRps": "19.4",
                    "current": "3",
                    "ready": "3",
                    "starting": "0",
                    "reactive": "4",
                    "forecast": "9",
                },
                "clamps": [{"reason": "ScaleUpLimit", "before": 9, "after": 5}],
            }
        ],
    }


def test_a_tick_that_failed_changes_nothing_but_what_it_says() -> None:
    first = build_status({}, seen())
    failed = build_status(
        first,
        Seen(now=START + 15, generation=3, spec=spec(), failure="away", cold_starts=(140.0,)),
    )
    kept = set(first) - {"conditions", "coldStart"}
    assert {name: failed[name] for name in kept} == {name: first[name] for name in kept}
    assert condition(failed, "Ready")["reason"] == "ReconcileFailed"


def test_what_is_not_known_is_left_out_and_never_zero() -> None:
    lost = replace(INPUTS, demand=Demand(state=DataState.ERROR), forecast=None)
    held = replace(DECISION.scaling, reactive=None, forecast=None)
    status = build_status({}, seen(inputs=lost, decision=replace(DECISION, scaling=held)))
    assert status["demand"] == {"state": "Error"}
    assert "forecast" not in status
    assert set(status["replicas"]) == {"current", "ready", "desired"}


def test_the_last_ten_changes_are_kept_newest_first() -> None:
    status: dict[str, Any] = {}
    for at in range(13):
        change = replace(SCALE_UP.change, message=f"change {at}")
        told = [Told(change=change, applied=True)]
        status = build_status(status, seen(now=START + at, told=told))
    assert [d["message"] for d in status["decisions"]] == [f"change {n}" for n in range(12, 2, -1)]


def test_only_the_fullest_five_of_a_budget_are_named() -> None:
    inputs = replace(INPUTS, budgets=tuple(use(f"t{n}", n * 1000) for n in range(20)))
    (budget,) = build_status({}, seen(inputs=inputs))["budgets"]
    assert [top["key"] for top in budget["top"]] == ["t19", "t18", "t17", "t16", "t15"]


@pytest.mark.parametrize(
    ("reason", "before", "after", "words"),
    [
        (Reason.MIN_REPLICAS, 0, 1, "0 would do, minReplicas is 1"),
        (Reason.MAX_REPLICAS, 12, 10, "12 are wanted, maxReplicas is 10"),
        (Reason.SCALE_UP_LIMIT, 9, 5, "9 are wanted, behavior.scaleUp allows 5 for now"),
        (Reason.SCALE_DOWN_LIMIT, 2, 4, "2 would do, behavior.scaleDown allows 4 for now"),
    ],
)
def test_a_limit_says_which_field_it_is(
    reason: Reason, before: int, after: int, words: str
) -> None:
    clamps = (Clamp(reason=reason, before=before, after=after),)
    decision = replace(DECISION, scaling=replace(DECISION.scaling, clamps=clamps))
    limited = condition(build_status({}, seen(decision=decision)), "ScalingLimited")
    assert (limited["reason"], limited["message"]) == (str(reason), words)


def test_a_condition_keeps_its_time_while_its_status_stands() -> None:
    first = build_status({}, seen())
    later = build_status(first, seen(now=START + 60))
    assert condition(later, "Ready") == condition(first, "Ready")
    lost = build_status(later, seen(now=START + 120, target_found=False))
    assert condition(lost, "TargetResolved")["lastTransitionTime"] == timestamp(START + 120)
    assert condition(lost, "NoConflict")["lastTransitionTime"] == timestamp(START)


def test_what_a_tick_could_not_see_stays_as_it_was() -> None:
    first = build_status({}, seen(told=[SCALE_UP]))
    problem = InvalidSpecError("spec.scaling.minReplicas", "must be at least 1, was: 0")
    later = build_status(
        first, seen(now=START + 60, generation=4, problem=problem, inputs=None, decision=None)
    )
    assert later["replicas"] == first["replicas"]
    assert later["decisions"] == first["decisions"]
    assert later["observedGeneration"] == 4
    assert condition(later, "Ready") == {
        "type": "Ready",
        "status": "False",
        "lastTransitionTime": timestamp(START + 60),
        "reason": "InvalidSpec",
        "message": "spec.scaling.minReplicas must be at least 1, was: 0",
        "observedGeneration": 4,
    }
    assert condition(later, "MetricsAvailable") == condition(first, "MetricsAvailable")


@pytest.mark.parametrize(
    ("changes", "kind", "status", "reason"),
    [
        pytest.param({}, "Ready", "True", "Ready", id="all is well"),
        pytest.param({}, "ScalingActive", "True", "Ready", id="scaling works"),
        pytest.param({}, "ScalingLimited", "True", "ScaleUpLimit", id="a limit binds"),
        pytest.param({}, "BudgetsOK", "False", "BudgetWarn", id="a budget warns"),
        pytest.param({}, "Degraded", "False", "Normal", id="nothing is degraded"),
        pytest.param({}, "ForecastReliable", "True", "ForecastReliable", id="a good forecast"),
        pytest.param(
            {"target_found": False}, "TargetResolved", "False", "TargetNotFound", id="no target"
        ),
        pytest.param(
            {"target_found": False}, "Ready", "False", "TargetNotFound", id="so not ready"
        ),
        pytest.param(
            {"conflict_with": "older"},
            "NoConflict",
            "False",
            "TargetSharedByPolicies",
            id="an older policy has the target",
        ),
        pytest.param(
            {"spec": spec(mode="Shadow")},
            "ScalingActive",
            "False",
            "Shadow",
            id="Shadow scales not",
        ),
        pytest.param(
            {"spec": spec(mode="Shadow")}, "Ready", "True", "Shadow", id="Shadow is ready"
        ),
        pytest.param(
            {"spec": spec(scaling=None)},
            "ScalingActive",
            "False",
            "ScalingNotAsked",
            id="scaling is not asked for",
        ),
        pytest.param(
            {"scale_error": "forbidden"}, "ScalingActive", "False", "ScaleFailed", id="no rights"
        ),
        pytest.param(
            {"failure": "the API server is away"},
            "Ready",
            "False",
            "ReconcileFailed",
            id="a fault",
        ),
        pytest.param(
            {"inputs": replace(INPUTS, demand=Demand(state=DataState.STALE, rps=1.0))},
            "MetricsAvailable",
            "False",
            "MetricsStale",
            id="old data",
        ),
        pytest.param(
            {"inputs": replace(INPUTS, demand=Demand(state=DataState.ERROR))},
            "ScalingActive",
            "False",
            "MetricsError",
            id="no data, no scaling",
        ),
        pytest.param(
            {"inputs": replace(INPUTS, forecast=None)},
            "ForecastReliable",
            "Unknown",
            "ForecastTraining",
            id="no forecast yet",
        ),
    ],
)
def test_each_condition_answers_its_question(
    changes: dict[str, Any], kind: str, status: str, reason: str
) -> None:
    answer = condition(build_status({}, seen(**changes)), kind)
    assert (answer["status"], answer["reason"]) == (status, reason)
    assert answer["message"]


@pytest.mark.parametrize(
    ("sidecars", "status", "reason"),
    [
        pytest.param({}, "True", "SidecarsInSync", id="nobody there, nobody behind"),
        pytest.param(
            {"expected": 3, "reporting": 2, "applied": 2},
            "False",
            "SidecarsMissing",
            id="one silent",
        ),
        pytest.param(
            {"expected": 3, "reporting": 3, "applied": 1},
            "False",
            "SidecarsBehind",
            id="two behind",
        ),
        pytest.param(
            {"expected": 3, "reporting": 3, "applied": 1, "settling": True},
            "True",
            "SidecarsInSync",
            id="two behind a config that is only just there",
        ),
        pytest.param(
            {"expected": 3, "reporting": 3, "applied": 2, "failed": 1, "error": "poison"},
            "False",
            "SidecarsRejectedConfig",
            id="one refused",
        ),
    ],
)
def test_sidecars_are_judged(sidecars: dict[str, Any], status: str, reason: str) -> None:
    assert judge_sidecars(Sidecars(**sidecars))[:2] == (status, reason)


@pytest.mark.parametrize(
    ("expected", "reporting", "estimated", "message"),
    [
        pytest.param(4, 4, 0.0, "all sidecars that should answer do", id="nobody is silent"),
        pytest.param(
            *(
                4,
                3,
                0.254,
                "3 of 4 sidecars answer; 25% of the demand is what the others said last",
            ),
            id="one is silent that was heard before",
        ),
        pytest.param(
            *(4, 3, 0.0, "3 of 4 sidecars answer; of the others no demand is known"),
            id="one is silent that was never heard",
        ),
    ],
)
def test_a_demand_that_is_partly_estimated_says_so(
    expected: int, reporting: int, estimated: float, message: str
) -> None:
    demand = Demand(state=DataState.PRESENT, rps=12.0, estimated=estimated)
    status = build_status(
        {},
        seen(
            inputs=replace(INPUTS, demand=demand),
            sidecars=Sidecars(expected=expected, reporting=reporting),
        ),
    )
    answer = condition(status, "MetricsAvailable")
    assert (answer["status"], answer["message"]) == ("True", message)
    assert status["demand"].get("estimated") == ("25%" if estimated else None)


def test_measured_figures_alone_are_no_news() -> None:
    before = build_status({}, seen())
    busier = replace(INPUTS, demand=Demand(state=DataState.PRESENT, rps=13.0))
    after = build_status(before, seen(now=START + 15, inputs=busier))
    assert after != before
    assert not is_news(before, after)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"told": [SCALE_UP]}, id="a decision"),
        pytest.param({"target_found": False}, id="a condition that turns"),
        pytest.param({"inputs": replace(INPUTS, current=4)}, id="another replica count"),
        pytest.param({"generation": 4}, id="another spec"),
        pytest.param({"sidecars": Sidecars(expected=3, reporting=2)}, id="a silent sidecar"),
    ],
)
def test_news_is_news(changes: dict[str, Any]) -> None:
    before = build_status({}, seen())
    assert is_news(before, build_status(before, seen(**changes)))


def test_every_reason_of_a_condition_is_one_of_the_codes() -> None:
    for built in build_conditions([], seen()):
        assert Reason(built["reason"])


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.126, "0.13"), (2.5, "2.5"), (12.13, "12.1"), (1234.5, "1234"), (7, "7")],
)
def test_decimals_are_short(value: float, text: str) -> None:
    assert decimal(value) == text


def test_percentiles_lie_between_the_nearest_samples() -> None:
    assert percentile([10.0], 0.9) == 10.0
    assert percentile([30.0, 10.0, 20.0], 0.5) == 20.0
    assert percentile([0.0, 10.0], 0.9) == pytest.approx(9.0)
