"""Objects of the API as values, and the tables that watches fill."""

from typing import Any

import pytest

from fake_cluster import POLICY, FakeApi, pod, policy
from tidegate_operator.cluster.client import ApiError, describe, read_answer
from tidegate_operator.cluster.observe import (
    World,
    parse_timestamp,
    read_pod,
    selects,
    sweep_pods,
    sweep_policies,
)
from tidegate_wire.names import INJECTED, PORT_ADMIN, STATUS


@pytest.mark.parametrize(
    ("selector", "labels", "taken"),
    [
        pytest.param("app=llama", {"app": "llama"}, True, id="equal"),
        pytest.param("app==llama", {"app": "llama"}, True, id="doubly equal"),
        pytest.param("app=llama", {"app": "qwen"}, False, id="another value"),
        pytest.param("app=llama", {}, False, id="no label"),
        pytest.param("app=llama,tier=gpu", {"app": "llama"}, False, id="only one of two"),
        pytest.param("app!=llama", {"app": "qwen"}, True, id="unequal"),
        pytest.param("app!=llama", {}, True, id="absent is unequal"),
        pytest.param("app in (llama,qwen)", {"app": "qwen"}, True, id="in a set"),
        pytest.param("app notin (llama, qwen)", {"app": "qwen"}, False, id="in a shut-out set"),
        pytest.param("a in (x,y),b=z", {"a": "y", "b": "z"}, True, id="a set and more"),
        pytest.param("app", {"app": ""}, True, id="present"),
        pytest.param("!app", {"app": "x"}, False, id="must be absent"),
        pytest.param("k8s.io/app.name=x", {"k8s.io/app.name": "x"}, True, id="a prefixed key"),
        pytest.param("", {"app": "llama"}, False, id="an empty selector takes nothing"),
        pytest.param("app>3", {"app": "4"}, False, id="an unreadable one takes nothing"),
    ],
)
def test_selectors(selector: str, labels: dict[str, str], taken: bool) -> None:
    assert selects(selector, labels) is taken


def test_a_pod_is_read() -> None:
    seen = read_pod(pod("p1", ready_at="2026-01-01T00:01:30Z"))
    assert (seen.uid, seen.ip, seen.admin_port, seen.ready) == ("p1", "127.0.0.9", 14120, True)
    assert seen.ready_at is not None
    assert seen.ready_at - seen.created_at == 90.0
    assert not seen.terminating


@pytest.mark.parametrize(
    "annotation",
    ["{", "[]", '{"ports": null}', '{"ports": {"admin": "x"}}', '{"ports": {"admin": 99999}}'],
)
def test_a_garbled_annotation_means_the_usual_port(annotation: str) -> None:
    manifest = pod("p1")
    manifest["metadata"]["annotations"][STATUS] = annotation
    assert read_pod(manifest).admin_port == PORT_ADMIN


def test_a_pod_without_anything_is_no_error() -> None:
    assert read_pod({}).ready is False


def test_a_time_that_is_none_is_none() -> None:
    assert parse_timestamp("yesterday") is None
    assert parse_timestamp(None) is None


def test_a_pod_that_loses_its_label_or_ends_is_no_longer_looked_at() -> None:
    world = World()
    world.see_pod(pod("p1"))
    world.see_pod(pod("p2"))
    assert [p.uid for p in world.pods_of("shop", "app=llama")] == ["p1", "p2"]
    bare = pod("p1")
    del bare["metadata"]["labels"][INJECTED]
    world.see_pod(bare)
    ended = pod("p2")
    ended["status"]["phase"] = "Failed"
    world.see_pod(ended)
    assert world.pods_of("shop", "app=llama") == []


def test_of_two_manifests_the_newer_generation_stands() -> None:
    world, old, new = World(), policy(), policy()
    new["metadata"]["generation"] = 2
    world.see_policy(new)
    world.see_policy(old)
    assert world.policies["uid-chat"]["metadata"]["generation"] == 2


def placed(kind: str, items: list[dict[str, Any]]) -> FakeApi:
    api = FakeApi()
    for item in items:
        api.put(f"/x/{kind}/{item['metadata']['name']}", item)
    return api


async def test_a_sweep_finds_what_a_broken_watch_lost() -> None:
    world = World()
    world.see_policy(policy("ghost"))
    await sweep_policies(placed("llmqualitypolicies", [policy("real")]), world)
    assert set(world.policies) == {"uid-real"}
    world.see_pod(pod("ghost"))
    await sweep_pods(placed("pods", [pod("real")]), world)
    assert set(world.pods) == {"real"}


async def test_a_sweep_brings_nothing_back_that_was_seen_to_go() -> None:
    world = World()
    world.see_pod(pod("p1"))
    world.see_pod(pod("p1"), gone=True)
    await sweep_pods(placed("pods", [pod("p1")]), world)
    assert world.pods == {}


async def test_a_sweep_that_fails_changes_nothing() -> None:
    world, api = World(), FakeApi()
    world.see_policy(policy())
    api.refuse["GET", "/apis/tidegate.io"] = 500
    with pytest.raises(ApiError):
        await sweep_policies(api, world)
    assert set(world.policies) == {"uid-chat"}
    assert POLICY.endswith("llmqualitypolicies")


@pytest.mark.parametrize(
    ("status", "raw", "said"),
    [
        (404, b'{"kind":"Status","reason":"NotFound","message":"no such"}', (404, "NotFound")),
        (502, b"<html>bad gateway</html>", (502, "")),
        (200, b"<html>a login page</html>", (0, "NotJSON")),
        (200, b"[]", (0, "NotJSON")),
    ],
)
def test_an_answer_that_is_none_is_an_error(
    status: int, raw: bytes, said: tuple[int, str]
) -> None:
    with pytest.raises(ApiError) as caught:
        read_answer(status, raw)
    assert (caught.value.status, caught.value.reason) == said


def test_an_error_is_described_without_what_its_repr_holds() -> None:
    class Telling(Exception):
        def __repr__(self) -> str:
            return "Telling(headers={'Authorization': 'Bearer secret'})"

        def __str__(self) -> str:
            return "404, message='Not Found'"

    assert describe(Telling()) == "Telling: 404, message='Not Found'"


@pytest.mark.parametrize(
    ("ready", "turned", "fell"),
    [
        pytest.param("False", "2026-01-01T00:00:21Z", False, id="not yet, since it was taken on"),
        pytest.param("False", "2026-01-01T00:00:25Z", False, id="nor a slow kubelet's first word"),
        pytest.param("False", "2026-01-01T00:09:00Z", True, id="not any more"),
        pytest.param("True", "2026-01-01T00:09:00Z", False, id="it is Ready"),
        pytest.param("False", None, False, id="nobody says since when"),
    ],
)
def test_a_pod_that_was_ready_before_is_told_from_one_that_never_was(
    ready: str, turned: str | None, fell: bool
) -> None:
    manifest = pod("p")
    condition = {"type": "Ready", "status": ready, "lastTransitionTime": turned}
    manifest["status"] |= {"startTime": "2026-01-01T00:00:20Z", "conditions": [condition]}
    assert read_pod(manifest).fell is fell


def test_restarts_of_all_containers_count() -> None:
    manifest = pod("p")
    assert read_pod(manifest).restarts == 0
    manifest["status"] |= {
        "containerStatuses": [{"restartCount": 2}, {}],
        "initContainerStatuses": [{"restartCount": 1}],
    }
    assert read_pod(manifest).restarts == 3
