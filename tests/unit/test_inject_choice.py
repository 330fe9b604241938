"""Who gets a sidecar, and in front of which port."""

from typing import Any

import pytest

from tidegate_operator.inject.choice import AppPort, Inject, Skip, choose
from tidegate_operator.inject.options import Reject
from tidegate_wire.names import INJECT, PORT


def pod(
    *,
    label: str | None = None,
    annotation: str | None = None,
    port: str | None = None,
    ports: list[dict[str, Any]] | None = None,
    **spec: Any,
) -> dict[str, Any]:
    annotations = {INJECT: annotation, PORT: port}
    declared = [{"name": "http", "containerPort": 8000}] if ports is None else ports
    return {
        "metadata": {
            "name": "x",
            "labels": {INJECT: label} if label is not None else {},
            "annotations": {k: v for k, v in annotations.items() if v is not None},
        },
        "spec": {"containers": [{"name": "app", "image": "a", "ports": declared}], **spec},
    }


def choice(manifest: dict[str, Any], namespace: str = "shop", *, asks: bool = False) -> Any:
    return choose(
        manifest, namespace=namespace, own_namespace="tidegate-system", namespace_asks=asks
    )


@pytest.mark.parametrize(
    ("label", "annotation", "namespace", "wanted"),
    [
        pytest.param(None, None, False, False, id="nobody asked"),
        pytest.param("true", None, False, True, id="the label asks"),
        pytest.param(None, "true", False, True, id="the annotation asks"),
        pytest.param(None, None, True, True, id="the namespace asks"),
        pytest.param("false", "true", True, False, id="false as label beats all"),
        pytest.param("true", "false", True, False, id="false as annotation beats all"),
        pytest.param("false", None, True, False, id="a pod opts out of its namespace"),
    ],
)
def test_wish(label: str | None, annotation: str | None, namespace: bool, wanted: bool) -> None:
    made = choice(pod(label=label, annotation=annotation), asks=namespace)
    assert isinstance(made, Inject) is wanted
    if not wanted:
        assert made == Skip("")


@pytest.mark.parametrize(
    ("manifest", "namespace", "sentence"),
    [
        pytest.param(pod(label="yes"), "shop", "must be", id="a wish that is neither"),
        pytest.param(pod(label="true", hostNetwork=True), "shop", "hostNetwork", id="hostNetwork"),
        pytest.param(pod(label="true"), "kube-system", "Kubernetes itself", id="kube-system"),
        pytest.param(pod(label="true"), "tidegate-system", "own namespace", id="our namespace"),
        pytest.param(pod(label="true", ports=[]), "shop", PORT, id="no port declared"),
        pytest.param(
            pod(label="true", ports=[{"containerPort": 53, "protocol": "UDP"}]),
            "shop",
            "no container declares a TCP port",
            id="only UDP",
        ),
        pytest.param(
            pod(label="true", ports=[{"containerPort": 14120}]),
            "shop",
            "app uses port 14120",
            id="the app sits on a port of the sidecar's",
        ),
        pytest.param(
            pod(label="true", containers=[{"name": "tidegate"}]),
            "shop",
            "of its own",
            id="a container of the same name",
        ),
    ],
)
def test_skips_say_why(manifest: dict[str, Any], namespace: str, sentence: str) -> None:
    made = choice(manifest, namespace)
    assert isinstance(made, Skip)
    assert sentence in made.reason


def test_a_mirror_pod_is_left_alone() -> None:
    manifest = pod(label="true")
    manifest["metadata"]["annotations"]["kubernetes.io/config.mirror"] = "abc"
    made = choice(manifest)
    assert isinstance(made, Skip)
    assert "static pod" in made.reason


TWO = [{"name": "metrics", "containerPort": 9000}, {"name": "http", "containerPort": 8000}]


@pytest.mark.parametrize(
    ("ports", "asked", "number", "warned"),
    [
        pytest.param([{"containerPort": 8000}], None, 8000, False, id="the only port"),
        pytest.param(TWO, None, 8000, True, id="of several the one named http, with a warning"),
        pytest.param(TWO, "metrics", 9000, False, id="the one that the annotation names"),
        pytest.param(TWO, "9000", 9000, False, id="the one that the annotation numbers"),
        pytest.param([], "8080", 8080, False, id="a number is believed where none is declared"),
    ],
)
def test_port(ports: list[dict[str, Any]], asked: str | None, number: int, warned: bool) -> None:
    made = choice(pod(label="true", ports=ports, port=asked))
    assert isinstance(made, Inject)
    assert made.port.number == number
    assert bool(made.warnings) is warned


def test_a_port_of_the_second_container_is_found() -> None:
    manifest = pod(label="true", ports=[])
    manifest["spec"]["containers"].append({"name": "b", "ports": [{"containerPort": 8001}]})
    made = choice(manifest)
    assert made == Inject(AppPort(container=1, number=8001, index=0))


@pytest.mark.parametrize(
    ("ports", "asked", "rule"),
    [
        pytest.param(
            TWO,
            "htp",
            "metadata.annotations[tidegate.io/port] must name or number a TCP port that a "
            "container declares (metrics 9000, http 8000), was: 'htp'",
            id="a name that no container declares",
        ),
        pytest.param(
            [],
            "http",
            "metadata.annotations[tidegate.io/port] must be a number from 1 to 65535 where no "
            "container declares a port, was: 'http'",
            id="a name where no port is declared",
        ),
        pytest.param([], "70000", "was: '70000'", id="a number past the last port"),
        pytest.param([], "²", "was: '²'", id="a digit that is no number"),
    ],
)
def test_a_wrong_port_is_rejected(ports: list[dict[str, Any]], asked: str, rule: str) -> None:
    made = choice(pod(label="true", ports=ports, port=asked))
    assert isinstance(made, Reject)
    assert rule in made.message


def test_a_wrong_port_of_a_pod_that_nobody_wants_injected_harms_nobody() -> None:
    assert choice(pod(port="nonsense")) == Skip("")
