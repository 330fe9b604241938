"""A backtest's history from a Prometheus and from the cluster, asked as their APIs are asked."""

import asyncio
import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from backtest_runs import POLICY, run
from small_api import SmallApi, status
from tidegate_operator.cluster.history import Checkpoint, encode_history

RANGE = "/api/v1/query_range"
POLICIES = "/apis/tidegate.io/v1alpha1/namespaces/shop/llmqualitypolicies"
CONFIG_MAPS = "/api/v1/namespaces/shop/configmaps"
AUTOSCALERS = "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers"
META = {"name": "chat", "namespace": "shop", "uid": "u"}


class FakePrometheus(SmallApi):
    """Two hours at 5 requests/s, up to the time that it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[dict[str, Any]] = []
        self.tokens: list[str | None] = []
        self.handlers[RANGE] = self._range

    async def _range(self, request: web.Request) -> web.StreamResponse:
        self.tokens.append(request.headers.get("Authorization"))
        self.forms.append(dict(await request.post()))
        end, step = float(self.forms[-1]["end"]), float(self.forms[-1]["step"])
        values = [[end - step * i, "5"] for i in reversed(range(120))]
        matrix = {"resultType": "matrix", "result": [{"metric": {}, "values": values}]}
        return web.json_response({"status": "success", "data": matrix})


async def told(*arguments: object) -> tuple[int, str, str]:
    return await asyncio.to_thread(run, *arguments)


async def test_a_prometheus_gives_the_history(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret-token\n")
    async with FakePrometheus() as server:
        code, out, err = await told(
            *("--prometheus", server.url, "--query", "sum(rate(x[2m]))", "--days", "0.2"),
            *("--bearer-token-file", token, "--header", "X-Scope-OrgID=team", "-o", "json"),
        )
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["results"][0]["requests"] == 120 * 300
    assert found["trace"] == f"{server.url}: sum(rate(x[2m]))"
    assert server.tokens == ["Bearer secret-token"]
    (form,) = server.forms
    assert float(form["end"]) - float(form["start"]) == pytest.approx(0.2 * 86400, abs=60)


async def test_the_policys_regressors_are_asked_of_the_same_server(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    scaling = POLICY["spec"]["scaling"] | {
        "forecast": {"regressors": [{"name": "orders", "query": "sum(orders)"}]}
    }
    more = {"metrics": {"prometheus": {"url": "http://elsewhere"}}, "scaling": scaling}
    path.write_text(yaml.safe_dump(POLICY | {"spec": POLICY["spec"] | more}))
    async with FakePrometheus() as server:
        asked = ("-f", path, "--query", "rps", "--prometheus", server.url, "--days", "0.2")
        code, out, err = await told(*asked)
    assert (code, err) == (0, "")
    assert [form["query"] for form in server.forms] == ["rps", "sum(orders)"]
    assert re.search(r"series orders +looked at", out)


@pytest.mark.parametrize(
    ("metrics", "query"),
    [
        pytest.param(
            {"source": "Prometheus", "prometheus": {"url": "http://p", "query": "my_rps"}},
            "my_rps",
            id="the policy's own",
        ),
        pytest.param({}, 'namespace="shop",pod=~"llama-[a-z0-9]+', id="what sidecars count"),
    ],
)
async def test_a_query_is_known_by_the_policy(
    tmp_path: Path, metrics: dict[str, Any], query: str
) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(yaml.safe_dump(POLICY | {"spec": POLICY["spec"] | {"metrics": metrics}}))
    async with FakePrometheus() as server:
        asked = ("-f", path, "-n", "shop", "--prometheus", server.url, "--days", "0.2")
        code, _, err = await told(*asked)
    assert (code, err) == (0, "")
    assert query in server.forms[0]["query"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        pytest.param(("--prometheus", "{}"), "--prometheus needs a --query", id="no query"),
        pytest.param(
            ("--prometheus", "p:9090", "--query", "x"), "--prometheus must", id="not a URL"
        ),
        pytest.param(
            ("--prometheus", "{}", "--query", "x", "--header", "secret"),
            "--header must be NAME=VALUE",
            id="a header without a value, which is not repeated",
        ),
        pytest.param(
            ("--prometheus", "{}", "--query", "x", "--bearer-token-file", "/none"),
            "--bearer-token-file /none: No such file or directory",
            id="no token",
        ),
        pytest.param(
            ("--prometheus", "{}/elsewhere", "--query", "x"), "answered 404: ", id="a refusal"
        ),
    ],
)
async def test_what_keeps_a_prometheus_from_being_asked(
    asked: tuple[str, ...], words: str
) -> None:
    async with FakePrometheus() as server:
        code, out, err = await told(*(text.replace("{}", server.url) for text in asked))
    assert (code, out) == (2, "")
    assert words in err
    assert "secret" not in err


def cluster(api: SmallApi, checkpoint: Checkpoint | None, *hpas: dict[str, Any]) -> None:
    policy = POLICY | {"metadata": META}
    kept = [] if checkpoint is None else [encode_history(META, checkpoint)]
    api.answers |= {
        POLICIES: (200, {"items": [policy]}),
        CONFIG_MAPS: (200, {"items": kept}),
        AUTOSCALERS: (200, {"items": list(hpas)}),
    }


def hpa(target: str, **metric: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": f"for-{target}", "namespace": "shop"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
            "metrics": [metric],
        },
    }


def utilization(percent: int) -> dict[str, Any]:
    target = {"type": "Utilization", "averageUtilization": percent}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


KEPT = Checkpoint(
    start_minute=29_000_000, counts=(300.0,) * 150 + (None,) * 5, cold_starts=(90.0,) * 4
)


async def test_the_operators_checkpoint_gives_history_cold_starts_and_policy(
    tmp_path: Path,
) -> None:
    async with SmallApi() as api:
        cluster(api, KEPT, hpa("other", **utilization(20)), hpa("llama", **utilization(60)))
        config = api.kubeconfig(tmp_path / "kubeconfig")
        code, out, err = await told("--policy", "chat", "--kubeconfig", config, "-o", "json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    lines = {line["name"]: (line["value"], line["source"]) for line in found["assumptions"]}
    assert found["trace"] == "shop/chat"
    assert lines["a pod starts within"] == ("90 s", "90 % of 4 measured starts")
    assert lines["your HPA's target"] == ("60%", "HPA for-llama")
    assert lines["replicas"] == ("1 to 20", "policy")
    assert found["notes"][0].startswith("5 of 155 minutes are missing")


async def test_an_hpa_on_something_else_than_utilization_is_left_to_the_option(
    tmp_path: Path,
) -> None:
    target = {"type": "AverageValue", "averageValue": "3"}
    external = {"type": "External", "external": {"metric": {"name": "q"}, "target": target}}
    async with SmallApi() as api:
        cluster(api, KEPT, hpa("llama", **external))
        config = api.kubeconfig(tmp_path / "kubeconfig")
        code, out, _ = await told("--policy", "chat", "--kubeconfig", config, "-o", "json")
    assert code == 0
    assert {"name": "your HPA's target", "value": "70%", "source": "default"} in json.loads(out)[
        "assumptions"
    ]


TORN = encode_history(META, KEPT) | {
    "binaryData": {"history": base64.b64encode(b"no gzip").decode()}
}


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        pytest.param(
            {CONFIG_MAPS: (200, {"items": []})},
            "--policy chat: the operator has kept no history of it yet (ConfigMap"
            " tidegate-history-chat in namespace shop)",
            id="none yet",
        ),
        pytest.param(
            {CONFIG_MAPS: (200, {"items": [TORN]})},
            "--policy chat: its history can't be read: ",
            id="torn",
        ),
        pytest.param(
            {CONFIG_MAPS: (200, {"items": [encode_history(META, Checkpoint())]})},
            "--policy chat: its history has no minute yet",
            id="empty",
        ),
        pytest.param(
            {CONFIG_MAPS: (403, status(403, "Forbidden", "no"))},
            "you may not read configmaps there: no",
            id="forbidden",
        ),
        pytest.param({POLICIES: (200, {"items": []})}, "no policy chat in namespace shop", id="x"),
    ],
)
async def test_what_keeps_a_checkpoint_from_being_used(
    tmp_path: Path, answers: dict[str, tuple[int, Any]], words: str
) -> None:
    async with SmallApi() as api:
        cluster(api, KEPT)
        api.answers |= answers
        config = api.kubeconfig(tmp_path / "kubeconfig")
        code, out, err = await told("--policy", "chat", "--kubeconfig", config)
    assert (code, out) == (2, ""), "1 is kept for an answer that is no"
    assert words in err
