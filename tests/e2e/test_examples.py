"""Every example on a real cluster: taken as it is, and working where it can run."""

import json
import urllib.request
from pathlib import Path

import pytest
import yaml

from real_cluster import ROOT, Cluster, wait_until

FOLDERS = sorted({path.parent for path in (ROOT / "examples").glob("*/*.yaml")})
WITHOUT_GPU = [folder for folder in FOLDERS if folder.name != "vllm"]


def named(folder: Path) -> str:
    return folder.name


def policy_of(folder: Path) -> dict[str, str]:
    """Name of the policy, of its target and of its first model."""
    for path in folder.glob("*.yaml"):
        for manifest in yaml.safe_load_all(path.read_text()):
            if manifest["kind"] == "LLMQualityPolicy":
                spec = manifest["spec"]
                names = {
                    "policy": manifest["metadata"]["name"],
                    "model": spec["models"][0]["name"],
                }
                return {**names, "target": spec["targetRef"]["name"]}
    raise AssertionError(f"no policy in {folder}")


def ask(url: str, model: str) -> tuple[dict[str, str], str]:
    """Headers and text of a short chat completion."""
    body = {"model": model, "max_tokens": 4, "messages": [{"role": "user", "content": "Hello"}]}
    headers = {"content-type": "application/json", "x-tenant-id": "blue"}
    request = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), headers
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        text = json.loads(answer.read())["choices"][0]["message"]["content"]
        return dict(answer.headers), text


@pytest.mark.timeout(300)
@pytest.mark.parametrize("folder", WITHOUT_GPU, ids=named)
def test_an_example_runs(tidegate: Cluster, space: str, folder: Path) -> None:
    """The policy becomes Ready, every pod has its sidecar, and a request through the Service, or
    of the application's own, is answered and measured."""
    said = tidegate.run("kubectl", "apply", "-n", space, "-f", str(folder))
    assert "Warning" not in said.err
    names = policy_of(folder)
    if folder.name == "first-steps":
        target = f"deployment/{names['target']}"
        tidegate.kubectl("annotate", "-n", space, target, "tidegate.io/inject=true")
    tidegate.rolled_out(space, f"deployment/{names['target']}")

    def told(kind: str, status: str) -> bool:
        found = tidegate.conditions(space, names["policy"]).get(kind, {})
        return found.get("status") == status

    for kind in ("Ready", "TargetResolved", "InjectionHealthy", "MetricsAvailable"):
        wait_until(f"{folder.name}: {kind} is True", lambda kind=kind: told(kind, "True"))
    if folder.name != "calling-out":  # its target asks, and is not asked
        url = tidegate.service_url(space, names["target"])
        _, text = wait_until("an answer", lambda: ask(url, names["model"]), timeout_s=30)
        assert text
    wait_until("the request is measured", lambda: measured(tidegate, space, names["target"]) >= 1)


def measured(cluster: Cluster, space: str, app: str) -> float:
    """Requests that the sidecars of the pods have counted."""
    count = 0.0
    for pod in cluster.pods(space, f"app={app}"):
        with urllib.request.urlopen(
            f"http://{pod['status']['podIP']}:14120/metrics", timeout=5
        ) as page:
            for line in page.read().decode().splitlines():
                if line.startswith("tidegate_requests_total{"):
                    count += float(line.rpartition(" ")[2])
    return count


@pytest.mark.timeout(300)
def test_the_example_with_gpus_is_taken_and_its_policy_says_that_nobody_reports(
    tidegate: Cluster, space: str
) -> None:
    said = tidegate.run("kubectl", "apply", "-n", space, "-f", str(ROOT / "examples" / "vllm"))
    assert "Warning" not in said.err

    def pending() -> bool:
        pods = tidegate.pods(space, "app=qwen")
        return bool(pods) and all(pod["status"]["phase"] == "Pending" for pod in pods)

    wait_until("the pod waits for a GPU", pending)
    (pod,) = tidegate.pods(space, "app=qwen")
    assert "tidegate" in [c["name"] for c in pod["spec"]["initContainers"]]

    def reason() -> bool:
        found = tidegate.conditions(space, "qwen").get("MetricsAvailable", {})
        return (found.get("status"), found.get("reason")) == ("False", "MetricsAbsent")

    wait_until("the policy says that nobody reports", reason)


def test_the_policy_with_every_field_is_taken_as_it_is(tidegate: Cluster, space: str) -> None:
    tidegate.kubectl("apply", "-n", space, "-f", str(ROOT / "examples" / "all-fields.yaml"))
    wait_until(
        "it is read",
        lambda: (
            tidegate.conditions(space, "chat").get("TargetResolved", {}).get("status") == "False"
        ),
    )
