"""What a person who set a sidecar up wrongly is told."""

from pathlib import Path

import pytest

from tidegate_sidecar.settings import Address, InvalidSettingError, SidecarSettings

HUB = {"TIDEGATE_HUB_URL": "https://hub:14130", "TIDEGATE_WORKLOAD": "Deployment/llama"}


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    settings = SidecarSettings.read({})
    assert str(settings.listen) == "127.0.0.1:14100"
    assert settings.upstream == "http://127.0.0.1:8000"
    assert (settings.outbound_listen, settings.upstream_ca) == (None, "")
    assert settings.openai_upstream == "https://api.openai.com"
    assert settings.anthropic_upstream == "https://api.anthropic.com"
    assert str(settings.admin) == "127.0.0.1:14120"
    assert (settings.hub_url, settings.config_file, settings.state_dir) == ("", None, None)
    assert (settings.linger_s, settings.drain_accept_s) == (30.0, 5.0)
    assert (settings.max_buffered_bytes, settings.max_connections) == (0, 0)


def test_the_whole_environment_of_an_injected_pod_is_read(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text("{}")
    settings = SidecarSettings.read(
        {
            **HUB,
            "TIDEGATE_LISTEN": "0.0.0.0:1",
            "TIDEGATE_UPSTREAM": "http://localhost:8001/",
            "TIDEGATE_OUTBOUND_LISTEN": "127.0.0.1:3",
            "TIDEGATE_OPENAI_UPSTREAM": "https://gateway:443/openai/v1/",
            "TIDEGATE_ANTHROPIC_UPSTREAM": "http://[::1]:80",
            "TIDEGATE_UPSTREAM_CA": "-----BEGIN CERTIFICATE-----\n...",
            "TIDEGATE_ADMIN": "[::]:2",
            "TIDEGATE_HUB_CA": "-----BEGIN CERTIFICATE-----\n...",
            "TIDEGATE_TOKEN_FILE": "/token",
            "TIDEGATE_STATE_DIR": "/state",
            "TIDEGATE_POD_UID": "uid-1",
            "TIDEGATE_CONFIG_FILE": str(config),
            "TIDEGATE_LINGER_S": "1.5",
            "TIDEGATE_DRAIN_ACCEPT_S": "0",
            "TIDEGATE_MAX_BUFFERED_BYTES": "1000000",
            "TIDEGATE_MAX_CONNECTIONS": "500",
            "TIDEGATE_ENGINE_METRICS_S": "0",
            "PATH": "/bin",
        }
    )
    assert settings.listen == Address("0.0.0.0", 1)
    assert settings.upstream == "http://localhost:8001"
    assert settings.outbound_listen == Address("127.0.0.1", 3)
    assert settings.openai_upstream == "https://gateway/openai/v1"
    assert settings.anthropic_upstream == "http://[::1]"
    assert settings.upstream_ca.startswith("-----BEGIN")
    assert settings.admin == Address("::", 2)
    assert str(settings.admin) == "[::]:2"
    assert settings.hub_url == "https://hub:14130"
    assert settings.token_file == Path("/token")
    assert settings.state_dir == Path("/state")
    assert settings.pod_uid == "uid-1"
    assert settings.config_file == config
    assert (settings.linger_s, settings.drain_accept_s) == (1.5, 0.0)
    assert (settings.max_buffered_bytes, settings.max_connections) == (1_000_000, 500)
    assert settings.engine_metrics_s == 0.0


def test_a_sidecar_may_have_a_way_out_and_none_in() -> None:
    settings = SidecarSettings.read({"TIDEGATE_LISTEN": "off"}, {"outbound_listen": "[::1]:0"})
    assert (settings.listen, settings.outbound_listen) == (None, Address("::1", 0))


def test_a_flag_goes_before_its_variable_and_an_absent_one_does_not() -> None:
    env = {"TIDEGATE_LISTEN": "127.0.0.1:1", "TIDEGATE_ADMIN": "127.0.0.1:2"}
    settings = SidecarSettings.read(env, {"listen": "127.0.0.1:3", "admin": None})
    assert settings.listen == Address("127.0.0.1", 3)
    assert settings.admin == Address("127.0.0.1", 2)


def test_an_empty_variable_is_as_if_it_were_not_there() -> None:
    assert SidecarSettings.read({"TIDEGATE_STATE_DIR": "", "TIDEGATE_LISTEN": ""}) == (
        SidecarSettings()
    )


BAD = {
    "neither a way in nor one out": (
        {"TIDEGATE_LISTEN": "off", "TIDEGATE_OUTBOUND_LISTEN": "off"},
        {},
        "TIDEGATE_OUTBOUND_LISTEN must be HOST:PORT, such as 127.0.0.1:14110, while "
        "TIDEGATE_LISTEN is off, was: off",
    ),
    "a provider without scheme, named as it was typed": (
        {},
        {"openai_upstream": "api.openai.com"},
        "--openai-upstream must be like http://host:8000 or https://host/path, "
        "was: 'api.openai.com'",
    ),
    "another switch than off": (
        {"TIDEGATE_OUTBOUND_LISTEN": "on"},
        {},
        "TIDEGATE_OUTBOUND_LISTEN must be HOST:PORT, such as 127.0.0.1:14100, was: 'on'",
    ),
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
    "a bound with a unit": (
        {"TIDEGATE_MAX_BUFFERED_BYTES": "64Mi"},
        {},
        "TIDEGATE_MAX_BUFFERED_BYTES must be a whole number, 0 or more, was: '64Mi'",
    ),
    "a negative bound": (
        {"TIDEGATE_MAX_CONNECTIONS": "-1"},
        {},
        "TIDEGATE_MAX_CONNECTIONS must be a whole number, 0 or more, was: '-1'",
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
