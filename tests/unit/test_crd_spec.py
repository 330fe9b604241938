"""A policy's manifest as values, and what is said about one that can't be used."""

import copy
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_cluster import policy
from full_policy import FULL, manifest
from tidegate_operator.crd.fields import format_duration, parse_duration_s
from tidegate_operator.crd.spec import InvalidSpecError, read_spec, read_target
from tidegate_operator.decide.rungs import Budget, BudgetAction, Rung, Scope, Trigger
from tidegate_operator.decide.words import Actuator, Mode
from tidegate_wire.config import Model, Timeouts


def test_a_full_policy_is_read_whole() -> None:
    spec = read_spec(manifest())
    assert (spec.target.kind, str(spec.target)) == ("StatefulSet", "StatefulSet/llama")
    assert spec.target.plural == "statefulsets"
    assert spec.rules.mode is Mode.SHADOW
    assert spec.rules.actuator is Actuator.KEDA
    scaling = spec.rules.scaling
    assert (scaling.min_replicas, scaling.max_replicas, scaling.capacity_rps) == (2, 20, 2.5)
    assert (scaling.wait_target_s, scaling.wait_percentile, scaling.quantile) == (2.0, 0.95, 0.99)
    assert (scaling.up_max_factor, scaling.up_max_pods, scaling.up_period_s) == (3.0, 6, 30.0)
    assert (scaling.down_max_share, scaling.stabilization_s) == (0.25, 600.0)
    assert (scaling.tolerance, scaling.max_age_s) == (0.05, 45.0)
    assert spec.forecast.horizon_s == 600.0
    assert (spec.forecast.history_s, spec.forecast.min_history_s) == (7 * 86400, 36 * 3600)
    assert spec.rules.triggers == (
        Trigger(name="errors", enter=0.05, exit=0.02, for_s=90.0, min_requests=30, do=Rung.SWITCH),
    )
    assert (spec.rules.min_dwell_s, spec.rules.recovery.backoff_max_s) == (180.0, 1800.0)
    assert spec.rules.budgets == (
        Budget(
            name="team-day",
            scope=Scope.TENANT,
            limit_tokens=2_000_000,
            limit_cost=50.0,
            unit="Day",
            timezone="Europe/Berlin",
            actions=(BudgetAction(at=0.8, do=Rung.WARN), BudgetAction(at=1.0, do=Rung.BLOCK)),
        ),
    )
    assert spec.models[0] == Model(
        name="llama-70b", input_price_per_mtok=0.9, output_price_per_mtok=1.2
    )
    assert [rule.free for rule in spec.rules.models] == [False, True]
    assert spec.tenant_header == "x-tenant-id"
    assert spec.timeouts == Timeouts(connect_s=1.0, first_token_s=20.0, idle_s=40.0, total_s=300.0)
    assert spec.max_request_bytes == 4 * 1024 * 1024


@pytest.mark.parametrize(
    ("strictness", "late", "begins"),
    [
        pytest.param("Lean", 0.01, (0.9, 0.8), id="lean"),
        pytest.param("Balanced", 0.005, (0.95, 0.7), id="balanced"),
        pytest.param("Strict", 0.001, (0.99, 0.6), id="strict"),
        pytest.param("0.05%", 0.0005, (0.99, 0.6), id="stricter"),
        pytest.param("0.25%", 0.0025, (0.95, 0.7), id="between strict and balanced"),
        pytest.param("9.99%", 0.0999, (0.9, 0.8), id="the leanest"),
    ],
)
def test_strictness_is_a_word_or_a_share_of_late_requests(
    strictness: str, late: float, begins: tuple[float, float]
) -> None:
    scaling = read_spec(manifest(scaling__strictness=strictness)).rules.scaling
    assert scaling.allowed_late == pytest.approx(late)
    assert (scaling.quantile, scaling.reactive_alone_utilization) == begins


