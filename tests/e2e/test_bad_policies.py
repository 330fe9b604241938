"""Bad policies on a real cluster: what ``kubectl apply`` prints, and what only the operator says.

Law: field, rule and value are named, by the API server where it can know, else by a condition and
an Event that ``kubectl describe`` shows.
"""

import json
from collections.abc import Iterator

import pytest

from bad_policies import BAD
from operator_only import SHARED, UNSEEN, Unseen
from policy_faults import Bad, readme_policy
from real_cluster import Cluster, namespace, wait_until

SPACE = "e2e-bad-policies"
TOLD_WITHIN_S = 60.0
DEPLOYMENT = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "llama"},
    "spec": {
        "replicas": 0,
        "selector": {"matchLabels": {"app": "llama"}},
        "template": {
            "metadata": {"labels": {"app": "llama"}},
            "spec": {"containers": [{"name": "server", "image": "localhost/none"}]},
        },
    },
}


@pytest.fixture(scope="module")
def place(tidegate: Cluster) -> Iterator[Cluster]:
    """The cluster with Tidegate, and a namespace that all tests here share."""
    with namespace(tidegate, SPACE, {}):
        tidegate.apply(DEPLOYMENT, namespace=SPACE)
        yield tidegate


@pytest.mark.parametrize("bad", [pytest.param(bad, id=bad.sentence) for bad in BAD])
def test_kubectl_apply_prints_field_rule_and_value_when(place: Cluster, bad: Bad) -> None:
    manifest = json.dumps(bad.policy())
    refused = place.run("kubectl", "apply", "-n", SPACE, "-f", "-", stdin=manifest, check=False)
    assert refused.code == 1, refused.out
    assert f'The LLMQualityPolicy "{readme_policy()["metadata"]["name"]}" is invalid' in (
        refused.err
    )
    assert f"{bad.field}: " in refused.err
    assert bad.words in refused.err
    assert "evaluating rule" not in refused.err
    assert place.get("lqp", "-n", SPACE)["items"] == []


def said(place: Cluster, fault: Unseen, name: str) -> None:
    """In a condition, in an Event, and in what ``kubectl describe`` prints."""

    def condition() -> bool:
        found = place.conditions(SPACE, name).get(fault.condition, {})
        return (found.get("status"), found.get("reason")) == ("False", fault.reason)

    wait_until(f"condition {fault.condition}", condition, TOLD_WITHIN_S)
    assert fault.words in place.conditions(SPACE, name)[fault.condition]["message"]
    wait_until(
        f"an Event {fault.reason}",
        lambda: [
            e
            for e in place.events(SPACE, name)
            if e["reason"] == fault.reason and fault.words in e["message"]
        ],
        TOLD_WITHIN_S,
    )
    described = place.kubectl("describe", "lqp", name, "-n", SPACE)
    assert described.count(fault.reason) >= 2, described


@pytest.mark.parametrize("fault", [pytest.param(fault, id=fault.sentence) for fault in UNSEEN])
def test_the_operator_says_of_a_policy_that(place: Cluster, fault: Unseen) -> None:
    name = f"unseen-{UNSEEN.index(fault)}"
    place.apply(fault.policy(name), namespace=SPACE)
    try:
        said(place, fault, name)
    finally:
        place.kubectl("delete", "lqp", name, "-n", SPACE)


def test_the_operator_says_of_the_younger_policy_that_its_target_is_taken(place: Cluster) -> None:
    older, younger = SHARED.policy(), SHARED.policy("again")
    for policy in (older, younger):
        policy["spec"]["targetRef"]["name"] = "llama"
    place.apply(older, namespace=SPACE)
    wait_until(
        "the older policy has its target",
        lambda: place.conditions(SPACE, "chat").get("TargetResolved", {}).get("status") == "True",
        TOLD_WITHIN_S,
    )
    place.apply(younger, namespace=SPACE)
    said(place, SHARED, "again")
    printed = place.kubectl("get", "lqp", "-n", SPACE)
    assert "again" in printed
