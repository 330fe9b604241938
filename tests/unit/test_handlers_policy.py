"""Stories of one policy: what the loop writes, what it tells, and what it leaves alone."""

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from fake_cluster import EVENTS, MAPS, POLICY, SCALE, START, policy, scale
from stage import DEGRADE, TENANTS, Stage
from tidegate_operator.crd.status import timestamp
from tidegate_operator.decide.rungs import Rung
from tidegate_operator.decide.words import Forecast, Reason
from tidegate_operator.sources.sidecars import Address
from tidegate_wire.config import Do
from tidegate_wire.stats import SidecarStats


def forecast(made_at: float, rps: float) -> Forecast:
    return Forecast(
        made_at=made_at,
        horizon_s=360.0,
        quantiles={0.5: rps * 0.8, 0.95: rps},
        reliable=True,
        reason=Reason.FORECAST_GOOD,
        skill=0.3,
        coverage=0.95,
    )


# --- scaling ------------------------------------------------------------------------------------


async def test_demand_above_capacity_is_scaled_for_and_told_once() -> None:
    stage = Stage()
    await stage.tick(4, rps=2.0)
    await stage.tick(1, rps=12.0)
    assert stage.replicas > 2
    assert stage.api.written("PUT") == [SCALE]
    newest = stage.status()["decisions"][0]
    assert (newest["action"], newest["applied"]) == ("ScaleUp", True)
    assert (newest["from"], newest["to"]) == ("2", str(stage.replicas))
    assert ("ScaleUp", newest["reason"], 1) in stage.events()
    assert stage.metric(
        "tidegate_decisions_total", action="ScaleUp", reason=newest["reason"], applied="true"
    )


async def test_a_forecast_brings_pods_before_the_load() -> None:
    stage = Stage()
    await stage.tick(4, rps=2.0)
    stage.forecasts.answer = forecast(stage.clock.at, 20.0)
    await stage.tick(5, rps=2.0)
    assert stage.replicas > 2
    newest = stage.status()["decisions"][0]
    assert (newest["reason"], newest["action"]) == ("ForecastAboveCapacity", "ScaleUp")
    assert stage.status()["forecast"]["demandAhead"] == "20"


async def test_shadow_writes_nothing_to_the_target_and_says_what_it_would_have_done() -> None:
    stage = Stage(policy(mode="Shadow"))
    await stage.tick(4, rps=2.0)
    await stage.tick(6, rps=12.0)
    assert stage.replicas == 2
    assert stage.api.written("PUT") == []
    newest = stage.status()["decisions"][0]
    assert (newest["action"], newest["applied"]) == ("ScaleUp", False)
    assert stage.status()["replicas"]["desired"] > 2
    event = next(
        e
        for p, e in stage.api.objects.items()
        if p.startswith(EVENTS) and e["action"] == "ScaleUp"
    )
    assert event["message"].startswith("Not applied: ")


async def test_a_write_is_told_even_where_shadow_told_it_before() -> None:
    stage = Stage(policy(mode="Shadow"))
    await stage.tick(4, rps=2.0)
    await stage.tick(6, rps=12.0)
    stage.see(policy(mode="Enforce"))
    await stage.tick(1, rps=12.0)
    assert stage.replicas > 2
    newest = stage.status()["decisions"][0]
    assert (newest["action"], newest["applied"]) == ("ScaleUp", True)


async def test_a_paused_policy_looks_on_and_writes_no_scale() -> None:
    stage = Stage(policy(mode="Paused"))
    await stage.tick(8, rps=12.0)
    assert stage.replicas == 2
    assert stage.condition("Ready") == ("True", "Paused")
    assert stage.status()["demand"]["state"] == "Present"


async def test_without_scaling_replicas_are_left_alone() -> None:
    stage = Stage(policy(scaling=None))
    await stage.tick(8, rps=50.0)
    assert stage.replicas == 2
    assert stage.condition("ScalingActive") == ("False", "ScalingNotAsked")


