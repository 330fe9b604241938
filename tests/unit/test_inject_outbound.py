"""An app's calls are led through its sidecar where it left that open; of the rest it is told."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate_operator.hub.webhook import too_old
from tidegate_operator.inject.choice import Inject, Skip, choose
from tidegate_operator.inject.options import Mode, Options, Reject, read_options
from tidegate_operator.inject.outbound import (
    BASE_URLS,
    missing_variables,
    proxy_variables,
    warnings,
)
from tidegate_operator.inject.patch import Sidecar, patch_pod
from tidegate_wire.names import CONTAINER, MODE, OPENAI_UPSTREAM, PORT

OUT = Options(mode=Mode.OUTBOUND)
HERE = "http://127.0.0.1:14110"
SIDECAR = Sidecar(image="i", version="1", hub_url="https://h", hub_ca="ca")


def pod(*containers: dict[str, Any], **annotations: str) -> dict[str, Any]:
    named = {f"tidegate.io/{k.replace('_', '-')}": v for k, v in annotations.items()}
    return {
        "metadata": {"name": "agent", "annotations": named},
        "spec": {"containers": [{"name": "agent", "image": "a"} | c for c in containers or ({},)]},
    }


def env(**values: str | None) -> dict[str, Any]:
    """A container's; None stands for a value that can't be seen."""
    secret = {"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    return {
        "env": [
            {"name": name, **(secret if value is None else {"value": value})}
            for name, value in values.items()
        ]
    }


def choice(manifest: dict[str, Any]) -> Any:
    return choose(manifest, namespace="shop", own_namespace="tidegate-system", namespace_asks=True)


def added(container: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in missing_variables(container)}


ALL = {
    "OPENAI_BASE_URL": f"{HERE}/v1",
    "OPENAI_API_BASE": f"{HERE}/v1",
    "ANTHROPIC_BASE_URL": HERE,
}
PAST_PROXY = {"NO_PROXY": "127.0.0.1"}


@pytest.mark.parametrize(
    ("container", "wanted"),
    [
        pytest.param({}, ALL, id="a container without variables gets all"),
        pytest.param(
            env(OPENAI_BASE_URL="https://own/v1"),
            {k: v for k, v in ALL.items() if k != "OPENAI_BASE_URL"},
            id="what it sets itself is left",
        ),
        pytest.param(
            env(ANTHROPIC_BASE_URL=None),
            {k: v for k, v in ALL.items() if k != "ANTHROPIC_BASE_URL"},
            id="from a secret too",
        ),
        pytest.param(
            env(HTTP_PROXY="http://p"), ALL | PAST_PROXY, id="its proxy is not asked for its pod"
        ),
        pytest.param(env(http_proxy=None), ALL | PAST_PROXY, id="one from a secret neither"),
        pytest.param(env(HTTP_PROXY=""), ALL, id="an empty proxy is none"),
        pytest.param(
            env(HTTPS_PROXY="http://p"),
            ALL,
            id="a proxy for TLS alone meets no call to the sidecar",
        ),
        pytest.param(
            env(HTTP_PROXY="http://p", no_proxy=".svc"), ALL, id="its own exceptions are left"
        ),
    ],
)
def test_what_a_container_gets(container: dict[str, Any], wanted: dict[str, str]) -> None:
    assert added(container) == wanted


PROXIES = env(HTTPS_PROXY="http://p", NO_PROXY=".svc", PATH="/bin", http_proxy=None)


@pytest.mark.parametrize(
    ("manifest", "names"),
    [
        pytest.param(pod({}), [], id="none where there is none"),
        pytest.param(pod(PROXIES), ["HTTPS_PROXY", "NO_PROXY", "http_proxy"], id="nothing else"),
        pytest.param(
            pod({}, env(ALL_PROXY="a"), PROXIES), ["ALL_PROXY"], id="of the first that has one"
        ),
    ],
)
def test_the_sidecar_takes_over_the_apps_proxy(manifest: dict[str, Any], names: list[str]) -> None:
    assert [entry["name"] for entry in proxy_variables(manifest)] == names


SAID = {
    "an app that leaves all open": (pod({}), []),
    "a base URL of its own": (
        pod(env(OPENAI_BASE_URL="https://own/v1")),
        [
            "container agent sets OPENAI_BASE_URL itself: such calls go past the sidecar; take it "
            "out and say its value in metadata.annotations[tidegate.io/openai-upstream]"
        ],
    ),
    "ours, set by hand": (pod(env(ANTHROPIC_BASE_URL=HERE)), []),
    "variables that can't be seen": (
        pod({"envFrom": [{"secretRef": {"name": "s"}}]}),
        [
            "container agent has envFrom, which the sidecar's OPENAI_BASE_URL, OPENAI_API_BASE, "
            "ANTHROPIC_BASE_URL go before; if it holds one of them, say that in "
            "metadata.annotations[tidegate.io/openai-upstream]"
        ],
    ),
    "exceptions to its proxy that lack this pod": (
        pod(env(ALL_PROXY="http://p", NO_PROXY="localhost,.svc")),
        [
            "container agent sets ALL_PROXY, which may lead its calls past the sidecar: "
            "NO_PROXY must have 127.0.0.1"
        ],
    ),
    "exceptions that are empty": (
        pod(env(HTTP_PROXY="http://p", NO_PROXY="")),
        [
            "container agent sets HTTP_PROXY, which may lead its calls past the sidecar: "
            "NO_PROXY must have 127.0.0.1"
        ],
    ),
    "exceptions that have it": (pod(env(HTTP_PROXY="http://p", no_proxy="a, 127.0.0.1")), []),
    "exceptions of everything": (pod(env(HTTP_PROXY="http://p", no_proxy="*")), []),
    "exceptions that can't be seen": (pod(env(HTTP_PROXY="http://p", NO_PROXY=None)), []),
    "a port, of which nothing is asked": (
        pod({}, port="http"),
        [
            "metadata.annotations[tidegate.io/port] means nothing while "
            "metadata.annotations[tidegate.io/mode] is outbound"
        ],
    ),
}


@pytest.mark.parametrize(("manifest", "said"), SAID.values(), ids=SAID)
def test_what_is_told_of(manifest: dict[str, Any], said: list[str]) -> None:
    assert list(warnings(manifest, OUT)) == said
    assert all(len(f"tidegate: {each}") <= 256 for each in said), "the API server cuts it"


def test_an_upstream_that_nobody_calls_is_told_of() -> None:
    manifest = pod({}, env(OPENAI_BASE_URL="https://own"), anthropic_upstream="http://a")
    assert list(warnings(manifest, Options(anthropic_upstream="http://a"))) == [
        "metadata.annotations[tidegate.io/anthropic-upstream] means nothing while "
        "metadata.annotations[tidegate.io/mode] is inbound"
    ]


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        pytest.param(
            {"mode": "outbond"},
            "metadata.annotations[tidegate.io/mode] must be one of inbound, outbound, both, "
            "was: 'outbond'",
            id="a mode that is none",
        ),
        pytest.param({"mode": ""}, "both, was: ''", id="an empty one"),
        pytest.param(
            {"openai_upstream": "api.openai.com"},
            "metadata.annotations[tidegate.io/openai-upstream] must be like http://host:8000 or "
            "https://host/path, was: 'api.openai.com'",
            id="an upstream without scheme",
        ),
        pytest.param(
            {"mode": "both", "anthropic_upstream": "https://a?b"},
            "was: 'https://a?b'",
            id="a query",
        ),
    ],
)
def test_a_wrong_word_is_rejected(said: dict[str, str], sentence: str) -> None:
    made = choice(pod({}, **said))
    assert isinstance(made, Reject)
    assert sentence in made.message


def test_a_right_one_is_read() -> None:
    asked = pod({}, mode=" both ", openai_upstream="http://a", anthropic_upstream="https://b/c")
    assert read_options(asked) == Options(
        mode=Mode.BOTH, openai_upstream="http://a", anthropic_upstream="https://b/c"
    )


def test_an_app_that_only_calls_needs_no_port_and_one_of_both_modes_does() -> None:
    assert choice(pod({}, mode="outbound")) == Inject(None, (), OUT)
    refused = choice(pod({}, mode="both"))
    assert isinstance(refused, Skip)
    assert f"says outbound in metadata.annotations[{MODE}]" in refused.reason


@pytest.mark.parametrize(
    ("mode", "port", "clashes"),
    [
        ("inbound", 14110, False),
        ("outbound", 14100, False),
        ("outbound", 14110, True),
        ("outbound", 14120, True),
        ("both", 14100, True),
        ("both", 14110, True),
    ],
)
def test_the_app_may_have_ports_that_the_mode_does_not_need(
    mode: str, port: int, clashes: bool
) -> None:
    manifest = pod({"ports": [{"containerPort": port}]}, mode=mode)
    assert isinstance(choice(manifest), Skip) is clashes


@pytest.mark.parametrize(("minor", "fits"), [(28, False), (29, True), (32, True), (36, True)])
def test_calls_are_led_out_from_the_first_kubernetes_with_native_sidecars_on(
    minor: int, fits: bool
) -> None:
    assert (too_old(minor, None) == "") is fits


entries = st.builds(
    lambda values: [{"name": name, "value": value} for name, value in values.items()],
    st.dictionaries(
        st.sampled_from(
            [*BASE_URLS, "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "HTTPS_PROXY", "A"]
        ),
        st.sampled_from(["", "x", "http://p", "127.0.0.1"]),
    ),
)


@settings(max_examples=120)
@given(st.lists(entries, min_size=1, max_size=3), st.booleans())
def test_no_word_of_the_apps_is_changed_or_said_twice(
    environments: list[list[dict[str, str]]], upstream: bool
) -> None:
    given_pod = pod(*({"env": env} for env in environments), mode="outbound")
    if upstream:
        given_pod["metadata"]["annotations"][OPENAI_UPSTREAM] = "https://a"
    made = choice(given_pod)
    assert isinstance(made, Inject)
    operations = patch_pod(given_pod, made.port, SIDECAR, made.options)
    assert {operation["op"] for operation in operations} == {"add"}
    (container,) = next(o["value"] for o in operations if o["path"] == "/spec/initContainers")
    names = [entry["name"] for entry in container["env"]]
    assert len(set(names)) == len(names)
    assert container["name"] == CONTAINER
    for before in environments:
        after = [*before, *missing_variables({"env": before})]
        assert after[: len(before)] == before
        assert len({entry["name"] for entry in after}) == len(after)
        assert set(BASE_URLS) <= {entry["name"] for entry in after}


def test_a_port_that_is_named_beside_the_mode_still_counts_on_the_way_in() -> None:
    ports = [{"name": n, "containerPort": p} for n, p in (("a", 1000), ("b", 2000))]
    manifest = pod({"ports": ports}, mode="both")
    manifest["metadata"]["annotations"][PORT] = "b"
    made = choice(manifest)
    assert isinstance(made, Inject)
    assert made.port is not None
    assert (made.port.number, made.warnings) == (2000, ())
