"""What the installed chart may do, and that nobody who compares it finds a difference."""

import json

import pytest

from real_cluster import NAMESPACE, Cluster, wait_until

RECONCILE, HUB = "tidegate-reconcile", "tidegate-hub"
OTHER = "default"
"""A namespace that is not the operator's own."""
MAY = {
    "the reconciler follows policies everywhere": (RECONCILE, "watch", "lqp", "*"),
    "it writes their status": (RECONCILE, "patch", "lqp/status", OTHER),
    "it follows pods everywhere": (RECONCILE, "watch", "pods", "*"),
    "it scales Deployments": (RECONCILE, "update", "deployments/scale", OTHER),
    "it scales StatefulSets": (RECONCILE, "update", "statefulsets/scale", OTHER),
    "it keeps ConfigMaps beside policies": (RECONCILE, "create", "configmaps", OTHER),
    "it tells Events": (RECONCILE, "create", "events", OTHER),
    "it makes its Lease": (RECONCILE, "create", "leases", NAMESPACE),
    "it renews its Lease": (RECONCILE, "update", "leases/tidegate-reconcile", NAMESPACE),
    "the hub reviews tokens": (HUB, "create", "tokenreviews", "*"),
    "it reads the configs": (HUB, "watch", "configmaps", "*"),
    "it makes its Secret": (HUB, "create", "secrets", NAMESPACE),
    "it renews its Secret": (HUB, "update", "secrets/tidegate-hub-tls", NAMESPACE),
    "it fills in its CA": (HUB, "update", "mutatingwebhookconfigurations/tidegate", "*"),
}
MAY_NOT = {
    "the reconciler reads no Secret": (RECONCILE, "get", "secrets", NAMESPACE),
    "it writes no policy": (RECONCILE, "update", "lqp", OTHER),
    "it patches no pod": (RECONCILE, "patch", "pods", OTHER),
    "it deletes no pod": (RECONCILE, "delete", "pods", OTHER),
    "it enters no pod": (RECONCILE, "create", "pods/exec", OTHER),
    "it changes no Deployment": (RECONCILE, "patch", "deployments", OTHER),
    "it changes no HPA": (RECONCILE, "patch", "horizontalpodautoscalers", OTHER),
    "it touches no other Lease": (RECONCILE, "update", "leases/another", NAMESPACE),
    "it has no Lease elsewhere": (RECONCILE, "create", "leases", OTHER),
    "the hub lists no Secret": (HUB, "list", "secrets", NAMESPACE),
    "it reads no other Secret": (HUB, "get", "secrets/another", NAMESPACE),
    "it makes no Secret elsewhere": (HUB, "create", "secrets", OTHER),
    "it writes no ConfigMap": (HUB, "patch", "configmaps", OTHER),
    "it scales nothing": (HUB, "update", "deployments/scale", OTHER),
    "it reads no pod": (HUB, "get", "pods", OTHER),
    "it makes no webhook": (HUB, "create", "mutatingwebhookconfigurations", "*"),
    "it changes nobody else's": (HUB, "update", "mutatingwebhookconfigurations/other", "*"),
    "it may not become somebody else": (HUB, "impersonate", "users", "*"),
}


def can(cluster: Cluster, account: str, verb: str, resource: str, namespace: str) -> bool:
    kind, _, name = resource.partition("/")
    # kubectl reads deployments/scale as a Deployment of that name.
    asked = (kind, f"--subresource={name}") if name in ("scale", "status", "exec") else (resource,)
    where = ("-A",) if namespace == "*" else ("-n", namespace)
    person = f"--as=system:serviceaccount:{NAMESPACE}:{account}"
    answer = cluster.run(
        "kubectl", "auth", "can-i", verb, *asked, *where, person, check=False, timeout_s=30
    )
    assert answer.out.strip() in ("yes", "no"), answer
    return answer.out.strip() == "yes"


@pytest.mark.parametrize("right", MAY.values(), ids=MAY)
def test_granted(tidegate: Cluster, right: tuple[str, str, str, str]) -> None:
    assert can(tidegate, *right)


@pytest.mark.parametrize("right", MAY_NOT.values(), ids=MAY_NOT)
def test_withheld(tidegate: Cluster, right: tuple[str, str, str, str]) -> None:
    assert not can(tidegate, *right)


def test_whoever_may_edit_a_namespace_may_write_its_policies(tidegate: Cluster) -> None:
    rules = tidegate.get("clusterrole", "edit")["rules"]
    verbs = {
        v for rule in rules if "llmqualitypolicies" in rule["resources"] for v in rule["verbs"]
    }
    assert {"get", "create", "update", "delete"} <= verbs


def test_the_processes_are_refused_nothing(tidegate: Cluster) -> None:
    """What the code asks of the API server is what its roles allow."""
    for name in (RECONCILE, HUB):
        tidegate.rolled_out(NAMESPACE, f"deployment/{name}")
        selector = f"app.kubernetes.io/component={name.removeprefix('tidegate-')}"
        words = ("-n", NAMESPACE, "-l", selector, "--tail=-1")
        said = tidegate.kubectl("logs", *words).splitlines()
        refused = [
            line
            for line in said
            if ("orbidden" in line or "Not enough permissions" in line)
            # Not for want of a right: nobody may create anything there.
            and "is being terminated" not in line
        ]
        assert not refused


def test_the_hub_fills_in_its_ca(tidegate: Cluster) -> None:
    def filled() -> bool:
        found = tidegate.get("mutatingwebhookconfiguration", "tidegate")
        return all(entry["clientConfig"].get("caBundle") for entry in found["webhooks"])

    wait_until("every entry has the CA", filled, timeout_s=30)


def test_gitops_finds_no_difference(tidegate: Cluster) -> None:
    """A sync that compares the rendered chart with the cluster, field by field, does nothing."""
    values = tidegate.run("helm", "get", "values", "tidegate", "-n", NAMESPACE, "-o", "json").out
    rendered = tidegate.run(
        *("helm", "template", "tidegate", "helm/tidegate", "-n", NAMESPACE, "--values", "-"),
        stdin=values,
    ).out
    # Another manager than Helm, whose own annotations it would else propose to take off.
    words = ("--server-side", "--field-manager=gitops", "--force-conflicts", "-f", "-")
    found = tidegate.run("kubectl", "diff", *words, stdin=rendered, check=False)
    assert (found.code, found.out) == (0, ""), found.out + found.err


def test_pod_security_restricted_admits_its_pods(tidegate: Cluster, space: str) -> None:
    for name in (RECONCILE, HUB):
        template = tidegate.get("deployment", name, "-n", NAMESPACE)["spec"]["template"]
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {**template["spec"], "serviceAccountName": "default"},
        }
        del pod["spec"]["serviceAccount"]
        words = ("create", "--dry-run=server", "-n", space, "-f", "-")
        answer = tidegate.run("kubectl", *words, stdin=json.dumps(pod))
        assert "created (server dry run)" in answer.out
        assert "PodSecurity" not in answer.err
