"""From nothing to working by the README's commands, word for word, in one shell."""

import re
from collections.abc import Iterator

import pytest

from real_cluster import NAMESPACE, ROOT, Cluster, begin_delete, wait_deleted

MARK = "<!-- tested: cluster -->"
SHELL_S = 600.0


def blocks(readme: str) -> list[str]:
    """The marked code blocks, in their order."""
    return re.findall(rf"{re.escape(MARK)}\n```\n(.*?)```", readme, re.DOTALL)


@pytest.fixture
def nothing(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster without Tidegate, and without the README's namespace, then and afterwards."""
    _remove(cluster)
    yield cluster
    begin_delete(cluster, "shop")
    wait_deleted(cluster, "shop")


def _remove(cluster: Cluster) -> None:
    gone = ("--ignore-not-found", "--timeout=180s")
    begin_delete(cluster, "shop")
    wait_deleted(cluster, "shop")
    cluster.run("helm", "uninstall", "tidegate", "-n", NAMESPACE, "--ignore-not-found", "--wait")
    cluster.kubectl("delete", "crd", "llmqualitypolicies.tidegate.io", *gone)
    cluster.kubectl("delete", "namespace", NAMESPACE, *gone)


@pytest.mark.timeout(900)
def test_the_readmes_commands_bring_a_cluster_from_nothing_to_working(nothing: Cluster) -> None:
    commands = blocks((ROOT / "README.md").read_text())
    assert len(commands) >= 5, "the README has lost its marked blocks"
    script = "\n".join(f"echo '=== block {n}'\n{block}" for n, block in enumerate(commands))
    answer = nothing.run("bash", "-euo", "pipefail", "-c", script, timeout_s=SHELL_S, check=False)
    told = f"{answer.out}\n{answer.err}"
    print(told)
    assert answer.code == 0, told
    asked = next(part for part in answer.out.split("=== block ") if "chat.completion" in part)
    plain, _, streamed = asked.partition("data: ")
    assert '"object": "chat.completion"' in plain.replace('":"', '": "')
    assert "[DONE]" in streamed, "a stream comes to its end"
    counted = re.findall(r'^tidegate_requests_total\{.*outcome="ok".*\} (\d+)', answer.out, re.M)
    assert sum(map(int, counted)) == 2, "the sidecar stood in the way of both"
    assert re.search(r"^NAME +MODE +PHASE +MODEL", answer.out, re.M), "kubectl get lqp"
    assert re.search(r"^chat +Shadow +Normal +llama-70b", answer.out, re.M)


def test_every_hub_serves_the_status_page(tidegate: Cluster) -> None:
    for pod in tidegate.pods(NAMESPACE, "app.kubernetes.io/component=hub"):
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}:14131/proxy/"
        page = tidegate.kubectl("get", "--raw", path)
        assert "<html" in page and "Tidegate" in page
