"""Golden pairs for the patch, and what must hold for every pod."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonpatch
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate_operator.inject.belongs import workload_of
from tidegate_operator.inject.choice import Done, Inject, choose
from tidegate_operator.inject.options import Mode
from tidegate_operator.inject.patch import Sidecar, patch_pod
from tidegate_operator.inject.workload import patch_workload
from tidegate_wire.names import CONTAINER, INJECTED, MODE, PORT, STATUS

DATA = Path(__file__).parent / "data" / "inject"
SIDECAR = Sidecar(
    image="tidegate-sidecar:0.1.0",
    version="0.1.0",
    hub_url="https://tidegate-hub.tidegate-system.svc:14130",
    hub_ca="-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
)


def inject(pod: dict[str, Any], sidecar: Sidecar = SIDECAR) -> dict[str, Any]:
    choice = choose(pod, namespace="shop", own_namespace="tidegate-system", namespace_asks=True)
    if isinstance(choice, Done):
        return pod
    assert isinstance(choice, Inject), choice
    return apply(pod, patch_pod(pod, choice.port, sidecar, choice.options))


def apply(manifest: dict[str, Any], operations: Any) -> dict[str, Any]:
    assert isinstance(operations, list), operations
    patched: dict[str, Any] = jsonpatch.JsonPatch(operations).apply(copy.deepcopy(manifest))
    return patched


def golden(kind: str) -> list[Any]:
    return [pytest.param(path, id=path.stem) for path in sorted(DATA.glob(f"{kind}-*.yaml"))]


@pytest.mark.parametrize("path", golden("pod"))
def test_golden_pod(path: Path) -> None:
    given_pod, wanted = yaml.safe_load_all(path.read_text())
    assert inject(given_pod) == wanted


@pytest.mark.parametrize("path", golden("workload"))
def test_golden_workload(path: Path) -> None:
    before, after = yaml.safe_load_all(path.read_text())
    assert apply(before, patch_workload(before)) == after
    assert patch_workload(after) == []


def test_golden_pairs_are_there() -> None:
    assert len(golden("pod")) >= 6
    assert len(golden("workload")) >= 5


names = st.from_regex(r"[a-z]([a-z0-9]{0,8})", fullmatch=True)
probes = st.one_of(
    st.builds(lambda p: {"httpGet": {"path": "/h", "port": p}}, st.sampled_from(["http", 8000])),
    st.just({"exec": {"command": ["true"]}}),
)
containers = st.fixed_dictionaries(
    {"name": names.filter(lambda n: n != CONTAINER), "image": st.just("app")},
    optional={
        "ports": st.lists(
            st.fixed_dictionaries(
                {"containerPort": st.integers(1, 14000)},
                optional={"name": st.sampled_from(["http", "web", "grpc"])},
            ),
            min_size=1,
            max_size=3,
        ),
        "readinessProbe": probes,
        "lifecycle": st.one_of(
            st.just({}),
            st.just({"preStop": {"exec": {"command": ["sleep", "5"]}}}),
            st.builds(lambda p: {"postStart": p}, probes),
        ),
        "env": st.just([{"name": "A", "value": "b"}]),
    },
)
texts = st.dictionaries(st.sampled_from(["a", "example.com/b", "~c"]), names)
pods = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {"name": names}, optional={"labels": texts, "annotations": texts}
        ),
        "spec": st.fixed_dictionaries(
            {"containers": st.lists(containers, min_size=1, max_size=3)},
            optional={
                "initContainers": st.lists(containers, max_size=2),
                "volumes": st.just([{"name": "v", "emptyDir": {}}]),
                "terminationGracePeriodSeconds": st.sampled_from([0, 3, 30, 600]),
            },
        ),
    }
)


@settings(max_examples=120)
@given(pods, st.sampled_from(Mode))
def test_twice_is_once_and_nothing_of_the_users_is_lost(pod: dict[str, Any], mode: Mode) -> None:
    pod["metadata"]["annotations"] = pod["metadata"].get("annotations", {}) | {MODE: mode}
    if not any(c.get("ports") for c in pod["spec"]["containers"]):
        pod["spec"]["containers"][0]["ports"] = [{"containerPort": 8000}]
    before = copy.deepcopy(pod)
    once = inject(pod)
    assert pod == before
    assert inject(once) == once
    assert [c["name"] for c in once["spec"]["initContainers"]].count(CONTAINER) == 1
    for old, new in zip(pod["spec"]["containers"], once["spec"]["containers"], strict=True):
        assert new["image"] == old["image"]
        kept = old.get("env", [])
        assert new.get("env", [])[: len(kept)] == kept
        assert (new.get("env", []) == kept) is not mode.calls_out
        numbers = [p["containerPort"] for p in old.get("ports", [])]
        assert numbers == [p["containerPort"] for p in new.get("ports", [])]
        if (old.get("lifecycle") or {}).get("preStop"):
            assert new["lifecycle"] == old["lifecycle"] or "http" in json.dumps(old["lifecycle"])
    for kind in ("labels", "annotations"):
        assert (pod["metadata"].get(kind) or {}).items() <= once["metadata"][kind].items()
    assert once["metadata"]["labels"][INJECTED] == "true"
    ports = json.loads(once["metadata"]["annotations"][STATUS])["ports"]
    assert (ports["admin"], "inbound" in ports) == (14120, mode.takes_in)
    if not mode.takes_in:
        assert once["spec"]["containers"] == [
            {**old, "env": new["env"]}
            for old, new in zip(pod["spec"]["containers"], once["spec"]["containers"], strict=True)
        ]


@settings(max_examples=60)
@given(pods)
def test_no_probe_is_left_with_a_name_that_its_container_no_longer_has(
    pod: dict[str, Any],
) -> None:
    pod["spec"]["containers"][0]["ports"] = [{"name": "http", "containerPort": 8000}]
    container = inject(pod)["spec"]["containers"][0]
    left = {port.get("name") for port in container["ports"]}
    probe = container.get("readinessProbe", {}).get("httpGet", {"port": 8000})
    assert isinstance(probe["port"], int) or probe["port"] in left


def test_the_sidecar_passes_pod_security_restricted() -> None:
    pod = {"metadata": {}, "spec": {"containers": [{"ports": [{"containerPort": 8000}]}]}}
    sidecar = inject(pod)["spec"]["initContainers"][0]
    security = sidecar["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == 65532
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert sidecar["restartPolicy"] == "Always"


def owned(kind: str, name: str, **labels: str) -> dict[str, Any]:
    owner = {"kind": kind, "name": name, "controller": True}
    return {"metadata": {"name": "p", "labels": labels, "ownerReferences": [owner]}}


@pytest.mark.parametrize(
    ("pod", "workload"),
    [
        pytest.param(
            owned("ReplicaSet", "llama-5d4f8", **{"pod-template-hash": "5d4f8"}),
            "Deployment/llama",
            id="a Deployment's ReplicaSet",
        ),
        pytest.param(
            owned("ReplicaSet", "llama-5d4f8"), "ReplicaSet/llama-5d4f8", id="a bare ReplicaSet"
        ),
        pytest.param(owned("StatefulSet", "llama"), "StatefulSet/llama", id="a StatefulSet"),
        pytest.param({"metadata": {"name": "one"}}, "Pod/one", id="a bare pod"),
        pytest.param(
            {"metadata": {"generateName": "one-"}}, "Pod/one", id="a pod yet to be named"
        ),
    ],
)
def test_workload_of(pod: dict[str, Any], workload: str) -> None:
    assert workload_of(pod) == workload


def test_a_short_grace_period_shortens_the_linger() -> None:
    pod = {
        "metadata": {},
        "spec": {
            "terminationGracePeriodSeconds": 10,
            "containers": [{"ports": [{"containerPort": 8000}]}],
        },
    }
    env = {e["name"]: e.get("value") for e in inject(pod)["spec"]["initContainers"][0]["env"]}
    assert env["TIDEGATE_LINGER_S"] == "5"


def test_a_pod_whose_named_port_moved_is_not_looked_at_for_it_again() -> None:
    """A second webhook entry that matches, or a reinvocation, sees the pod as we left it."""
    port = {"name": "http", "containerPort": 8000}
    pod = {
        "metadata": {"annotations": {PORT: "http"}},
        "spec": {"containers": [{"name": "app", "ports": [port]}]},
    }
    once = inject(pod)
    assert choose(once, namespace="shop", own_namespace="x", namespace_asks=True) == Done()
