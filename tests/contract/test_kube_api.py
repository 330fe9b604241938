"""What every Kubernetes API does with objects, versions, watches and deletion.

Law: nothing here knows which server answers; whatever only the emulator can be made to do is
skipped on a real one.
"""

import asyncio
import uuid
from typing import Any

import pytest

from kube_contract import (
    DEFINITIONS,
    GROUP,
    JSON_PATCH,
    STRATEGIC,
    Answer,
    Kube,
    config_map,
    define,
    lone_definition,
    pod,
    widget,
)

NAMESPACES = "/api/v1/namespaces"


def names(answer: Answer) -> list[str]:
    return [item["metadata"]["name"] for item in answer.ok()["items"]]


class TestObjects:
    async def test_a_new_object_is_given_its_metadata(self, kube: Kube, widgets: str) -> None:
        made = await kube.post(widgets, widget("w") | {"status": {"phase": "Made up"}})
        metadata = made.ok()["metadata"]
        assert made.status == 201
        assert metadata["generation"] == 1
        assert {"uid", "resourceVersion", "creationTimestamp", "namespace"} <= metadata.keys()
        assert "status" not in made.body, "a client does not set the status while it creates"

    async def test_a_generated_name_begins_with_its_prefix(self, kube: Kube, space: str) -> None:
        body = {"metadata": {"generateName": "made-"}}
        first, second = [await kube.post(f"{space}/configmaps", body) for _ in range(2)]
        made = {each.ok()["metadata"]["name"] for each in (first, second)}
        assert len(made) == 2
        assert all(name.startswith("made-") and len(name) == 10 for name in made)

    @pytest.mark.parametrize(
        ("method", "path", "body", "status", "reason"),
        [
            pytest.param("GET", "/configmaps/none", None, 404, "NotFound", id="absent object"),
            pytest.param("GET", "/nosuchkind", None, 404, "NotFound", id="unknown kind"),
            pytest.param("POST", "/configmaps", {"metadata": {}}, 422, "Invalid", id="no name"),
            pytest.param(
                "POST", "/configmaps", config_map("Not_A_Name"), 422, "Invalid", id="bad name"
            ),
            pytest.param(
                "POST", "/configmaps", config_map("x", a="-b-"), 422, "Invalid", id="bad label"
            ),
            pytest.param(
                "POST",
                "/configmaps",
                {"metadata": {"name": "x", "labels": {"a": 1}}},
                400,
                "BadRequest",
                id="label that is no text",
            ),
            pytest.param(
                "POST",
                "/configmaps",
                {"metadata": {"name": "x", "namespace": "elsewhere"}},
                400,
                "BadRequest",
                id="body for another namespace",
            ),
            pytest.param("PUT", "/configmaps/none", config_map("none"), 404, "NotFound", id="put"),
            pytest.param(
                "GET",
                "/configmaps?labelSelector=a%3D%3D%3Db",
                None,
                400,
                "BadRequest",
                id="bad selector",
            ),
            pytest.param(
                "GET", "/pods?fieldSelector=spec.x%3D1", None, 400, "BadRequest", id="bad field"
            ),
        ],
    )
    async def test_refusals_carry_the_reason(
        self, kube: Kube, space: str, method: str, path: str, body: Any, status: int, reason: str
    ) -> None:
        answer = await kube.call(method, space + path, body)
        assert (answer.status, answer.body["kind"]) == (status, "Status")
        assert answer.reason == reason
        assert answer.body["code"] == status

    async def test_a_second_object_of_the_name_exists_already(
        self, kube: Kube, space: str
    ) -> None:
        (await kube.post(f"{space}/configmaps", config_map("a"))).ok()
        again = await kube.post(f"{space}/configmaps", config_map("a"))
        assert (again.status, again.reason) == (409, "AlreadyExists")
        assert again.message == 'configmaps "a" already exists'

    async def test_nothing_is_made_in_a_namespace_that_is_not_there(self, kube: Kube) -> None:
        answer = await kube.post(f"{NAMESPACES}/not-there/configmaps", config_map("a"))
        assert (answer.status, answer.message) == (404, 'namespaces "not-there" not found')

    async def test_a_dry_run_leaves_nothing_behind(self, kube: Kube, space: str) -> None:
        answer = await kube.post(f"{space}/configmaps", config_map("a"), dryRun="All")
        assert answer.ok()["metadata"]["uid"]
        assert (await kube.get(f"{space}/configmaps/a")).status == 404

    async def test_an_event_is_one_object_in_two_groups(self, kube: Kube, space: str) -> None:
        namespace = space.rpartition("/")[2]
        modern = f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"
        event = {
            "metadata": {"name": "e"},
            "eventTime": "2026-01-02T03:04:05.000006Z",
            "reportingController": "tidegate.io/operator",
            "reportingInstance": "operator-0",
            "action": "ScaleUp",
            "reason": "ForecastAhead",
            "type": "Normal",
            "note": "from 1 to 3",
            "regarding": {"kind": "ConfigMap", "name": "c", "namespace": namespace},
        }
        (await kube.post(modern, event)).ok()
        plain = (await kube.get(f"{space}/events/e")).ok()
        assert (plain["message"], plain["involvedObject"]["name"]) == ("from 1 to 3", "c")
        assert plain["reportingComponent"] == "tidegate.io/operator"
        (await kube.patch(f"{space}/events/e", {"message": "from 1 to 4"})).ok()
        fixed = await kube.patch(f"{modern}/e", {"note": "from 1 to 5"})
        assert fixed.status == 422, "only the older of the two groups lets an Event be told anew"
        assert 'Invalid value: "from 1 to 5": field is immutable' in fixed.message
        chosen = await kube.get(f"{space}/events", fieldSelector="involvedObject.name=c")
        assert [item["message"] for item in chosen.ok()["items"]] == ["from 1 to 4"]
        [again] = (await kube.get(modern)).ok()["items"]
        assert (again["note"], again["regarding"]["name"]) == ("from 1 to 4", "c")