async def test_somebody_else_writes_in_between_then_the_next_tick_looks_again() -> None:
    stage = Stage()
    await stage.tick(4, rps=2.0)
    stage.api.refuse["PUT", SCALE] = 409
    await stage.tick(1, rps=12.0)
    assert (stage.replicas, stage.condition("ScalingActive")[0]) == (2, "True")
    assert all(d["action"] != "ScaleUp" for d in stage.status().get("decisions", ()))
    stage.api.refuse.clear()
    await stage.tick(1, rps=12.0)
    assert stage.replicas > 2
    assert [d["action"] for d in stage.status()["decisions"]].count("ScaleUp") == 1


async def test_a_scale_that_may_not_be_written_is_a_condition_and_one_event() -> None:
    stage = Stage()
    await stage.tick(4, rps=2.0)
    stage.api.refuse["PUT", SCALE] = 403
    await stage.tick(5, rps=12.0)
    assert stage.condition("ScalingActive") == ("False", "ScaleFailed")
    assert [e for e in stage.events() if e[1] == "ScaleFailed"] == [
        ("ScalingActive", "ScaleFailed", 1)
    ]


# --- data ---------------------------------------------------------------------------------------


async def test_sidecars_that_cannot_be_read_hold_everything() -> None:
    stage = Stage(replicas=4)
    await stage.tick(4, rps=6.0)
    stage.mute = {"p0", "p1", "p2", "p3"}
    await stage.tick(60)
    assert stage.replicas == 4
    assert stage.condition("MetricsAvailable") == ("False", "MetricsError")
    stage.mute = set()
    await stage.tick(1, rps=8.0)
    assert stage.condition("MetricsAvailable") == ("True", "MetricsFound")


async def test_nothing_is_scaled_down_before_the_first_whole_look() -> None:
    stage = Stage(replicas=6)
    await stage.tick(30, rps=0.0)
    assert stage.replicas < 6, "an idle target is scaled down, else this test can't fail"

    stage = Stage(replicas=6)
    stage.mute = {"p5"}
    await stage.tick(60)
    assert stage.replicas == 6


async def test_a_restart_undoes_nothing_before_its_first_forecast() -> None:
    """However short the stabilisation window: pods that were started ahead of a rush stay."""
    quick = {"scaleDown": {"stabilization": "15s"}}
    scaling = {"minReplicas": 1, "maxReplicas": 10, "capacityPerReplica": "2.5", "behavior": quick}
    stage = Stage(policy(scaling=scaling), replicas=5)
    stage.forecasts.answer = forecast(stage.clock.at + 60, 11.0)
    await stage.tick(8, rps=2.0)
    assert stage.replicas == 5, "the forecast holds them, demand alone would not"
    await stage.loop.end()
    stage.restart()
    stage.clock.at += 45
    stage.forecasts.answer = forecast(stage.clock.at, 11.0)
    await stage.tick(1, rps=2.0)
    assert stage.condition("ForecastReliable") == ("True", "ForecastReliable"), "as it was"
    await stage.tick(3, rps=2.0)
    assert SCALE not in stage.api.written("PUT")


async def test_pods_that_the_watch_has_not_shown_yet_make_a_look_incomplete() -> None:
    stage = Stage(replicas=2)
    stage.api.put(SCALE, scale(6))
    await stage.tick(60)
    assert stage.replicas == 6
    assert stage.condition("SidecarsInSync") == ("False", "SidecarsMissing")


async def test_cold_starts_are_measured_and_set_the_horizon() -> None:
    stage = Stage()
    await stage.tick(1)
    assert stage.forecasts.asked[-1][1].horizon_s == 900.0
    for n in range(3):
        uid, created = f"new{n}", timestamp(stage.clock.at)
        stage.add_pod(uid, ready=False, created=created)
        await stage.tick(1)
        ready_at = timestamp(stage.clock.at + 85)
        stage.add_pod(uid, created=created, ready_at=ready_at)
        await stage.tick(8)
    assert stage.status()["coldStart"] == {"p50": "1m40s", "p90": "1m40s", "samples": 3}
    assert stage.forecasts.asked[-1][1].horizon_s == pytest.approx(100.0 + 120.0)


