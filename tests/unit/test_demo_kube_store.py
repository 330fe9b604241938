"""The store's own rules, as values: what must hold whatever is written, in whatever order."""

import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate_operator.demo.kubeapi import patches, rules
from tidegate_operator.demo.kubeapi.collector import Collector
from tidegate_operator.demo.kubeapi.errors import ApiError
from tidegate_operator.demo.kubeapi.eventlog import Event
from tidegate_operator.demo.kubeapi.kinds import Kinds
from tidegate_operator.demo.kubeapi.schema import Schema
from tidegate_operator.demo.kubeapi.store import DeleteOptions, Store, name_of

Object = dict[str, Any]
NOW = 1_700_000_000.0
CRD = Path(__file__).parents[2] / "crds" / "llmqualitypolicies.yaml"


def new_store(history: int = 1_000) -> Store:
    store = Store(Kinds.builtin(), random.Random(1), history=history)
    store.reactions.append(Collector(store).react)
    spaces = store.kinds.named("namespaces")
    for name in ("a", "b"):
        store.create(spaces, None, {"metadata": {"name": name}}, NOW)
    return store


def write(store: Store, step: tuple[str, str, str, int]) -> None:
    action, namespace, name, value = step
    kind = store.kinds.named("configmaps")
    body = {"metadata": {"name": name}, "data": {"v": str(value)}}
    try:
        match action:
            case "create":
                store.create(kind, namespace, body, NOW)
            case "update":
                store.update(kind, namespace, name, body, NOW)
            case "delete":
                store.delete(kind, namespace, name, NOW)
            case "close":
                store.delete(store.kinds.named("namespaces"), None, namespace, NOW)
    except ApiError as error:
        assert error.code in (403, 404, 409)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["create", "create", "update", "update", "delete", "close"]),
        st.sampled_from(["a", "b"]),
        st.sampled_from(["x", "y", "z"]),
        st.integers(0, 2),
    ),
    max_size=30,
)


@given(steps=STEPS)
def test_replaying_the_log_gives_the_objects(
    steps: list[tuple[str, str, str, int]],
) -> None:
    store = new_store()
    kind = store.kinds.named("configmaps")
    for step in steps:
        write(store, step)
    replayed: dict[Any, Object] = {}
    last = 0
    for event in store.log(kind).since(0):
        assert event.version > last
        last = event.version
        if event.type == "DELETED":
            del replayed[name_of(event.object)]
        else:
            assert (name_of(event.object) in replayed) is (event.type == "MODIFIED")
            replayed[name_of(event.object)] = event.object
    assert replayed == store.all_of(kind)


@given(steps=STEPS, cut=st.integers(0, 30))
def test_looking_back_gives_what_was(steps: list[tuple[str, str, str, int]], cut: int) -> None:
    store = new_store()
    kind = store.kinds.named("configmaps")
    for step in steps[:cut]:
        write(store, step)
    then, version = store.snapshot(kind), store.version
    for step in steps[cut:]:
        write(store, step)
    assert store.snapshot(kind, version=version) == then


@given(steps=STEPS, history=st.integers(1, 5))
def test_a_bounded_log_is_complete_or_says_410(
    steps: list[tuple[str, str, str, int]], history: int
) -> None:
    store = new_store(history)
    kind = store.kinds.named("configmaps")
    heard: list[Event] = []
    store.log(kind).listeners.append(heard.append)
    for step in steps:
        write(store, step)
    for version in range(store.version + 1):
        wanted = [event for event in heard if event.version > version]
        try:
            assert store.log(kind).since(version) == wanted
        except ApiError as error:
            assert error.code == 410
            assert len(wanted) > history, "what is still there must be given"


def test_simulated_time_reaches_the_timestamps() -> None:
    store = new_store()
    made = store.create(
        store.kinds.named("configmaps"), "a", {"metadata": {"name": "x"}}, 86_400.9
    )
    assert made["metadata"]["creationTimestamp"] == "1970-01-02T00:00:00Z"


def test_what_a_client_gave_is_not_kept_by_reference() -> None:
    store = new_store()
    body = {"metadata": {"name": "x"}, "data": {"k": "before"}}
    made = store.create(store.kinds.named("configmaps"), "a", body, NOW)
    body["data"]["k"] = "after"
    assert made["data"] == {"k": "before"}


