"""What is said of a target whose pods should have sidecars, and the command that mends it."""

import copy
from typing import Any

import jsonpatch
import pytest

from tidegate_operator.decide.words import Reason
from tidegate_operator.inject.choice import Inject, choose
from tidegate_operator.inject.patch import Sidecar, patch_pod
from tidegate_operator.inject.watchdog import Health, Surroundings, judge
from tidegate_wire.names import INJECT, INJECTED, MODE, PORT

SIDECAR = Sidecar(image="i", version="1", hub_url="https://h", hub_ca="ca")
ASKS = {INJECT: "true"}
OUT = {INJECT: "false"}


def pod(
    name: str, *, sidecar: bool = True, ports: Any = None, mode: str = "inbound", **status: Any
) -> dict[str, Any]:
    declared = [{"name": "http", "containerPort": 8000}] if ports is None else ports
    manifest: dict[str, Any] = {
        "metadata": {
            "name": name,
            "namespace": "shop",
            "labels": {"app": "llama"},
            "annotations": {MODE: mode},
        },
        "spec": {"containers": [{"name": "app", "image": "a", "ports": declared}]},
        "status": {"phase": "Running", **status},
    }
    if sidecar:
        choice = choose(manifest, namespace="shop", own_namespace="x", namespace_asks=True)
        assert isinstance(choice, Inject)
        operations = patch_pod(manifest, choice.port, SIDECAR, choice.options)
        manifest = jsonpatch.JsonPatch(operations).apply(copy.deepcopy(manifest))
    return manifest


def workload(
    annotations: dict[str, str] | None = None,
    *,
    labels: dict[str, str] | None = None,
    status: dict[str, Any] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    port = {"name": "http", "containerPort": 8000}
    pod_spec = {"containers": [{"name": "app", "image": "a", "ports": [port]}], **spec}
    metadata = {"name": "llama", "namespace": "shop", "generation": 2}
    return {
        "kind": "Deployment",
        "metadata": metadata | {"annotations": annotations or {}},
        "spec": {
            "replicas": 2,
            "template": {"metadata": {"labels": {"app": "llama"} | (labels or {})}}
            | {"spec": pod_spec},
        },
        "status": {"observedGeneration": 2, "updatedReplicas": 2} | (status or {}),
    }


def service(name: str = "llama", *, target: Any = "http", **spec: Any) -> dict[str, Any]:
    ports = [{"name": "m", "port": 9000, "targetPort": 9000}, {"port": 80, "targetPort": target}]
    if target is None:
        ports[1] = {"port": 8000}
    return {
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"selector": {"app": "llama"}, "clusterIP": "10.0.0.1", "ports": ports} | spec,
    }


def around(
    target: dict[str, Any],
    *pods: dict[str, Any],
    services: tuple[dict[str, Any], ...] = (),
    **labels: str,
) -> Surroundings:
    space = {
        "metadata": {"name": "shop", "labels": {f"tidegate.io/{k}": labels[k] for k in labels}}
    }
    return Surroundings(workload=target, namespace=space, pods=pods, services=services)


def judged(view: Surroundings) -> Health:
    return judge(view, own_namespace="tidegate-system")


BARE = pod("llama-b", sidecar=False)
ROLLS = {"updatedReplicas": 1}


@pytest.mark.parametrize(
    ("view", "message"),
    [
        pytest.param(
            around(workload(ASKS), pod("a"), pod("b"), services=(service(),)),
            "every pod has a sidecar",
            id="all is well",
        ),
        pytest.param(around(workload(ASKS), pod("a")), "every pod has a sidecar", id="one"),
        pytest.param(
            around(workload(labels=ASKS)),
            "no pod runs; the next gets a sidecar",
            id="nothing runs, and it was asked for",
        ),
        pytest.param(
            around(workload(), pod("a"), inject="true"),
            "every pod has a sidecar",
            id="the namespace asks",
        ),
        pytest.param(
            around(workload(ASKS), pod("a"), pod("b", sidecar=False, phase="Succeeded")),
            "every pod has a sidecar",
            id="a pod that ended owes nobody a sidecar",
        ),
        pytest.param(around(workload(), pod("a")), "every pod has a sidecar", id="put in by hand"),
        pytest.param(
            around(
                workload(ASKS | {MODE: "outbound"}),
                pod("a", mode="outbound"),
                services=(service(target=8000),),
            ),
            "every pod has a sidecar",
            id="a Service goes to the port of an app that only calls models",
        ),
    ],
)
def test_healthy(view: Surroundings, message: str) -> None:
    assert judged(view) == Health(healthy=True, reason=Reason.ALL_INJECTED, message=message)