async def test_the_forecast_is_asked_once_a_minute() -> None:
    stage = Stage()
    await stage.tick(40, rps=2.0)
    minutes = [int(now // 60) for now, _, _ in stage.forecasts.asked]
    assert minutes == list(range(minutes[0], minutes[0] + 11))


async def test_a_pod_on_its_way_out_is_heard_to_its_last_word_and_then_not_missed() -> None:
    stage = Stage(policy(**TENANTS))
    stage.tenant = "acme"
    await stage.tick(4, rps=2.0)
    stage.add_pod("p1", terminating=True)
    stage.api.put(SCALE, scale(1))
    stage.tokens = 450
    await stage.tick(1, rps=2.0)
    assert stage.status()["budgets"][0]["used"] == "900"
    stage.mute = {"p1"}
    await stage.tick(2, rps=2.0)
    assert stage.condition("MetricsAvailable") == ("True", "MetricsFound")
    assert stage.status()["sidecars"]["expected"] == 1


@pytest.mark.parametrize("gone", [False, True])
async def test_a_policy_that_goes_while_its_pods_are_asked_scales_nothing_any_more(
    monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    stage = Stage()
    await stage.tick(4, rps=2.0)
    look = stage.sidecars.look

    async def meanwhile(pods: Iterable[Address]) -> Mapping[str, SidecarStats | None]:
        if gone:
            stage.world.see_policy(policy(), gone=True)
        return await look(pods)

    monkeypatch.setattr(stage.sidecars, "look", meanwhile)
    await stage.tick(1, rps=12.0)
    assert (stage.replicas > 2) is not gone


async def test_one_change_is_one_event() -> None:
    stage = Stage()
    await stage.tick(4, rps=2.0)
    assert [event for event in stage.events() if event[1] == "MetricsFound"] == [
        ("MetricsAvailable", "MetricsFound", 1)
    ]


async def test_a_young_policy_warns_of_nothing() -> None:
    """That a rate takes two looks and a forecast two days is the way of things."""
    stage = Stage()
    await stage.tick(4, rps=2.0)
    events = [e for path, e in stage.api.objects.items() if path.startswith(EVENTS)]
    assert ("HistoryTooShort", "Normal") in [(e["reason"], e["type"]) for e in events]
    assert [e for e in events if e["type"] == "Warning"] == []


# --- the ladder ---------------------------------------------------------------------------------


async def test_errors_switch_the_model_and_the_order_is_renewed() -> None:
    stage = Stage(policy(degrade=DEGRADE))
    await stage.tick(4, rps=4.0)
    await stage.tick(8, rps=4.0, error_share=0.5)
    config = stage.config()
    assert config is not None
    assert config.order is not None
    assert (config.order.do, config.order.model) == (Do.SWITCH, "llama-8b")
    assert stage.status()["activeModel"] == "llama-8b"
    assert stage.condition("Degraded") == ("True", "ErrorRateHigh")
    assert config.order.expires_at <= stage.clock.at + 900


async def test_a_ladder_that_moves_is_checkpointed_at_once() -> None:
    stage = Stage(policy(degrade=DEGRADE))
    await stage.tick(4, rps=3.0)
    assert stage.history() is None
    await stage.tick(8, rps=4.0, error_share=0.5)
    saved = stage.history()
    assert saved is not None
    assert saved.memory.rung is Rung.SWITCH


async def test_a_tenants_budget_warns_then_blocks_that_tenant() -> None:
    stage = Stage(policy(**TENANTS))
    stage.tenant = "acme"
    await stage.tick(1, rps=1.0)
    stage.tokens = 420
    await stage.tick(1, rps=1.0)
    assert stage.status()["phase"] == "Warned"
    assert stage.status()["tenants"][0]["rung"] == "Warn"
    stage.tokens = 600
    await stage.tick(1, rps=1.0)
    config = stage.config()
    assert config is not None
    assert config.order is None
    (order,) = config.tenant_orders.values()
    assert (order.do, order.expires_at) == (Do.BLOCK, START + 86400)
    assert stage.condition("BudgetsOK") == ("False", "BudgetExhausted")
    assert stage.metric("tidegate_budget_used_ratio", budget="team-day") == pytest.approx(1.2)


async def test_what_pods_served_before_the_policy_came_is_not_in_its_budget() -> None:
    stage = Stage(policy(**TENANTS))
    stage.tenant = "acme"
    stage.tokens = 5_000  # a pod, five whole limits, before the first look
    await stage.tick(1, rps=1.0)
    assert stage.status()["phase"] == "Normal"
    stage.tokens = 5_420
    await stage.tick(1, rps=1.0)
    assert stage.status()["phase"] == "Warned"
    stage.add_pod("late")  # new to the ledger, which has begun: it counts whole
    stage.arrived["late"] = 0
    await stage.tick(1, rps=1.0)
    assert stage.status()["phase"] == "Blocked"


async def test_shadow_gives_no_orders() -> None:
    stage = Stage(policy(mode="Shadow", degrade=DEGRADE))
    await stage.tick(4, rps=4.0)
    await stage.tick(8, rps=4.0, error_share=0.5)
    config = stage.config()
    assert config is not None
    assert config.order is None
    newest = stage.status()["decisions"][0]
    assert (newest["action"], newest["applied"]) == ("Switch", False)


# --- policies and targets -----------------------------------------------------------------------


async def test_a_target_that_does_not_exist_is_said_and_nothing_is_lost() -> None:
    stage = Stage()
    await stage.tick(4, rps=4.0)
    target = stage.api.objects.pop(SCALE)
    await stage.tick(3)
    assert stage.condition("TargetResolved") == ("False", "TargetNotFound")
    assert stage.condition("Ready") == ("False", "TargetNotFound")
    assert ("TargetResolved", "TargetNotFound", 1) in stage.events()
    stage.api.put(SCALE, target)
    await stage.tick(2, rps=4.0)
    assert stage.condition("TargetResolved") == ("True", "TargetFound")
    assert ("TargetResolved", "TargetFound", 1) in stage.events()


async def test_of_two_policies_for_one_target_the_older_acts() -> None:
    old = policy("zulu", created="2025-12-01T00:00:00Z")
    young = policy("alpha", created="2025-12-02T00:00:00Z")
    stage = Stage(young, old)
    await stage.tick(4, rps=2.0)
    await stage.tick(1, rps=12.0)
    assert stage.condition("NoConflict", "zulu") == ("True", "NobodyElseScales")
    assert stage.condition("NoConflict", "alpha") == ("False", "TargetSharedByPolicies")
    assert stage.api.written("PUT") == [SCALE]
    assert stage.config("zulu") is not None
    assert stage.config("alpha") is None


async def test_a_policy_that_comes_into_conflict_withdraws_its_config() -> None:
    young = policy("alpha", created="2025-12-02T00:00:00Z")
    stage = Stage(young)
    await stage.tick(2)
    assert stage.config("alpha") is not None
    stage.see(policy("zulu", created="2025-12-01T00:00:00Z"))
    await stage.tick(1)
    assert stage.config("alpha") is None
    assert stage.config("zulu") is not None


async def test_an_invalid_spec_is_named_and_what_sidecars_run_stays() -> None:
    stage = Stage()
    await stage.tick(4, rps=2.0)
    good = stage.config()
    stage.see(policy(scaling={"minReplicas": 11, "capacityPerReplica": "2.5"}))
    stage.api.writes.clear()
    await stage.tick(4, rps=30.0)
    assert stage.condition("Ready") == ("False", "InvalidSpec")
    ready = next(c for c in stage.status()["conditions"] if c["type"] == "Ready")
    assert ready["message"] == (
        "spec.scaling.minReplicas must be at most maxReplicas (10), was: 11"
    )
    assert ("Ready", "InvalidSpec", 1) in stage.events()
    assert stage.config() == good
    assert stage.api.written("PUT") == []
    stage.see(policy())
    await stage.tick(2, rps=30.0)
    assert stage.condition("Ready") == ("True", "Ready")
    assert stage.replicas > 2


async def test_a_policy_that_was_never_valid_still_says_why() -> None:
    stage = Stage(policy(models=[]))
    await stage.tick(2)
    assert stage.condition("Ready") == ("False", "InvalidSpec")
    assert stage.config() is None


async def test_a_policy_that_is_gone_is_no_longer_acted_on() -> None:
    stage = Stage()
    await stage.tick(4, rps=2.0)
    assert stage.metric("tidegate_policy_ready_replicas") == 2
    stage.world.see_policy(policy(), gone=True)
    stage.api.writes.clear()
    await stage.tick(3, rps=30.0)
    assert stage.api.writes == []
    assert stage.forecasts.forgotten == ["uid-chat"]
    assert stage.metric("tidegate_policy_ready_replicas") is None


async def test_a_policy_made_anew_takes_nothing_over_from_its_namesake() -> None:
    stage = Stage()
    await stage.tick(24, rps=4.0)
    assert stage.history() is not None
    stage.world.see_policy(policy(), gone=True)
    await stage.tick(1)
    anew = policy()
    anew["metadata"]["uid"] = "uid-other"
    stage.api.put(f"{POLICY}/chat", anew)
    stage.world.see_policy(anew)
    await stage.tick(1, rps=4.0)
    told = stage.status().get("decisions", ())
    assert all(decision["time"] == timestamp(stage.clock.at) for decision in told)
    assert stage.forecasts.asked[-1][2] < 3
    owner = stage.api.objects[f"{MAPS}/tidegate-config-chat"]["metadata"]["ownerReferences"][0]
    assert owner["uid"] == "uid-other"


async def test_one_policys_fault_does_not_hold_up_another() -> None:
    other: dict[str, Any] = policy("other", targetRef={"kind": "Deployment", "name": "qwen"})
    stage = Stage(other, policy())
    stage.api.refuse["GET", "/apis/apps/v1/namespaces/shop/deployments/qwen"] = 500
    await stage.tick(4, rps=2.0)
    assert stage.condition("Ready") == ("True", "Ready")
    assert stage.condition("Ready", "other") == ("False", "ReconcileFailed")
    assert stage.metrics.registry.get_sample_value(
        "tidegate_reconcile_duration_seconds_count", {"result": "failed"}
    )


# --- writes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["Enforce", "Shadow", "Paused"])
async def test_nothing_changes_then_nothing_is_written(mode: str) -> None:
    stage = Stage(policy(mode=mode, degrade=DEGRADE, **TENANTS), replicas=1)
    await stage.tick(12)
    stage.api.writes.clear()
    await stage.tick(20)
    assert stage.api.writes == []


async def test_nothing_is_written_for_a_fault_that_stays() -> None:
    stage = Stage(replicas=-1)
    await stage.tick(4)
    stage.api.writes.clear()
    await stage.tick(20)
    assert stage.api.writes == []


async def test_figures_alone_are_written_once_a_minute() -> None:
    stage = Stage(replicas=4)
    await stage.tick(8, rps=6.0)
    stage.api.writes.clear()
    for n in range(20):
        await stage.tick(1, rps=5.0 + n % 3)
    assert 4 <= len(stage.api.written("PATCH", f"{POLICY}/chat/status")) <= 5


async def test_the_history_is_saved_every_five_minutes_of_traffic() -> None:
    stage = Stage(replicas=3)
    await stage.tick(4, rps=6.0)
    stage.api.writes.clear()
    await stage.tick(80, rps=6.0)
    history = [path for _, path in stage.api.writes if path.startswith(MAPS)]
    assert len(history) == 4


async def test_an_event_that_cannot_be_written_stops_nothing() -> None:
    stage = Stage()
    stage.api.refuse["POST", EVENTS] = 403
    await stage.tick(4, rps=2.0)
    await stage.tick(2, rps=12.0)
    assert stage.replicas > 2
    assert stage.status()["decisions"][0]["action"] == "ScaleUp"
