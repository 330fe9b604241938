"""``spec.scaling`` and ``spec.metrics``: what decisions are told of them."""

from datetime import UTC, datetime

import pytest

from full_policy import manifest
from tidegate_operator.crd.spec import read_spec
from tidegate_operator.decide.schedules import Schedule
from tidegate_operator.decide.words import OnLost
from tidegate_operator.forecast.known import Holidays


def test_schedules_are_read_with_their_days_and_hours() -> None:
    night = {"name": "night", "start": "22:00", "end": "06:30", "days": ["Fri", "Weekend"]}
    sale = {"name": "sale", "expectFactor": "2.5", "timezone": "Europe/Berlin"}
    schedules = [night | {"minReplicas": 3, "maxReplicas": 9}, sale]
    read = read_spec(manifest(scaling__schedules=schedules)).rules.scaling.schedules
    assert read == (
        Schedule(
            name="night",
            days=frozenset({4, 5, 6}),
            start_minute=22 * 60,
            end_minute=6 * 60 + 30,
            min_replicas=3,
            max_replicas=9,
        ),
        Schedule(name="sale", timezone="Europe/Berlin", expect_factor=2.5),
    )


@pytest.mark.parametrize(
    ("signal", "field"),
    [
        pytest.param("Auto", "capacity_rps", id="requests unless said otherwise"),
        pytest.param("RequestsPerSecond", "capacity_rps", id="requests per second"),
        pytest.param("TokensPerSecond", "capacity_tokens_per_s", id="tokens per second"),
        pytest.param("Concurrency", "capacity_in_flight", id="requests at once"),
    ],
)
def test_capacity_is_in_the_unit_of_the_signal(signal: str, field: str) -> None:
    changes = {"scaling__demand": {"signal": signal}, "scaling__capacityPerReplica": "40"}
    scaling = read_spec(manifest(**changes)).rules.scaling
    fields = ("capacity_rps", "capacity_tokens_per_s", "capacity_in_flight")
    assert {name: getattr(scaling, name) for name in fields} == dict.fromkeys(fields) | {
        field: 40.0
    }


@pytest.mark.parametrize("given", ["Auto", None], ids=["said", "left out"])
def test_capacity_may_be_left_to_be_learned(given: str | None) -> None:
    scaling = read_spec(manifest(scaling__capacityPerReplica=given)).rules.scaling
    declared = (scaling.capacity_rps, scaling.capacity_tokens_per_s, scaling.capacity_in_flight)
    assert declared == (None, None, None)


def test_lost_demand_zero_and_history_to_leave_out_are_read() -> None:
    window = {"start": "2026-11-27T08:00:00Z", "end": "2026-11-27T10:30:00+01:00"}
    spec = read_spec(
        manifest(
            metrics__onLost="Fallback",
            metrics__fallbackReplicas=4,
            scaling__minReplicas=0,
            scaling__scaleToZero={"enabled": True, "after": "10m"},
            scaling__forecast__excludeWindows=[window],
            scaling__forecast__holidays={"country": "DE-BY", "timezone": "Europe/Berlin"},
        )
    )
    scaling = spec.rules.scaling
    assert (scaling.on_lost, scaling.fallback_replicas) == (OnLost.FALLBACK, 4)
    assert (scaling.min_replicas, scaling.idle_before_zero_s) == (0, 600.0)
    eight = datetime(2026, 11, 27, 8, tzinfo=UTC).timestamp()
    assert spec.forecast.exclude == ((eight, eight + 5400.0),)
    assert spec.forecast.holidays == Holidays("DE-BY", "Europe/Berlin")
