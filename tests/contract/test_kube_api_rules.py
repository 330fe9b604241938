"""Who may write, and what is let in: schemas, CEL rules, tokens; on whichever server answers."""

import json

import pytest

from kube_contract import (
    DEFINITIONS,
    GROUP,
    WIDGETS,
    Kube,
    Object,
    define,
    lone_definition,
    widget,
)

TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"


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
                "spec.range.low: Invalid value: must be at most 2",
                id="message expression and field path",
            ),
            pytest.param(
                {"for": "0s"},
                "spec: Invalid value: for must be above 0",
                id="escaped property and string function",
            ),
            pytest.param(
                {"share": "0%"},
                'spec.share: Invalid value: "0%": must be above 0%',
                id="a scalar is shown",
            ),
            pytest.param(
                {"for": "soon"},
                "evaluating rule: for must be above 0",
                id="a rule that has no value is an error",
            ),
            pytest.param(
                {"share": "5", "for": "0s"},
                "for must be above 0",
                id="a pattern that does not match keeps no rule from being asked",
            ),
            pytest.param(
                {"size": "1"},
                "<nil>: Invalid value: null: some validation rules were not checked because the "
                "object was invalid; correct the existing errors to complete validation",
                id="a wrong type keeps all rules from being asked and says so",
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
        assert "spec: Invalid value: size may not shrink" in smaller.message

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

    @pytest.mark.parametrize(
        ("default", "said"),
        [
            pytest.param({"size": 0}, "should be greater than or equal to 1", id="plain rule"),
            pytest.param(
                {},
                "no such key: size evaluating rule: size must be odd",
                id="the fields' own defaults do not count yet",
            ),
            pytest.param({"size": 2}, "size must be odd", id="CEL rule"),
        ],
    )
    async def test_a_definition_whose_default_breaks_its_own_rules_is_refused(
        self, kube: Kube, default: Object, said: str
    ) -> None:
        definition = lone_definition()
        schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        schema["properties"]["spec"] = {
            "type": "object",
            "default": default,
            "properties": {"size": {"type": "integer", "minimum": 1, "default": 1}},
            "x-kubernetes-validations": [
                {"rule": "self.size % 2 == 1", "message": "size must be odd"}
            ],
        }
        answer = await kube.post(DEFINITIONS, definition)
        assert answer.status == 422
        assert "spec.validation.openAPIV3Schema.properties[spec].default" in answer.message
        assert said in answer.message

    @pytest.mark.parametrize(
        ("missing", "said"),
        [
            pytest.param("kind", "Object 'Kind' is missing", id="kind"),
            pytest.param("apiVersion", "the API version in the data ()", id="apiVersion"),
        ],
    )
    async def test_a_custom_object_says_what_it_is(
        self, kube: Kube, widgets: str, missing: str, said: str
    ) -> None:
        body = widget("w")
        del body[missing]
        answer = await kube.post(widgets, body)
        assert (answer.status, answer.reason) == (400, "BadRequest")
        assert said in answer.message

    async def test_objects_go_with_their_definition(self, kube: Kube, space: str) -> None:
        definition = lone_definition()
        await define(kube, definition)
        names = definition["spec"]["names"]
        path = f"/apis/{GROUP}/v1/namespaces/{space.rpartition('/')[2]}/{names['plural']}"
        made = await kube.post(path, widget("w") | {"kind": names["kind"]})
        assert made.ok()["spec"] == {"size": 1, "mode": "Slow"}
        (await kube.delete(f"{DEFINITIONS}/{definition['metadata']['name']}")).ok()
        assert await kube.gone(path)


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
        answer = await kube.call("GET", space, token="nonsense")
        assert (answer.status, answer.reason) == (401, "Unauthorized")

    async def test_a_token_for_somebody_else_opens_no_door_here(
        self, kube: Kube, space: str
    ) -> None:
        token = await self.issue(kube, space, {"audiences": ["tidegate"]})
        answer = await kube.call("GET", space, token=token)
        assert answer.status == 401
