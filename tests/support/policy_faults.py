"""Faults and values at the edge, made in the README's policy.

Law: a fault is one change, named by a sentence; who lets policies in says which field, rule and
value.
"""

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Spec = dict[str, Any]
README = Path(__file__).parents[2] / "README.md"


def readme_policy() -> dict[str, Any]:
    """The README's, fit for any namespace."""
    for text in re.findall(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL):
        for policy in yaml.safe_load_all(text):
            if isinstance(policy, dict) and policy.get("kind") == "LLMQualityPolicy":
                policy["metadata"].pop("namespace", None)
                return copy.deepcopy(policy)
    raise LookupError("the README shows no policy")


@dataclass(frozen=True)
class Bad:
    """One fault, made in the README's policy."""

    sentence: str
    change: Callable[[Spec], object]
    field: str
    words: str
    """Rule and value; the value may be missing where it is missing."""

    def policy(self) -> dict[str, Any]:
        policy = readme_policy()
        self.change(policy["spec"])
        return policy


def scaling(**fields: Any) -> Callable[[Spec], object]:
    return lambda spec: spec["scaling"].update(fields)


def schedule(**fields: Any) -> Callable[[Spec], object]:
    """A good schedule with these fields changed; ``None`` takes one away."""
    good = {"name": "day", "start": "08:00", "end": "18:00", "minReplicas": 3}
    return scaling(schedules=[{n: v for n, v in (good | fields).items() if v is not None}])


def trigger(**fields: Any) -> Callable[[Spec], object]:
    return lambda spec: spec["degrade"]["triggers"][0].update(fields)


def degrade(**fields: Any) -> Callable[[Spec], object]:
    return lambda spec: spec["degrade"].update(fields)


def budget(**fields: Any) -> Callable[[Spec], object]:
    return lambda spec: spec["budgets"][0].update(fields)


def action(**fields: Any) -> Callable[[Spec], object]:
    return lambda spec: spec["budgets"][0]["actions"][0].update(fields)


def timeouts(**fields: Any) -> Callable[[Spec], object]:
    return lambda spec: spec["gateway"].update(timeouts=fields)


def without(*path: str) -> Callable[[Spec], object]:
    def change(spec: Spec) -> object:
        place: Any = spec
        for key in path[:-1]:
            place = place[int(key) if key.isdigit() else key]
        return place.pop(int(path[-1]) if path[-1].isdigit() else path[-1])

    return change


@dataclass(frozen=True)
class Good:
    """One value at the edge of what is let in."""

    sentence: str
    change: Callable[[Spec], object]

    def policy(self) -> dict[str, Any]:
        policy = readme_policy()
        self.change(policy["spec"])
        return policy
