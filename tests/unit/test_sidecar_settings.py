"""What a person who set a sidecar up wrongly is told."""

from pathlib import Path

import pytest

from tidegate_sidecar.settings import Address, InvalidSettingError, SidecarSettings

HUB = {"TIDEGATE_HUB_URL": "https://hub:14130", "TIDEGATE_WORKLOAD": "Deployment/llama"}


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    settings = SidecarSettings.read({})
    assert str(settings.listen) == "127.0.0.1:14100"
    assert settings.upstream == "http://127.0.0.1:8000"
    assert str(settings.admin) == "127.0.0.1:14120"
    assert (settings.hub_url, settings.config_file, settings.state_dir) == ("", None, None)
    assert (settings.linger_s, settings.drain_accept_s) == (30.0, 5.0)


def test_the_whole_environment_of_an_injected_pod_is_read(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text("{}")
    settings = SidecarSettings.read(
        {
            **HUB,
            "TIDEGATE_LISTEN": "0.0.0.0:1",
            "TIDEGATE_UPSTREAM": "http://localhost:8001/",
            "TIDEGATE_ADMIN": "[::]:2",
            "TIDEGATE_HUB_CA": "-----BEGIN CERTIFICATE-----\n...",
            "TIDEGATE_TOKEN_FILE": "/token",
            "TIDEGATE_STATE_DIR": "/state",
            "TIDEGATE_POD_UID": "uid-1",
            "TIDEGATE_CONFIG_FILE": str(config),
            "TIDEGATE_LINGER_S": "1.5",
            "TIDEGATE_DRAIN_ACCEPT_S": "0",
            "PATH": "/bin",
        }
    )
    assert settings.listen == Address("0.0.0.0", 1)
    assert settings.upstream == "http://localhost:8001"
    assert settings.admin == Address("::", 2)
    assert str(settings.admin) == "[::]:2"
    assert settings.hub_url == "https://hub:14130"
    assert settings.token_file == Path("/token")
    assert settings.state_dir == Path("/state")
    assert settings.pod_uid == "uid-1"
    assert settings.config_file == config
    assert (settings.linger_s, settings.drain_accept_s) == (1.5, 0.0)


def test_a_flag_goes_before_its_variable_and_an_absent_one_does_not() -> None:
    env = {"TIDEGATE_LISTEN": "127.0.0.1:1", "TIDEGATE_ADMIN": "127.0.0.1:2"}
    settings = SidecarSettings.read(env, {"listen": "127.0.0.1:3", "admin": None})
    assert (settings.listen.port, settings.admin.port) == (3, 2)


def test_an_empty_variable_is_as_if_it_were_not_there() -> None:
    assert SidecarSettings.read({"TIDEGATE_STATE_DIR": "", "TIDEGATE_LISTEN": ""}) == (
        SidecarSettings()
    )


BAD = {
    "a port alone is no address": (
        {"TIDEGATE_LISTEN": "14100"},
        {},
        "TIDEGATE_LISTEN must be HOST:PORT, such as 127.0.0.1:14100, was: '14100'",
    ),
    "a flag is named as it was typed": (
        {},
        {"listen": "localhost"},
        "--listen must be HOST:PORT, such as 127.0.0.1:14100, was: 'localhost'",
    ),
    "a port past 65535": (
        {},
        {"admin": "127.0.0.1:70000"},
        "--admin must be HOST:PORT, such as 127.0.0.1:14100, was: '127.0.0.1:70000'",
    ),
    "a port in other digits than ours": (
        {},
        {"admin": "127.0.0.1:٣"},
        "--admin must be HOST:PORT, such as 127.0.0.1:14100, was: '127.0.0.1:٣'",
    ),
    "an upstream without scheme": (
        {},
        {"upstream": "127.0.0.1:8000"},
        "--upstream must be like http://host:8000 or https://host/path, was: '127.0.0.1:8000'",
    ),
    "an upstream with a query, which would be forgotten": (
        {"TIDEGATE_UPSTREAM": "https://model/v1?key=1"},
        {},
        "TIDEGATE_UPSTREAM must be like http://host:8000 or https://host/path, "
        "was: 'https://model/v1?key=1'",
    ),
    "an upstream whose port is text": (
        {},
        {"upstream": "http://model:http"},
        "--upstream must be like http://host:8000 or https://host/path, was: 'http://model:http'",
    ),
    "a hub by another protocol": (
        HUB | {"TIDEGATE_HUB_URL": "grpc://hub:1"},
        {},
        "TIDEGATE_HUB_URL must be https://HOST:PORT or http://HOST:PORT and nothing more, "
        "was: 'grpc://hub:1'",
    ),
    "a hub without saying for which workload": (
        {"TIDEGATE_HUB_URL": "https://hub:1"},
        {},
        "TIDEGATE_WORKLOAD must be KIND/NAME while TIDEGATE_HUB_URL is set, was: ''",
    ),
    "a CA that is a path": (
        HUB | {"TIDEGATE_HUB_CA": "/etc/ca.pem"},
        {},
        "TIDEGATE_HUB_CA must hold certificates as PEM, was: '/etc/ca.pem'",
    ),
    "a config file that is not there": (
        {},
        {"config_file": "/no/such.json"},
        "--config must be a file that can be read (No such file or directory), "
        "was: '/no/such.json'",
    ),
    "a config file that is a folder": (
        {"TIDEGATE_CONFIG_FILE": "/"},
        {},
        "TIDEGATE_CONFIG_FILE must be a file that can be read (Is a directory), was: '/'",
    ),
    "a negative linger": (
        {"TIDEGATE_LINGER_S": "-1"},
        {},
        "TIDEGATE_LINGER_S must be a number of seconds, 0 or more, was: '-1'",
    ),
    "a wait that is no number": (
        {"TIDEGATE_DRAIN_ACCEPT_S": "5s"},
        {},
        "TIDEGATE_DRAIN_ACCEPT_S must be a number of seconds, 0 or more, was: '5s'",
    ),
    "a wait without end": (
        {"TIDEGATE_LINGER_S": "nan"},
        {},
        "TIDEGATE_LINGER_S must be a number of seconds, 0 or more, was: 'nan'",
    ),
}


@pytest.mark.parametrize(("env", "flags", "message"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_used_is_named_with_its_rule_and_value(
    env: dict[str, str], flags: dict[str, str | None], message: str
) -> None:
    with pytest.raises(InvalidSettingError) as caught:
        SidecarSettings.read(env, flags)
    assert str(caught.value) == message
