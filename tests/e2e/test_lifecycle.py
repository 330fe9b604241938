"""The chart over its life: installed, upgraded, rolled back, uninstalled, installed again.

Law: one story in one test, since its steps follow from each other. It uninstalls what the other
tests use and leaves it installed as it found it, so it must not run beside them.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from live_load import live_load
from real_cluster import NAMESPACE, Cluster, answering, helm_install, wait_until
from workloads import deployment, policy, service

DEPLOYMENTS = ("tidegate-hub", "tidegate-reconcile")
AFTER_UNINSTALL = {"secret/tidegate-hub-tls", "lease/tidegate-reconcile"}
"""What the processes themselves have made; it is of use to the next install."""
SPACE = "lifecycle"
pytestmark = pytest.mark.alone


@contextmanager
def as_found(cluster: Cluster) -> Iterator[None]:
    """Tidegate is installed with the same values afterwards, and our namespace is gone."""
    found = json.loads(
        cluster.run("helm", "get", "values", "tidegate", "-n", NAMESPACE, "-o", "json").out
    )
    values = [f"{name}={json.dumps(value)}" for name, value in (found or {}).items()]
    try:
        yield
    finally:
        helm_install(cluster, *(word for value in values for word in ("--set-json", value)))
        cluster.kubectl("delete", "namespace", SPACE, "--ignore-not-found", "--timeout=180s")


def env_of(cluster: Cluster, name: str) -> dict[str, str]:
    template = cluster.get("deployment", name, "-n", NAMESPACE)["spec"]["template"]
    container = template["spec"]["containers"][0]
    return {e["name"]: e.get("value", "") for e in container["env"]}


def ca_bundles(cluster: Cluster) -> set[str]:
    found = cluster.get("mutatingwebhookconfiguration", "tidegate")
    return {entry["clientConfig"].get("caBundle", "") for entry in found["webhooks"]}


def uids(cluster: Cluster, namespace: str) -> set[str]:
    return {pod["metadata"]["uid"] for pod in cluster.pods(namespace)}


def injected(cluster: Cluster, namespace: str, app: str) -> bool:
    pods = cluster.pods(namespace, f"app={app}")
    return bool(pods) and all(pod["spec"].get("initContainers") for pod in pods)


@pytest.mark.timeout(900)
def test_install_upgrade_rollback_uninstall_and_install_again(tidegate: Cluster) -> None:
    cluster, space = tidegate, SPACE
    with as_found(cluster):
        restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
        meta = {"name": space, "labels": restricted}
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
        cluster.apply(deployment(), service(), policy(), namespace=space)
        cluster.rolled_out(space, "deployment/llama")
        assert injected(cluster, space, "llama")
        url = answering(cluster, space)
        before = uids(cluster, space)
        trusted = ca_bundles(cluster)
        assert "" not in trusted

        with live_load(url, 4, stream=True) as traffic:
            ticks = {env_of(cluster, name).get("TIDEGATE_TICK_S") for name in DEPLOYMENTS}

            # Upgraded: both Deployments follow; the CA stays, the pods of users are left alone.
            helm_install(cluster, "--set", "settings.tick_s=2")
            assert {env_of(cluster, name).get("TIDEGATE_TICK_S") for name in DEPLOYMENTS} == {"2"}
            assert ca_bundles(cluster) == trusted
            assert uids(cluster, space) == before

            # Rolled back: as it was.
            words = ("-n", NAMESPACE, "--wait", "--timeout", "5m")
            cluster.run("helm", "rollback", "tidegate", *words, timeout_s=400)
            assert {env_of(cluster, name).get("TIDEGATE_TICK_S") for name in DEPLOYMENTS} == ticks
            assert ca_bundles(cluster) == trusted

            # Uninstalled: CRD, policies, their ConfigMaps and running pods stay and go on working.
            cluster.run("helm", "uninstall", "tidegate", *words, timeout_s=400)
            assert cluster.find("crd", "llmqualitypolicies.tidegate.io")
            assert cluster.find("lqp", "chat", "-n", space)
            assert uids(cluster, space) == before
            assert cluster.find("mutatingwebhookconfiguration", "tidegate") is None
            left = cluster.kubectl(
                *("get", "all,secret,lease,cm,sa,role,rolebinding,pdb,netpol", "-n", NAMESPACE),
                *("-o", "name"),
            )
            own = {line.replace(".coordination.k8s.io", "") for line in left.split()}
            assert {
                o for o in own if "tidegate" in o and not o.startswith("pod/")
            } == AFTER_UNINSTALL

            # A pod that starts meanwhile starts, without a sidecar.
            cluster.apply(deployment("bare"), namespace=space)
            cluster.rolled_out(space, "deployment/bare")
            assert not injected(cluster, space, "bare")
        assert not traffic.bad(), f"of {len(traffic.answers)}: {traffic.bad()[:3]}"
        assert len(traffic.answers) > 60

        # Its namespace can be deleted, policies and all: nothing waits for an operator.
        begun = time.monotonic()
        cluster.kubectl("delete", "pods", "--all", "-n", space, "--grace-period=1", "--wait=false")
        cluster.kubectl("delete", "namespace", space, "--timeout=60s")
        assert time.monotonic() - begun < 60

    # Installed again: what the last install left behind is taken up.
    for name in DEPLOYMENTS:
        cluster.rolled_out(NAMESPACE, f"deployment/{name}")
    wait_until("the CA is filled in", lambda: ca_bundles(cluster) == trusted, timeout_s=30)


def test_no_pod_starts_bare_while_the_hubs_are_replaced(tidegate: Cluster, space: str) -> None:
    """The old hub answers until no endpoint points to it, the new one before the first does."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "asked", "labels": {"tidegate.io/inject": "true"}},
        "spec": deployment()["spec"]["template"]["spec"],
    }
    pod["spec"]["securityContext"] = {"runAsUser": 65532}

    def is_bare() -> bool:
        words = ("create", "--dry-run=server", "-n", space, "-o", "json", "-f", "-")
        made = json.loads(tidegate.kubectl(*words, stdin=json.dumps(pod)))
        return "initContainers" not in made["spec"]

    def replaced() -> bool:
        found = tidegate.get("deployment", "tidegate-hub", "-n", NAMESPACE)
        status, wanted = found["status"], found["spec"]["replicas"]
        seen = status.get("observedGeneration") == found["metadata"]["generation"]
        all_new = status.get("updatedReplicas") == status.get("replicas") == wanted
        return seen and all_new and status.get("availableReplicas") == wanted

    tidegate.kubectl("rollout", "restart", "deployment/tidegate-hub", "-n", NAMESPACE)
    asked, deadline = [is_bare()], time.monotonic() + 180
    while not replaced():
        assert time.monotonic() < deadline, "the hubs were not replaced"
        asked += [is_bare() for _ in range(5)]
    # The last old one is on its way out still.
    asked += [is_bare() for _ in range(30)]
    assert not any(asked), f"{sum(asked)} of {len(asked)}"
