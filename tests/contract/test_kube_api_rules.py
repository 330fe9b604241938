"""Who may write, and what is let in: schemas, CEL rules, admission webhooks, tokens."""

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
from kube_contract import GROUP, WIDGETS, Kube, Object, config_map, widget

WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


class TestSchemas:
    async def test_defaults_are_filled_in_and_unknown_fields_pruned(
        self, kube: Kube, widgets: str
    ) -> None:
        made = await kube.post(
            widgets, widget("w", parts=[{"name": "a"}], novel=1), fieldValidation="Warn"
        )
        assert made.ok()["spec"] == {
            "size": 1,
            "mode": "Slow",
            "parts": [{"name": "a", "weight": 1}],
        }
        assert made.warnings == ['unknown field "spec.novel"']

    async def test_unknown_fields_are_refused_on_request(self, kube: Kube, widgets: str) -> None:
        answer = await kube.post(widgets, widget("w", novel=1), fieldValidation="Strict")
        assert (answer.status, answer.reason) == (400, "BadRequest")
        assert 'strict decoding error: unknown field "spec.novel"' in answer.message

    @pytest.mark.parametrize(
        ("spec", "field", "message"),
        [
            pytest.param(
                {"size": 0},
                "spec.size",
                "Invalid value: 0: spec.size in body should be greater than or equal to 1",
                id="below minimum",
            ),
            pytest.param(
                {"size": 11},
                "spec.size",
                "Invalid value: 11: spec.size in body should be less than or equal to 10",
                id="above maximum",
            ),
            pytest.param(
                {"size": "2"},
                "spec.size",
                'Invalid value: "string": spec.size in body must be of type integer: "string"',
                id="wrong type",
            ),
            pytest.param(
                {"mode": "Odd"},
                "spec.mode",
                'Unsupported value: "Odd": supported values: "Slow", "Fast"',
                id="not in the enum",
            ),
            pytest.param(
                {"share": "5"},
                "spec.share",
                "Invalid value: \"5\": spec.share in body should match '^[0-9]+%$'",
                id="pattern",
            ),
            pytest.param(
                {"share": "5%\n"},
                "spec.share",
                "Invalid value: \"5%\\n\": spec.share in body should match '^[0-9]+%$'",
                id="pattern ends at the end of the text",
            ),
            pytest.param(
                {"name": "longer"},
                "spec.name",
                "Too long: may not be more than 5 bytes",
                id="too long",
            ),
            pytest.param(
                {"parts": [{"name": "a"}, {"name": "b"}, {"name": "c"}]},
                "spec.parts",
                "Too many: 3: must have at most 2 items",
                id="too many",
            ),
            pytest.param(
                {"parts": [{"name": "a"}, {"name": "a"}]},
                "spec.parts[1]",
                "Duplicate value",
                id="the same key twice",
            ),
            pytest.param(
                {"parts": [{"weight": 1}]}, "spec.parts[0].name", "Required value", id="required"
            ),
        ],
    )
    async def test_broken_schema_rules_are_told_as_upstream_tells_them(
        self, kube: Kube, widgets: str, spec: Object, field: str, message: str
    ) -> None:
        answer = await kube.post(widgets, widget("w", **spec))
        assert (answer.status, answer.reason) == (422, "Invalid")
        causes = answer.body["details"]["causes"]
        assert causes[0]["field"] == field
        assert causes[0]["message"].startswith(message)
        assert f"{field}: {message}" in answer.message
        assert answer.message.startswith(f'Widget.{GROUP} "w" is invalid: ')

    @pytest.mark.parametrize(
        ("spec", "said"),
        [
            pytest.param(
                {"range": {"low": 3, "high": 2}},
                'spec.range.low: Invalid value: "object": must be at most 2',
                id="message expression and field path",
            ),
            pytest.param(
                {"for": "0s"},
                'spec: Invalid value: "object": for must be above 0',
                id="escaped property and string function",
            ),
            pytest.param(
                {"for": "soon"},
                "evaluating rule: for must be above 0",
                id="a rule that has no value is an error",
            ),
        ],
    )
    async def test_broken_cel_rules(
        self, kube: Kube, widgets: str, spec: Object, said: str
    ) -> None:
        answer = await kube.post(widgets, widget("w", **spec))
        assert answer.status == 422
        assert said in answer.message

    async def test_a_transition_rule_compares_with_the_old_object(
        self, kube: Kube, widgets: str
    ) -> None:
        (await kube.post(widgets, widget("w", size=3))).ok()
        (await kube.patch(f"{widgets}/w", {"spec": {"size": 4}})).ok()
        smaller = await kube.patch(f"{widgets}/w", {"spec": {"size": 2}})
        assert smaller.status == 422
        assert 'spec: Invalid value: "object": size may not shrink' in smaller.message

    async def test_a_definition_whose_rule_cannot_be_compiled_is_refused(self, kube: Kube) -> None:
        definition = json.loads(json.dumps(WIDGETS))
        definition["metadata"]["name"] = f"gadgets.{GROUP}"
        definition["spec"]["names"] = {"plural": "gadgets", "kind": "Gadget"}
        schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        schema["properties"]["spec"]["x-kubernetes-validations"] = [{"rule": "nosuch(self) == 1"}]
        answer = await kube.post(DEFINITIONS, definition)
        assert answer.status == 422
        assert "x-kubernetes-validations[0].rule" in answer.message
        assert "undeclared reference to 'nosuch'" in answer.message

    async def test_objects_go_with_their_definition(self, kube: Kube, widgets: str) -> None:
        if kube.emulator is None:
            pytest.skip("the definition is shared on a real server")
        (await kube.post(widgets, widget("w"))).ok()
        (await kube.delete(f"{DEFINITIONS}/widgets.{GROUP}")).ok()
        assert (await kube.get(widgets)).status == 404