@pytest.mark.parametrize(
    ("spec", "status", "grace_s", "left_s"),
    [
        pytest.param({}, {}, None, 0, id="a pod that no node has taken up goes at once"),
        pytest.param({"nodeName": "n"}, {}, None, 30, id="a placed pod has its grace"),
        pytest.param({}, {"podIP": "127.0.0.2"}, None, 30, id="a pod that a node reported on"),
        pytest.param({"nodeName": "n"}, {}, 5, 5, id="a shorter grace on request"),
        pytest.param({"nodeName": "n"}, {"phase": "Failed"}, None, 0, id="a pod that is done"),
    ],
)
def test_how_long_a_pod_may_take_to_leave(
    spec: Object, status: Object, grace_s: int | None, left_s: int
) -> None:
    store = new_store()
    kind = store.kinds.named("pods")
    container = {"name": "c", "image": "c:1"}
    body = {"metadata": {"name": "p"}, "spec": {"containers": [container], **spec}}
    made = store.create(kind, "a", body, NOW)
    if status:
        reported = {**made, "status": made["status"] | status}
        store.update(kind, "a", "p", reported, NOW, subresource="status")
    left, removed = store.delete(kind, "a", "p", NOW, DeleteOptions(grace_s=grace_s))
    assert removed is (left_s == 0)
    if left_s:
        assert left["metadata"]["deletionTimestamp"] == f"2023-11-14T22:13:{20 + left_s}Z"


def test_an_object_whose_owner_is_gone_is_collected() -> None:
    store = new_store()
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "gone"}
    body = {"metadata": {"name": "x", "ownerReferences": [owner]}}
    kind = store.kinds.named("configmaps")
    store.create(kind, "a", body, NOW)
    assert store.find(kind, "a", "x") is None


def test_an_object_with_two_owners_stays_until_both_are_gone() -> None:
    store = new_store()
    kind = store.kinds.named("configmaps")
    owners = [store.create(kind, "a", {"metadata": {"name": n}}, NOW) for n in ("o1", "o2")]
    references = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": n, "uid": owner["metadata"]["uid"]}
        for n, owner in zip(("o1", "o2"), owners, strict=True)
    ]
    store.create(kind, "a", {"metadata": {"name": "x", "ownerReferences": references}}, NOW)
    store.delete(kind, "a", "o1", NOW)
    assert store.get(kind, "a", "x")["metadata"]["ownerReferences"] == references[1:]
    store.delete(kind, "a", "o2", NOW)
    assert store.find(kind, "a", "x") is None


@pytest.mark.parametrize(
    ("current", "patch", "result"),
    [
        pytest.param({"a": 1}, {"b": 2}, {"a": 1, "b": 2}, id="adds"),
        pytest.param({"a": {"b": 1}}, {"a": None}, {}, id="removes with null"),
        pytest.param({"a": {"b": 1}}, {"a": {"$patch": "delete"}}, {}, id="deletes a map"),
        pytest.param(
            {"a": {"b": 1}}, {"a": {"$patch": "replace", "c": 2}}, {"a": {"c": 2}}, id="replaces"
        ),
        pytest.param(
            {"env": [{"name": "A", "value": "1"}, {"name": "B"}]},
            {"env": [{"name": "A", "value": "2"}]},
            {"env": [{"name": "A", "value": "2"}, {"name": "B"}]},
            id="merges by key",
        ),
        pytest.param(
            {"env": [{"name": "A"}, {"name": "B"}]},
            {"env": [{"name": "A", "$patch": "delete"}]},
            {"env": [{"name": "B"}]},
            id="deletes by key",
        ),
        pytest.param(
            {"ports": [{"port": 80, "name": "a"}]},
            {"ports": [{"port": 80, "name": "b"}, {"port": 81}]},
            {"ports": [{"port": 80, "name": "b"}, {"port": 81}]},
            id="a service's ports have a key of their own",
        ),
        pytest.param({"args": ["a"]}, {"args": ["b"]}, {"args": ["b"]}, id="plain lists are one"),
    ],
)
def test_strategic_patches(current: Object, patch: Object, result: Object) -> None:
    before = repr(current)
    assert patches.strategic_merge(current, patch) == result
    assert repr(current) == before, "the object that is kept must not change"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(current=JSON_VALUES, patch=JSON_VALUES)
