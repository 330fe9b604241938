"""How objects go: finalizers, graceful pods, owners, namespaces; on whichever server answers."""

import uuid

import pytest

from kube_contract import Kube, config_map, pod, widget


async def test_finalizers_hold_an_object_back(kube: Kube, widgets: str) -> None:
    body = widget("w")
    body["metadata"]["finalizers"] = ["contract.tidegate.io/hold"]
    (await kube.post(widgets, body)).ok()
    dying = (await kube.delete(f"{widgets}/w")).ok()
    assert dying["metadata"]["deletionTimestamp"]
    assert dying["metadata"]["generation"] == 2
    more = {"metadata": {"finalizers": ["contract.tidegate.io/hold", "x.io/new"]}}
    refused = await kube.patch(f"{widgets}/w", more)
    assert refused.status == 422
    assert "no new finalizers can be added if the object is being deleted" in refused.message
    (await kube.patch(f"{widgets}/w", {"metadata": {"finalizers": None}})).ok()
    assert (await kube.get(f"{widgets}/w")).status == 404


async def test_a_pod_goes_gracefully_then_for_good(kube: Kube, space: str) -> None:
    (await kube.post(f"{space}/pods", pod(name="p"))).ok()
    start = (await kube.get(f"{space}/pods")).version
    first = (await kube.delete(f"{space}/pods/p")).ok()["metadata"]
    assert (first["deletionGracePeriodSeconds"], "deletionTimestamp" in first) == (30, True)
    hurried = (await kube.delete(f"{space}/pods/p", {"gracePeriodSeconds": 5})).ok()
    assert hurried["metadata"]["deletionGracePeriodSeconds"] == 5
    (await kube.delete(f"{space}/pods/p", {"gracePeriodSeconds": 0})).ok()
    assert (await kube.get(f"{space}/pods/p")).status == 404
    async with kube.watch(f"{space}/pods", resourceVersion=start) as events:
        seen = [await events.next() for _ in range(4)]
    told = [(e["type"], e["object"]["metadata"]) for e in seen if e is not None]
    assert [(kind, metadata["deletionGracePeriodSeconds"]) for kind, metadata in told] == [
        ("MODIFIED", 30),
        ("MODIFIED", 5),
        ("MODIFIED", 0),
        ("DELETED", 0),
    ]
    assert {metadata["generation"] for _, metadata in told} == {2}


async def test_a_precondition_protects_a_namesake(kube: Kube, space: str) -> None:
    (await kube.post(f"{space}/configmaps", config_map("a"))).ok()
    options = {"preconditions": {"uid": str(uuid.uuid4())}}
    answer = await kube.delete(f"{space}/configmaps/a", options)
    assert (answer.status, answer.reason) == (409, "Conflict")


@pytest.mark.parametrize(
    ("policy", "stays"), [("Background", False), ("Foreground", False), ("Orphan", True)]
)
async def test_dependants_go_with_their_owner_unless_orphaned(
    kube: Kube, space: str, widgets: str, policy: str, stays: bool
) -> None:
    owner = (await kube.post(widgets, widget("owner"))).ok()
    body = config_map("child")
    body["metadata"]["ownerReferences"] = [
        {
            "apiVersion": owner["apiVersion"],
            "kind": "Widget",
            "name": "owner",
            "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": True,
        }
    ]
    (await kube.post(f"{space}/configmaps", body)).ok()
    (await kube.delete(f"{widgets}/owner", {"propagationPolicy": policy})).ok()
    assert await kube.gone(f"{widgets}/owner")
    if stays:
        child = (await kube.get(f"{space}/configmaps/child")).ok()
        assert not child["metadata"].get("ownerReferences")
    else:
        assert await kube.gone(f"{space}/configmaps/child")


async def test_a_namespace_waits_for_what_is_in_it(kube: Kube, space: str, widgets: str) -> None:
    body = widget("w")
    body["metadata"]["finalizers"] = ["contract.tidegate.io/hold"]
    (await kube.post(widgets, body)).ok()
    (await kube.post(f"{space}/configmaps", config_map("a"))).ok()
    (await kube.delete(space)).ok()
    assert await kube.gone(f"{space}/configmaps/a")
    closing = (await kube.get(space)).ok()
    assert closing["status"]["phase"] == "Terminating"
    late = await kube.post(f"{space}/configmaps", config_map("late"))
    assert (late.status, late.reason) == (403, "Forbidden")
    assert "because it is being terminated" in late.message
    (await kube.patch(f"{widgets}/w", {"metadata": {"finalizers": None}})).ok()
    assert await kube.gone(space)