class TestUpdates:
    async def test_a_stale_write_is_refused(self, kube: Kube, widgets: str) -> None:
        first = (await kube.post(widgets, widget("w"))).ok()
        (await kube.put(f"{widgets}/w", first | {"spec": {"size": 2}})).ok()
        stale = await kube.put(f"{widgets}/w", first | {"spec": {"size": 3}})
        assert (stale.status, stale.reason) == (409, "Conflict")
        assert "the object has been modified" in stale.message

    async def test_a_custom_object_is_not_replaced_without_its_version(
        self, kube: Kube, widgets: str
    ) -> None:
        (await kube.post(widgets, widget("w"))).ok()
        answer = await kube.put(f"{widgets}/w", widget("w", size=2))
        assert answer.status == 422
        assert "metadata.resourceVersion" in answer.message
        assert "must be specified for an update" in answer.message

    async def test_another_objects_uid_is_refused(self, kube: Kube, space: str) -> None:
        made = (await kube.post(f"{space}/configmaps", config_map("a"))).ok()
        made["metadata"] = {"name": "a", "uid": str(uuid.uuid4())}
        answer = await kube.put(f"{space}/configmaps/a", made)
        assert (answer.status, answer.reason) == (409, "Conflict")
        assert "UID in precondition" in answer.message

    async def test_generation_counts_changes_of_the_spec_alone(
        self, kube: Kube, widgets: str
    ) -> None:
        path = f"{widgets}/w"
        (await kube.post(widgets, widget("w"))).ok()
        labelled = (await kube.patch(path, {"metadata": {"labels": {"a": "b"}}})).ok()
        reported = (await kube.patch(f"{path}/status", {"status": {"phase": "Up"}})).ok()
        changed = (await kube.patch(path, {"spec": {"size": 2}})).ok()
        seen = [each["metadata"]["generation"] for each in (labelled, reported, changed)]
        assert seen == [1, 1, 2]

    async def test_status_and_object_are_written_apart(self, kube: Kube, widgets: str) -> None:
        path = f"{widgets}/w"
        (await kube.post(widgets, widget("w"))).ok()
        both = {"spec": {"size": 5}, "status": {"phase": "Up"}}
        by_status = (await kube.patch(f"{path}/status", both)).ok()
        assert (by_status["spec"]["size"], by_status["status"]["phase"]) == (1, "Up")
        by_object = (
            await kube.patch(path, {"spec": {"size": 5}, "status": {"phase": "Down"}})
        ).ok()
        assert (by_object["spec"]["size"], by_object["status"]["phase"]) == (5, "Up")

    async def test_scale_changes_replicas_alone_and_checks_the_version(
        self, kube: Kube, widgets: str
    ) -> None:
        path = f"{widgets}/w"
        (await kube.post(widgets, widget("w", replicas=1))).ok()
        (await kube.patch(f"{path}/status", {"status": {"replicas": 1}})).ok()
        scale = (await kube.get(f"{path}/scale")).ok()
        assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
        assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (1, 1)
        scale["spec"]["replicas"] = 4
        assert (await kube.put(f"{path}/scale", scale)).ok()["spec"]["replicas"] == 4
        stale = await kube.put(f"{path}/scale", scale)
        assert (stale.status, stale.reason) == (409, "Conflict")
        now = (await kube.get(path)).ok()
        assert now["spec"] == {"size": 1, "replicas": 4, "mode": "Slow"}
        assert now["metadata"]["generation"] == 2

    async def test_a_write_that_changes_nothing_keeps_the_version(
        self, kube: Kube, space: str
    ) -> None:
        made = await kube.post(f"{space}/configmaps", config_map("a"))
        async with kube.watch(f"{space}/configmaps", resourceVersion=made.version) as events:
            same = await kube.patch(f"{space}/configmaps/a", {"data": {"a": "1"}})
            assert same.version == made.version
            changed = await kube.patch(f"{space}/configmaps/a", {"data": {"a": "2"}})
            event = await events.next()
        assert event is not None
        assert event["object"]["metadata"]["resourceVersion"] == changed.version


