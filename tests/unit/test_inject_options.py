"""What people may say about the sidecar, and what its container then states."""

from typing import Any

import pytest

from tidegate_operator.inject.options import (
    Options,
    Reject,
    Resources,
    container_resources,
    read_options,
    unknown_names,
)
from tidegate_operator.inject.quantity import parse_quantity

DEFAULTS = Resources()


def pod(resources: list[dict[str, Any]] | None = None, **annotations: str) -> dict[str, Any]:
    """Names of annotations without prefix, with _ for -."""
    named = {f"tidegate.io/{k.replace('_', '-')}": v for k, v in annotations.items()}
    containers = [{"name": f"c{i}", "resources": r} for i, r in enumerate(resources or [{}])]
    return {"metadata": {"annotations": named}, "spec": {"containers": containers}}


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("100m", "0.1"),
        ("1.5", "1.5"),
        (".5", "0.5"),
        ("2.", "2"),
        ("256Mi", "268435456"),
        ("1e3", "1000"),
        ("1E3", "1000"),
        ("2E", "2000000000000000000"),
        ("+1k", "1000"),
        ("0", "0"),
    ],
)
def test_quantities(text: str, size: str) -> None:
    parsed = parse_quantity(text)
    assert parsed is not None
    assert format(parsed.normalize(), "f") == size


@pytest.mark.parametrize(
    "text", ["", "m", "1 Gi", "100mi", "1ki", "-1", "1e", "1e999", "1,5", "²", "NaN", "1" * 41]
)
def test_what_is_no_quantity(text: str) -> None:
    assert parse_quantity(text) is None


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        pytest.param(
            {"cpu_request": "100mi"},
            "metadata.annotations[tidegate.io/cpu-request] must be a quantity above 0 such as "
            "100m, was: '100mi'",
            id="a unit that does not exist",
        ),
        pytest.param(
            {"memory_limit": "0"},
            "metadata.annotations[tidegate.io/memory-limit] must be a quantity above 0 such as "
            "256Mi, was: '0'",
            id="no memory at all",
        ),
        pytest.param(
            {"cpu_request": "2", "cpu_limit": "500m"},
            "metadata.annotations[tidegate.io/cpu-request] must be at most "
            "metadata.annotations[tidegate.io/cpu-limit] (500m), was: '2'",
            id="a request above its limit",
        ),
        pytest.param(
            {"memory_limit": "256"},
            "metadata.annotations[tidegate.io/memory-limit] must be at least 64Mi, was: '256'",
            id="bytes where Mi was meant",
        ),
        pytest.param(
            {"drain_seconds": "60"},
            "metadata.annotations[tidegate.io/drain-seconds] must be whole seconds from 0 to 25 "
            "(the pod's terminationGracePeriodSeconds less 5), was: '60'",
            id="a drain past the grace period",
        ),
        pytest.param({"drain_seconds": "10s"}, "was: '10s'", id="seconds with a unit"),
        pytest.param({"drain_seconds": "-1"}, "was: '-1'", id="seconds below zero"),
    ],
)
def test_a_wrong_option_is_rejected(said: dict[str, str], sentence: str) -> None:
    read = read_options(pod(None, **said))
    assert isinstance(read, Reject)
    assert sentence in read.message


def test_options_are_read_and_the_grace_period_bounds_the_drain() -> None:
    asked = pod(cpu_request=" 100m ", memory_limit="1Gi", drain_seconds="60")
    asked["spec"]["terminationGracePeriodSeconds"] = 300
    assert read_options(asked) == Options(cpu_request="100m", memory_limit="1Gi", drain_s=60)


