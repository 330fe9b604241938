"""Series beside the demand reach the forecast, past and all; one that fails costs only itself."""

from typing import Any

import pytest

from fake_cluster import START, policy
from stage import Stage
from tidegate_operator.crd.fields import InvalidSpecError
from tidegate_operator.crd.spec import read_spec
from tidegate_operator.sources.prometheus import Answer, Kind

URL = "http://prometheus.monitoring.svc:9090"
ORDERS = {"name": "orders", "query": "sum(rate(orders_total[5m]))"}
SIGNUPS = {"name": "signups", "query": "sum(rate(signups_total[5m]))"}


def with_series(*regressors: dict[str, str], **metrics: Any) -> dict[str, Any]:
    scaling = {"capacityPerReplica": "2.5", "forecast": {"regressors": list(regressors)}}
    return policy(metrics={"prometheus": {"url": URL}} | metrics, scaling=scaling)


def stage_with(*regressors: dict[str, str]) -> Stage:
    stage = Stage(with_series(*regressors), replicas=2)
    for minute in range(1440):
        stage.prometheus.rates[START - minute * 60] = 0.5
    return stage


async def minutes(stage: Stage, count: int, *, rps: float = 2.0) -> None:
    for _ in range(count * 4):
        stage.prometheus.rates[stage.clock.at + 15] = 0.5
        await stage.tick(rps=rps)


async def test_a_series_is_known_to_the_forecast_with_its_past() -> None:
    stage = stage_with(ORDERS, SIGNUPS)
    await minutes(stage, 4)
    first, second = stage.forecasts.known.regressors
    assert (first.name, second.name) == ("orders", "signups")
    assert len([value for value in first.values if value is not None]) > 1400
    assert set(first.values[-5:]) == {30}, "half an order a second is thirty a minute"
    assert {query for _, query in stage.prometheus.instants} == {ORDERS["query"], SIGNUPS["query"]}
    assert stage.status()["demand"]["rps"] == "2", "the demand is still the sidecars'"


async def test_a_server_that_is_away_costs_the_series_and_not_the_forecast() -> None:
    stage = stage_with(ORDERS)
    stage.prometheus.broken = "answered 503"
    stage.prometheus.answer = Answer(kind=Kind.FAILED, message="answered 503")
    await minutes(stage, 3)
    assert stage.forecasts.known.regressors == ()
    assert len(stage.forecasts.asked) >= 2
    assert stage.condition("MetricsAvailable")[0] == "True"


async def test_a_series_that_the_policy_no_longer_names_is_asked_for_no_more() -> None:
    stage = stage_with(ORDERS)
    await minutes(stage, 2)
    stage.see(with_series(SIGNUPS))
    await minutes(stage, 2)
    stage.prometheus.instants.clear()
    await minutes(stage, 1)
    assert {query for _, query in stage.prometheus.instants} == {SIGNUPS["query"]}


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        pytest.param(
            policy(scaling={"capacityPerReplica": "1", "forecast": {"regressors": [ORDERS]}}),
            "spec.metrics.prometheus is required by scaling.forecast.regressors",
            id="nobody to ask",
        ),
        pytest.param(
            with_series({"name": "orders", "query": ""}),
            "spec.scaling.forecast.regressors[0].query must not be empty",
            id="nothing to ask for",
        ),
        pytest.param(
            with_series(ORDERS, ORDERS),
            "spec.scaling.forecast.regressors[1].name must differ from the other regressors',"
            " was: orders",
            id="one name twice",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused(manifest: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        read_spec(manifest)
    assert str(caught.value) == said


def test_without_regressors_no_server_is_needed() -> None:
    assert read_spec(policy()).regressors == {}
