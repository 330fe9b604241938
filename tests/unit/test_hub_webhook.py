"""The admission door: what is answered, and that nobody's pod is refused for a fault of ours."""

import base64
import json
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from tidegate_operator.hub.measure import Measures
from tidegate_operator.hub.webhook import Webhook, read_minor, too_old
from tidegate_operator.inject.choice import AppPort
from tidegate_operator.inject.patch import Sidecar
from tidegate_wire.names import INJECT, PORT

SIDECAR = Sidecar(image="i", version="1", hub_url="https://h", hub_ca="ca")


def broken() -> Sidecar:
    raise RuntimeError("a fault of ours")


class Door:
    def __init__(self, sidecar: Any = lambda: SIDECAR, minor: int | None = None) -> None:
        self.measures = Measures()
        app = web.Application(client_max_size=1024 * 1024)
        Webhook(sidecar, "tidegate-system", self.measures, lambda: minor).add_routes(app)
        self._server = TestServer(app)

    async def post(self, body: Any, path: str = "/mutate") -> tuple[int, Any]:
        async with TestClient(self._server) as client:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            answer = await client.post(path, data=data)
            text = await answer.text()
            return answer.status, json.loads(text) if answer.status == 200 else text


def review(manifest: Any, kind: str = "Pod", **fields: Any) -> dict[str, Any]:
    request = {"uid": "u1", "kind": {"kind": kind}, "namespace": "shop", "object": manifest}
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {**request, **fields},
    }


def pod(**annotations: str) -> dict[str, Any]:
    container = {"name": "a", "image": "a", "ports": [{"containerPort": 8000}]}
    metadata = {"name": "p", "labels": {INJECT: "true"}, "annotations": annotations}
    return {"metadata": metadata, "spec": {"containers": [container]}}