def test_the_least_policy_has_the_schemas_defaults() -> None:
    spec = read_spec({"spec": {"targetRef": {"name": "llama"}, "models": [{"name": "m"}]}})
    assert spec.rules.mode is Mode.SHADOW
    assert not spec.rules.scales
    assert not spec.forecast.enabled
    assert (spec.rules.triggers, spec.rules.budgets) == ((), ())
    assert spec.tenant_header == ""
    assert spec.max_request_bytes == 10 * 1024 * 1024
    assert str(spec.target) == "Deployment/llama"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param(
            {"scaling__minReplicas": 21},
            "spec.scaling.minReplicas must be at most maxReplicas (20), was: 21",
            id="the minimum is above the maximum",
        ),
        pytest.param(
            {"scaling__minReplicas": 0},
            "spec.scaling.minReplicas must be at least 1 unless scaleToZero.enabled is true,"
            " was: 0",
            id="nothing scales to zero unasked",
        ),
        pytest.param(
            {"scaling__scaleToZero": {"enabled": True}},
            "spec.scaling.minReplicas must be 0 where scaleToZero.enabled is true, was: 2",
            id="a minimum above zero and scale to zero",
        ),
        pytest.param(
            {"metrics__onLost": "Fallback"},
            "spec.metrics.fallbackReplicas is required with onLost Fallback",
            id="a fallback without a count",
        ),
        pytest.param(
            {"metrics__onLost": "Fallback", "metrics__fallbackReplicas": 21},
            "spec.metrics.fallbackReplicas must be at most scaling.maxReplicas (20), was: 21",
            id="a fallback above the maximum",
        ),
        pytest.param(
            {"scaling__schedules": [{"name": "day"}]},
            "spec.scaling.schedules[0].minReplicas is required, or maxReplicas, or an expectFactor"
            " above 1",
            id="a schedule that asks for nothing",
        ),
        pytest.param(
            {"scaling__schedules": [{"name": "day", "minReplicas": 21}]},
            "spec.scaling.schedules[0].minReplicas must be at most spec.scaling.maxReplicas (20),"
            " was: 21",
            id="a schedule wider than the policy",
        ),
        pytest.param(
            {"scaling__schedules": [{"name": "day", "minReplicas": 5, "maxReplicas": 4}]},
            "spec.scaling.schedules[0].minReplicas must be at most maxReplicas (4), was: 5",
            id="a schedule whose minimum is above its maximum",
        ),
        pytest.param(
            {"scaling__schedules": [{"name": "day", "minReplicas": 5, "start": "24:00"}]},
            "spec.scaling.schedules[0].start must be a time of day such as 08:30, was: 24:00",
            id="a schedule that begins at the end of the day",
        ),
        pytest.param(
            {"scaling__schedules": [{"name": "day", "minReplicas": 5, "days": ["Mo"]}]},
            "spec.scaling.schedules[0].days must be of Mon, Tue, Wed, Thu, Fri, Sat, Sun,"
            " Weekdays, Weekend, was: Mo",
            id="a day in another language",
        ),
        pytest.param(
            {"scaling__schedules": [{"name": "day", "minReplicas": 5, "timezone": "Mars"}]},
            "spec.scaling.schedules[0].timezone must be an IANA time zone such as Europe/Berlin,"
            " was: Mars",
            id="a schedule of another world",
        ),
        pytest.param(
            {"scaling__schedules": [{"name": "a", "minReplicas": 5}] * 2},
            "spec.scaling.schedules must be distinct, but a stands there twice",
            id="two schedules of one name",
        ),
        pytest.param(
            {
                "scaling__forecast__excludeWindows": [
                    {"start": "2026-11-27T09:00:00+01:00", "end": "2026-11-27T08:00:00Z"}
                ]
            },
            "spec.scaling.forecast.excludeWindows[0].end must be after start"
            " (2026-11-27T09:00:00+01:00), was: 2026-11-27T08:00:00Z",
            id="a window that is over as it begins",
        ),
        pytest.param(
            {
                "scaling__forecast__excludeWindows": [
                    {"start": "2026-11-27T09:00:00", "end": "2026-11-27T08:00:00Z"}
                ]
            },
            "spec.scaling.forecast.excludeWindows[0].start must be a time such as"
            " 2026-11-27T08:00:00Z, was: 2026-11-27T09:00:00",
            id="a window in no time zone",
        ),
        pytest.param(
            {"scaling__forecast__holidays": {"country": "Germany"}},
            "spec.scaling.forecast.holidays.country must be a country such as DE, or a part of"
            " one such as DE-BY, was: Germany",
            id="holidays of no country",
        ),
        pytest.param(
            {"scaling__minReplicas": "two"},
            "spec.scaling.minReplicas must be a whole number, was: 'two'",
            id="a word for a count",
        ),
        pytest.param(
            {"scaling__minReplicas": True},
            "spec.scaling.minReplicas must be a whole number, was: True",
            id="YAML's yes for a count",
        ),
        pytest.param(
            {"scaling__capacityPerReplica": "auto"},
            "spec.scaling.capacityPerReplica must be a decimal such as \"2.5\", was: 'auto'",
            id="capacity is a word",
        ),
        pytest.param(
            {"scaling__capacityPerReplica": "0.0"},
            "spec.scaling.capacityPerReplica must be above 0, was: 0.0",
            id="a pod that carries nothing",
        ),
        pytest.param(
            {"scaling__capacityPerReplica": "-1"},
            "spec.scaling.capacityPerReplica must be a decimal such as \"2.5\", was: '-1'",
            id="a negative capacity",
        ),
        pytest.param(
            {"scaling__capacityPerReplica": "nan"},
            "spec.scaling.capacityPerReplica must be a decimal such as \"2.5\", was: 'nan'",
            id="not a number for a capacity",
        ),
        pytest.param(
            {"scaling__capacityPerReplica": "9" * 400},
            "spec.scaling.capacityPerReplica must be finite",
            id="a capacity beyond any float",
        ),
        pytest.param(
            {"scaling__actuator": "Hpa"},
            "spec.scaling.actuator must be one of Scale, KEDA, ExternalMetric, was: Hpa",
            id="an unknown actuator",
        ),
        pytest.param(
            {"scaling__strictness": "Hard"},
            "spec.scaling.strictness must be Lean, Balanced, Strict, or a percentage above 0% and "
            "below 10% such as 0.25%, was: Hard",
            id="an unknown strictness",
        ),
        pytest.param(
            {"scaling__strictness": "0.0%"},
            "spec.scaling.strictness must be Lean, Balanced, Strict, or a percentage above 0% and "
            "below 10% such as 0.25%, was: 0.0%",
            id="nobody may ever be late",
        ),
        pytest.param(
            {"scaling__strictness": "10%"},
            "spec.scaling.strictness must be Lean, Balanced, Strict, or a percentage above 0% and "
            "below 10% such as 0.25%, was: 10%",
            id="everybody may be late",
        ),
        pytest.param(
            {"scaling__forecast__horizon": "5s"},
            "spec.scaling.forecast.horizon must be Auto or between 2m and 1h, was: 5s",
            id="a horizon shorter than any pod's start",
        ),
        pytest.param(
            {"metrics__maxAge": "soon"},
            'spec.metrics.maxAge must be a duration such as "90s", "15m" or "1h30m", '
            "was: 'soon'",
            id="a word for a duration",
        ),
        pytest.param(
            {"metrics__maxAge": "0s"},
            "spec.metrics.maxAge must be above 0s, was: 0s",
            id="no time",
        ),
        pytest.param(
            {"metrics__maxAge": "9999999d"},
            "spec.metrics.maxAge must be at most 400d, was: 9999999d",
            id="ages",
        ),
        pytest.param(
            {"targetRef__kind": "DaemonSet"},
            "spec.targetRef.kind must be one of Deployment, StatefulSet, was: DaemonSet",
            id="a kind that does not scale",
        ),
        pytest.param({"targetRef": None}, "spec.targetRef is required", id="no target"),
        pytest.param(
            {"models__1__upstream": None},
            "spec.models[1].upstream is required of all models but the first: "
            "a fallback in the same pod would fail with it",
            id="a fallback in the same pod",
        ),
        pytest.param(
            {"models__1__upstream": "https://api.example.com:0/v1"},
            "spec.models[1].upstream must be like http://host:8000 or https://host/path, "
            "was: https://api.example.com:0/v1",
            id="an upstream that is no plain base URL",
        ),
        pytest.param(
            {"models__1__name": "llama-70b"},
            "spec.models[1].name must differ from the other models', was: llama-70b",
            id="two models of one name",
        ),
        pytest.param(
            {"models": [{"name": "llama-70b"}], "budgets": None},
            "spec.models needs a second model to switch to: add one, or let no trigger do Switch",
            id="a switch to nowhere",
        ),
        pytest.param(
            {"models": []}, "spec.models must name at least one model", id="no model at all"
        ),
        pytest.param(
            {"models__0__price": None},
            "spec.models must have a price, since a budget limits cost and no model has one",
            id="a budget of money where nothing costs any",
        ),
        pytest.param(
            {"gateway__identify": None},
            "spec.gateway is needed by a budget of scope Tenant",
            id="a tenant budget without tenants",
        ),
        pytest.param(
            {"budgets__0__limit": {}},
            "spec.budgets[0].limit must have tokens or cost",
            id="a budget without a limit",
        ),
        pytest.param(
            {"budgets__0__window__timezone": "Mars/Olympus"},
            "spec.budgets[0].window.timezone must be an IANA time zone such as Europe/Berlin, "
            "was: Mars/Olympus",
            id="a time zone of no map",
        ),
        pytest.param(
            {"budgets__0__window__timezone": "../../etc/passwd"},
            "spec.budgets[0].window.timezone must be an IANA time zone",
            id="a path for a time zone",
        ),
        pytest.param(
            {"budgets__0__actions__0__at": "120%"},
            "spec.budgets[0].actions[0].at must be at most 100%, was: 120%",
            id="an action past the limit",
        ),
        pytest.param(
            {"degrade__triggers__0__exit": "6%"},
            "spec.degrade.triggers[0].exit must be below enter (5%), was: 6%",
            id="a trigger that lets go above where it trips",
        ),
        pytest.param(
            {"degrade__triggers__0__enter": 5},
            'spec.degrade.triggers[0].enter must be a percentage such as "5%", was: 5',
            id="a bare number for a percentage",
        ),
        pytest.param(
            {"degrade__recovery__backoff__initial": "2h"},
            "spec.degrade.recovery.backoff.initial must be at most max (30m), was: 2h",
            id="a first wait longer than the longest",
        ),
        pytest.param(
            {"gateway__timeouts__firstToken": "6m"},
            "spec.gateway.timeouts.firstToken must be at most total (5m), was: 6m",
            id="a first token after the end",
        ),
        pytest.param(
            {"gateway__maxRequestBytes": "10 MB"},
            "spec.gateway.maxRequestBytes must be a quantity such as \"10Mi\", was: '10 MB'",
            id="a quantity that Kubernetes does not write",
        ),
        pytest.param(
            {"scaling": "lots"},
            "spec.scaling must be an object, was: 'lots'",
            id="text for a part",
        ),
    ],
)
def test_what_cannot_be_used_is_named_with_rule_and_value(
    changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidSpecError) as caught:
        read_spec(manifest(**changes))
    assert str(caught.value).startswith(said)
    assert said.startswith(caught.value.path)


