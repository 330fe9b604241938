"""A policy whose demand comes from a Prometheus: its target is scaled without a single sidecar,
never down on an answer that is no number, and what its Secret holds is said nowhere."""

import base64
from typing import Any

import pytest

from fake_cluster import MAPS, SCALE, START, policy
from stage import TICK_S, Stage
from tidegate_operator.sources.prometheus import Answer, Kind, Server

URL = "http://prometheus.monitoring.svc:9090"
DEPLOYMENT = SCALE.removesuffix("/scale")
SECRET = "/api/v1/namespaces/shop/secrets/mimir"
TOKEN = "topsecret.eyJhbGciOi"


def bare_target(replicas: int = 2, ready: int | None = None, **prometheus: Any) -> Stage:
    """A Deployment whose pods have no sidecar."""
    metrics = {"source": "Prometheus", "prometheus": {"url": URL, **prometheus}}
    stage = Stage(policy(metrics=metrics), replicas=replicas)
    for uid in list(stage.arrived):
        stage.world.drop_pod(uid)
    stage.arrived.clear()
    stage.api.put(
        DEPLOYMENT,
        {
            "kind": "Deployment",
            "metadata": {"name": "llama", "namespace": "shop", "uid": "uid-llama"},
            "spec": {"template": {}},
            "status": {"readyReplicas": replicas if ready is None else ready},
        },
    )
    stage.api.put("/api/v1/namespaces/shop", {"metadata": {"name": "shop"}})
    stage.prometheus.answer = Answer(kind=Kind.VALUE, value=1.0)
    return stage


def rate(stage: Stage, rps: float) -> None:
    stage.prometheus.answer = Answer(kind=Kind.VALUE, value=rps)


async def test_a_target_without_sidecars_is_scaled_up_and_down() -> None:
    stage = bare_target()
    rate(stage, 10.0)
    await stage.tick(2)
    assert stage.replicas > 4
    assert stage.status()["demand"] == {"state": "Present", "rps": "10"}
    stage.api.objects[DEPLOYMENT]["status"]["readyReplicas"] = stage.replicas
    stage.api.objects[SCALE]["status"]["replicas"] = stage.replicas
    rate(stage, 0.0)
    await stage.tick(60)
    assert stage.replicas == 1


async def test_such_a_target_lacks_nothing() -> None:
    stage = bare_target()
    await stage.tick(2)
    for kind in ("Ready", "MetricsAvailable", "SidecarsInSync", "InjectionHealthy"):
        assert stage.condition(kind)[0] == "True", kind
    assert stage.status()["replicas"]["ready"] == 2
    assert "sidecars" in stage.status()
    assert stage.status()["sidecars"]["expected"] == 0


async def test_an_idle_target_sleeps_and_a_demand_that_only_the_server_sees_wakes_it() -> None:
    stage = bare_target()
    zero = {"enabled": True, "after": "10m"}
    scaling = {"minReplicas": 0, "maxReplicas": 5, "capacityPerReplica": "2.5"}
    metrics = {"source": "Prometheus", "prometheus": {"url": URL}}
    stage.see(policy(metrics=metrics, scaling={**scaling, "scaleToZero": zero}))
    rate(stage, 0.0)
    await stage.tick(60)
    assert stage.replicas == 0
    stage.api.objects[DEPLOYMENT]["status"]["readyReplicas"] = 0
    stage.api.objects[SCALE]["status"]["replicas"] = 0
    await stage.tick(4)
    assert stage.replicas == 0
    assert stage.condition("MetricsAvailable") == ("True", "MetricsFound")
    rate(stage, 2.0)
    await stage.tick()
    assert stage.replicas >= 1


@pytest.mark.parametrize(
    ("kind", "rps", "left"),
    [
        pytest.param(Kind.EMPTY, 0.0, 1, id="no series, and sidecars counted nothing: zero"),
        pytest.param(Kind.EMPTY, 0.5, 4, id="no series, but sidecars count arrivals: held"),
        pytest.param(Kind.FAILED, 0.0, 4, id="an error is none whatever sidecars say"),
    ],
)
async def test_what_the_server_cannot_tell_is_zero_only_where_sidecars_bear_it_out(
    kind: Kind, rps: float, left: int
) -> None:
    metrics = {"source": "Prometheus", "prometheus": {"url": URL}}
    stage = Stage(policy(metrics=metrics), replicas=4)
    stage.api.put(DEPLOYMENT, {"status": {"readyReplicas": 4}})
    stage.prometheus.answer = Answer(kind=kind, message="no series")
    await stage.tick(60, rps=rps)
    assert stage.replicas == left


