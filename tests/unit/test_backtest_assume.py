"""Each figure that a backtest takes for granted comes from an option, else from the policy, else
from a default, and says which."""

from typing import Any

import pytest

from tidegate_operator.backtest.assume import (
    Asked,
    AssumptionError,
    Assumptions,
    HpaTarget,
    Measured,
    assume,
)
from tidegate_operator.crd.spec import read_spec


def policy(**scaling: Any) -> dict[str, Any]:
    return {
        "spec": {
            "targetRef": {"kind": "Deployment", "name": "llama"},
            "models": [{"name": "llama-70b"}],
            "slo": {"ttft": {"target": "2s", "percentile": "95"}},
            "scaling": {"capacityPerReplica": "2", **scaling},
        }
    }


def assumed(
    asked: Asked, scaling: dict[str, Any] | None = None, measured: Measured | None = None
) -> Assumptions:
    spec = None if scaling is None else read_spec(policy(**scaling))
    return assume(asked, spec, measured or Measured())


def told(found: Assumptions) -> dict[str, tuple[str, str]]:
    return {line.name: (line.value, line.source) for line in found.told}


CONCURRENCY = {"demand": {"signal": "Concurrency"}, "capacityPerReplica": "16"}
TOKENS = {"demand": {"signal": "TokensPerSecond"}, "capacityPerReplica": "5000"}


@pytest.mark.parametrize(
    ("asked", "scaling", "measured", "slots", "service_s", "source"),
    [
        pytest.param(Asked(), None, Measured(), 8, 4.0, "slots / service time", id="nothing said"),
        pytest.param(
            Asked(slots=64, service_s=8.0),
            {},
            Measured(),
            *(64, 8.0, "slots / service time; capacityPerReplica says 2"),
            id="both by options, which win over the policy",
        ),
        pytest.param(
            Asked(slots=8, service_s=4.0),
            {},
            Measured(),
            *(8, 4.0, "slots / service time"),
            id="options that say what the policy says",
        ),
        pytest.param(
            Asked(slots=16), {}, Measured(), 16, 8.0, "capacityPerReplica", id="slots and capacity"
        ),
        pytest.param(
            Asked(service_s=3.0),
            {},
            Measured(),
            *(6, 3.0, "capacityPerReplica"),
            id="service time and capacity",
        ),
        pytest.param(
            Asked(), {}, Measured(), 8, 4.0, "capacityPerReplica", id="the policy's capacity alone"
        ),
        pytest.param(
            Asked(),
            {"capacityPerReplica": "Auto"},
            Measured(),
            *(8, 4.0, "slots / service time; capacityPerReplica is Auto: as if learned"),
            id="a capacity that is to be learned",
        ),
        pytest.param(
            Asked(),
            None,
            Measured(token_service_s=5.0),
            *(8, 5.0, "slots / service time"),
            id="service time by tokens",
        ),
        pytest.param(
            Asked(service_s=2.0),
            CONCURRENCY,
            Measured(),
            *(16, 2.0, "capacityPerReplica at once / service time"),
            id="a capacity in requests at once",
        ),
        pytest.param(
            Asked(slots=10),
            TOKENS,
            Measured(tokens_per_request=1000.0),
            *(10, 2.0, "capacityPerReplica / 1000 tokens a request"),
            id="a capacity in tokens per second",
        ),
    ],
)
def test_two_of_slots_service_time_and_capacity_give_the_third(
    asked: Asked,
    scaling: dict[str, Any] | None,
    measured: Measured,
    slots: int,
    service_s: float,
    source: str,
) -> None:
    found = assumed(asked, scaling, measured)
    assert (found.plant.slots_per_pod, found.plant.service_s) == (slots, service_s)
    assert told(found)["requests/s a pod"][1] == source
    assert found.rules.scaling.capacity_rps == found.plant.pod_rps


@pytest.mark.parametrize(
    ("asked", "scaling", "cold_starts", "cold_start_s", "horizon_s", "source"),
    [
        pytest.param(Asked(), {}, (), 180.0, 300.0, "default", id="nothing said"),
        pytest.param(
            Asked(cold_start_s=60.0), {}, (100.0,) * 5, 60.0, 180.0, "--cold-start", id="option"
        ),
        pytest.param(
            Asked(),
            {},
            tuple(float(s) for s in range(100, 210, 10)),
            *(190.0, 310.0, "90 % of 11 measured starts"),
            id="as measured",
        ),
        pytest.param(
            Asked(), {}, (100.0, 110.0), 180.0, 300.0, "default", id="too few were measured"
        ),
        pytest.param(
            Asked(),
            {"forecast": {"horizon": "10m"}},
            (),
            *(480.0, 600.0, "forecast.horizon less 2 min"),
            id="as the policy's horizon implies",
        ),
    ],
)
def test_the_cold_start_and_how_far_ahead_it_makes_look(
    asked: Asked,
    scaling: dict[str, Any],
    cold_starts: tuple[float, ...],
    cold_start_s: float,
    horizon_s: float,
    source: str,
) -> None:
    found = assumed(asked, scaling, Measured(cold_starts=cold_starts))
    assert (found.plant.cold_start_s, found.horizon_s) == (cold_start_s, horizon_s)
    assert told(found)["a pod starts within"][1] == source


def test_limits_and_slo_are_the_policys() -> None:
    found = assumed(Asked(), {"minReplicas": 2, "maxReplicas": 7})
    assert (found.plant.slo_wait_s, found.plant.slo_percentile) == (2.0, 0.95)
    assert told(found)["replicas"] == ("2 to 7", "policy")
    assert told(assumed(Asked()))["replicas"] == ("1 or more", "default")


def test_without_a_policy_the_room_is_chosen_as_a_policy_has_it_by_default() -> None:
    without, least = assumed(Asked()).rules.scaling, assumed(Asked(), {}).rules.scaling
    assert without.allowed_late == least.allowed_late == 0.005
    assert without.quantile == least.quantile
    assert without.reactive_alone_utilization == least.reactive_alone_utilization


def test_what_the_policy_says_of_its_history_is_told() -> None:
    window = {"start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00Z"}
    found = told(assumed(Asked(), {"forecast": {"excludeWindows": [window]}}))
    assert found["left out of learning"] == ("1 window", "forecast.excludeWindows")
    assert "left out of learning" not in told(assumed(Asked(), {}))


@pytest.mark.parametrize(
    ("hpa", "words", "source"),
    [
        pytest.param(None, "70%", "default", id="none is known"),
        pytest.param(HpaTarget(utilization=0.6, source="HPA x"), "60%", "HPA x", id="utilization"),
        pytest.param(HpaTarget(rps=1.4, source="x"), "1.4 requests/s a pod", "x", id="a rate"),
    ],
)
def test_the_users_hpa(hpa: HpaTarget | None, words: str, source: str) -> None:
    assert told(assumed(Asked(), {}, Measured(hpa=hpa)))["your HPA's target"] == (words, source)


@pytest.mark.parametrize(
    ("asked", "scaling", "message"),
    [
        pytest.param(
            Asked(service_s=0.1),
            {},
            "--service-time must be at least 0.5 s where a pod carries capacityPerReplica: 2"
            " requests/s, was: 0.1 s",
            id="a pod without a slot",
        ),
        pytest.param(
            Asked(),
            TOKENS,
            "capacityPerReplica is in tokens per second, and the history has no tokens",
            id="tokens without tokens",
        ),
    ],
)
def test_figures_that_contradict_each_other(
    asked: Asked, scaling: dict[str, Any], message: str
) -> None:
    with pytest.raises(AssumptionError, match=message):
        assumed(asked, scaling)
