"""Every manifest that we show: let in by the API server, and said in a way that Tidegate reads."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kube_contract import Kube
from tidegate_operator.crd.spec import read_spec
from tidegate_operator.inject.choice import Inject, choose

ROOT = Path(__file__).parents[2]
CRD = yaml.safe_load((ROOT / "crds" / "llmqualitypolicies.yaml").read_text())
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
EXAMPLES = sorted((ROOT / "examples").rglob("*.yaml"))
RUNNABLE = [path for path in EXAMPLES if path.name != "all-fields.yaml"]
PATHS = {
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "StatefulSet": "/apis/apps/v1/namespaces/{}/statefulsets",
    "Service": "/api/v1/namespaces/{}/services",
    "LLMQualityPolicy": "/apis/tidegate.io/v1alpha1/namespaces/{}/llmqualitypolicies",
}


def manifests(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def named(path: Path) -> str:
    return str(path.relative_to(ROOT / "examples"))


def of_kind(path: Path, *kinds: str) -> Iterator[dict[str, Any]]:
    return (m for m in manifests(path) if m["kind"] in kinds)


@pytest.fixture
async def namespace(kube: Kube, space: str) -> str:
    """A fresh namespace, with our CRD in the server."""
    made = await kube.post(DEFINITIONS, CRD)
    assert made.status in (201, 409), made.body
    name = space.rpartition("/")[2]

    async def served() -> bool:
        return (await kube.get(PATHS["LLMQualityPolicy"].format(name))).status == 200

    await kube.eventually(served)
    return name


def test_there_are_examples() -> None:
    folders = {path.parent.name for path in RUNNABLE}
    assert len(folders) >= 5
    listed = (ROOT / "examples" / "README.md").read_text()
    assert [f for f in folders if f"({f}/" not in listed] == []


@pytest.mark.parametrize("path", EXAMPLES, ids=named)
async def test_an_example_is_let_in_as_it_is(kube: Kube, namespace: str, path: Path) -> None:
    for manifest in manifests(path):
        made = (await kube.post(PATHS[manifest["kind"]].format(namespace), manifest)).ok()
        if manifest["kind"] == "LLMQualityPolicy":
            assert read_spec(made).target.name == manifest["spec"]["targetRef"]["name"]


@pytest.mark.parametrize("path", RUNNABLE, ids=named)
def test_an_example_says_at_its_top_when_to_use_it_and_how_to_try_it(path: Path) -> None:
    head = path.read_text().partition("apiVersion:")[0]
    assert all(line.startswith("#") for line in head.splitlines())
    assert f"kubectl apply -f examples/{path.parent.name}/" in head


@pytest.mark.parametrize("path", RUNNABLE, ids=named)
def test_the_pods_of_an_example_get_their_sidecar(path: Path) -> None:
    """Each port that a Service leads to has its name, so that the sidecar can take it over."""
    for workload in of_kind(path, "Deployment", "StatefulSet"):
        metadata = workload["metadata"]
        template = workload["spec"]["template"]
        pod = {
            **template,
            "metadata": {**template["metadata"], "annotations": metadata.get("annotations", {})},
        }
        choice = choose(
            pod, namespace="shop", own_namespace="tidegate-system", namespace_asks=True
        )
        assert isinstance(choice, Inject), choice
        assert choice.warnings == ()
        services = [s for s in of_kind(path, "Service") if serves(s, template)]
        led_to = [p["targetPort"] for s in services for p in s["spec"]["ports"]]
        assert led_to == ([choice.port.name] if choice.port is not None else [])


def serves(service: dict[str, Any], template: dict[str, Any]) -> bool:
    labels = template["metadata"]["labels"]
    return all(labels.get(k) == v for k, v in service["spec"]["selector"].items())


@pytest.mark.parametrize("path", RUNNABLE, ids=named)
def test_a_policy_fits_the_workloads_beside_it(path: Path) -> None:
    """Its target is there, and each model is served by somebody under that name."""
    beside = [m for file in path.parent.glob("*.yaml") for m in manifests(file)]
    for policy in of_kind(path, "LLMQualityPolicy"):
        spec = policy["spec"]
        served = {
            m["metadata"]["name"]: re.findall(r"(?:model-name|--model)=(\S+?)['\"]", str(m))
            for m in beside
            if m["kind"] == spec["targetRef"]["kind"]
        }
        assert spec["models"][0]["name"] in served[spec["targetRef"]["name"]]
        for model in spec["models"][1:]:
            assert model["name"] in served[model["upstream"].removeprefix("http://")]
