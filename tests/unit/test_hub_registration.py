"""The webhook's registration: whose it is, what the hub writes of it, and what it leaves alone."""

import copy

import pytest

from fake_cluster import FakeApi
from tidegate_operator.cluster.client import ApiError, Object
from tidegate_operator.hub.registration import (
    ensure_api_service,
    ensure_webhooks,
    webhook_configuration,
)
from tidegate_operator.settings import Settings

LIST = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
PATH = f"{LIST}/tidegate"
KEPT = Settings(webhook_create=False)
"""Something else keeps the registration."""
OWN = Settings()


def kept() -> Object:
    """As a chart makes it, with marks of those that keep it."""
    made = webhook_configuration(KEPT, "")
    made["metadata"] |= {
        "resourceVersion": "7",
        "labels": {"app.kubernetes.io/managed-by": "Helm"},
        "annotations": {"argocd.argoproj.io/tracking-id": "a"},
    }
    return made


def without_ca(registration: Object) -> Object:
    bare = copy.deepcopy(registration)
    bare["metadata"].pop("resourceVersion", None)
    for entry in bare["webhooks"]:
        entry["clientConfig"].pop("caBundle", None)
    return bare


def cas(registration: Object) -> set[str | None]:
    return {entry["clientConfig"].get("caBundle") for entry in registration["webhooks"]}


async def test_a_registration_that_something_else_keeps_gets_the_ca_and_nothing_else() -> None:
    api = FakeApi()
    api.put(PATH, kept())
    await ensure_webhooks(api, KEPT, "new")
    assert cas(api.objects[PATH]) == {"bmV3"}
    assert without_ca(api.objects[PATH]) == without_ca(kept())


async def test_what_others_change_in_it_stays() -> None:
    api = FakeApi()
    theirs = kept()
    theirs["webhooks"][0] |= {"timeoutSeconds": 9, "failurePolicy": "Fail"}
    del theirs["webhooks"][3]
    api.put(PATH, theirs)
    await ensure_webhooks(api, KEPT, "new")
    assert without_ca(api.objects[PATH]) == without_ca(theirs)


async def test_a_registration_that_has_the_ca_is_not_written() -> None:
    api = FakeApi()
    api.put(PATH, kept())
    await ensure_webhooks(api, KEPT, "new")
    await ensure_webhooks(api, KEPT, "new")
    assert len(api.writes) == 1


async def test_an_old_ca_is_replaced() -> None:
    api = FakeApi()
    api.put(PATH, webhook_configuration(KEPT, "old"))
    await ensure_webhooks(api, KEPT, "new")
    assert cas(api.objects[PATH]) == {"bmV3"}


async def test_one_that_is_missing_is_not_made_and_the_error_says_what_to_do() -> None:
    api = FakeApi()
    with pytest.raises(ApiError, match=r"tidegate does not exist.*TIDEGATE_WEBHOOK_CREATE"):
        await ensure_webhooks(api, KEPT, "new")
    assert not api.objects
    assert not api.writes


async def test_without_a_keeper_the_hub_makes_and_mends_the_whole() -> None:
    api = FakeApi()
    await ensure_webhooks(api, OWN, "new")
    made = copy.deepcopy(api.objects[PATH])
    del api.objects[PATH]["webhooks"][0]
    await ensure_webhooks(api, OWN, "new")
    assert api.objects[PATH]["webhooks"] == made["webhooks"]


def test_an_entry_s_name_is_its_own() -> None:
    names = [entry["name"] for entry in webhook_configuration(OWN, "")["webhooks"]]
    assert len(names) == len(set(names))


API_SERVICE = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io"


def api_service(namespace: str = "tidegate-system", name: str = "tidegate-hub") -> Object:
    return {
        "metadata": {"name": "v1beta1.external.metrics.k8s.io", "resourceVersion": "7"},
        "spec": {
            "service": {"namespace": namespace, "name": name, "port": 14133},
            "group": "external.metrics.k8s.io",
            "groupPriorityMinimum": 100,
        },
    }


async def test_an_api_service_gets_the_ca_and_nothing_else() -> None:
    api = FakeApi()
    api.put(API_SERVICE, api_service())
    await ensure_api_service(api, OWN, "new")
    stored = copy.deepcopy(api.objects[API_SERVICE]["spec"])
    assert stored.pop("caBundle") == "bmV3"
    assert stored == api_service()["spec"]
    api.writes.clear()
    await ensure_api_service(api, OWN, "new")
    assert api.writes == []


async def test_an_api_service_of_somebody_else_is_left_alone_and_named() -> None:
    api = FakeApi()
    api.put(API_SERVICE, api_service("keda", "keda-operator-metrics-apiserver"))
    with pytest.raises(ApiError, match="was: keda/keda-operator-metrics-apiserver; a cluster has"):
        await ensure_api_service(api, OWN, "new")
    assert api.writes == []


async def test_an_api_service_that_is_missing_is_not_made() -> None:
    api = FakeApi()
    with pytest.raises(ApiError, match=r"install it with the chart \(externalMetrics.enabled\)"):
        await ensure_api_service(api, OWN, "new")
    assert api.writes == []