def test_a_merge_patch_applied_twice_is_applied_once(current: Any, patch: Any) -> None:
    once = patches.merge(current, patch)
    assert patches.merge(once, patch) == once


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 < 1.5 && 2.0 == 2", True),
        ("double('5%'.replace('%', '')) < 10.0", True),
        ("'a-b-c'.split('-')[1] == 'b'", True),
        ("['a', 'b'].join(',') == 'a,b'", True),
        ("'hello'.substring(1, 3) == 'el'", True),
        ("'hello'.indexOf('l') == 2 && 'hello'.lastIndexOf('l') == 3", True),
        ("' x '.trim().upperAscii() == 'X'", True),
        ("[3, 1].isSorted()", False),
        ("[1, 2, 3].sum() == 6 && [1, 3].max() == 3", True),
        ("'a1b22'.findAll('[0-9]+').size() == 2", True),
        ("[{'n': 'a'}, {'n': 'a'}].exists_one(x, x.n == 'a')", False),
        ("duration('90s') < duration('2m')", True),
        ("has({'a': 1}.a) && !has({'a': 1}.b)", True),
        ("'ab'.matches('^a.$')", True),
    ],
)
def test_cel_functions_that_kubernetes_has(expression: str, value: bool) -> None:
    assert bool(rules.compile_expression(expression).evaluate({})) is value


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("self.?a.orValue(1) == 1", "syntax error"),
        ("quantity('1Mi') > quantity('1k')", "undeclared reference to 'quantity'"),
        ("url('x').getHost() == ''", "undeclared reference"),
        ("1 ==", "syntax error"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_at_once(expression: str, said: str) -> None:
    with pytest.raises(rules.InvalidRuleError, match=said):
        rules.compile_expression(expression)


@pytest.mark.parametrize(
    "expression", ["self.none == 1", "[1][2] == 1", "int('x') == 1", "'a'.substring(2) == ''"]
)
def test_a_rule_without_a_value_fails(expression: str) -> None:
    with pytest.raises(rules.RuleFailedError):
        rules.compile_expression(expression).evaluate({"self": rules.plain_value({})})


def test_our_own_definition_is_accepted_and_its_defaults_hold() -> None:
    definition = yaml.safe_load(CRD.read_text(encoding="utf-8"))
    schema = Schema(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama"}
    scaling = {"minReplicas": 1, "maxReplicas": 4, "capacityPerReplica": "2.5"}
    spec = {"targetRef": target, "models": [{"name": "llama"}], "scaling": scaling}
    filled = schema.default({"spec": spec})
    assert schema.validate(filled) == []
    assert schema.prune(filled) == (filled, [])
    filled["spec"]["scaling"]["minReplicas"] = 11
    [cause] = schema.validate(filled)
    assert cause.field == "spec.scaling.minReplicas"


def test_an_update_is_not_blamed_for_what_it_leaves_as_it_was() -> None:
    rule = {"rule": "self.low <= self.high", "message": "low above high"}
    properties = {"low": {"type": "integer", "minimum": 1}, "high": {"type": "integer"}}
    inner = {"type": "object", "properties": properties, "x-kubernetes-validations": [rule]}
    schema = Schema({"type": "object", "properties": {"spec": inner, "status": inner}})
    old = {"spec": {"low": 5, "high": 3}, "status": {"low": 0}}
    fields = [cause.field for cause in schema.validate(old)]
    assert fields == ["status.low", "spec", "status"], "plain rules come first"
    assert schema.validate(old | {"metadata": {"labels": {}}}, old) == []
    [cause] = schema.validate(old | {"spec": {"low": 6, "high": 3}}, old)
    assert cause.field == "spec"


@settings(max_examples=50)
@given(obj=st.dictionaries(st.sampled_from(["spec", "status", "x"]), JSON_VALUES, max_size=3))
def test_defaulting_and_pruning_twice_is_doing_it_once(obj: Object) -> None:
    raw = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "default": {},
                "properties": {
                    "a": {"type": "integer", "default": 1},
                    "b": {"type": "object", "additionalProperties": {"type": "string"}},
                },
            }
        },
    }
    schema = Schema(raw)
    once = schema.default(schema.prune(obj)[0])
    assert schema.default(schema.prune(once)[0]) == once
