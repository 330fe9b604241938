"""The contract suite of the embedded Kubernetes API, held against the real one.

Law: the embedded API is evidence of nothing that the real one has not passed as well; so the
same files run against it, all of them, and none of their tests is skipped.
"""

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from kube_contract import GROUP, KUBECONFIG_VARIABLE
from real_cluster import ROOT, Cluster

CONTRACT = ROOT / "tests" / "contract"
LEAST = 230
"""How many there are at least: a glob that finds nothing is no success."""
TIMEOUT_S = 900.0


@pytest.mark.timeout(TIMEOUT_S + 60)
def test_the_real_api_server_passes_the_embedded_ones_contract(
    cluster: Cluster, tmp_path: Path
) -> None:
    files = [*sorted(CONTRACT.glob("test_kube_api*.py")), CONTRACT / "test_policies.py"]
    report = tmp_path / "report.xml"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
        + [str(file) for file in files],
        env={**os.environ, KUBECONFIG_VARIABLE: cluster.kubeconfig},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    cluster.kubectl("delete", "crd", "--ignore-not-found", f"widgets.{GROUP}")
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    (suite,) = ElementTree.parse(report).getroot().iter("testsuite")
    assert int(suite.attrib["skipped"]) == 0, done.stdout[-2000:]
    assert int(suite.attrib["tests"]) >= LEAST


def test_the_definition_is_applied_in_either_way_and_then_stands(cluster: Cluster) -> None:
    def version() -> str:
        found = cluster.get("crd", "llmqualitypolicies.tidegate.io")
        return str(found["metadata"]["resourceVersion"])

    by_server = ("apply", "--server-side", "--force-conflicts", "-f", "crds/")
    cluster.kubectl(*by_server)
    stands = version()
    cluster.kubectl(*by_server)
    assert version() == stands
    cluster.kubectl("apply", "-f", "crds/")
    stands = version()
    assert "unchanged" in cluster.kubectl("apply", "-f", "crds/")
    assert version() == stands
    cluster.kubectl(*by_server)


def test_the_definition_explains_itself(cluster: Cluster) -> None:
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "crds/")
    explained = cluster.kubectl("explain", "lqp.spec.scaling")
    assert "How many replicas the target gets" in explained
    assert "targetRef\t<Object> -required-" in cluster.kubectl("explain", "lqp.spec")
    assert "enum: Scale, KEDA, ExternalMetric" in explained
    assert "Lean 1%, Balanced 0.5%, Strict 0.1%, or a percentage" in " ".join(explained.split())
    fields = cluster.kubectl("explain", "lqp", "--recursive")
    assert all(name in fields for name in ("targetRef", "budgets", "degrade", "conditions"))
