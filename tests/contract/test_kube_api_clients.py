"""What our own processes lean on: scale with its selector, leases, versions asked for, tables.

Law: as in test_kube_api.py, nothing here knows which server answers.
"""

from typing import Any

import pytest

from kube_contract import GROUP, JSON_PATCH, MERGE, STRATEGIC, Kube, config_map, deployment, widget

TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
METADATA = {"Accept": "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"}


def group_path(space: str, group: str, plural: str) -> str:
    return f"/apis/{group}/v1/namespaces/{space.rpartition('/')[2]}/{plural}"


class TestScale:
    @pytest.mark.parametrize(
        ("selector", "text"),
        [
            pytest.param({"matchLabels": {"app": "a", "tier": "b"}}, "app=a,tier=b", id="labels"),
            pytest.param(
                {"matchExpressions": [{"key": "app", "operator": "In", "values": ["b", "a"]}]},
                "app in (a,b)",
                id="one of several",
            ),
            pytest.param(
                {
                    "matchLabels": {"app": "a"},
                    "matchExpressions": [
                        {"key": "canary", "operator": "DoesNotExist"},
                        {"key": "tier", "operator": "Exists"},
                    ],
                },
                "app=a,!canary,tier",
                id="labels and expressions",
            ),
        ],
    )
    async def test_a_workloads_selector_is_given_as_text(
        self, kube: Kube, space: str, selector: Any, text: str
    ) -> None:
        body = deployment("app")
        body["spec"]["selector"] = selector
        body["spec"]["template"]["metadata"]["labels"] = {"app": "a", "tier": "b"}
        path = group_path(space, "apps", "deployments")
        (await kube.post(path, body)).ok()
        scale = (await kube.get(f"{path}/app/scale")).ok()
        assert scale["status"]["selector"] == text
        listed = await kube.get(f"{space}/pods", labelSelector=text)
        assert listed.ok()["items"] == []

    @pytest.mark.parametrize("plural", ["deployments", "statefulsets"])
    async def test_writing_it_counts_the_generation_and_a_stale_write_conflicts(
        self, kube: Kube, space: str, plural: str
    ) -> None:
        body = deployment("app")
        if plural == "statefulsets":
            body["spec"]["serviceName"] = "app"
        path = group_path(space, "apps", plural)
        made = (await kube.post(path, body)).ok()
        scale = (await kube.get(f"{path}/app/scale")).ok()
        scale["metadata"]["resourceVersion"] = made["metadata"]["resourceVersion"]
        (await kube.patch(f"{path}/app", {"metadata": {"labels": {"a": "b"}}})).ok()
        scale["spec"]["replicas"] = 3
        stale = await kube.put(f"{path}/app/scale", scale)
        assert (stale.status, stale.reason) == (409, "Conflict")
        before = (await kube.get(f"{path}/app")).ok()["metadata"]["generation"]
        (await kube.patch(f"{path}/app/scale", {"spec": {"replicas": 0}})).ok()
        assert (await kube.get(f"{path}/app")).ok()["metadata"]["generation"] == before

        async def written() -> bool:
            fresh = (await kube.get(f"{path}/app/scale")).ok()
            fresh["spec"] = {"replicas": 0, "paused": True}
            answer = await kube.put(f"{path}/app/scale", fresh)
            # A real server's own controller may have written the status in between.
            assert answer.status == 200 or answer.reason == "Conflict", answer.body
            return answer.status == 200

        await kube.eventually(written)

    @pytest.mark.parametrize("replicas", [-1, "three"])
    async def test_odd_replicas_are_refused(self, kube: Kube, space: str, replicas: Any) -> None:
        path = group_path(space, "apps", "deployments")
        (await kube.post(path, deployment("app"))).ok()
        scale = (await kube.get(f"{path}/app/scale")).ok()
        scale["spec"]["replicas"] = replicas
        answer = await kube.put(f"{path}/app/scale", scale)
        assert answer.status in (400, 422)

    async def test_an_absent_workload_has_none(self, kube: Kube, space: str) -> None:
        answer = await kube.get(f"{group_path(space, 'apps', 'deployments')}/none/scale")
        assert (answer.status, answer.reason) == (404, "NotFound")


class TestLeases:
    async def test_of_two_who_take_it_over_one_is_told_that_it_lost(
        self, kube: Kube, space: str
    ) -> None:
        path = group_path(space, "coordination.k8s.io", "leases")
        spec = {"holderIdentity": "a", "leaseDurationSeconds": 15}
        made = (await kube.post(path, {"metadata": {"name": "leader"}, "spec": spec})).ok()
        again = await kube.post(path, {"metadata": {"name": "leader"}, "spec": spec})
        assert (again.status, again.reason) == (409, "AlreadyExists")
        first = await kube.put(f"{path}/leader", made | {"spec": spec | {"holderIdentity": "b"}})
        second = await kube.put(f"{path}/leader", made | {"spec": spec | {"holderIdentity": "c"}})
        assert (first.status, second.status, second.reason) == (200, 409, "Conflict")
        assert (await kube.get(f"{path}/leader")).ok()["spec"]["holderIdentity"] == "b"

    async def test_its_times_keep_their_microseconds(self, kube: Kube, space: str) -> None:
        path = group_path(space, "coordination.k8s.io", "leases")
        renewed = "2026-01-02T03:04:05.678901Z"
        body = {"metadata": {"name": "leader"}, "spec": {"renewTime": renewed}}
        (await kube.post(path, body)).ok()
        assert (await kube.get(f"{path}/leader")).ok()["spec"]["renewTime"] == renewed


