"""Faults of a policy that no schema can see: only the operator knows, and must say.

Law: what it says stands in a condition and in an Event, with the field or the object, the rule
and the value.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from policy_faults import readme_policy

Spec = dict[str, Any]


@dataclass(frozen=True)
class Unseen:
    """One fault, made in the README's policy, which the API server lets in."""

    sentence: str
    change: Callable[[Spec], object]
    condition: str
    reason: str
    words: str

    def policy(self, name: str = "chat") -> dict[str, Any]:
        policy = readme_policy()
        policy["metadata"]["name"] = name
        self.change(policy["spec"])
        return policy


UNSEEN = (
    Unseen(
        "a time zone is in no database",
        lambda s: s["budgets"][0]["window"].update(timezone="Europe/Atlantis"),
        "Ready",
        "InvalidSpec",
        "spec.budgets[0].window.timezone must be an IANA time zone such as Europe/Berlin, "
        "was: Europe/Atlantis",
    ),
    Unseen(
        "its history is longer than is kept",
        lambda s: s["scaling"].update(forecast={"history": "500d"}),
        "Ready",
        "InvalidSpec",
        "spec.scaling.forecast.history must be at most 400d, was: 500d",
    ),
    Unseen(
        "it dwells on a rung for more than a year",
        lambda s: s["degrade"].update(minDwell="10000h"),
        "Ready",
        "InvalidSpec",
        "spec.degrade.minDwell must be at most 400d, was: 10000h",
    ),
    Unseen(
        "its requests may be larger than any memory",
        lambda s: s["gateway"].update(maxRequestBytes="2000Gi"),
        "Ready",
        "InvalidSpec",
        "spec.gateway.maxRequestBytes must be at most 1024Gi, was: 2000Gi",
    ),
    Unseen(
        "its target is not there",
        lambda s: s["targetRef"].update(name="gpt"),
        "TargetResolved",
        "TargetNotFound",
        "Deployment/gpt not found in the policy's namespace",
    ),
    Unseen(
        "its target is of the other kind",
        lambda s: s["targetRef"].update(kind="StatefulSet", name="llama"),
        "TargetResolved",
        "TargetNotFound",
        "StatefulSet/llama not found in the policy's namespace",
    ),
)
SHARED = Unseen(
    "an older policy has its target",
    lambda s: None,
    "NoConflict",
    "TargetSharedByPolicies",
    "Deployment/llama is taken by the older policy chat; this one acts on nothing",
)
