"""What only the embedded Kubernetes API can be made to do: forget on demand, route a Service.

Law: everything else that is claimed of it stands in test_kube_api*.py, which a real API server
has to pass too.
"""

import base64
from pathlib import Path

import selfmade_ca
from kube_contract import Kube, config_map

WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"


async def test_a_page_of_a_forgotten_moment_is_expired(kube: Kube, space: str) -> None:
    assert kube.emulator is not None, "a real server forgets after five minutes"
    for index in range(3):
        (await kube.post(f"{space}/secrets", {"metadata": {"name": f"s{index}"}})).ok()
    page = await kube.get(f"{space}/secrets", limit="1")
    await kube.delete(f"{space}/secrets/s2")
    kube.emulator.forget_history("secrets")
    token = page.body["metadata"]["continue"]
    answer = await kube.get(f"{space}/secrets", limit="1", **{"continue": token})
    assert (answer.status, answer.reason) == (410, "Expired")


async def test_a_watch_on_a_forgotten_version_of_a_built_in_kind_is_expired(
    kube: Kube, space: str
) -> None:
    assert kube.emulator is not None
    (await kube.post(f"{space}/secrets", {"metadata": {"name": "a"}})).ok()
    kube.emulator.forget_history("secrets")
    async with kube.watch(f"{space}/secrets", resourceVersion="1") as events:
        [event] = await events.rest()
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)


async def test_a_service_is_called_by_its_name(kube: Kube, space: str, tmp_path: Path) -> None:
    assert kube.emulator is not None, "a real server finds Services by the cluster network"
    namespace = space.rpartition("/")[2]
    service = {"namespace": namespace, "name": "hook", "path": "/mutate"}
    ca = base64.b64encode(selfmade_ca.make(tmp_path).ca_pem.encode()).decode()
    entry = {
        "name": "change.tidegate.io",
        "clientConfig": {"service": service, "caBundle": ca},
        "rules": [
            {
                "operations": ["CREATE"],
                "apiGroups": [""],
                "apiVersions": ["v1"],
                "resources": ["configmaps"],
            }
        ],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    (await kube.post(WEBHOOKS, {"metadata": {"name": "hook"}, "webhooks": [entry]})).ok()
    absent = await kube.post(f"{space}/configmaps", config_map("a"))
    assert 'service "hook" not found' in absent.message
    kube.emulator.route_service(namespace, "hook", "127.0.0.1", 1)
    routed = await kube.post(f"{space}/configmaps", config_map("a"))
    assert routed.status == 500
    assert "https://127.0.0.1:1/mutate" in routed.message, "where the Service's server listens"
