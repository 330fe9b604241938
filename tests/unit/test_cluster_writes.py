"""What the reconciler writes, and above all what it does not."""

from typing import Any

import pytest

from fake_cluster import EVENTS, MAPS, POLICY, SCALE, START, FakeApi, policy, scale
from tidegate_operator.cluster.client import ApiError
from tidegate_operator.cluster.config import ConfigWriter
from tidegate_operator.cluster.config_maps import PolicyConfigMap
from tidegate_operator.cluster.events import EventWriter
from tidegate_operator.cluster.observe import read_scale
from tidegate_operator.cluster.scale import write_scale
from tidegate_operator.cluster.status import StatusWriter
from tidegate_operator.crd.seen import Told
from tidegate_operator.crd.spec import TargetRef
from tidegate_operator.decide.words import Change, Reason
from tidegate_wire.config import Model, SidecarConfig

META = policy()["metadata"]
TARGET = TargetRef(kind="Deployment", name="llama")
PATH = f"{MAPS}/tidegate-config-chat"


def told(reason: Reason = Reason.DEMAND_HIGH, message: str = "more", **changes: Any) -> Told:
    fields = {"action": "ScaleUp", "before": "2", "after": "4"} | changes
    return Told(change=Change(reason=reason, message=message, **fields), applied=True)


# --- scale --------------------------------------------------------------------------------------


async def test_a_scale_is_written_on_what_was_seen() -> None:
    api = FakeApi()
    api.put(SCALE, scale(2))
    seen = await read_scale(api, "shop", TARGET)
    assert (seen.replicas, seen.pods, seen.selector) == (2, 2, "app=llama")
    await write_scale(api, "shop", TARGET, seen, 4)
    assert api.objects[SCALE]["spec"] == {"replicas": 4}
    with pytest.raises(ApiError) as caught:
        await write_scale(api, "shop", TARGET, seen, 6)
    assert caught.value.status == 409
    assert api.objects[SCALE]["spec"] == {"replicas": 4}


async def test_a_scale_without_replicas_is_zero() -> None:
    api = FakeApi()
    api.put(SCALE, {"metadata": {}})
    assert (await read_scale(api, "shop", TARGET)).replicas == 0


# --- ConfigMaps ---------------------------------------------------------------------------------


