"""Mutating webhooks: who is asked, in which order, and what becomes of the answer; on whichever
server answers."""

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import selfmade_ca
from kube_contract import Kube, Object, config_map, deployment

WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
Respond = Callable[[Object], Object]


class Webhook:
    """A webhook that remembers what it was asked."""

    def __init__(self, tls: selfmade_ca.SelfMade) -> None:
        self.tls = tls
        self.asked: list[Object] = []
        self.paths: list[str] = []
        """Where each of ``asked`` came in: a configuration may name several webhooks."""
        self.respond: Respond = lambda request: {"allowed": True}
        self.responses: dict[str, Respond] = {}
        """By path, before ``respond``."""
        self.raw: web.Response | None = None
        """Instead of an AdmissionReview."""
        self.url = ""
        self.delay_s = 0.0

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["Webhook"]:
        app = web.Application()
        app.router.add_post("/{name}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self.tls.server).start()
        self.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        asked, name = (await request.json())["request"], request.match_info["name"]
        if name.startswith("heard"):
            return _reviewed(asked, {"allowed": True, "warnings": [name]})
        await asyncio.sleep(self.delay_s)
        self.asked.append(asked)
        self.paths.append(name)
        if self.raw is not None:
            return self.raw
        return _reviewed(asked, self.responses.get(name, self.respond)(asked))

    def entry(self, space: str, path: str = "mutate", **changes: Any) -> Object:
        """One webhook of a configuration: creation of ConfigMaps in this namespace."""
        return {
            "name": f"{path if path != 'mutate' else 'change'}.tidegate.io",
            "clientConfig": {
                "url": f"{self.url}/{path}",
                "caBundle": base64.b64encode(self.tls.ca_pem.encode()).decode(),
            },
            "rules": [rule("CREATE", "configmaps")],
            "namespaceSelector": {
                "matchLabels": {"kubernetes.io/metadata.name": space.rpartition("/")[2]}
            },
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "timeoutSeconds": 2,
            **changes,
        }


def rule(operation: str, resource: str) -> Object:
    return {
        "operations": [operation],
        "apiGroups": ["*"],
        "apiVersions": ["v1"],
        "resources": [resource],
    }


def _reviewed(asked: Object, response: Object) -> web.Response:
    response = {"uid": asked["uid"], **response}
    return web.json_response(
        {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response}
    )


@pytest.fixture
async def webhook(tmp_path: Path) -> AsyncIterator[Webhook]:
    async with Webhook(selfmade_ca.make(tmp_path)).serve() as server:
        yield server


@pytest.fixture
async def register(kube: Kube, space: str, webhook: Webhook) -> AsyncIterator[Callable[..., Any]]:
    """Registers webhooks for this test's namespace, and waits until the server heeds them."""
    names: list[str] = []

    async def is_heeded() -> bool:
        # A real server hears of a new configuration after some tenths of a second.
        probe = {"metadata": {"name": "probe"}}
        answer = await kube.post(f"{space}/secrets", probe, dryRun="All")
        return {f"heard-{index}" for index in range(len(names))} <= set(answer.warnings)

    async def put(*entries: Object, **changes: Any) -> None:
        """One configuration; of the plain webhook with these changes unless told otherwise."""
        name = f"contract-{len(names)}-{uuid.uuid4().hex[:8]}"
        mine = entries or (webhook.entry(space, **changes),)
        heard = webhook.entry(space, f"heard-{len(names)}", rules=[rule("CREATE", "secrets")])
        (await kube.post(WEBHOOKS, {"metadata": {"name": name}, "webhooks": [*mine, heard]})).ok()
        names.append(name)
        await kube.eventually(is_heeded)
        webhook.asked.clear()

    yield put
    for name in names:
        await kube.delete(f"{WEBHOOKS}/{name}")


def patching(patch: list[Object], **more: Any) -> Respond:
    encoded = base64.b64encode(json.dumps(patch).encode()).decode()
    return lambda request: {"allowed": True, "patch": encoded, "patchType": "JSONPatch", **more}


class TestAdmission:
    async def test_a_webhook_changes_what_is_kept_and_warns(
        self, kube: Kube, space: str, webhook: Webhook, register: Callable[..., Any]
    ) -> None:
        await register()
        patch = [{"op": "add", "path": "/data/b", "value": "2"}]
        webhook.respond = patching(patch, warnings=["mind the gap"])
        made = await kube.post(f"{space}/configmaps", config_map("a"))
        assert made.ok()["data"] == {"a": "1", "b": "2"}
        assert made.warnings == ["mind the gap"]
        [asked] = webhook.asked
        assert (asked["operation"], asked["name"]) == ("CREATE", "a")
        assert asked["resource"] == {"group": "", "version": "v1", "resource": "configmaps"}
        assert asked["namespace"] == asked["object"]["metadata"]["namespace"]
        assert asked["oldObject"] is None
        assert asked["userInfo"]["username"]

    @pytest.mark.parametrize(("code", "status"), [(None, 400), (200, 400), (403, 403)])
    async def test_a_webhook_that_says_no_is_quoted(
        self,
        kube: Kube,
        space: str,
        webhook: Webhook,
        register: Callable[..., Any],
        code: int | None,
        status: int,
    ) -> None:
        await register(failurePolicy="Ignore")
        said_no = {"message": "not today"} | ({"code": code} if code else {})
        webhook.respond = lambda request: {"allowed": False, "status": said_no}
        answer = await kube.post(f"{space}/configmaps", config_map("a"))
        assert answer.status == status
        said = 'admission webhook "change.tidegate.io" denied the request: not today'
        assert said in answer.message

    @pytest.mark.parametrize(
        "broken",
        [
            pytest.param({"clientConfig": {"url": "https://127.0.0.1:1/x"}}, id="unreachable"),
            pytest.param({"clientConfig": None}, id="certificate that is not trusted"),
            pytest.param({"timeoutSeconds": 1}, id="too slow"),
        ],
    )
    @pytest.mark.parametrize(("policy", "status"), [("Ignore", 201), ("Fail", 500)])
    async def test_a_failing_webhook_is_treated_by_its_policy(
        self,
        kube: Kube,
        space: str,
        webhook: Webhook,
        register: Callable[..., Any],
        broken: Object,
        policy: str,
        status: int,
    ) -> None:
        if broken.get("clientConfig", 1) is None:
            broken = {"clientConfig": {"url": f"{webhook.url}/mutate"}}
        await register(failurePolicy=policy, **broken)
        webhook.delay_s = 1.5
        answer = await kube.post(f"{space}/configmaps", config_map("a"))
        assert answer.status == status, answer.body
        if status == 500:
            assert answer.reason == "InternalError"
            assert 'failed calling webhook "change.tidegate.io"' in answer.message

    async def test_a_patch_that_does_not_apply_stops_the_write_under_any_policy(
        self, kube: Kube, space: str, webhook: Webhook, register: Callable[..., Any]
    ) -> None:
        await register(failurePolicy="Ignore")
        webhook.respond = patching([{"op": "remove", "path": "/data/none"}])
        answer = await kube.post(f"{space}/configmaps", config_map("a"))
        assert (answer.status, answer.reason) == (500, "InternalError")

    @pytest.mark.parametrize(
        ("changes", "labels", "annotations", "asked"),
        [
            pytest.param(
                {"objectSelector": {"matchLabels": {"inject": "true"}}},
                {"inject": "true"},
                {},
                True,
                id="label matches",
            ),
            pytest.param(
                {"objectSelector": {"matchLabels": {"inject": "true"}}},
                {},
                {"inject": "true"},
                False,
                id="an annotation is no label",
            ),
            pytest.param(
                {"namespaceSelector": {"matchLabels": {"not": "there"}}},
                {},
                {},
                False,
                id="other namespaces",
            ),
            pytest.param(
                {
                    "rules": [
                        {
                            "operations": ["UPDATE"],
                            "apiGroups": ["*"],
                            "apiVersions": ["*"],
                            "resources": ["*"],
                        }
                    ]
                },
                {},
                {},
                False,
                id="other operations",
            ),
        ],
    )
    async def test_selectors_decide_who_is_asked(
        self,
        kube: Kube,
        space: str,
        webhook: Webhook,
        register: Callable[..., Any],
        changes: Object,
        labels: dict[str, str],
        annotations: dict[str, str],
        asked: bool,
    ) -> None:
        await register(**changes)
        body = config_map("a", **labels)
        body["metadata"]["annotations"] = annotations
        (await kube.post(f"{space}/configmaps", body)).ok()
        assert bool(webhook.asked) is asked

    async def test_match_conditions_read_annotations(
        self, kube: Kube, space: str, webhook: Webhook, register: Callable[..., Any]
    ) -> None:
        expression = (
            "has(object.metadata.annotations) && 'inject' in object.metadata.annotations && "
            "object.metadata.annotations['inject'] == 'true'"
        )
        await register(matchConditions=[{"name": "asks", "expression": expression}])
        for name, annotations in (("a", {}), ("b", {"inject": "no"}), ("c", {"inject": "true"})):
            body = config_map(name)
            body["metadata"]["annotations"] = annotations
            (await kube.post(f"{space}/configmaps", body)).ok()
        assert [asked["name"] for asked in webhook.asked] == ["c"]

    @pytest.mark.parametrize(("policy", "status"), [("Ignore", 201), ("Fail", 500)])
    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(web.Response(status=500, text="broken"), id="an error"),
            pytest.param(web.Response(text="no JSON"), id="no JSON"),
            pytest.param(
                web.json_response(
                    {
                        "kind": "AdmissionReview",
                        "apiVersion": "admission.k8s.io/v1",
                        "response": {"uid": "another", "allowed": False},
                    }
                ),
                id="the answer to another question",
            ),
            pytest.param(
                web.json_response({"kind": "AdmissionReview", "apiVersion": "x.io/v9"}),
                id="a version that was not agreed on",
            ),
        ],
    )
    async def test_an_answer_of_no_use_is_a_failure(
        self,
        kube: Kube,
        space: str,
        webhook: Webhook,
        register: Callable[..., Any],
        answer: web.Response,
        policy: str,
        status: int,
    ) -> None:
        await register(failurePolicy=policy)
        webhook.raw = web.Response(
            body=answer.body, status=answer.status, content_type="application/json"
        )
        made = await kube.post(f"{space}/configmaps", config_map("a"))
        assert made.status == status, made.body
        assert made.warnings == []
        assert len(webhook.asked) == 1

    async def test_webhooks_are_asked_in_the_order_of_names_and_see_earlier_changes(
        self, kube: Kube, space: str, webhook: Webhook, register: Callable[..., Any]
    ) -> None:
        for name in ("one", "two"):
            patch = [{"op": "add", "path": f"/data/{name}", "value": name}]
            webhook.responses[name] = patching(patch, warnings=[name])
        await register(webhook.entry(space, "one"), webhook.entry(space, "two"))
        await register(webhook.entry(space, "three"))
        webhook.paths.clear()
        made = await kube.post(f"{space}/configmaps", config_map("a"))
        assert made.ok()["data"] == {"a": "1", "one": "one", "two": "two"}
        assert webhook.paths == ["one", "two", "three"]
        assert [sorted(each["object"]["data"]) for each in webhook.asked] == [
            ["a"],
            ["a", "one"],
            ["a", "one", "two"],
        ]
        assert made.warnings == ["one", "two"]

    @pytest.mark.parametrize(
        ("policy", "paths"),
        [
            pytest.param("Never", ["early", "late"], id="never"),
            pytest.param("IfNeeded", ["early", "late", "early"], id="if needed"),
        ],
    )
    async def test_a_webhook_is_asked_again_about_later_changes_if_it_wants(
        self,
        kube: Kube,
        space: str,
        webhook: Webhook,
        register: Callable[..., Any],
        policy: str,
        paths: list[str],
    ) -> None:
        webhook.responses["late"] = patching([{"op": "add", "path": "/data/b", "value": "2"}])
        early = webhook.entry(space, "early", reinvocationPolicy=policy)
        await register(early, webhook.entry(space, "late"))
        webhook.paths.clear()
        (await kube.post(f"{space}/configmaps", config_map("a"))).ok()
        assert webhook.paths == paths

    async def test_nobody_is_asked_again_when_nothing_changed_later(
        self, kube: Kube, space: str, webhook: Webhook, register: Callable[..., Any]
    ) -> None:
        webhook.responses["early"] = patching([{"op": "add", "path": "/data/b", "value": "2"}])
        early = webhook.entry(space, "early", reinvocationPolicy="IfNeeded")
        await register(early, webhook.entry(space, "late"))
        webhook.paths.clear()
        (await kube.post(f"{space}/configmaps", config_map("a"))).ok()
        assert webhook.paths == ["early", "late"]

    async def test_updates_and_deletes_show_the_object_as_it_was(
        self, kube: Kube, space: str, webhook: Webhook, register: Callable[..., Any]
    ) -> None:
        rules = [rule("UPDATE", "configmaps"), rule("DELETE", "configmaps")]
        await register(rules=rules)
        path = f"{space}/configmaps/a"
        (await kube.post(f"{space}/configmaps", config_map("a"))).ok()
        (await kube.patch(path, {"data": {"a": "2"}})).ok()
        (await kube.delete(path)).ok()
        update, delete = webhook.asked
        assert (update["operation"], delete["operation"]) == ("UPDATE", "DELETE")
        assert (update["oldObject"]["data"], update["object"]["data"]) == ({"a": "1"}, {"a": "2"})
        assert (delete["oldObject"]["data"], delete["object"]) == ({"a": "2"}, None)

    async def test_a_change_of_a_workload_can_be_carried_into_its_template(
        self, kube: Kube, space: str, webhook: Webhook, register: Callable[..., Any]
    ) -> None:
        condition = {
            "name": "annotated",
            "expression": "has(object.metadata.annotations) && "
            "'tidegate.io/inject' in object.metadata.annotations && "
            "object.metadata.annotations['tidegate.io/inject'] == 'yes'",
        }
        await register(rules=[rule("UPDATE", "deployments")], matchConditions=[condition])
        label = "/spec/template/metadata/labels/tidegate.io~1inject"
        webhook.respond = patching([{"op": "add", "path": label, "value": "yes"}])
        path = f"/apis/apps/v1/namespaces/{space.rpartition('/')[2]}/deployments"
        made = (await kube.post(path, deployment("app"))).ok()
        annotations = {"metadata": {"annotations": {"tidegate.io/inject": "yes"}}}
        annotated = (await kube.patch(f"{path}/app", annotations)).ok()
        labels = annotated["spec"]["template"]["metadata"]["labels"]
        assert labels == {"app": "app", "tidegate.io/inject": "yes"}
        assert annotated["metadata"]["generation"] > made["metadata"]["generation"]

    async def test_writing_scale_is_not_writing_the_workload(
        self, kube: Kube, space: str, webhook: Webhook, register: Callable[..., Any]
    ) -> None:
        await register(rules=[rule("UPDATE", "deployments/scale")])
        path = f"/apis/apps/v1/namespaces/{space.rpartition('/')[2]}/deployments"
        (await kube.post(path, deployment("app"))).ok()
        (await kube.patch(f"{path}/app", {"spec": {"paused": True}})).ok()
        (await kube.patch(f"{path}/app/scale", {"spec": {"replicas": 2}})).ok()
        assert webhook.asked
        # Once, or again where a real server's own controllers wrote the Deployment meanwhile.
        for asked in webhook.asked:
            assert f"{asked['resource']['resource']}/{asked['subResource']}" == "deployments/scale"
            assert asked["kind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}
            assert (asked["object"]["kind"], asked["object"]["spec"]) == ("Scale", {"replicas": 2})

    @pytest.mark.parametrize(("policy", "status"), [("Ignore", 201), ("Fail", 403)])
    async def test_a_match_condition_without_a_value_is_treated_by_the_policy(
        self,
        kube: Kube,
        space: str,
        webhook: Webhook,
        register: Callable[..., Any],
        policy: str,
        status: int,
    ) -> None:
        condition = {"name": "odd", "expression": "object.metadata.annotations['x'] == 'y'"}
        await register(failurePolicy=policy, matchConditions=[condition])
        answer = await kube.post(f"{space}/configmaps", config_map("a"))
        assert answer.status == status, answer.body
        assert webhook.asked == []

    async def test_a_dry_run_is_told_to_the_webhook(
        self, kube: Kube, space: str, webhook: Webhook, register: Callable[..., Any]
    ) -> None:
        await register()
        (await kube.post(f"{space}/configmaps", config_map("a"), dryRun="All")).ok()
        assert [asked["dryRun"] for asked in webhook.asked] == [True]