class TestVersions:
    async def test_an_exact_version_shows_what_was_then(self, kube: Kube, space: str) -> None:
        path = f"{space}/configmaps"
        then = (await kube.post(path, config_map("then"))).version
        (await kube.post(path, config_map("later"))).ok()
        exact = await kube.get(path, resourceVersion=then, resourceVersionMatch="Exact")
        names = {item["metadata"]["name"] for item in exact.ok()["items"]}
        assert "later" not in names
        assert "then" in names
        assert exact.version == then

    async def test_not_older_shows_at_least_what_was_then(self, kube: Kube, space: str) -> None:
        path = f"{space}/configmaps"
        (await kube.post(path, config_map("first"))).ok()
        then = (await kube.post(path, config_map("then"))).version
        for match in ({"resourceVersionMatch": "NotOlderThan"}, {}):
            listed = await kube.get(path, resourceVersion=then, **match)
            names = {item["metadata"]["name"] for item in listed.ok()["items"]}
            assert {"first", "then"} <= names
            assert int(listed.version) >= int(then)

    @pytest.mark.parametrize(
        "query",
        [
            pytest.param({"resourceVersionMatch": "Exact"}, id="exact without a version"),
            pytest.param({"resourceVersionMatch": "Exact", "resourceVersion": "0"}, id="exact 0"),
            pytest.param({"resourceVersionMatch": "Near", "resourceVersion": "1"}, id="unknown"),
            pytest.param({"resourceVersion": "new"}, id="a version that is no number"),
            pytest.param({"limit": "many"}, id="a limit that is no number"),
            pytest.param({"continue": "nonsense"}, id="a token of nobody"),
        ],
    )
    async def test_odd_questions_are_refused(
        self, kube: Kube, space: str, query: dict[str, str]
    ) -> None:
        answer = await kube.get(f"{space}/configmaps", **query)
        assert answer.status in (400, 422), answer.body

    async def test_a_watch_of_one_object_hears_of_it_alone(self, kube: Kube, space: str) -> None:
        path = f"{space}/secrets"
        start = (await kube.get(path)).version
        for name in ("other", "mine"):
            (await kube.post(path, {"metadata": {"name": name}})).ok()
        query = {"fieldSelector": "metadata.name=mine", "resourceVersion": start}
        async with kube.watch(path, **query) as events:
            assert await events.take(1) == [("ADDED", "mine")]

    async def test_a_status_written_on_an_old_version_conflicts(
        self, kube: Kube, widgets: str
    ) -> None:
        made = await kube.post(widgets, widget("w"))
        (await kube.patch(f"{widgets}/w", {"spec": {"size": 2}})).ok()
        status = {"metadata": {"resourceVersion": made.version}, "status": {"phase": "Up"}}
        stale = await kube.patch(f"{widgets}/w/status", status)
        assert (stale.status, stale.reason) == (409, "Conflict")

    async def test_unknown_fields_of_a_status_are_pruned(self, kube: Kube, widgets: str) -> None:
        (await kube.post(widgets, widget("w"))).ok()
        status = {"status": {"phase": "Up", "novel": 1}}
        answer = await kube.patch(f"{widgets}/w/status", status)
        assert answer.ok()["status"] == {"phase": "Up"}
        assert answer.warnings == ['unknown field "status.novel"']


class TestPatchesThatDoNotApply:
    @pytest.mark.parametrize(
        ("patch", "content_type", "status"),
        [
            pytest.param([{"op": "remove", "path": "/data/no"}], JSON_PATCH, 422, id="no path"),
            pytest.param([{"op": "jump", "path": "/data"}], JSON_PATCH, 422, id="no such op"),
            pytest.param({"op": "add"}, JSON_PATCH, 400, id="no list"),
            pytest.param({"data": {"a": 1}}, STRATEGIC, 422, id="a number for a text"),
            pytest.param({"data": "a"}, MERGE, 422, id="text for a map"),
            pytest.param({"data": {}}, "application/json", 415, id="no type of patch"),
        ],
    )
    async def test_they_are_refused(
        self, kube: Kube, space: str, patch: Any, content_type: str, status: int
    ) -> None:
        (await kube.post(f"{space}/configmaps", config_map("a"))).ok()
        answer = await kube.patch(f"{space}/configmaps/a", patch, content_type)
        assert answer.status == status, answer.body
        assert (await kube.get(f"{space}/configmaps/a")).ok()["data"] == {"a": "1"}


class TestShown:
    async def test_a_table_of_one_object_has_one_row(self, kube: Kube, widgets: str) -> None:
        (await kube.post(widgets, widget("w"))).ok()
        table = (await kube.call("GET", f"{widgets}/w", headers=TABLE)).ok()
        [row] = table["rows"]
        assert (table["kind"], row["cells"][:2]) == ("Table", ["w", "Slow"])
        assert row["object"]["kind"] == "PartialObjectMetadata"

    async def test_an_absent_value_is_an_empty_cell(self, kube: Kube, widgets: str) -> None:
        (await kube.post(widgets, widget("w"))).ok()
        table = (await kube.call("GET", widgets, headers=TABLE)).ok()
        columns = [column["name"] for column in table["columnDefinitions"]]
        cells = dict(zip(columns, table["rows"][0]["cells"], strict=True))
        assert cells["Phase"] is None

    async def test_lists_can_be_had_as_metadata_alone(self, kube: Kube, widgets: str) -> None:
        (await kube.post(widgets, widget("w"))).ok()
        listed = (await kube.call("GET", widgets, headers=METADATA)).ok()
        assert listed["kind"] == "PartialObjectMetadataList"
        [item] = listed["items"]
        assert "spec" not in item
        assert item["metadata"]["name"] == "w"

    async def test_a_kind_that_nobody_defined_is_not_found(self, kube: Kube) -> None:
        for path in ("/apis/nosuch.tidegate.io/v1/things", f"/apis/{GROUP}/v1/things"):
            assert (await kube.get(path)).status == 404