async def test_a_config_map_is_made_owned_and_labelled() -> None:
    api = FakeApi()
    assert await PolicyConfigMap(META, "sidecar-config", "tidegate-config").write(api, {"a": "1"})
    made = api.objects[PATH]
    assert made["data"] == {"a": "1"}
    assert made["metadata"]["labels"] == {
        "tidegate.io/part": "sidecar-config",
        "tidegate.io/policy": "chat",
    }
    (owner,) = made["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("LLMQualityPolicy", "uid-chat")


async def test_equal_content_is_not_written_not_even_by_a_new_process() -> None:
    api = FakeApi()
    await PolicyConfigMap(META, "p", "tidegate-config").write(api, {"a": "1"})
    api.writes.clear()
    fresh = PolicyConfigMap(META, "p", "tidegate-config")
    assert not await fresh.write(api, {"a": "1"})
    assert api.writes == []
    assert await fresh.write(api, {"a": "2"})
    assert api.objects[PATH]["data"] == {"a": "2"}


async def test_what_an_earlier_policy_of_that_name_left_is_not_read_and_made_ours() -> None:
    api = FakeApi()
    other = META | {"uid": "uid-old"}
    await PolicyConfigMap(other, "p", "tidegate-config").write(api, {"a": "1"})
    mine = PolicyConfigMap(META, "p", "tidegate-config")
    assert await mine.read(api) == {}
    assert await mine.write(api, {"a": "1"})
    assert api.objects[PATH]["metadata"]["ownerReferences"][0]["uid"] == "uid-chat"


async def test_one_that_somebody_deleted_is_made_again_once_it_is_looked_for() -> None:
    api = FakeApi()
    mine = PolicyConfigMap(META, "p", "tidegate-config")
    await mine.write(api, {"a": "1"})
    del api.objects[PATH]
    mine.forget()
    assert await mine.write(api, {"a": "1"})
    assert PATH in api.objects


async def test_a_write_that_fails_is_tried_again_from_the_beginning() -> None:
    api = FakeApi()
    mine = PolicyConfigMap(META, "p", "tidegate-config")
    api.refuse["POST", MAPS] = 500
    with pytest.raises(ApiError):
        await mine.write(api, {"a": "1"})
    api.refuse.clear()
    assert await mine.write(api, {"a": "1"})


async def test_a_name_too_long_for_a_label_is_cut() -> None:
    api = FakeApi()
    await PolicyConfigMap(META | {"name": "n" * 80}, "p", "x").write(api, {})
    (made,) = api.objects.values()
    assert len(made["metadata"]["labels"]["tidegate.io/policy"]) == 63


async def test_a_config_of_an_earlier_process_is_taken_up() -> None:
    api = FakeApi()
    config = SidecarConfig(policy="shop/chat", models=(Model(name="m"),))
    await ConfigWriter(META).write(api, config, TARGET, START)
    assert api.objects[PATH]["data"]["target"] == "Deployment/llama"
    later = ConfigWriter(META)
    await later.look(api)
    assert later.current == config
    assert not await later.write(api, config, TARGET, START + 60)


async def test_a_config_that_cannot_be_read_is_replaced() -> None:
    api = FakeApi()
    await PolicyConfigMap(META, "p", "tidegate-config").write(api, {"config.json": "{"})
    writer = ConfigWriter(META)
    await writer.look(api)
    assert writer.current is None
    assert await writer.write(api, SidecarConfig(), TARGET, START)


# --- status -------------------------------------------------------------------------------------


def a_status(rps: str = "1", phase: str = "Normal") -> dict[str, Any]:
    return {"phase": phase, "demand": {"rps": rps}, "conditions": []}


async def test_a_status_is_written_whole_when_it_says_something_new() -> None:
    api = FakeApi()
    api.put(f"{POLICY}/chat", policy() | {"status": {"old": 1}})
    writer = StatusWriter("shop", "chat", "uid-chat", {"old": 1})
    assert await writer.write(api, a_status(), START, 60.0)
    assert api.objects[f"{POLICY}/chat"]["status"] == a_status()
    assert not await writer.write(api, a_status(), START + 300, 60.0)
    assert await writer.write(api, a_status(phase="Warned"), START + 1, 60.0)


async def test_figures_wait() -> None:
    api = FakeApi()
    api.put(f"{POLICY}/chat", policy())
    writer = StatusWriter("shop", "chat", "uid-chat", {})
    assert await writer.write(api, a_status("1"), START, 60.0)
    assert not await writer.write(api, a_status("2"), START + 59, 60.0)
    assert await writer.write(api, a_status("3"), START + 60, 60.0)


async def test_a_namesake_made_anew_is_not_written() -> None:
    api = FakeApi()
    api.put(f"{POLICY}/chat", policy())
    with pytest.raises(ApiError):
        await StatusWriter("shop", "chat", "uid-old", {}).write(api, a_status(), START, 60.0)
    assert "status" not in api.objects[f"{POLICY}/chat"]


# --- Events -------------------------------------------------------------------------------------


def events_of(api: FakeApi) -> list[tuple[str, int, str]]:
    found = [event for path, event in api.objects.items() if path.startswith(EVENTS)]
    return [(event["reason"], event["count"], event["message"]) for event in found]


async def test_what_comes_again_is_counted_on_the_event_that_stands() -> None:
    api, writer = FakeApi(), EventWriter(META)
    await writer.tell(api, told(message="first"), START)
    await writer.tell(api, told(message="second"), START + 60)
    await writer.tell(api, told(Reason.FORECAST_HIGH), START + 60)
    assert events_of(api) == [
        ("DemandAboveCapacity", 2, "second"),
        ("ForecastAboveCapacity", 1, "more"),
    ]
    assert len(api.writes) == 3


async def test_after_an_hour_it_is_told_anew() -> None:
    api, writer = FakeApi(), EventWriter(META)
    await writer.tell(api, told(), START)
    await writer.tell(api, told(), START + 3600)
    assert [count for _, count, _ in events_of(api)] == [1, 1]


async def test_an_event_that_the_server_forgot_is_let_go_and_the_next_is_new() -> None:
    api, writer = FakeApi(), EventWriter(META)
    await writer.tell(api, told(), START)
    api.objects.clear()
    await writer.tell(api, told(), START + 60)
    await writer.tell(api, told(), START + 120)
    assert [count for _, count, _ in events_of(api)] == [1]


async def test_an_event_points_at_its_policy_and_warns_where_it_should() -> None:
    api = FakeApi()
    await EventWriter(META).tell(api, told(warning=True), START)
    (event,) = api.objects.values()
    assert event["involvedObject"]["uid"] == "uid-chat"
    assert (event["type"], event["source"]) == ("Warning", {"component": "tidegate"})
    assert event["firstTimestamp"] == "2026-01-01T00:00:00Z"