@pytest.mark.parametrize(
    ("view", "reason", "message", "without"),
    [
        pytest.param(
            around(workload(), BARE),
            Reason.NOT_ASKED,
            "nobody asked for a sidecar: "
            "kubectl annotate deployment/llama -n shop tidegate.io/inject=true",
            0,
            id="nobody asked",
        ),
        pytest.param(
            around(workload(OUT), BARE),
            Reason.NOT_ASKED,
            "tidegate.io/inject is false: "
            "kubectl annotate deployment/llama -n shop tidegate.io/inject=true --overwrite",
            0,
            id="the workload opts out",
        ),
        pytest.param(
            around(workload(ASKS, labels=OUT), BARE),
            Reason.NOT_ASKED,
            "spec.template.metadata.labels[tidegate.io/inject] is false: no sidecar",
            0,
            id="the template opts out, which wins",
        ),
        pytest.param(
            around(workload(ASKS), BARE, inject="false"),
            Reason.NOT_ASKED,
            "namespace shop says tidegate.io/inject=false: no sidecars",
            0,
            id="the namespace opts out",
        ),
        pytest.param(
            around(workload(ASKS), pod("llama-a"), BARE),
            Reason.WITHOUT_SIDECAR,
            "1 of 2 pods run without the sidecar that was asked for, such as llama-b: "
            "kubectl rollout restart deployment/llama -n shop",
            1,
            id="a pod that came while the webhook was away",
        ),
        pytest.param(
            around(workload(ASKS), BARE),
            Reason.WITHOUT_SIDECAR,
            "the one pod runs without the sidecar that was asked for: "
            "kubectl rollout restart deployment/llama -n shop",
            1,
            id="the only pod",
        ),
        pytest.param(
            around(workload(ASKS, status=ROLLS), pod("llama-a"), BARE),
            Reason.ROLLING_OUT,
            "1 of 2 pods run without the sidecar that was asked for, such as llama-b; "
            "a rollout is under way",
            1,
            id="a rollout is on its way",
        ),
        pytest.param(
            around(workload(ASKS, status={"replicas": 3}), pod("llama-a"), BARE),
            Reason.ROLLING_OUT,
            "1 of 2 pods run without the sidecar that was asked for, such as llama-b; "
            "a rollout is under way",
            1,
            id="all new pods are there, an old one is too",
        ),
        pytest.param(
            around(workload(ASKS, hostNetwork=True), BARE),
            Reason.INJECTION_SKIPPED,
            "no sidecar: a pod with hostNetwork shares its ports with the node",
            1,
            id="asked for, but the pods can't carry one",
        ),
        pytest.param(
            around(workload(ASKS | {PORT: "htp"})),
            Reason.INJECTION_REJECTED,
            "its pods are refused: metadata.annotations[tidegate.io/port] must name or number a "
            "TCP port that a container declares (http 8000), was: 'htp'",
            0,
            id="an option that refuses the pods",
        ),
        pytest.param(
            around(workload(ASKS), pod("a"), services=(service(target=8000),)),
            Reason.NUMERIC_TARGET_PORT,
            "Service llama sends port 80 to number 8000, past the sidecar; the name leads to it: "
            "kubectl patch service llama -n shop --type=json "
            """-p='[{"op":"add","path":"/spec/ports/1/targetPort","value":"http"}]'""",
            0,
            id="a Service that goes to the app by number",
        ),
        pytest.param(
            around(
                workload(ASKS),
                pod("a", ports=[{"containerPort": 8000}]),
                services=(service("web", target=None), service("api", target=8000)),
            ),
            Reason.NUMERIC_TARGET_PORT,
            "Service web sends port 8000 to number 8000, past the sidecar; the name leads to it "
            "(so do api): kubectl patch service web -n shop --type=json "
            """-p='[{"op":"add","path":"/spec/ports/1/targetPort","value":"tidegate-in"}]'""",
            0,
            id="two, of which one has no targetPort, in front of a port without a name",
        ),
    ],
)
def test_faults(view: Surroundings, reason: Reason, message: str, without: int) -> None:
    assert judged(view) == Health(healthy=False, reason=reason, message=message, without=without)


@pytest.mark.parametrize(
    "bystander",
    [
        pytest.param(service(target=8000, clusterIP="None"), id="headless"),
        pytest.param(service(target=8000, selector={"app": "other"}), id="of other pods"),
        pytest.param(service(target=8000, selector=None), id="without a selector"),
        pytest.param(service(target=9001), id="to another port"),
        pytest.param(service(target=14100), id="to the sidecar by number"),
    ],
)
def test_services_that_take_nothing_past_the_sidecar(bystander: dict[str, Any]) -> None:
    view = around(workload(ASKS), pod("a"), services=(bystander,))
    assert judged(view).healthy is True


def test_what_is_said_is_looked_up_and_nothing_is_changed() -> None:
    view = around(workload(ASKS), pod("a"), BARE, services=(service(target=8000),))
    before = copy.deepcopy(view)
    judged(view)
    assert view == before
    assert INJECTED not in BARE["metadata"]["labels"]
