"""Injection on a real Kubernetes: who gets a sidecar, who is told why not, and that pods live with
one.

What a pod becomes at admission is asked by ``--dry-run=server``, which goes through the webhook,
quotas and Pod Security alike; what must run to be believed runs, all at once, in one namespace.
"""

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from real_cluster import (
    NAMESPACE,
    Answer,
    Cluster,
    answering,
    ask,
    chat,
    namespace,
    readiness,
    wait_until,
)
from workloads import RESTRICTED, deployment, model_container, patient, policy, service

ENFORCED = {"pod-security.kubernetes.io/enforce": "restricted"}
Manifest = dict[str, Any]
LABELLED = {"labels": {"tidegate.io/inject": "true"}}


@pytest.fixture(scope="module")
def shop(tidegate: Cluster) -> Iterator[str]:
    with namespace(tidegate, "e2e-injection", ENFORCED) as made:
        yield made


@pytest.fixture(scope="module")
def lax(tidegate: Cluster) -> Iterator[str]:
    """A namespace that asks for sidecars, and forbids nothing."""
    with namespace(tidegate, "e2e-injection-asking", {"tidegate.io/inject": "true"}) as made:
        yield made


def pod(name: str = "p", *, metadata: Manifest | None = None, **spec: Any) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, **copy.deepcopy(metadata or {})},
        "spec": {"containers": [model_container()], "terminationGracePeriodSeconds": 30, **spec},
    }


def dry(cluster: Cluster, space: str, manifest: Manifest) -> Answer:
    """What the API server would make of a new object."""
    words = ("kubectl", "create", "-n", space, "--dry-run=server", "-o", "json", "-f", "-")
    return cluster.run(*words, stdin=json.dumps(manifest), check=False)


def sidecar_of(manifest: Manifest) -> Manifest | None:
    spec = manifest["spec"].get("template", manifest)["spec"]
    found = [c for c in spec.get("initContainers", ()) if c["name"] == "tidegate"]
    assert len(found) <= 1
    return found[0] if found else None


def with_annotation(**annotations: str) -> Manifest:
    """Metadata of a pod that asks by label, and says more by annotation; _ for -."""
    named = {f"tidegate.io/{k.replace('_', '-')}": v for k, v in annotations.items()}
    return {**LABELLED, "annotations": named}


# --- who gets one --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metadata", "asking", "wanted"),
    [
        pytest.param({}, False, False, id="nobody asks"),
        pytest.param(LABELLED, False, True, id="the label asks"),
        pytest.param(
            {"annotations": {"tidegate.io/inject": "true"}}, False, True, id="the annotation asks"
        ),
        pytest.param({}, True, True, id="the namespace asks"),
        pytest.param(with_annotation(inject="true"), True, True, id="all three ask"),
        pytest.param(
            with_annotation(inject="true", port="http"), True, True, id="all three, and a port"
        ),
        pytest.param(
            {"labels": {"tidegate.io/inject": "false"}}, True, False, id="the label opts out"
        ),
        pytest.param(with_annotation(inject="false"), True, False, id="the annotation opts out"),
    ],
)
def test_who_gets_a_sidecar(
    tidegate: Cluster, shop: str, lax: str, metadata: Manifest, asking: bool, wanted: bool
) -> None:
    answer = dry(tidegate, lax if asking else shop, pod(metadata=metadata))
    assert answer.code == 0, answer.err
    made = json.loads(answer.out)
    assert (sidecar_of(made) is not None) is wanted
    assert ("tidegate.io/injected" in made["metadata"].get("labels", {})) is wanted
    if wanted:
        assert made["spec"]["containers"][0]["ports"] == [
            {"containerPort": 8000, "protocol": "TCP"}
        ]
        again = dry(tidegate, lax if asking else shop, _as_new(made))
        assert json.loads(again.out)["spec"]["initContainers"] == made["spec"]["initContainers"]