GUARANTEED = {
    "limits": {"cpu": "2", "memory": "1Gi"},
    "requests": {"cpu": "2000m", "memory": "1024Mi"},
}
BURSTABLE = {"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "1"}}


@pytest.mark.parametrize(
    ("resources", "options", "stated"),
    [
        pytest.param(
            [{}],
            Options(),
            {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
            id="a pod that says nothing",
        ),
        pytest.param(
            [{}],
            Options(cpu_request="200m", cpu_limit="1", memory_limit="512Mi"),
            {
                "requests": {"cpu": "200m", "memory": "64Mi"},
                "limits": {"cpu": "1", "memory": "512Mi"},
            },
            id="what is said replaces its default, and only its own",
        ),
        pytest.param(
            [{}],
            Options(memory_request="1Gi", cpu_limit="20m"),
            {
                "requests": {"cpu": "20m", "memory": "1Gi"},
                "limits": {"cpu": "20m", "memory": "1Gi"},
            },
            id="a default gives way to what contradicts it",
        ),
        pytest.param(
            [BURSTABLE, BURSTABLE],
            Options(),
            {
                "requests": {"cpu": "50m", "memory": "64Mi"},
                "limits": {"cpu": "500m", "memory": "256Mi"},
            },
            id="where every container states a cpu limit, a quota may demand it of ours",
        ),
        pytest.param(
            [BURSTABLE, {}],
            Options(),
            {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
            id="where one container states none, no quota demands it",
        ),
        pytest.param(
            [{"limits": {"cpu": "200m"}}],
            Options(),
            {
                "requests": {"cpu": "50m", "memory": "64Mi"},
                "limits": {"cpu": "200m", "memory": "256Mi"},
            },
            id="a limit not above the pod's own, which a LimitRange has let pass",
        ),
        pytest.param(
            [GUARANTEED, {"limits": {"cpu": "1", "memory": "1Gi"}}],
            Options(),
            {
                "requests": {"cpu": "500m", "memory": "256Mi"},
                "limits": {"cpu": "500m", "memory": "256Mi"},
            },
            id="a pod of the Guaranteed class stays one",
        ),
        pytest.param(
            [
                {
                    "limits": {"ephemeral-storage": "1Gi"},
                    "requests": {"ephemeral-storage": "1Gi"},
                }
            ],
            Options(),
            {
                "requests": {"cpu": "50m", "memory": "64Mi", "ephemeral-storage": "64Mi"},
                "limits": {"memory": "256Mi", "ephemeral-storage": "64Mi"},
            },
            id="ephemeral storage is stated where all others state it",
        ),
    ],
)
def test_resources(resources: list[Any], options: Options, stated: dict[str, Any]) -> None:
    assert container_resources(pod(resources), options, DEFAULTS) == stated


def test_an_installation_may_ask_for_nothing() -> None:
    nothing = Resources(cpu_request="", memory_request="", memory_limit="")
    assert container_resources(pod(), Options(), nothing) == {}


@pytest.mark.parametrize(
    ("metadata", "sentences"),
    [
        pytest.param({"annotations": {"tidegate.io/port": "8000", "a/b": "c"}}, [], id="known"),
        pytest.param(
            {"annotations": {"tidegate.io/status": "{}"}, "labels": {"tidegate.io/injected": "x"}},
            [],
            id="what we leave ourselves",
        ),
        pytest.param(
            {"annotations": {"tidegate.io/cpu-requests": "1"}},
            [
                "metadata.annotations[tidegate.io/cpu-requests] means nothing here; "
                "did you mean tidegate.io/cpu-request?"
            ],
            id="a slip",
        ),
        pytest.param(
            {"annotations": {"tidegate.io/colour": "red"}},
            [
                "metadata.annotations[tidegate.io/colour] means nothing here; known after "
                "tidegate.io/: inject, port, mode, openai-upstream, anthropic-upstream, "
                "cpu-request, cpu-limit, memory-request, memory-limit, drain-seconds"
            ],
            id="something else",
        ),
        pytest.param(
            {"labels": {"tidegate.io/port": "http"}},
            ["metadata.labels[tidegate.io/port] means nothing here; it is read from annotations"],
            id="an option as a label",
        ),
    ],
)
def test_names_that_mean_nothing(metadata: dict[str, Any], sentences: list[str]) -> None:
    assert list(unknown_names({"metadata": metadata})) == sentences