class TestPatches:
    async def test_a_merge_patch_removes_with_null_and_replaces_lists(
        self, kube: Kube, widgets: str
    ) -> None:
        (await kube.post(widgets, widget("w", name="n", parts=[{"name": "a"}]))).ok()
        patch = {"spec": {"name": None, "parts": [{"name": "b"}]}}
        patched = (await kube.patch(f"{widgets}/w", patch)).ok()
        assert "name" not in patched["spec"]
        assert patched["spec"]["parts"] == [{"name": "b", "weight": 1}]

    async def test_a_strategic_patch_knows_lists_by_their_keys(
        self, kube: Kube, space: str
    ) -> None:
        (await kube.post(f"{space}/pods", pod(name="p"))).ok()
        patch = {"spec": {"containers": [{"name": "app", "image": "app:2"}]}}
        patched = (await kube.patch(f"{space}/pods/p", patch, STRATEGIC)).ok()
        [container] = patched["spec"]["containers"]
        assert container["image"] == "app:2"
        assert container["env"] == [{"name": "A", "value": "1"}]
        ready = {"type": "Ready", "status": "True"}
        other = {"type": "Other", "status": "True"}
        for condition in (ready, other, ready | {"status": "False"}):
            status = {"status": {"conditions": [condition]}}
            patched = (await kube.patch(f"{space}/pods/p/status", status, STRATEGIC)).ok()
        seen = {each["type"]: each["status"] for each in patched["status"]["conditions"]}
        assert (seen["Ready"], seen["Other"]) == ("False", "True")

    async def test_a_strategic_patch_deletes_items_and_adds_finalizers(
        self, kube: Kube, space: str
    ) -> None:
        body = config_map("c")
        body["metadata"]["finalizers"] = ["x.io/one"]
        (await kube.post(f"{space}/configmaps", body)).ok()
        patch = {"metadata": {"finalizers": ["x.io/two"]}}
        path = f"{space}/configmaps/c"
        patched = (await kube.patch(path, patch, STRATEGIC)).ok()
        assert set(patched["metadata"]["finalizers"]) == {"x.io/one", "x.io/two"}
        patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["x.io/one", "x.io/two"]}}
        patched = (await kube.patch(path, patch, STRATEGIC)).ok()
        assert not patched["metadata"].get("finalizers")

    async def test_a_json_patch_whose_test_fails_is_invalid(self, kube: Kube, space: str) -> None:
        (await kube.post(f"{space}/configmaps", config_map("a"))).ok()
        path = f"{space}/configmaps/a"
        test = {"op": "test", "path": "/data/a", "value": "other"}
        change = {"op": "replace", "path": "/data/a", "value": "2"}
        failed = await kube.patch(path, [test, change], JSON_PATCH)
        assert (failed.status, failed.reason) == (422, "Invalid")
        passed = await kube.patch(path, [test | {"value": "1"}, change], JSON_PATCH)
        assert passed.ok()["data"] == {"a": "2"}

    async def test_a_patch_that_names_an_old_version_conflicts(
        self, kube: Kube, space: str
    ) -> None:
        made = await kube.post(f"{space}/configmaps", config_map("a"))
        path = f"{space}/configmaps/a"
        (await kube.patch(path, {"data": {"a": "2"}})).ok()
        patch = {"metadata": {"resourceVersion": made.version}, "data": {"a": "3"}}
        assert (await kube.patch(path, patch)).reason == "Conflict"

    async def test_a_custom_object_takes_no_strategic_patch(
        self, kube: Kube, widgets: str
    ) -> None:
        (await kube.post(widgets, widget("w"))).ok()
        answer = await kube.patch(f"{widgets}/w", {"spec": {"size": 2}}, STRATEGIC)
        assert (answer.status, answer.reason) == (415, "UnsupportedMediaType")