def _as_new(made: Manifest) -> Manifest:
    """An injected pod, as somebody copies it from ``kubectl get -o yaml``."""
    kept = {k: v for k, v in made["metadata"].items() if k in ("name", "labels", "annotations")}
    return {**made, "metadata": kept, "status": {}}


@pytest.mark.parametrize(
    ("manifest", "sentence"),
    [
        pytest.param(
            pod(hostNetwork=True),
            "no sidecar: a pod with hostNetwork shares its ports with the node",
            id="hostNetwork",
        ),
        pytest.param(
            pod(containers=[{"name": "a", "image": "a"}]),
            "no sidecar: no container declares a TCP port; declare it, or name its number in "
            "metadata.annotations[tidegate.io/port]; an app that only calls models says outbound "
            "in metadata.annotations[tidegate.io/mode]",
            id="no port",
        ),
        pytest.param(
            pod(containers=[model_container() | {"ports": [{"containerPort": 14100}]}]),
            "no sidecar: container model-server uses port 14100, which the sidecar needs",
            id="a port of ours",
        ),
        pytest.param(
            pod(containers=[model_container() | {"name": "tidegate"}]),
            "no sidecar: the pod has a container named tidegate of its own",
            id="a name of ours",
        ),
        pytest.param(
            pod(metadata={"labels": {"tidegate.io/inject": "yes"}}),
            'no sidecar: metadata.labels[tidegate.io/inject] must be "true" or "false", '
            "was: 'yes'",
            id="a wish that is neither",
        ),
        pytest.param(
            pod(metadata=with_annotation(cpu_requets="1")),
            "metadata.annotations[tidegate.io/cpu-requets] means nothing here; "
            "did you mean tidegate.io/cpu-request?",
            id="a slip in an option's name",
        ),
    ],
)
def test_what_is_warned_of(tidegate: Cluster, lax: str, manifest: Manifest, sentence: str) -> None:
    answer = dry(tidegate, lax, manifest)
    assert answer.code == 0, answer.err
    assert f"Warning: tidegate: {sentence}" in answer.err.splitlines()


def test_who_writes_a_workload_is_warned_of_what_its_pods_will_meet(
    tidegate: Cluster, shop: str, lax: str
) -> None:
    asking = deployment("host")
    asking["spec"]["template"]["spec"]["hostNetwork"] = True
    assert "hostNetwork shares" in dry(tidegate, shop, asking).err
    silent = deployment("host", inject=False)
    silent["spec"]["template"]["spec"]["hostNetwork"] = True
    assert "hostNetwork shares" in dry(tidegate, lax, silent).err
    assert "hostNetwork shares" not in dry(tidegate, shop, silent).err


@pytest.mark.parametrize("space", ["kube-system", NAMESPACE])
def test_kubernetes_and_our_own_namespace_are_left_alone(tidegate: Cluster, space: str) -> None:
    made = json.loads(dry(tidegate, space, pod(metadata=LABELLED)).out)
    assert sidecar_of(made) is None


# --- options -------------------------------------------------------------------------------------

BAD = [
    pytest.param(
        {"port": "htp"},
        "metadata.annotations[tidegate.io/port] must name or number a TCP port that a container "
        "declares (http 8000), was: 'htp'",
        id="a port that no container declares",
    ),
    pytest.param(
        {"cpu_request": "lots"},
        "metadata.annotations[tidegate.io/cpu-request] must be a quantity above 0 such as 100m, "
        "was: 'lots'",
        id="no quantity",
    ),
    pytest.param(
        {"cpu_request": "2", "cpu_limit": "1"},
        "metadata.annotations[tidegate.io/cpu-request] must be at most "
        "metadata.annotations[tidegate.io/cpu-limit] (1), was: '2'",
        id="a request above its limit",
    ),
    pytest.param(
        {"memory_limit": "256"},
        "metadata.annotations[tidegate.io/memory-limit] must be at least 64Mi, was: '256'",
        id="bytes where Mi was meant",
    ),
    pytest.param(
        {"drain_seconds": "600"},
        "metadata.annotations[tidegate.io/drain-seconds] must be whole seconds from 0 to 25 "
        "(the pod's terminationGracePeriodSeconds less 5), was: '600'",
        id="longer than the pod may take",
    ),
]