Respond = Callable[[Object], Object]


class Webhook:
    """A webhook that remembers what it was asked."""

    def __init__(self, tls: selfmade_ca.SelfMade) -> None:
        self.tls = tls
        self.asked: list[Object] = []
        self.respond: Respond = lambda request: {"allowed": True}
        self.url = ""
        self.delay_s = 0.0

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["Webhook"]:
        app = web.Application()
        app.router.add_post("/mutate", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self.tls.server).start()
        self.url = f"https://127.0.0.1:{runner.addresses[0][1]}/mutate"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        review = await request.json()
        await asyncio.sleep(self.delay_s)
        self.asked.append(review["request"])
        response = {"uid": review["request"]["uid"], **self.respond(review["request"])}
        return web.json_response(
            {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response}
        )


@pytest.fixture
async def webhook(tmp_path: Path) -> AsyncIterator[Webhook]:
    async with Webhook(selfmade_ca.make(tmp_path)).serve() as server:
        yield server


@pytest.fixture
async def register(kube: Kube, space: str, webhook: Webhook) -> AsyncIterator[Callable[..., Any]]:
    """Registers the webhook for ConfigMaps of this test's namespace."""
    name = f"contract-{uuid.uuid4().hex[:8]}"

    async def put(*, seen: bool = True, **changes: Any) -> None:
        """``seen``: whether a probe can tell that the server has heard of it."""
        entry = {
            "name": "change.tidegate.io",
            "clientConfig": {
                "url": webhook.url,
                "caBundle": base64.b64encode(webhook.tls.ca_pem.encode()).decode(),
            },
            "rules": [
                {
                    "operations": ["CREATE"],
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "resources": ["configmaps"],
                }
            ],
            "namespaceSelector": {
                "matchLabels": {"kubernetes.io/metadata.name": space.rpartition("/")[2]}
            },
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "timeoutSeconds": 2,
            **changes,
        }
        body = {"metadata": {"name": name}, "webhooks": [entry]}
        (await kube.post(WEBHOOKS, body)).ok()

        async def is_heeded() -> bool:
            # A real server hears of a new configuration after some tenths of a second.
            return kube.emulator is not None or await _heeds(kube, space, webhook)

        if seen:
            await kube.eventually(is_heeded)
        elif kube.emulator is None:
            await asyncio.sleep(2)
        webhook.asked.clear()

    yield put
    await kube.delete(f"{WEBHOOKS}/{name}")


