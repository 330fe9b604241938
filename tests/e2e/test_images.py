"""What runs on the cluster is what the Containerfiles promise: small, nobody, nothing to write on.

Law: each container is asked from within, since an image may say one thing and a pod run another.
"""

import json
from typing import Any

import pytest

from real_cluster import NAMESPACE, Cluster, Object
from tidegate_wire.names import CONTAINER
from workloads import deployment

LIMITS_MB = {CONTAINER: 60, "reconcile": 600, "hub": 600}
"""Of what stands over the base image; the operator carries numpy, scipy and scikit-learn."""
LOOK = """
import json, os, pathlib, importlib.util, ssl
def refused(path):
    try:
        pathlib.Path(path).write_text("x")
    except OSError as error:
        return error.strerror
    return "written"
files = [f for f in pathlib.Path("/opt/tidegate").rglob("*") if f.is_file() and not f.is_symlink()]
modules = ("pip", "kopf", "sklearn", "tidegate_operator", "tidegate_sidecar")
print(json.dumps({
    "size_mb": sum(f.stat().st_size for f in files) / 1e6,
    "user": os.getuid(),
    "writes": [refused("/x"), refused("/opt/tidegate/x")],
    "authorities": len(ssl.create_default_context().get_ca_certs()),
    "modules": [name for name in modules if importlib.util.find_spec(name)],
}))
"""


def first_pod(cluster: Cluster, space: str, selector: str) -> Object:
    return cluster.pods(space, selector)[0]


def look_inside(cluster: Cluster, pod: Object, container: str) -> Any:
    metadata = pod["metadata"]
    where = ("-n", metadata["namespace"], metadata["name"], "-c", container)
    return json.loads(cluster.kubectl("exec", *where, "--", "python", "-c", LOOK))


@pytest.fixture(params=LIMITS_MB)
def container(request: pytest.FixtureRequest, tidegate: Cluster, space: str) -> tuple[Object, str]:
    """A running pod and the name of its container that is ours."""
    name = str(request.param)
    if name != CONTAINER:
        return first_pod(tidegate, NAMESPACE, f"app.kubernetes.io/component={name}"), name
    tidegate.apply(deployment(), namespace=space)
    tidegate.rolled_out(space, "Deployment/llama")
    return first_pod(tidegate, space, "app=llama"), name


def test_a_container_is_small_runs_as_nobody_and_writes_nothing(
    tidegate: Cluster, container: tuple[Object, str]
) -> None:
    pod, name = container
    seen = look_inside(tidegate, pod, name)
    print(f"{name}: {seen['size_mb']:.0f} MB over its base")
    assert 0 < seen["size_mb"] <= LIMITS_MB[name]
    assert seen["user"] == 65532
    assert seen["authorities"] > 100, "what is called by TLS can be believed"
    assert seen["writes"] == ["Read-only file system"] * 2
    ours = {"tidegate_sidecar"} if name == CONTAINER else {"kopf", "sklearn", "tidegate_operator"}
    assert set(seen["modules"]) == ours, "no half of the other, and no installer"
