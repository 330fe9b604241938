"""The operator's environment, read once; a bad value names its variable."""

import pytest

from tidegate_operator.settings import InvalidSettingError, Settings


def test_what_is_not_set_has_its_default() -> None:
    assert Settings.from_env({}) == Settings()


def test_each_kind_of_value_is_read() -> None:
    env = {
        "TIDEGATE_TICK_S": "5",
        "TIDEGATE_HUB_PORT": "9000",
        "TIDEGATE_LEADER_ELECTION": "false",
        "TIDEGATE_NAMESPACE": "ops",
    }
    assert Settings.from_env(env) == Settings(
        tick_s=5.0, hub_port=9000, leader_election=False, namespace="ops"
    )


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        pytest.param("TICK_S", "soon", "must be a number, was: 'soon'", id="a word for seconds"),
        pytest.param("TICK_S", "0", "must be above 0", id="no time at all"),
        pytest.param("TICK_S", "nan", "must be above 0 and finite", id="not a number"),
        pytest.param("HUB_PORT", "http", "must be a number", id="a word for a port"),
        pytest.param("LEADER_ELECTION", "maybe", "must be true or false", id="neither yes nor no"),
    ],
)
def test_a_bad_value_names_variable_rule_and_value(
    variable: str, value: str, problem: str
) -> None:
    with pytest.raises(InvalidSettingError, match=f"TIDEGATE_{variable} {problem}"):
        Settings.from_env({f"TIDEGATE_{variable}": value})


@pytest.mark.parametrize(
    ("env", "problem"),
    [
        pytest.param(
            {"TIDEGATE_SIDECAR_MEMORY_LIMIT": "256MB"},
            "TIDEGATE_SIDECAR_MEMORY_LIMIT must be a quantity above 0 such as 256Mi, was: '256MB'",
            id="no quantity",
        ),
        pytest.param(
            {"TIDEGATE_SIDECAR_MEMORY_REQUEST": "1Gi"},
            "TIDEGATE_SIDECAR_MEMORY_REQUEST must be at most TIDEGATE_SIDECAR_MEMORY_LIMIT "
            "(256Mi), was: '1Gi'",
            id="a request above the limit that stands",
        ),
    ],
)
def test_bad_resources_for_sidecars_are_found_at_start(env: dict[str, str], problem: str) -> None:
    with pytest.raises(InvalidSettingError) as error:
        Settings.from_env(env)
    assert str(error.value) == problem


def test_resources_may_be_left_out() -> None:
    settings = Settings.from_env({"TIDEGATE_SIDECAR_MEMORY_LIMIT": ""})
    assert settings.sidecar_resources.memory_limit == ""