async def _heeds(kube: Kube, space: str, webhook: Webhook) -> bool:
    body = config_map("probe", inject="true")
    body["metadata"]["annotations"] = {"inject": "true"}
    answer = await kube.post(f"{space}/configmaps", body, dryRun="All")
    return bool(webhook.asked) or answer.status != 201 or bool(answer.warnings)


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
            broken = {"clientConfig": {"url": webhook.url}}
        await register(failurePolicy=policy, seen=policy == "Fail", **broken)
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
        if kube.emulator is None and not asked:
            pytest.skip("that a real server has heard of it cannot be seen")
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

    async def test_a_service_is_called_by_its_name(
        self, kube: Kube, space: str, webhook: Webhook, register: Callable[..., Any]
    ) -> None:
        if kube.emulator is None:
            pytest.skip("needs a Service with an endpoint on this machine")
        namespace = space.rpartition("/")[2]
        service = {"namespace": namespace, "name": "hook", "path": "/mutate"}
        ca = base64.b64encode(webhook.tls.ca_pem.encode()).decode()
        await register(clientConfig={"service": service, "caBundle": ca}, failurePolicy="Fail")
        absent = await kube.post(f"{space}/configmaps", config_map("a"))
        assert 'service "hook" not found' in absent.message
        port = int(webhook.url.split(":")[2].split("/")[0])
        kube.emulator.route_service(namespace, "hook", "127.0.0.1", port)
        wrong_name = await kube.post(f"{space}/configmaps", config_map("a"))
        assert wrong_name.status == 500, "the certificate is for 127.0.0.1, not for the Service"
        assert "hook" in wrong_name.message or "ertificate" in wrong_name.message


class TestIdentity:
    async def issue(self, kube: Kube, space: str, spec: Object) -> str:
        path = f"{space}/serviceaccounts/default/token"
        token: str = (await kube.post(path, {"spec": spec})).ok()["status"]["token"]
        return token

    async def review(self, kube: Kube, token: str, *audiences: str) -> Object:
        spec = {"token": token, "audiences": list(audiences)}
        status: Object = (await kube.post(TOKEN_REVIEWS, {"spec": spec})).ok()["status"]
        return status

    async def test_a_token_says_who_and_for_whom(self, kube: Kube, space: str) -> None:
        token = await self.issue(kube, space, {"audiences": ["tidegate"]})
        status = await self.review(kube, token, "tidegate")
        namespace = space.rpartition("/")[2]
        assert status["authenticated"] is True
        assert status["audiences"] == ["tidegate"]
        assert status["user"]["username"] == f"system:serviceaccount:{namespace}:default"
        assert f"system:serviceaccounts:{namespace}" in status["user"]["groups"]
        other = await self.review(kube, token, "somebody-else")
        assert not other.get("authenticated")
        assert "audience" in other["error"]

    async def test_a_pods_token_names_the_pod_and_dies_with_it(
        self, kube: Kube, space: str
    ) -> None:
        container = {"name": "app", "image": "app:1"}
        body = {"metadata": {"name": "p"}, "spec": {"containers": [container]}}
        made = (await kube.post(f"{space}/pods", body)).ok()
        bound = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": made["metadata"]["uid"]}
        spec = {"audiences": ["tidegate"], "boundObjectRef": bound}
        token = await self.issue(kube, space, spec)
        extra = (await self.review(kube, token, "tidegate"))["user"]["extra"]
        assert extra["authentication.kubernetes.io/pod-name"] == ["p"]
        assert extra["authentication.kubernetes.io/pod-uid"] == [made["metadata"]["uid"]]
        await kube.delete(f"{space}/pods/p", {"gracePeriodSeconds": 0})

        async def is_dead() -> bool:
            return not (await self.review(kube, token, "tidegate")).get("authenticated")

        assert await kube.eventually(is_dead)

    @pytest.mark.parametrize("token", ["", "nonsense", "a.b.c"])
    async def test_an_unknown_token_is_not_authenticated(self, kube: Kube, token: str) -> None:
        status = await self.review(kube, token or "x", "tidegate")
        assert not status.get("authenticated")

    async def test_a_request_with_an_unknown_token_is_unauthorized(
        self, kube: Kube, space: str
    ) -> None:
        answer = await kube.call("GET", space, headers={"Authorization": "Bearer nonsense"})
        assert (answer.status, answer.reason) == (401, "Unauthorized")

    async def test_a_token_for_somebody_else_opens_no_door_here(
        self, kube: Kube, space: str
    ) -> None:
        token = await self.issue(kube, space, {"audiences": ["tidegate"]})
        answer = await kube.call("GET", space, headers={"Authorization": f"Bearer {token}"})
        assert answer.status == 401