async def test_pods_that_are_not_ready_are_starting() -> None:
    stage = bare_target(replicas=4, ready=3)
    await stage.tick(30)
    assert stage.replicas == 4, "nothing is scaled down while pods start"
    stage.api.objects[DEPLOYMENT]["status"]["readyReplicas"] = 4
    await stage.tick(30)
    assert stage.replicas < 4


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(Answer(kind=Kind.EMPTY, message="no series"), "MetricsAbsent", id="is none"),
        pytest.param(
            Answer(kind=Kind.STALE, value=0.0, age_s=900, message="15 min"),
            "MetricsStale",
            id="is too old",
        ),
        pytest.param(
            Answer(kind=Kind.NOT_A_NUMBER, message="NaN"), "MetricsError", id="is not a number"
        ),
        pytest.param(
            Answer(kind=Kind.SEVERAL, message="sum() it"), "MetricsError", id="is several"
        ),
        pytest.param(
            Answer(kind=Kind.FAILED, message="answered 503"), "MetricsError", id="is a failure"
        ),
    ],
)
async def test_nothing_is_scaled_on_an_answer_that(answer: Answer, reason: str) -> None:
    stage = bare_target(replicas=4)
    rate(stage, 9.0)
    await stage.tick(2)
    before = stage.replicas
    stage.prometheus.answer = answer
    await stage.tick(60)
    assert stage.replicas == before
    assert stage.condition("MetricsAvailable") == ("False", reason)
    (said,) = [c for c in stage.status()["conditions"] if c["type"] == "MetricsAvailable"]
    assert said["message"] == f"{answer.message}; nothing is scaled down"


async def test_the_query_is_the_policys_else_ours() -> None:
    stage = bare_target(query="sum(rate(nginx_requests_total[2m]))")
    await stage.tick()
    assert stage.prometheus.instants == [(Server(url=URL), "sum(rate(nginx_requests_total[2m]))")]
    stage = bare_target()
    await stage.tick()
    ((_, query),) = stage.prometheus.instants
    assert 'namespace="shop",pod=~"llama-' in query


async def test_history_comes_from_there_at_once_and_after_a_restart() -> None:
    stage = bare_target()
    for minute in range(3 * 1440):
        stage.prometheus.rates[START - minute * 60] = 2.0
    for _ in range(2):
        before = len(stage.forecasts.asked)
        await stage.tick(5)
        assert abs(stage.forecasts.asked[before][2] - 3 * 1440) <= 3, "from the first forecast on"
        _, _, known = stage.forecasts.asked[-1]
        assert abs(known - 3 * 1440) <= 3
        assert len(stage.prometheus.ranges) <= 2, "once, and for what came since"
        stage.prometheus.ranges.clear()
        stage.restart()


async def test_a_gap_is_filled_once_there_are_answers_again() -> None:
    stage = bare_target()
    await stage.tick(9)
    stage.prometheus.ranges.clear()
    stage.prometheus.answer = Answer(kind=Kind.FAILED, message="gone")
    await stage.tick(40)
    assert stage.prometheus.ranges == []
    rate(stage, 1.0)
    await stage.tick(8)
    minutes = [(end - start) / 60 + 1 for start, end in stage.prometheus.ranges]
    assert len(minutes) <= 2, "at once, and for what was too new then"
    assert 9 <= sum(minutes) <= 11


async def test_a_history_that_fails_is_asked_for_again_a_minute_later() -> None:
    stage = bare_target()
    stage.prometheus.broken = "answered 503"
    await stage.tick(8)
    assert 2 <= len(stage.prometheus.ranges) <= 3
    stage.prometheus.broken = ""
    await stage.tick(9)
    asked = len(stage.prometheus.ranges)
    await stage.tick(9)
    assert len(stage.prometheus.ranges) <= asked + 1


async def test_another_query_begins_a_history_of_its_own() -> None:
    stage = bare_target(query="old")
    rate(stage, 5.0)
    await stage.tick(9)
    metrics = {"source": "Prometheus", "prometheus": {"url": URL, "query": "new"}}
    stage.see(policy(metrics=metrics))
    stage.prometheus.answer = Answer(kind=Kind.EMPTY, message="no series")
    await stage.tick(5)
    assert stage.status()["demand"] == {"state": "Absent"}
    assert stage.forecasts.asked[-1][2] == 0


