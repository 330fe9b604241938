"""A restart forgets nothing that was saved, and makes nothing up that was not."""

import pytest

from fake_cluster import MAPS, START, policy
from stage import DEGRADE, TENANTS, Stage
from tidegate_operator.cluster.history import Checkpoint, encode_history


def saves(stage: Stage) -> list[str]:
    return stage.api.written("PATCH", f"{MAPS}/tidegate-history")


async def test_a_restart_forgets_nothing() -> None:
    stage = Stage(policy(degrade=DEGRADE, **TENANTS))
    stage.tenant, stage.tokens = "acme", 420
    await stage.tick(20, rps=4.0)
    await stage.tick(6, rps=4.0, error_share=0.5)
    await stage.loop.end()
    before, order = stage.status(), stage.config()
    stage.restart()
    stage.api.writes.clear()
    await stage.tick(1, rps=4.0, error_share=0.5)
    after = stage.status()
    assert after["activeModel"] == before["activeModel"] == "llama-8b"
    assert after["budgets"][0]["used"] == before["budgets"][0]["used"]
    assert after["decisions"] == before["decisions"]
    assert stage.config() == order
    assert stage.api.written("PUT") == []
    saved = stage.history()
    assert saved is not None
    assert sum(n or 0 for n in saved.counts) > 0


async def test_a_restart_without_a_clean_end_reads_the_gap_back_from_the_counters() -> None:
    stage = Stage()
    await stage.tick(21, rps=4.0)
    assert stage.history() is not None
    stage.restart()
    await stage.tick(1, rps=4.0)
    await stage.tick(21, rps=4.0)
    await stage.loop.end()
    saved = stage.history()
    assert saved is not None
    assert sum(n or 0 for n in saved.counts) == pytest.approx(4.0 * 60 * 10, rel=0.1)


async def test_a_pod_that_ends_takes_no_usage_with_it_though_the_operator_is_killed() -> None:
    stage = Stage(policy(**TENANTS))
    stage.tenant, stage.tokens = "acme", 100
    await stage.tick(22, rps=4.0)
    stage.tokens = 300
    await stage.tick(1, rps=4.0)  # seen, not saved: the next checkpoint is due in minutes
    stage.add_pod("p1", terminating=True)
    stage.api.writes.clear()
    await stage.tick(1)
    stage.tokens = 320  # its last stream ends
    await stage.tick(1)
    assert len(saves(stage)) == 2
    await stage.tick(3)
    assert len(saves(stage)) == 2
    assert stage.sidecars.saved[-1] == ("p1", stage.sidecars.stats["p1"].look)
    stage.world.drop_pod("p1")
    del stage.arrived["p1"]
    stage.restart()
    await stage.tick(1)
    assert stage.metric("tidegate_policy_tokens_total", type="input") == 2 * (320 - 100)


async def test_a_pod_that_ends_is_told_what_is_saved_of_it_and_nothing_before() -> None:
    stage = Stage(policy(**TENANTS))
    stage.tenant, stage.tokens = "acme", 100
    await stage.tick(22, rps=4.0)
    stage.add_pod("p1", terminating=True)
    stage.tokens = 300
    stage.api.refuse["PATCH", f"{MAPS}/tidegate-history"] = 500
    stage.sidecars.saved.clear()
    await stage.tick(2)
    last = stage.sidecars.stats["p1"].look
    assert ("p1", last) not in stage.sidecars.saved
    stage.api.refuse.clear()
    await stage.tick(1)
    assert ("p1", last) in stage.sidecars.saved
    assert ("p0", stage.sidecars.stats["p0"].look) not in stage.sidecars.saved, "it stays"


async def test_a_sidecar_that_leaves_a_pod_that_stays_is_not_kept_waiting() -> None:
    """Its container is restarted, by a liveness probe say."""
    stage = Stage(policy(**TENANTS))
    await stage.tick(23, rps=4.0)
    stage.leaving = {"p1"}
    stage.sidecars.saved.clear()
    await stage.tick(1)
    assert stage.sidecars.saved[-1] == ("p1", stage.sidecars.stats["p1"].look)


async def test_a_history_put_there_by_hand_is_taken_up_and_made_ours() -> None:
    """Without an owner, before there was a policy: what a user may do who has counts already."""
    stage = Stage()
    minute = int(stage.clock.at // 60) - 3000
    meta = {"name": "chat", "namespace": "shop", "uid": ""}
    history = encode_history(meta, Checkpoint(start_minute=minute, counts=[30] * 2990))
    del history["metadata"]["ownerReferences"]
    path = f"{MAPS}/tidegate-history-chat"
    stage.api.put(path, history)
    await stage.tick(4, rps=2.0)
    assert stage.forecasts.asked[-1][2] >= 2990
    await stage.loop.end()
    (owner,) = stage.api.objects[path]["metadata"]["ownerReferences"]
    assert owner["uid"] == "uid-chat"
    kept = stage.history()
    assert kept is not None
    assert list(kept.counts[:2990]) == [30] * 2990


async def test_a_checkpoint_that_cannot_be_had_is_waited_for_and_never_overwritten() -> None:
    stage = Stage()
    await stage.tick(21, rps=4.0)
    kept = stage.history()
    stage.restart()
    stage.api.refuse["GET", f"{MAPS}/tidegate-history"] = 500
    stage.api.writes.clear()
    await stage.tick(4, rps=30.0)
    assert stage.api.written("PUT") == []
    assert stage.history() == kept
    assert stage.condition("Ready") == ("False", "ReconcileFailed")
    stage.api.refuse.clear()
    await stage.tick(2, rps=30.0)
    assert stage.condition("Ready") == ("True", "Ready")
    assert stage.replicas > 2


async def test_a_garbled_checkpoint_is_begun_anew() -> None:
    stage = Stage()
    stage.api.put(
        f"{MAPS}/tidegate-history-chat",
        {"metadata": {"name": "tidegate-history-chat"}, "binaryData": {"history": "bm9uc2Vuc2U="}},
    )
    await stage.tick(2, rps=2.0)
    assert stage.condition("Ready") == ("True", "Ready")


async def test_history_that_was_put_there_for_a_policy_is_taken_up() -> None:
    stage = Stage()
    minute = int(START // 60)
    meta = policy()["metadata"]
    given = Checkpoint(start_minute=minute - 2000, counts=[60] * 2000, cold_starts=(80.0,) * 4)
    stage.api.put(f"{MAPS}/tidegate-history-chat", encode_history(meta, given))
    await stage.tick(1, rps=2.0)
    now, rules, minutes = stage.forecasts.asked[0]
    assert (minutes, rules.horizon_s) == (2000, 200.0)
    assert now == START + 15