@pytest.mark.parametrize(("said", "sentence"), BAD)
def test_a_wrong_option_is_refused_on_pod_and_workload(
    tidegate: Cluster, shop: str, said: dict[str, str], sentence: str
) -> None:
    metadata = with_annotation(**said)
    workload = deployment("llama", grace_s=30)
    workload["metadata"]["annotations"] |= metadata["annotations"]
    for manifest in (pod(metadata=metadata), workload):
        answer = dry(tidegate, shop, manifest)
        assert answer.code != 0
        assert f"tidegate: {sentence}" in answer.err


def test_options_reach_the_sidecar(tidegate: Cluster, shop: str) -> None:
    metadata = with_annotation(
        cpu_request="120m", cpu_limit="1", memory_limit="512Mi", drain_seconds="20"
    )
    sidecar = sidecar_of(json.loads(dry(tidegate, shop, pod(metadata=metadata)).out))
    assert sidecar is not None
    assert sidecar["resources"] == {
        "requests": {"cpu": "120m", "memory": "64Mi"},
        "limits": {"cpu": "1", "memory": "512Mi"},
    }
    assert {"name": "TIDEGATE_DRAIN_ACCEPT_S", "value": "20"} in sidecar["env"]


QUOTA = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "all"},
    "spec": {
        "hard": {
            "requests.cpu": "8",
            "limits.cpu": "8",
            "requests.memory": "8Gi",
            "limits.memory": "8Gi",
        }
    },
}
RANGE = {
    "apiVersion": "v1",
    "kind": "LimitRange",
    "metadata": {"name": "all"},
    "spec": {"limits": [{"type": "Container", "max": {"cpu": "300m", "memory": "1Gi"}}]},
}


def test_a_quota_and_a_limit_range_let_an_injected_pod_pass(space: str, tidegate: Cluster) -> None:
    tidegate.apply(QUOTA, RANGE, namespace=space)
    limits = {"cpu": "300m", "memory": "256Mi"}
    stated = model_container() | {"resources": {"requests": {"cpu": "20m"}, "limits": limits}}
    plain = dry(tidegate, space, pod(containers=[stated]))
    assert plain.code == 0, plain.err
    answer = dry(tidegate, space, pod(metadata=LABELLED, containers=[stated]))
    assert answer.code == 0, answer.err
    sidecar = sidecar_of(json.loads(answer.out))
    assert sidecar is not None
    assert sidecar["resources"]["limits"] == {"cpu": "300m", "memory": "256Mi"}


def test_a_pod_of_the_guaranteed_class_stays_one(tidegate: Cluster, shop: str) -> None:
    both = {"cpu": "1", "memory": "256Mi"}
    container = model_container() | {"resources": {"requests": both, "limits": both}}
    answer = dry(tidegate, shop, pod(metadata=LABELLED, containers=[container]))
    made = json.loads(answer.out)
    assert sidecar_of(made) is not None
    assert made["status"]["qosClass"] == "Guaranteed"


# --- pods that live with one ---------------------------------------------------------------------