class TestLists:
    @pytest.mark.parametrize(
        ("selector", "found"),
        [
            pytest.param("tier=a", ["one"], id="equals"),
            pytest.param("tier!=a", ["none", "two"], id="not equals holds for absent labels"),
            pytest.param("tier in (a,b)", ["one", "two"], id="one of several"),
            pytest.param("tier notin (a)", ["none", "two"], id="none of several"),
            pytest.param("tier", ["one", "two"], id="exists"),
            pytest.param("!tier", ["none"], id="does not exist"),
            pytest.param("tier,tier!=b", ["one"], id="all must hold"),
        ],
    )
    async def test_label_selectors(
        self, kube: Kube, space: str, selector: str, found: list[str]
    ) -> None:
        path = f"{space}/secrets"
        for body in (config_map("one", tier="a"), config_map("two", tier="b"), config_map("none")):
            (await kube.post(path, {"metadata": body["metadata"]})).ok()
        assert names(await kube.get(path, labelSelector=selector)) == found

    async def test_field_selectors(self, kube: Kube, space: str) -> None:
        for name in ("a", "b"):
            (await kube.post(f"{space}/pods", pod(name=name))).ok()
        assert names(await kube.get(f"{space}/pods", fieldSelector="metadata.name=a")) == ["a"]
        chosen = "metadata.name!=a,spec.nodeName=nowhere"
        assert names(await kube.get(f"{space}/pods", fieldSelector=chosen)) == ["b"]

    async def test_all_pages_show_one_moment(self, kube: Kube, space: str) -> None:
        path = f"{space}/secrets"
        for index in range(5):
            (await kube.post(path, {"metadata": {"name": f"s{index}"}})).ok()
        first = await kube.get(path, limit="2")
        assert names(first) == ["s0", "s1"]
        assert first.body["metadata"]["remainingItemCount"] == 3
        await kube.post(path, {"metadata": {"name": "s2-later"}})
        await kube.delete(f"{path}/s3")
        seen, page = names(first), first
        while token := page.body["metadata"].get("continue"):
            page = await kube.get(path, limit="2", **{"continue": token})
            seen += names(page)
            assert page.version == first.version
        assert seen == ["s0", "s1", "s2", "s3", "s4"]

    async def test_a_version_that_is_yet_to_come_is_too_large(
        self, kube: Kube, space: str
    ) -> None:
        now = int((await kube.get(f"{space}/configmaps")).version)
        answer = await kube.get(f"{space}/configmaps", resourceVersion=str(now + 1_000_000))
        assert (answer.status, answer.reason) == (504, "Timeout")
        assert "Too large resource version" in answer.message

    async def test_a_table_has_the_kinds_own_columns(self, kube: Kube, widgets: str) -> None:
        (await kube.post(widgets, widget("w"))).ok()
        accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
        table = (await kube.call("GET", widgets, headers=accept)).ok()
        assert table["kind"] == "Table"
        columns = [column["name"] for column in table["columnDefinitions"]]
        assert columns[:2] == ["Name", "Mode"]
        assert table["rows"][0]["cells"][:2] == ["w", "Slow"]

    async def test_deleting_a_collection_takes_what_is_selected(
        self, kube: Kube, space: str
    ) -> None:
        path = f"{space}/secrets"
        for name, tier in (("a", "x"), ("b", "y"), ("c", "x")):
            body = {"metadata": {"name": name, "labels": {"tier": tier}}}
            (await kube.post(path, body)).ok()
        (await kube.delete(path, labelSelector="tier=x")).ok()
        assert names(await kube.get(path, labelSelector="tier")) == ["b"]


