"""LLMQualityPolicy against the API server: what is let in, and what a refusal says."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from bad_policies import BAD, GOOD
from kube_contract import Answer, Kube, define
from policy_faults import Bad, Good, readme_policy
from tidegate_operator.crd.spec import read_spec
from tidegate_operator.demo.world import load_policy

ROOT = Path(__file__).parents[2]
CRD = yaml.safe_load((ROOT / "crds" / "llmqualitypolicies.yaml").read_text())


@pytest.fixture
async def policies(kube: Kube) -> str:
    """Path of the policies of a namespace, with our CRD in the server."""
    await define(kube, CRD)
    return "/apis/tidegate.io/v1alpha1/namespaces/default/llmqualitypolicies"


async def try_out(kube: Kube, policies: str, policy: dict[str, Any]) -> Answer:
    """Nothing stays behind: on a real cluster an operator may be looking."""
    return await kube.post(
        policies, policy | {"metadata": {"name": policy["metadata"]["name"]}}, dryRun="All"
    )


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param(readme_policy(), id="the README's"),
        pytest.param(load_policy("http://127.0.1.2:8000"), id="the demo's"),
    ],
)
async def test_a_policy_that_we_show_is_let_in_and_understood(
    kube: Kube, policies: str, policy: dict[str, Any]
) -> None:
    made = (await try_out(kube, policies, policy)).ok()
    spec = read_spec(made)
    assert spec.target.name == policy["spec"]["targetRef"]["name"]
    assert made["spec"]["slo"]["ttft"]["percentile"] == "90"


async def test_the_least_policy_gets_its_defaults(kube: Kube, policies: str) -> None:
    body = {
        "apiVersion": "tidegate.io/v1alpha1",
        "kind": "LLMQualityPolicy",
        "metadata": {"name": "least"},
        "spec": {
            "targetRef": {"name": "llama"},
            "models": [{"name": "llama-70b"}],
            "scaling": {"capacityPerReplica": "2.5"},
        },
    }
    spec = (await try_out(kube, policies, body)).ok()["spec"]
    assert spec["mode"] == "Shadow"
    assert spec["targetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama"}
    assert spec["scaling"]["behavior"]["scaleDown"]["stabilization"] == "300s"
    assert spec["scaling"]["forecast"]["horizon"] == "Auto"


@pytest.mark.parametrize("bad", [pytest.param(bad, id=bad.sentence) for bad in BAD])
async def test_a_policy_is_refused_by_field_rule_and_value_when(
    kube: Kube, policies: str, bad: Bad
) -> None:
    answer = await try_out(kube, policies, bad.policy())
    assert answer.status == 422, answer.body
    assert f"{bad.field}: " in answer.message
    assert bad.words in answer.message
    for noise in ("evaluating rule", "conversion error", "no such"):
        assert noise not in answer.message, "a fault is told once, and not by a rule that fails"


@pytest.mark.parametrize("good", [pytest.param(good, id=good.sentence) for good in GOOD])
async def test_a_policy_is_let_in_and_understood_when(
    kube: Kube, policies: str, good: Good
) -> None:
    made = (await try_out(kube, policies, good.policy())).ok()
    assert read_spec(made).target.name == made["spec"]["targetRef"]["name"]


async def test_a_policy_is_edited_by_the_same_rules(kube: Kube, policies: str, space: str) -> None:
    policies = policies.replace("/default/", f"/{space.rpartition('/')[2]}/")
    name = (await kube.post(policies, readme_policy())).ok()["metadata"]["name"]
    answer = await kube.patch(f"{policies}/{name}", {"spec": {"scaling": {"minReplicas": 11}}})
    assert answer.status == 422
    assert "must be at most maxReplicas (10), was: 11" in answer.message
