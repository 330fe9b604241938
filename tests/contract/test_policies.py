"""LLMQualityPolicy against the API server: what is let in, and what a refusal says."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kube_contract import Kube
from tidegate_operator.crd.spec import read_spec
from tidegate_operator.demo.world import load_policy

ROOT = Path(__file__).parents[2]
CRD = yaml.safe_load((ROOT / "crds" / "llmqualitypolicies.yaml").read_text())
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
README_POLICY = yaml.safe_load(
    re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]
)


@pytest.fixture
async def policies(kube: Kube, space: str) -> str:
    """Path of the policies of a fresh namespace, with our CRD in the server."""
    made = await kube.post(DEFINITIONS, CRD)
    assert made.status in (201, 409), made.body

    async def established() -> bool:
        found = (await kube.get(f"{DEFINITIONS}/{CRD['metadata']['name']}")).ok()
        conditions = found.get("status", {}).get("conditions", [])
        return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)

    await kube.eventually(established)
    namespace = space.rpartition("/")[2]
    path = f"/apis/tidegate.io/v1alpha1/namespaces/{namespace}/llmqualitypolicies"

    async def served() -> bool:
        return (await kube.get(path)).status == 200

    await kube.eventually(served)
    return path


def in_any_namespace(policy: dict[str, Any]) -> dict[str, Any]:
    found = copy.deepcopy(policy)
    found["metadata"].pop("namespace", None)
    return found


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param(README_POLICY, id="the README's"),
        pytest.param(load_policy("http://127.0.1.2:8000"), id="the demo's"),
    ],
)
async def test_a_policy_that_we_show_is_let_in_and_understood(
    kube: Kube, policies: str, policy: dict[str, Any]
) -> None:
    made = (await kube.post(policies, in_any_namespace(policy))).ok()
    spec = read_spec(made)
    assert spec.target.name == policy["spec"]["targetRef"]["name"]
    assert made["spec"]["slo"]["ttft"]["percentile"] == "90"


async def test_the_least_policy_gets_its_defaults(kube: Kube, policies: str) -> None:
    body = {
        "metadata": {"name": "least"},
        "spec": {
            "targetRef": {"name": "llama"},
            "models": [{"name": "llama-70b"}],
            "scaling": {"capacityPerReplica": "2.5"},
        },
    }
    spec = (await kube.post(policies, body)).ok()["spec"]
    assert spec["mode"] == "Shadow"
    assert spec["targetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama"}
    assert spec["scaling"]["behavior"]["scaleDown"]["stabilization"] == "300s"
    assert spec["scaling"]["forecast"]["horizon"] == "Auto"


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        pytest.param(
            lambda s: s["scaling"].update(minReplicas=11),
            "spec.scaling.minReplicas",
            "must be at most maxReplicas (10), was: 11",
            id="fewest above most",
        ),
        pytest.param(
            lambda s: s["scaling"].update(minReplicas=0),
            "spec.scaling.minReplicas",
            "greater than or equal to 1",
            id="no replica at all",
        ),
        pytest.param(
            lambda s: s["scaling"].update(capacityPerReplica="0"),
            "spec.scaling.capacityPerReplica",
            "must be above 0, was: 0",
            id="a replica that carries nothing",
        ),
        pytest.param(
            lambda s: s["scaling"].pop("capacityPerReplica"),
            "spec.scaling.capacityPerReplica",
            "Required value",
            id="no capacity",
        ),
        pytest.param(
            lambda s: s["scaling"].update(forecast={"horizon": "90s"}),
            "spec.scaling.forecast.horizon",
            "must be Auto or between 2m and 1h, was: 90s",
            id="a horizon that is too near",
        ),
        pytest.param(
            lambda s: s["scaling"].update(behavior={"scaleUp": {"maxFactor": "0.5"}}),
            "spec.scaling.behavior.scaleUp.maxFactor",
            "must be at least 1, was: 0.5",
            id="growth that shrinks",
        ),
        pytest.param(
            lambda s: s["scaling"].update(behavior={"tolerance": "10"}),
            "spec.scaling.behavior.tolerance",
            "should match",
            id="a percentage without its sign",
        ),
        pytest.param(
            lambda s: s["degrade"]["triggers"][0].update(exit="5%"),
            "spec.degrade.triggers[0].exit",
            "must be below enter (5%), was: 5%",
            id="a trigger that never lets go",
        ),
        pytest.param(
            lambda s: s["degrade"].update(recovery={"backoff": {"initial": "2h", "max": "1h"}}),
            "spec.degrade.recovery.backoff.initial",
            "must be at most max (1h), was: 2h",
            id="a first wait beyond the longest",
        ),
        pytest.param(
            lambda s: s["models"].pop(),
            "spec.models",
            "needs a second model to switch to",
            id="a switch to nowhere",
        ),
        pytest.param(
            lambda s: s["models"][1].pop("upstream"),
            "spec.models",
            "must each have an upstream",
            id="a fallback without a server",
        ),
        pytest.param(
            lambda s: s["models"][1].update(name="llama-70b"),
            "spec.models[1]",
            "Duplicate value",
            id="one model twice",
        ),
        pytest.param(
            lambda s: s["models"][1].update(upstream="https://x/v1"),
            "spec.models[1].upstream",
            "should match",
            id="an upstream that can't be reached",
        ),
        pytest.param(
            lambda s: s.pop("gateway"),
            "spec.gateway",
            "is needed by a budget of scope Tenant",
            id="tenants that nobody can tell apart",
        ),
        pytest.param(
            lambda s: s["budgets"][0].update(limit={}),
            "spec.budgets[0].limit",
            "must have tokens or cost",
            id="a budget without a limit",
        ),
        pytest.param(
            lambda s: s["budgets"][0].update(limit={"cost": "5.00"}),
            "spec.models",
            "must have a price",
            id="a cost that nothing has",
        ),
        pytest.param(
            lambda s: s["budgets"][0]["window"].update(unit="Fortnight"),
            "spec.budgets[0].window.unit",
            'Unsupported value: "Fortnight"',
            id="a window that no calendar knows",
        ),
        pytest.param(
            lambda s: s["budgets"][0]["actions"][0].update(at="120%"),
            "spec.budgets[0].actions[0].at",
            "should match",
            id="an action beyond the limit",
        ),
        pytest.param(
            lambda s: s["gateway"].update(timeouts={"firstToken": "20m"}),
            "spec.gateway.timeouts.firstToken",
            "must be at most total (10m), was: 20m",
            id="a first token after the end",
        ),
        pytest.param(
            lambda s: s.update(mode="Force"),
            "spec.mode",
            'Unsupported value: "Force"',
            id="a mode that there is not",
        ),
        pytest.param(
            lambda s: s.pop("targetRef"), "spec.targetRef", "Required value", id="no target"
        ),
    ],
)
async def test_a_bad_policy_is_refused_by_field_rule_and_value(
    kube: Kube, policies: str, change: Change, field: str, words: str
) -> None:
    policy = in_any_namespace(README_POLICY)
    change(policy["spec"])
    answer = await kube.post(policies, policy)
    assert answer.status == 422, answer.body
    assert words in answer.message
    assert field in answer.message
    assert (await kube.get(policies)).ok()["items"] == []