async def test_where_there_are_sidecars_they_tell_how_long_a_request_takes() -> None:
    metrics = {"source": "Prometheus", "prometheus": {"url": URL}}
    stage = Stage(policy(metrics=metrics), replicas=2)
    stage.api.put(DEPLOYMENT, {"status": {"readyReplicas": 2}})
    rate(stage, 4.0)
    await stage.tick(9, rps=1.0)
    assert stage.status()["demand"]["rps"] == "4", "Prometheus' demand, not the sidecars'"
    assert stage.status()["sidecars"] == {"expected": 2, "reporting": 2, "applied": 2, "failed": 0}


# --- headers from a Secret ------------------------------------------------------------------


def put_secret(stage: Stage, **values: str) -> None:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    stage.api.put(SECRET, {"data": data})


async def test_a_secrets_keys_are_sent_as_headers_and_read_again_when_they_change() -> None:
    stage = bare_target(headersSecretRef={"name": "mimir"})
    put_secret(stage, Authorization=f"Bearer {TOKEN}\n")
    await stage.tick()
    server, _ = stage.prometheus.instants[-1]
    assert server.headers == {"Authorization": f"Bearer {TOKEN}"}
    put_secret(stage, Authorization="Bearer other")
    await stage.tick(5)
    server, _ = stage.prometheus.instants[-1]
    assert server.headers == {"Authorization": "Bearer other"}


async def test_a_refused_token_is_read_again_at_the_next_tick() -> None:
    stage = bare_target(headersSecretRef={"name": "mimir"})
    put_secret(stage, Authorization="old")
    stage.prometheus.answer = Answer(kind=Kind.FAILED, message="answered 401")
    await stage.tick()
    put_secret(stage, Authorization="new")
    await stage.tick()
    assert [(s.headers or {})["Authorization"] for s, _ in stage.prometheus.instants] == [
        "old",
        "new",
    ]


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        pytest.param(None, "Secret shop/mimir can't be read (404 NotFound)", id="it is not there"),
        pytest.param(
            {"Authorization": f"Bearer {TOKEN}\r\nX-Evil: 1"},
            "Secret shop/mimir: key Authorization and its value must make one HTTP header",
            id="a value would make two headers",
        ),
        pytest.param(
            {"not a name": TOKEN},
            "Secret shop/mimir: key not a name and its value must make one HTTP header",
            id="a key is no header's name",
        ),
    ],
)
async def test_a_secret_is_no_use_where(secret: dict[str, str] | None, words: str) -> None:
    stage = bare_target(headersSecretRef={"name": "mimir"})
    if secret is not None:
        put_secret(stage, **secret)
    await stage.tick(2)
    (said,) = [c for c in stage.status()["conditions"] if c["type"] == "MetricsAvailable"]
    assert (said["status"], said["reason"]) == ("False", "MetricsError")
    assert said["message"] == f"{words}; nothing is scaled down"
    assert stage.prometheus.instants == [], "nobody is asked without what they would ask for"


async def test_without_the_right_to_read_it_the_way_to_get_it_is_said() -> None:
    stage = bare_target(headersSecretRef={"name": "mimir"})
    stage.api.refuse["GET", SECRET] = 403
    await stage.tick()
    (said,) = [c for c in stage.status()["conditions"] if c["type"] == "MetricsAvailable"]
    assert "name it in the chart's prometheus.secrets" in said["message"]


async def test_a_token_stands_in_no_object_and_no_log(capsys: pytest.CaptureFixture[str]) -> None:
    stage = bare_target(headersSecretRef={"name": "mimir"})
    put_secret(stage, Authorization=f"Bearer {TOKEN}")
    stage.prometheus.broken = "answered 503"
    await stage.tick(5)
    await stage.loop.end()
    written = {path: body for path, body in stage.api.objects.items() if path != SECRET}
    assert any(path.startswith(MAPS) for path in written)
    assert TOKEN not in repr(written) + repr(stage.prometheus.instants) + str(capsys.readouterr())


async def test_a_tick_asks_once_and_reads_the_secret_once_a_minute() -> None:
    stage = bare_target(headersSecretRef={"name": "mimir"})
    put_secret(stage, Authorization="a")
    reads = stage.api.reads
    await stage.tick(8)
    assert len(stage.prometheus.instants) == 8
    per_tick = (stage.api.reads - reads) / 8
    assert per_tick < 5, f"{per_tick} reads of the API a tick of {TICK_S} s"
