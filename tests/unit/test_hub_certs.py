"""Certificates: good for TLS, kept while good, rotated without a gap."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from tidegate_operator.hub.certs import (
    CA_CERTS,
    CA_KEYS,
    Bundle,
    InvalidBundleError,
    issue,
    load_into,
    renewed,
)
from tidegate_operator.hub.registration import covers, serving_hosts, webhook_configuration
from tidegate_operator.settings import Settings

NOW = datetime.now(UTC)
HOSTS = ["localhost", "127.0.0.1"]


async def handshake(serving: Bundle, trusted_pem: str, host: str = "localhost") -> str:
    """Serve a bundle, call it with another's trust; the serial that was met."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_into(context, serving)

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    client = ssl.create_default_context(cadata=trusted_pem)
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    try:
        _, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=client, server_hostname=host
        )
        certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return str(x509.load_der_x509_certificate(certificate).serial_number)
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("host", HOSTS)
async def test_a_strict_client_trusts_a_new_bundle(host: str) -> None:
    bundle = issue(NOW, HOSTS)
    assert await handshake(bundle, bundle.ca_pem, host) == str(bundle.certificate.serial_number)


async def test_another_name_and_another_authority_are_refused() -> None:
    bundle = issue(NOW, ["elsewhere"])
    with pytest.raises(ssl.SSLCertVerificationError):
        await handshake(bundle, bundle.ca_pem)
    with pytest.raises(ssl.SSLCertVerificationError):
        await handshake(issue(NOW, HOSTS), bundle.ca_pem)


def test_a_bundle_survives_the_secret() -> None:
    bundle = issue(NOW, HOSTS)
    assert Bundle.from_data(bundle.to_data()).to_data() == bundle.to_data()


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param({CA_KEYS: b""}, id="a key is missing"),
        pytest.param({CA_CERTS: b"junk"}, id="no certificate"),
        pytest.param({"tls.key": b"junk"}, id="no key"),
    ],
)
def test_a_spoiled_secret_is_told(spoil: dict[str, bytes]) -> None:
    with pytest.raises(InvalidBundleError):
        Bundle.from_data({**issue(NOW, HOSTS).to_data(), **spoil})


def test_a_good_bundle_is_left_alone() -> None:
    assert renewed(issue(NOW, HOSTS), NOW + timedelta(days=59), HOSTS) is None


def test_the_serving_certificate_is_renewed_by_the_same_authority() -> None:
    bundle = issue(NOW, HOSTS)
    later = renewed(bundle, NOW + timedelta(days=61), HOSTS)
    assert later is not None
    assert later.ca_pem == bundle.ca_pem
    assert later.certificate.serial_number != bundle.certificate.serial_number


def test_a_new_host_gets_a_new_certificate() -> None:
    later = renewed(issue(NOW, HOSTS), NOW, [*HOSTS, "hub"])
    assert later is not None
    assert renewed(later, NOW, [*HOSTS, "hub"]) is None


def test_authorities_overlap_and_the_new_one_signs_only_once_it_is_known() -> None:
    """P5's rule: what is trusted is published before it is used."""
    bundle = issue(NOW, HOSTS)
    day = NOW + timedelta(days=3650 - 1095 + 1)
    both = renewed(bundle, day, HOSTS)
    assert both is not None
    assert len(both.authorities) == 2
    assert both.ca_pem.startswith(bundle.ca_pem)
    assert issuer_of(both) == both.authorities[0].certificate.subject
    settled = renewed(both, day + timedelta(days=2), HOSTS)
    assert settled is not None
    assert len(settled.authorities) == 2
    assert issuer_of(settled) == settled.authorities[1].certificate.subject
    after = renewed(settled, NOW + timedelta(days=3651), HOSTS)
    assert after is not None
    assert len(after.authorities) == 1


def issuer_of(bundle: Bundle) -> x509.Name:
    return bundle.certificate.issuer


async def test_a_rotation_cuts_no_client_old_or_new() -> None:
    """The whole life: whoever holds the bundle of one step can talk to the hub of the next."""
    bundle, now = issue(NOW - timedelta(days=3600), HOSTS), NOW - timedelta(days=3600)
    held = bundle.ca_pem
    while now < NOW:
        now += timedelta(days=30)
        if (better := renewed(bundle, min(now, NOW), HOSTS)) is not None:
            held, bundle = bundle.ca_pem, better
    assert await handshake(bundle, held) == str(bundle.certificate.serial_number)


def test_the_live_context_serves_the_new_certificate_at_the_next_handshake() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_into(context, issue(NOW, HOSTS))
    load_into(context, issue(NOW, HOSTS))


def test_hosts_cover_every_name_the_hub_is_called_by() -> None:
    settings = Settings(
        namespace="ns", hub_url="https://127.0.0.2:1", webhook_url="https://hooks.example:2/x"
    )
    assert {"tidegate-hub.ns.svc", "127.0.0.2", "hooks.example"} <= set(serving_hosts(settings))


def test_webhooks_never_lock_out_a_cluster() -> None:
    """netbird#168: every entry ignores failures, is quick, and stays out of the system's own."""
    made = webhook_configuration(Settings(), "pem")
    assert made["webhooks"]
    for entry in made["webhooks"]:
        assert entry["failurePolicy"] == "Ignore"
        assert entry["timeoutSeconds"] <= 5
        assert entry["sideEffects"] == "None"
        outside = entry["namespaceSelector"]["matchExpressions"][0]
        assert outside["operator"] == "NotIn"
        assert {"kube-system", "tidegate-system"} <= set(outside["values"])
        assert entry["clientConfig"]["service"]["name"] == "tidegate-hub"
        chosen = ("objectSelector", "matchConditions")
        assert any(entry.get(key) for key in chosen) or entry["namespaceSelector"]["matchLabels"]


def test_by_url_the_path_is_added_once() -> None:
    made = webhook_configuration(Settings(webhook_url="https://127.0.0.1:1/mutate"), "pem")
    urls = [entry["clientConfig"]["url"] for entry in made["webhooks"]]
    assert urls[0] == "https://127.0.0.1:1/mutate"
    assert urls[2] == "https://127.0.0.1:1/mutate/namespace"


@pytest.mark.parametrize(
    ("live", "same"),
    [
        pytest.param([{"a": 1, "defaulted": True}], True, id="a server's defaults are none"),
        pytest.param([{"a": 2}], False, id="another value is"),
        pytest.param([{"a": 1}, {"a": 1}], False, id="another length is"),
        pytest.param(None, False, id="nothing is"),
    ],
)
def test_covers(live: object, same: bool) -> None:
    assert covers(live, [{"a": 1}]) is same