def operations(answer: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(base64.b64decode(answer["response"]["patch"]))
    return found


async def test_a_pod_that_asks_is_patched() -> None:
    door = Door()
    code, answer = await door.post(review(pod(), dryRun=True))
    assert code == 200
    assert answer["apiVersion"] == "admission.k8s.io/v1"
    assert answer["response"]["uid"] == "u1"
    assert answer["response"]["allowed"] is True
    assert answer["response"]["patchType"] == "JSONPatch"
    assert any(op["path"] == "/spec/initContainers" for op in operations(answer))
    assert b'reviews_total{result="injected"} 1.0' in door.measures.render()


async def test_how_long_each_review_took_is_measured() -> None:
    door = Door()
    await door.post(review(pod()))
    figures = door.measures.render()
    assert b"tidegate_webhook_review_duration_seconds_count 1.0" in figures
    assert b'tidegate_webhook_review_duration_seconds_bucket{le="0.025"}' in figures
    seconds = figures.partition(b"duration_seconds_sum ")[2].split()[0]
    assert 0 < float(seconds) < 5


async def test_the_namespaces_path_says_that_the_namespace_asks() -> None:
    manifest = pod()
    del manifest["metadata"]["labels"]
    assert "patch" not in (await Door().post(review(manifest)))[1]["response"]
    code, answer = await Door().post(review(manifest), "/mutate/namespace")
    assert (code, "patch" in answer["response"]) == (200, True)


async def test_a_workload_is_marked() -> None:
    deployment = {
        "metadata": {"annotations": {INJECT: "true"}},
        "spec": {"template": {"metadata": {"labels": {"a": "b"}}, "spec": {}}},
    }
    _, answer = await Door().post(review(deployment, "Deployment"))
    assert operations(answer)[0]["path"] == "/spec/template/metadata/labels/tidegate.io~1inject"


def deployment(annotations: dict[str, str], **template: Any) -> dict[str, Any]:
    container = {"name": "a", "image": "a", "ports": [{"name": "http", "containerPort": 8000}]}
    spec = {"containers": [container], **template.pop("spec", {})}
    metadata = {"labels": {"app": "x"}, **template}
    return {
        "metadata": {"name": "llama", "annotations": annotations},
        "spec": {"template": {"metadata": metadata, "spec": spec}},
    }


ASKED = {INJECT: "true"}


@pytest.mark.parametrize(
    ("manifest", "sentences"),
    [
        pytest.param(deployment(ASKED), [], id="nothing to say"),
        pytest.param(
            deployment(ASKED, spec={"hostNetwork": True}),
            ["no sidecar: a pod with hostNetwork shares its ports with the node"],
            id="its pods will be skipped",
        ),
        pytest.param(
            deployment({INJECT: "yes"}),
            [
                'no sidecar: metadata.annotations[tidegate.io/inject] must be "true" or "false", '
                "was: 'yes'"
            ],
            id="a wish that is neither",
        ),
        pytest.param(
            deployment({"tidegate.io/injct": "true"}),
            [
                "metadata.annotations[tidegate.io/injct] means nothing here; "
                "did you mean tidegate.io/inject?"
            ],
            id="a slip in the name",
        ),
        pytest.param(
            deployment({}, labels={"app": "x", INJECT: "true", PORT: "http"}),
            ["metadata.labels[tidegate.io/port] means nothing here; it is read from annotations"],
            id="a slip on the template",
        ),
    ],
)
async def test_who_writes_a_workload_is_told_what_its_pods_will_meet(
    manifest: Any, sentences: list[str]
) -> None:
    """A pod's own warnings go to the ReplicaSet controller, which shows them to nobody."""
    _, answer = await Door().post(review(manifest, "Deployment"))
    assert answer["response"]["allowed"] is True
    said = answer["response"].get("warnings", [])
    assert said == [f"tidegate: {sentence}" for sentence in sentences]


WRONG = deployment(ASKED | {"tidegate.io/memory-limit": "256"})


async def test_a_wrong_option_on_a_workload_is_refused_at_once() -> None:
    _, answer = await Door().post(review(WRONG, "Deployment", oldObject=deployment(ASKED)))
    assert answer["response"]["allowed"] is False
    assert answer["response"]["status"]["message"] == (
        "tidegate: metadata.annotations[tidegate.io/memory-limit] must be at least 64Mi, "
        "was: '256'"
    )


@pytest.mark.parametrize(
    ("manifest", "old"),
    [
        pytest.param(WRONG, WRONG, id="one that stood there before, as a controller writes it"),
        pytest.param(
            {**WRONG, "metadata": {**WRONG["metadata"], "deletionTimestamp": "2026-01-01"}},
            deployment(ASKED),
            id="one that is being deleted",
        ),
    ],
)
async def test_a_mistake_that_stands_is_told_and_let_be(manifest: Any, old: Any) -> None:
    _, answer = await Door().post(review(manifest, "Deployment", oldObject=old))
    assert answer["response"]["allowed"] is True
    assert "pods are refused until it is mended" in answer["response"]["warnings"][0]


async def test_a_warning_is_no_longer_than_the_api_server_passes_on() -> None:
    ports = [{"name": f"port-{n}", "containerPort": 8000 + n} for n in range(40)]
    manifest = pod()
    manifest["spec"]["containers"][0]["ports"] = ports
    _, answer = await Door().post(review(manifest))
    assert [len(each) for each in answer["response"]["warnings"]] == [256]


async def test_options_reach_the_container() -> None:
    options = {"tidegate.io/cpu-limit": "1", "tidegate.io/drain-seconds": "20"}
    _, answer = await Door().post(review(pod(**options)))
    (containers,) = [o for o in operations(answer) if o["path"] == "/spec/initContainers"]
    sidecar = containers["value"][0]
    assert sidecar["resources"]["limits"] == {"cpu": "1", "memory": "256Mi"}
    assert {"name": "TIDEGATE_DRAIN_ACCEPT_S", "value": "20"} in sidecar["env"]


async def test_a_wrong_annotation_is_refused_in_the_persons_words() -> None:
    door = Door()
    _, answer = await door.post(review(pod(**{PORT: "htp"})))
    assert answer["response"]["allowed"] is False
    assert answer["response"]["status"]["message"] == (
        "tidegate: metadata.annotations[tidegate.io/port] must name or number a TCP port that a "
        "container declares (8000), was: 'htp'"
    )
    assert b'reviews_total{result="rejected"} 1.0' in door.measures.render()


@pytest.mark.parametrize(
    ("manifest", "sidecar"),
    [
        pytest.param(pod(), broken, id="our own exception"),
        pytest.param({"metadata": "x", "spec": 3}, None, id="an object of an odd shape"),
        pytest.param(
            {"metadata": {"labels": {INJECT: "true"}}, "spec": {"containers": "x"}},
            None,
            id="containers that are none",
        ),
    ],
)
async def test_a_fault_of_ours_lets_the_pod_pass_with_a_warning(
    manifest: Any, sidecar: Any
) -> None:
    """netbird#168 and kopf's mutate handlers: an exception refused everybody's pods."""
    door = Door(sidecar or (lambda: SIDECAR))
    code, answer = await door.post(review(manifest))
    assert code == 200
    assert answer["response"]["allowed"] is True
    assert "patch" not in answer["response"]
    assert "let it pass" in answer["response"]["warnings"][0]
    assert b'reviews_total{result="failed"} 1.0' in door.measures.render()


async def test_skipped_pods_get_the_reason_as_a_warning() -> None:
    """kuma#3293: pods started unseen without a sidecar."""
    manifest = pod()
    manifest["spec"]["hostNetwork"] = True
    _, answer = await Door().post(review(manifest))
    assert answer["response"]["allowed"] is True
    assert "hostNetwork" in answer["response"]["warnings"][0]


async def test_an_old_cluster_gets_a_warning_and_no_sidecar() -> None:
    _, answer = await Door(minor=28).post(review(pod()))
    assert "patch" not in answer["response"]
    assert answer["response"]["warnings"] == [
        "tidegate: no sidecar: Kubernetes must be at least 1.29, was: 1.28"
    ]


@pytest.mark.parametrize(
    ("minor", "name", "word"),
    [
        (28, "", "no sidecar: Kubernetes must be at least 1.29, was: 1.28"),
        (29, "", ""),
        (32, "http", "no sidecar: Services follow a named port to a sidecar from Kubernetes 1.33"),
        (33, "http", ""),
        (None, "http", ""),
    ],
    ids=[
        "before native sidecars nobody gets one",
        "from then on a port without a name can have one",
        "a named port would lose its traffic",
        "until Services find it there",
        "a server that does not say is taken as new",
    ],
)
def test_what_a_server_can_carry(minor: int | None, name: str, word: str) -> None:
    told = too_old(minor, AppPort(container=0, number=8000, name=name))
    assert told.startswith(word) and bool(told) is bool(word)


@pytest.mark.parametrize(
    ("version", "minor"),
    [
        ({"major": "1", "minor": "29"}, 29),
        ({"major": "1", "minor": "36+"}, 36),
        ({"major": "2", "minor": "1"}, None),
        ({}, None),
    ],
)
def test_versions(version: dict[str, str], minor: int | None) -> None:
    assert read_minor(version) == minor


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"x"', b"{}", b'{"request": {}}', b"\xff\xfe"],
    ids=["nothing", "half", "a list", "null", "text", "no request", "no uid", "no UTF-8"],
)
async def test_what_is_no_review_is_a_bad_request(body: bytes) -> None:
    code, text = await Door().post(body)
    assert code == 400
    assert "AdmissionReview" in text


async def test_a_huge_body_is_refused_and_the_next_is_served() -> None:
    door = Door()
    assert (await door.post(b" " * 2_000_000))[0] == 413