def _identities(template: Manifest) -> None:
    """The kubelet gives a projected token to one user alone where all containers share one."""
    template["spec"]["securityContext"] = {"runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000}


def _one_user(template: Manifest) -> None:
    template["spec"]["securityContext"] = {"runAsUser": 1000}


def _own_user(template: Manifest) -> None:
    container = template["spec"]["containers"][0]
    container["securityContext"] = {**RESTRICTED, "runAsUser": 4711}


def _no_token(template: Manifest) -> None:
    template["spec"] |= {"automountServiceAccountToken": False, "serviceAccountName": "lonely"}


def _shared_processes(template: Manifest) -> None:
    template["spec"]["shareProcessNamespace"] = True


def _two_containers(template: Manifest) -> None:
    second = model_container()
    second |= {"name": "second", "args": ["--port", "8001"], "ports": [{"containerPort": 8001}]}
    del second["readinessProbe"], second["livenessProbe"]
    template["spec"]["containers"].insert(0, second)
    template["metadata"]["annotations"]["tidegate.io/port"] = "http"


def _own_init(template: Manifest) -> None:
    first = model_container()
    first |= {
        "name": "download",
        "command": ["/opt/tidegate/bin/python", "-c", "print('weights')"],
    }
    for name in ("args", "ports", "readinessProbe", "livenessProbe"):
        del first[name]
    template["spec"]["initContainers"] = [first]


def _all_probes(template: Manifest) -> None:
    container = template["spec"]["containers"][0]
    container |= {
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8000}, "periodSeconds": 1},
        "livenessProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 1},
        "lifecycle": {
            "postStart": {"exec": {"command": ["/opt/tidegate/bin/python", "-c", "pass"]}}
        },
    }


def _exec_probe(template: Manifest) -> None:
    container = template["spec"]["containers"][0]
    probe = {"exec": {"command": ["/opt/tidegate/bin/python", "-c", "pass"]}, "periodSeconds": 5}
    container |= {"readinessProbe": probe, "livenessProbe": {**probe, "timeoutSeconds": 5}}


def _unnamed_port(template: Manifest) -> None:
    container = template["spec"]["containers"][0]
    container["ports"] = [{"containerPort": 8000}]
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        container[name]["httpGet"]["port"] = 8000


def _plain(template: Manifest) -> None:
    """As it comes."""


LIVES: dict[str, Callable[[Manifest], None]] = {
    "plain": _plain,
    "user-group-and-fsgroup": _identities,
    "one-user-for-all": _one_user,
    "user-of-the-container": _own_user,
    "no-automounted-token": _no_token,
    "shared-processes": _shared_processes,
    "two-containers": _two_containers,
    "own-init-container": _own_init,
    "probes-by-name-and-number": _all_probes,
    "probes-by-exec": _exec_probe,
    "unnamed-port": _unnamed_port,
}


