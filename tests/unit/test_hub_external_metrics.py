"""What the API server's aggregator, and through it an HPA, asks over real TLS, and who else is
kept out."""

import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web

from fake_cluster import FakeClock
from selfmade_ca import SelfMade, make
from tidegate_operator.cluster.client import ApiError
from tidegate_operator.hub.external_metrics import ExternalMetrics
from tidegate_operator.hub.front_proxy import FrontProxy, Guard, is_allowed, read_front_proxy
from tidegate_wire.clock import Clock
from wanted_counts import MAX_AGE_S, Policies

BASE = "/apis/external.metrics.k8s.io/v1beta1"
METRIC = "tidegate-desired-replicas"


class Aggregator:
    """The API server's side: it presents a client certificate, and has checked the user."""

    def __init__(self, port: int, hub: SelfMade, proves: SelfMade | None) -> None:
        self._url = f"https://127.0.0.1:{port}"
        self._context = ssl.create_default_context(cadata=hub.ca_pem)
        if proves is not None:
            self._context.load_cert_chain(proves.file)

    async def get(self, path: str, **query: str) -> tuple[int, dict[str, Any]]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(self._url + path, params=query, ssl=self._context) as answer,
        ):
            text = await answer.text()
            return answer.status, json.loads(text) if text.startswith("{") else {}

    async def value(self, selector: str = "policy=chat") -> tuple[int, dict[str, Any]]:
        return await self.get(f"{BASE}/namespaces/shop/{METRIC}", labelSelector=selector)


class Door:
    """The hub's TLS door for external metrics on loopback."""

    def __init__(self, folder: Path) -> None:
        self.policies = Policies(cast(Clock, FakeClock()))
        self.hub = make(folder)
        self.front = make(folder, "front", common_name="front-proxy")
        self.guard = Guard()
        self.guard.trust(FrontProxy(self.front.ca_pem, frozenset({"front-proxy"})))
        self.guard.context.load_cert_chain(self.hub.file)
        app = web.Application(middlewares=[self.guard.middleware])
        ExternalMetrics(self.policies.wanted, self.policies.measures).add_routes(app)
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)

    async def open(self) -> None:
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0, ssl_context=self.guard.context).start()

    def knock(self, proves: SelfMade | None) -> Aggregator:
        return Aggregator(self.runner.addresses[0][1], self.hub, proves)


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    made = Door(tmp_path)
    await made.open()
    yield made
    await made.runner.cleanup()


@pytest.fixture
def api(door: Door) -> Aggregator:
    return door.knock(door.front)


async def test_a_count_is_one_value_of_one_metric(door: Door, api: Aggregator) -> None:
    door.policies.put(7, actuator="ExternalMetric")
    code, found = await api.value()
    decided_at = door.policies.objects["shop", "chat"]["status"]["replicas"]["decidedAt"]
    assert code == 200
    assert found == {
        "kind": "ExternalMetricValueList",
        "apiVersion": "external.metrics.k8s.io/v1beta1",
        "metadata": {},
        "items": [
            {
                "metricName": METRIC,
                "metricLabels": {"policy": "chat"},
                "timestamp": decided_at,
                "value": "7",
            }
        ],
    }


async def test_discovery_names_the_metric_and_what_else_is_asked_for_is_not_here(
    api: Aggregator,
) -> None:
    code, resources = await api.get(BASE)
    assert (code, resources["kind"]) == (200, "APIResourceList")
    assert resources["groupVersion"] == "external.metrics.k8s.io/v1beta1"
    (metric,) = resources["resources"]
    assert (metric["name"], metric["namespaced"], metric["verbs"]) == (METRIC, True, ["get"])
    code, group = await api.get("/apis/external.metrics.k8s.io")
    assert (code, group["preferredVersion"]["version"]) == (200, "v1beta1")
    for missing in ("/apis", "/openapi/v2", "/openapi/v3"):
        assert (await api.get(missing))[0] == 404, "the API server then does without"


@pytest.mark.parametrize(
    ("changes", "selector", "code", "reason", "said"),
    [
        pytest.param(
            {"age_s": MAX_AGE_S * 2},
            "policy=chat",
            503,
            "ServiceUnavailable",
            "at most 120 s old, was: 240 s",
            id="the decision is stale",
        ),
        pytest.param(
            {"desired": None},
            "policy=chat",
            503,
            "ServiceUnavailable",
            "decided",
            id="there is no decision",
        ),
        pytest.param(
            {},
            "policy=other",
            404,
            "NotFound",
            "there is no LLMQualityPolicy shop/other",
            id="there is no such policy",
        ),
        pytest.param(
            {"actuator": "KEDA"},
            "policy=chat",
            409,
            "Conflict",
            "must be ExternalMetric, was: KEDA",
            id="KEDA is to ask",
        ),
        pytest.param(
            {"mode": "Shadow"},
            "policy=chat",
            409,
            "Conflict",
            "must be Enforce to be acted on, was: Shadow",
            id="it only says what it would do",
        ),
        pytest.param(
            {},
            "",
            400,
            "BadRequest",
            "labelSelector must be policy=NAME (an LLMQualityPolicy's), was: absent",
            id="no policy is named, and a sum over all would be nobody's count",
        ),
        pytest.param(
            {},
            "policy in (chat,other)",
            400,
            "BadRequest",
            "was: policy in (chat,other)",
            id="two are named",
        ),
        pytest.param(
            {}, "policy!=chat", 400, "BadRequest", "was: policy!=chat", id="all others are named"
        ),
    ],
)
async def test_a_refusal_is_a_status_that_clients_read(
    door: Door,
    api: Aggregator,
    changes: dict[str, Any],
    selector: str,
    code: int,
    reason: str,
    said: str,
) -> None:
    door.policies.put(**({"actuator": "ExternalMetric"} | changes))
    found_code, found = await api.value(selector)
    assert (found_code, found["code"], found["kind"]) == (code, code, "Status")
    assert (found["status"], found["reason"]) == ("Failure", reason)
    assert said in found["message"]
    assert "items" not in found, "nothing that could be read as a count of 0"


