"""The admission door: what is answered, and that nobody's pod is refused for a fault of ours."""

import base64
import json
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from tidegate_operator.hub.measure import Measures
from tidegate_operator.hub.webhook import Webhook, too_old
from tidegate_operator.inject.patch import Sidecar
from tidegate_wire.names import INJECT, PORT

SIDECAR = Sidecar(image="i", version="1", hub_url="https://h", hub_ca="ca")


def broken() -> Sidecar:
    raise RuntimeError("a fault of ours")


class Door:
    def __init__(self, sidecar: Any = lambda: SIDECAR, obstacle: str = "") -> None:
        self.measures = Measures()
        app = web.Application(client_max_size=1024 * 1024)
        Webhook(sidecar, "tidegate-system", self.measures, lambda: obstacle).add_routes(app)
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
    _, answer = await Door(obstacle=too_old({"major": "1", "minor": "28+"})).post(review(pod()))
    assert answer["response"]["warnings"] == [
        "tidegate: no sidecar: Kubernetes must be at least 1.29, was: 1.28"
    ]


@pytest.mark.parametrize(
    ("version", "fits"),
    [
        ({"major": "1", "minor": "29"}, True),
        ({"major": "1", "minor": "36+"}, True),
        ({"major": "1", "minor": "9"}, False),
        ({}, True),
    ],
)
def test_versions(version: dict[str, str], fits: bool) -> None:
    assert (too_old(version) == "") is fits


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