@pytest.fixture(scope="module")
def alive(tidegate: Cluster, shop: str) -> Iterator[str]:
    """One Deployment for each kind of pod, all started."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "lonely"}}
    manifests = [account]
    for name, shape in LIVES.items():
        manifest = deployment(name, container=patient(model_container()))
        shape(manifest["spec"]["template"])
        manifests += [manifest, service(name)]
    manifests.append(
        deployment("stateful", container=patient(model_container()), kind="StatefulSet")
    )
    manifests.append(service("stateful"))
    tidegate.apply(*manifests, namespace=shop)
    yield shop
    kinds = "deployments,statefulsets"
    tidegate.kubectl("delete", kinds, "--all", "-n", shop, "--cascade=background")


def ready_pod(cluster: Cluster, space: str, app: str) -> Manifest:
    def probe() -> Manifest | None:
        pods = cluster.pods(space, f"app={app}")
        return pods[0] if len(pods) == 1 and readiness(pods) == [True] else None

    found = wait_until(f"the pod of {app} is Ready", probe, timeout_s=240)
    assert found is not None
    return found


@pytest.mark.parametrize("app", [*LIVES, "stateful"])
@pytest.mark.timeout(400)
def test_a_pod_of_any_shape_lives_with_its_sidecar(
    tidegate: Cluster, alive: str, app: str
) -> None:
    found = ready_pod(tidegate, alive, app)
    statuses = found["status"]["initContainerStatuses"]
    (sidecar,) = [s for s in statuses if s["name"] == "tidegate"]
    assert (sidecar["ready"], sidecar["restartCount"]) == (True, 0)
    assert all(s["restartCount"] == 0 for s in found["status"]["containerStatuses"])
    address = found["status"]["podIP"]
    # Applied: it could read its token, and the hub knew it by that.
    wait_until(
        f"the sidecar of {app} has its config",
        lambda: ask(f"http://{address}:14120/stats").json()["config_state"] == "APPLIED",
        timeout_s=60,
    )
    before = ask(f"http://{address}:14120/stats").json()["arrived"]
    if app == "unnamed-port":
        assert chat(f"http://{address}:14100").status == 200
    else:
        answering(tidegate, alive, app, times=1)
    assert ask(f"http://{address}:14120/stats").json()["arrived"] == before + 1


def test_what_asks_for_it_is_the_label_on_a_bare_pod_too(tidegate: Cluster, shop: str) -> None:
    tidegate.apply(
        pod("bare", metadata={"labels": {"app": "bare", **LABELLED["labels"]}}), namespace=shop
    )
    found = ready_pod(tidegate, shop, "bare")
    assert sidecar_of(found) is not None
    tidegate.kubectl("delete", "pod", "bare", "-n", shop, "--grace-period=1", "--wait=false")


def test_a_readiness_gate_is_left_to_who_set_it(tidegate: Cluster, shop: str) -> None:
    gate = {"conditionType": "example.com/balanced"}
    labels = {"app": "gated", **LABELLED["labels"]}
    tidegate.apply(
        pod("gated", metadata={"labels": labels}, readinessGates=[gate]), namespace=shop
    )

    def all_ready() -> bool:
        status = tidegate.get("pod", "gated", "-n", shop)["status"]
        conditions = {c["type"]: c["status"] for c in status.get("conditions", [])}
        return conditions.get("ContainersReady") == "True" and conditions["Ready"] == "False"

    wait_until("its containers are ready, the pod is not", all_ready)
    patch = json.dumps(
        {"status": {"conditions": [{"type": "example.com/balanced", "status": "True"}]}}
    )
    words = ("patch", "pod", "gated", "-n", shop, "--subresource=status", "-p", patch)
    tidegate.kubectl(*words)
    ready_pod(tidegate, shop, "gated")
    tidegate.kubectl("delete", "pod", "gated", "-n", shop, "--grace-period=1", "--wait=false")


def test_a_job_ends_and_its_sidecar_with_it(tidegate: Cluster, shop: str) -> None:
    container = model_container() | {
        "command": ["/opt/tidegate/bin/python", "-c", "print('done')"],
        "ports": [{"name": "http", "containerPort": 8000}],
    }
    for name in ("args", "readinessProbe", "livenessProbe"):
        del container[name]
    template = {
        "metadata": LABELLED,
        "spec": {"containers": [container], "restartPolicy": "Never"},
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "once"},
        "spec": {"template": template, "backoffLimit": 0},
    }
    tidegate.apply(job, namespace=shop)
    tidegate.kubectl("wait", "--for=condition=complete", "job/once", "-n", shop, "--timeout=120s")
    items = tidegate.get("pods", "-n", shop, "-l", "job-name=once")["items"]
    assert [item["status"]["phase"] for item in items] == ["Succeeded"]
    assert sidecar_of(items[0]) is not None


# --- on and off, as people type it ---------------------------------------------------------------


@pytest.mark.timeout(400)
def test_annotated_and_taken_off_again(tidegate: Cluster, space: str) -> None:
    tidegate.apply(deployment(inject=False), service(), namespace=space)
    tidegate.rolled_out(space, "deployment/llama")
    annotate = ("annotate", "deployment", "llama", "-n", space, "--overwrite")
    refused = tidegate.run(
        "kubectl", *annotate, "tidegate.io/inject=true", "tidegate.io/port=9999", check=False
    )
    assert refused.code == 1
    assert "was: '9999'" in refused.err
    warned = tidegate.run("kubectl", *annotate, "tidegate.io/injct=true")
    assert "did you mean tidegate.io/inject?" in warned.err
    tidegate.kubectl(*annotate, "tidegate.io/injct-", "tidegate.io/inject=true")
    tidegate.rolled_out(space, "deployment/llama")
    wait_until("the old pod is gone", lambda: len(tidegate.pods(space)) == 1)
    assert sidecar_of(tidegate.pods(space)[0]) is not None
    answering(tidegate, space)
    tidegate.kubectl(*annotate, "tidegate.io/inject-")
    tidegate.rolled_out(space, "deployment/llama")
    wait_until("the old pod is gone", lambda: len(tidegate.pods(space)) == 1)
    assert sidecar_of(tidegate.pods(space)[0]) is None
    template = tidegate.get("deployment", "llama", "-n", space)["spec"]["template"]["metadata"]
    assert "tidegate.io" not in json.dumps(template)
    answering(tidegate, space)


# --- what the watchdog says ----------------------------------------------------------------------


def health(cluster: Cluster, space: str) -> tuple[str, str, str]:
    found = cluster.conditions(space, "chat").get("InjectionHealthy", {})
    return found.get("status", ""), found.get("reason", ""), found.get("message", "")


def comes_to(cluster: Cluster, space: str, reason: str, timeout_s: float = 120.0) -> str:
    """The message, once the condition has that reason."""

    def probe() -> str:
        status, said, message = health(cluster, space)
        if said != reason:
            raise ValueError(f"{status} {said}: {message}")
        return message

    return wait_until(f"InjectionHealthy says {reason}", probe, timeout_s=timeout_s)


def run_as_told(cluster: Cluster, message: str) -> None:
    """Type the command at the end of a message, word for word."""
    _, _, command = message.partition(": kubectl ")
    assert command, message
    cluster.run("bash", "-c", f"kubectl {command}")


@pytest.mark.timeout(400)
def test_each_fault_is_mended_by_the_command_it_comes_with(tidegate: Cluster, space: str) -> None:
    tidegate.apply(deployment(inject=False), service(target_port=8000), policy(), namespace=space)
    tidegate.rolled_out(space, "deployment/llama")
    run_as_told(tidegate, comes_to(tidegate, space, "NotAsked"))
    tidegate.rolled_out(space, "deployment/llama")
    run_as_told(tidegate, comes_to(tidegate, space, "NumericTargetPort"))
    assert comes_to(tidegate, space, "AllInjected") == "every pod has a sidecar"
    told = [e["reason"] for e in tidegate.events(space, "chat") if e["type"] == "Warning"]
    assert {"NotAsked", "NumericTargetPort"} <= set(told)


@pytest.mark.alone
@pytest.mark.timeout(400)
def test_pods_start_without_the_webhook_are_told_of_and_get_their_sidecar_later(
    tidegate: Cluster, space: str
) -> None:
    hub = ("-n", NAMESPACE, "deployment/tidegate-hub")
    replicas = tidegate.get("deployment", "tidegate-hub", "-n", NAMESPACE)["spec"]["replicas"]
    tidegate.kubectl("scale", *hub, "--replicas=0")
    try:
        # To their very end: the API server goes on asking over connections that it has open.
        of_hubs = ("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=hub")
        wait_until("no hub answers", lambda: not tidegate.get(*of_hubs)["items"])
        tidegate.apply(deployment(), service(), policy(), namespace=space)
        tidegate.rolled_out(space, "deployment/llama")
        answering(tidegate, space)
        message = comes_to(tidegate, space, "PodsWithoutSidecar", timeout_s=60)
    finally:
        tidegate.kubectl("scale", *hub, f"--replicas={replicas}")
        tidegate.rolled_out(NAMESPACE, "deployment/tidegate-hub")
    assert health(tidegate, space)[0] == "False"
    run_as_told(tidegate, message)
    tidegate.rolled_out(space, "deployment/llama")
    comes_to(tidegate, space, "AllInjected", timeout_s=60)