async def test_questions_are_counted_by_what_was_answered(door: Door, api: Aggregator) -> None:
    door.policies.put(3, actuator="ExternalMetric")
    await api.value()
    await api.value("policy=other")
    counted = {("ExternalMetric", "Given"): 1.0, ("ExternalMetric", "NotFound"): 1.0}
    assert door.policies.asked() == counted


async def test_a_metric_of_another_name_is_not_here(api: Aggregator) -> None:
    code, found = await api.get(f"{BASE}/namespaces/shop/queue-depth")
    assert (code, found["message"]) == (404, f"the one metric here is {METRIC}, was: queue-depth")


@pytest.mark.parametrize("selector", ["policy=chat", "policy==chat", " policy = chat "])
async def test_ways_to_name_a_policy(door: Door, api: Aggregator, selector: str) -> None:
    door.policies.put(2, actuator="ExternalMetric")
    assert (await api.value(selector))[0] == 200


async def test_who_is_not_the_front_proxy_learns_nothing(door: Door, tmp_path: Path) -> None:
    door.policies.put(2, actuator="ExternalMetric")
    (tmp_path / "other").mkdir()
    stranger = make(tmp_path / "other", "front", common_name="front-proxy")
    for proves in (None, stranger):
        with pytest.raises(aiohttp.ClientError):
            await door.knock(proves).value()


async def test_one_of_the_same_authority_by_another_name_is_turned_away(door: Door) -> None:
    door.policies.put(2, actuator="ExternalMetric")
    door.guard.trust(FrontProxy(door.front.ca_pem, frozenset({"somebody-else"})))
    code, found = await door.knock(door.front).value()
    assert (code, found["reason"]) == (401, "Unauthorized")


async def test_a_new_authority_is_trusted_from_the_next_handshake_on(
    door: Door, tmp_path: Path
) -> None:
    door.policies.put(2, actuator="ExternalMetric")
    (tmp_path / "new").mkdir()
    renewed = make(tmp_path / "new", "front", common_name="front-proxy")
    door.guard.trust(FrontProxy(renewed.ca_pem, frozenset({"front-proxy"})))
    assert (await door.knock(renewed).value())[0] == 200


SUBJECT = {"subject": ((("countryName", "XX"),), (("commonName", "front-proxy"),))}


@pytest.mark.parametrize(
    ("names", "certificate", "allowed"),
    [
        pytest.param({"front-proxy", "b"}, SUBJECT, True, id="its name is on the list"),
        pytest.param(set(), SUBJECT, True, id="the list is empty: any name"),
        pytest.param({"b"}, SUBJECT, False, id="another name is on the list"),
        pytest.param({"XX"}, SUBJECT, False, id="a country is no name"),
        pytest.param(set(), None, False, id="there is no certificate"),
    ],
)
def test_is_allowed(names: set[str], certificate: dict[str, Any] | None, allowed: bool) -> None:
    assert is_allowed(FrontProxy("pem", frozenset(names)), certificate) is allowed


def test_what_the_cluster_publishes() -> None:
    data = {"requestheader-client-ca-file": "pem", "requestheader-allowed-names": '["a", "b"]'}
    assert read_front_proxy({"data": data}) == FrontProxy("pem", frozenset({"a", "b"}))
    del data["requestheader-allowed-names"]
    assert read_front_proxy({"data": data}).names == frozenset()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        pytest.param({}, "set up without aggregation", id="there is no authority"),
        pytest.param(
            {"requestheader-client-ca-file": "pem", "requestheader-allowed-names": "a"},
            "must be a JSON list of names",
            id="the names are no list",
        ),
        pytest.param(
            {"requestheader-client-ca-file": "pem", "requestheader-allowed-names": "7"},
            "must be a JSON list of names",
            id="the names are a number",
        ),
    ],
)
def test_a_cluster_that_says_less(data: dict[str, str], said: str) -> None:
    with pytest.raises(ApiError, match=said):
        read_front_proxy({"data": data})
