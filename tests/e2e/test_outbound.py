"""A pod that calls models elsewhere: one annotation, and its calls go through its sidecar."""

import json
import time
from typing import Any

import pytest

from real_cluster import Cluster, KubectlError, Object, answering, ask, chat, wait_until
from tidegate_wire.names import MODE, OPENAI_UPSTREAM, PATH_STATS, PORT_ADMIN
from workloads import (
    MODEL_SERVER,
    RESTRICTED,
    deployment,
    model_container,
    patient,
    service,
)

pytestmark = pytest.mark.timeout(300)

CALL = """
import json, os, signal, sys, time, urllib.request
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
body = json.dumps({"model": "llama-70b", "max_tokens": 4, "messages": []}).encode()
headers = {"content-type": "application/json", "authorization": "Bearer planted-secret"}
with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:
    print(json.load(answer)["usage"]["completion_tokens"])
time.sleep(3600)
"""
"""An app that calls once, as it starts and without a second try."""


def app(**annotations: str) -> Object:
    container: Object = {
        "name": "agent",
        "image": MODEL_SERVER,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/opt/tidegate/bin/python", "-uc", CALL],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        "securityContext": RESTRICTED,
    }
    made = deployment("agent", container=container)
    made["metadata"]["annotations"] |= annotations
    return made


def stats(pod: Object) -> Any:
    return ask(f"http://{pod['status']['podIP']}:{PORT_ADMIN}{PATH_STATS}").json()


def test_an_apps_first_call_goes_through_its_sidecar_and_is_measured(
    tidegate: Cluster, space: str
) -> None:
    """It is made as the app starts: the sidecar listens by then. Nothing of the pod waits to be
    drained when it goes, and nobody outside of it finds the way out."""
    tidegate.apply(deployment("provider", inject=False), service("provider"), namespace=space)
    tidegate.rolled_out(space, "Deployment/provider")
    named = {MODE: "outbound", OPENAI_UPSTREAM: f"http://provider.{space}.svc"}
    said = tidegate.apply(app(**named), namespace=space)
    assert "Warning" not in said.err
    tidegate.rolled_out(space, "Deployment/agent")
    (pod,) = tidegate.pods(space, "app=agent")
    told = wait_until("the app got its answer", lambda: logs(tidegate, space, "agent"))
    assert int(told) > 0
    (series,) = stats(pod)["series"]
    assert (series["model"], series["outcomes"]) == ("llama-70b", {"ok": 1})
    assert series["tokens_out"] == int(told)
    assert [s["restartCount"] for s in pod["status"]["containerStatuses"]] == [0]
    assert "planted-secret" not in logs(tidegate, space, "tidegate")
    with pytest.raises(OSError):
        ask(f"http://{pod['status']['podIP']}:14110/v1/models", timeout_s=3)
    containers = pod["spec"]["containers"]
    assert "lifecycle" not in containers[0]
    assert json.loads(pod["metadata"]["annotations"]["tidegate.io/status"])["ports"] == {
        "outbound": 14110,
        "admin": 14120,
    }


def test_both_ways_of_a_pod_are_measured_and_its_end_is_soon(
    tidegate: Cluster, space: str
) -> None:
    """A model server whose pod also calls out; its drain waits for no way out that is idle."""
    named = {MODE: "both", OPENAI_UPSTREAM: "http://127.0.0.1:8000"}
    made = app(**named)
    containers = made["spec"]["template"]["spec"]["containers"]
    containers.insert(0, patient(model_container()))
    tidegate.apply(made, service("agent"), namespace=space)
    tidegate.rolled_out(space, "Deployment/agent")
    url = answering(tidegate, space, "agent", times=1)
    (pod,) = tidegate.pods(space, "app=agent")

    called = wait_until("the app got its answer", lambda: logs(tidegate, space, "agent"))
    assert int(called) > 0
    assert chat(url).status == 200
    assert stats(pod)["series"][0]["outcomes"]["ok"] >= 2
    before = time.monotonic()
    tidegate.kubectl("delete", "-n", space, f"pod/{pod['metadata']['name']}")
    assert time.monotonic() - before < 25


def test_a_mode_that_is_none_is_refused_where_it_is_written(tidegate: Cluster, space: str) -> None:
    with pytest.raises(KubectlError, match="must be one of inbound, outbound, both, was: 'out'"):
        tidegate.apply(app(**{MODE: "out"}), namespace=space)


def logs(cluster: Cluster, space: str, container: str) -> str:
    return cluster.kubectl("logs", "-n", space, "deployment/agent", "-c", container).strip()