class TestWatches:
    async def test_a_watch_replays_from_a_version(self, kube: Kube, space: str) -> None:
        path = f"{space}/secrets"
        start = (await kube.get(path)).version
        (await kube.post(path, {"metadata": {"name": "a"}})).ok()
        (await kube.patch(f"{path}/a", {"data": {"k": "MQ=="}})).ok()
        (await kube.delete(f"{path}/a")).ok()
        async with kube.watch(path, resourceVersion=start) as events:
            seen = await events.take(3)
        assert seen == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]

    async def test_a_watch_that_asks_for_an_odd_time_is_refused_before_it_begins(
        self, kube: Kube, space: str
    ) -> None:
        answer = await kube.get(f"{space}/secrets", watch="true", timeoutSeconds="300.0")
        assert answer.status == 400
        assert "300.0" in answer.message

    @pytest.mark.parametrize("version", ["", "0"], ids=["no version", "version 0"])
    async def test_a_watch_without_a_version_begins_with_what_there_is(
        self, kube: Kube, space: str, version: str
    ) -> None:
        path = f"{space}/secrets"
        (await kube.post(path, {"metadata": {"name": "a"}})).ok()
        query = {"resourceVersion": version} if version else {}
        async with kube.watch(path, **query) as events:
            assert await events.take(1) == [("ADDED", "a")]
            (await kube.post(path, {"metadata": {"name": "b"}})).ok()
            assert await events.take(1) == [("ADDED", "b")]

    async def test_a_label_that_comes_and_goes_is_added_and_deleted(
        self, kube: Kube, space: str
    ) -> None:
        path = f"{space}/secrets"
        start = (await kube.get(path)).version
        async with kube.watch(path, labelSelector="on=1", resourceVersion=start) as events:
            (await kube.post(path, {"metadata": {"name": "a"}})).ok()
            for label in ("1", "0"):
                patch = {"metadata": {"labels": {"on": label}}}
                (await kube.patch(f"{path}/a", patch)).ok()
            assert await events.take(2) == [("ADDED", "a"), ("DELETED", "a")]

    async def test_a_watch_on_a_forgotten_version_is_told_so_inside_the_stream(
        self, kube: Kube, space: str
    ) -> None:
        definition = lone_definition()  # whose history begins now
        await define(kube, definition)
        path = f"/apis/{GROUP}/v1/{definition['spec']['names']['plural']}"
        async with kube.watch(path, resourceVersion="1") as events:
            [event] = await events.rest()
        await kube.delete(f"{DEFINITIONS}/{definition['metadata']['name']}")
        assert event["type"] == "ERROR"
        status = event["object"]
        assert (status["kind"], status["code"], status["reason"]) == ("Status", 410, "Expired")
        assert "too old resource version: 1" in status["message"]

    async def test_a_bookmark_comes_before_the_end(self, kube: Kube, space: str) -> None:
        made = await kube.post(f"{space}/configmaps", config_map("a"))
        query = {
            "resourceVersion": made.version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": "1" if kube.emulator else "5",
        }
        async with kube.watch(f"{space}/configmaps", **query) as events:
            (await kube.post(f"{space}/configmaps", config_map("b"))).ok()
            seen = await events.rest()
        bookmarks = [each["object"] for each in seen if each["type"] == "BOOKMARK"]
        assert bookmarks, seen
        version = bookmarks[-1]["metadata"]["resourceVersion"]
        assert bookmarks[-1]["kind"] == "ConfigMap"
        assert int(version) >= int(made.version)

    async def test_a_streamed_list_ends_with_its_bookmark_or_is_said_to_be_off(
        self, kube: Kube, space: str
    ) -> None:
        (await kube.post(f"{space}/secrets", {"metadata": {"name": "a"}})).ok()
        query = {
            "sendInitialEvents": "true",
            "resourceVersionMatch": "NotOlderThan",
            "allowWatchBookmarks": "true",
        }
        async with kube.watch(f"{space}/secrets", **query) as events:
            added = await events.next()
            assert added is not None
            if added["type"] == "ERROR":
                # A real server's store may lack the feature: clients then list and watch.
                assert kube.emulator is None
                assert "storage feature RequestWatchProgress is disabled" in str(added)
                return
            end = await events.next()
        assert end is not None
        assert (added["type"], end["type"]) == ("ADDED", "BOOKMARK")
        annotations = end["object"]["metadata"]["annotations"]
        assert annotations == {"k8s.io/initial-events-end": "true"}

    async def test_ten_watchers_hear_the_same_in_the_same_order(
        self, kube: Kube, space: str
    ) -> None:
        path = f"{space}/secrets"
        start = (await kube.get(path)).version
        (await kube.post(path, {"metadata": {"name": "a"}})).ok()

        async def follow() -> list[str]:
            async with kube.watch(path, resourceVersion=start) as events:
                seen = [await events.next() for _ in range(21)]
            return [event["object"]["metadata"]["resourceVersion"] for event in seen if event]

        async with asyncio.TaskGroup() as tasks:
            followers = [tasks.create_task(follow()) for _ in range(10)]
            for index in range(20):
                await kube.patch(f"{path}/a", {"metadata": {"annotations": {"n": str(index)}}})
        orders = {tuple(follower.result()) for follower in followers}
        assert len(orders) == 1
        assert list(orders.pop()) == sorted(followers[0].result(), key=int)