def test_a_manifest_without_a_spec_is_refused() -> None:
    with pytest.raises(InvalidSpecError, match="spec must be an object, was: None"):
        read_spec({"metadata": {}})


def test_a_target_can_be_read_where_the_rest_can_not() -> None:
    broken = manifest(scaling__minReplicas=99)
    target = read_target(broken)
    assert target is not None
    assert str(target) == "StatefulSet/llama"
    assert read_target({"spec": {"targetRef": {"kind": "Job"}}}) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90.0),
        ("2m", 120.0),
        ("1h30m", 5400.0),
        ("14d", 14 * 86400.0),
        ("1.5h", 5400.0),
        ("250ms", 0.25),
        ("", None),
        ("90", None),
        ("-5s", None),
        ("5 s", None),
        ("1h30", None),
        ("s" * 100, None),
    ],
)
def test_durations_are_read_as_go_writes_them(text: str, seconds: float | None) -> None:
    assert parse_duration_s(text) == seconds


@given(st.integers(min_value=1, max_value=10**6))
def test_a_duration_that_is_written_reads_back(seconds: int) -> None:
    assert parse_duration_s(format_duration(seconds)) == seconds


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(value=JSON, seed=st.integers(min_value=0, max_value=10**6))
def test_whatever_stands_in_a_field_only_one_error_comes_out(value: Any, seed: int) -> None:
    broken = policy(**copy.deepcopy(FULL))
    at: Any = broken["spec"]
    choice = random.Random(seed)
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = choice.choice(keys)
        if not isinstance(at[key], dict | list) or not at[key] or choice.random() < 0.3:
            at[key] = value
            break
        at = at[key]
    try:
        read_spec(broken)
    except InvalidSpecError as error:
        assert error.path.startswith("spec")
