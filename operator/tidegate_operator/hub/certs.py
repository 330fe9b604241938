"""The hub's own authority and serving certificate, made and renewed by itself.

Law: what is trusted is published before it is used. A new authority stands in the bundle for a day
before it signs, and an old one stays until it expires, so that no client ever meets a certificate
that it can't check. ``now`` is real time here: OpenSSL compares it with the system's clock.
"""

import ipaddress
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFE = timedelta(days=3650)
"""Injected pods keep the bundle that they were made with, so an authority outlives any pod."""
AUTHORITY_RENEW = timedelta(days=1095)
"""Left of its life when its successor is made."""
SETTLE = timedelta(days=1)
"""How long a new authority is only trusted before it signs."""
SERVING_LIFE = timedelta(days=90)
SERVING_RENEW = timedelta(days=30)
_SKEW = timedelta(hours=1)
"""Clients' clocks may be behind ours."""

CA_CERTS = "ca.crt"
CA_KEYS = "ca.key"
CERT = "tls.crt"
KEY = "tls.key"


class InvalidBundleError(ValueError):
    """The Secret does not hold what this module writes."""


@dataclass(frozen=True, slots=True)
class Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What the Secret holds."""

    authorities: tuple[Authority, ...]
    """Oldest first; all are trusted."""
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def ca_pem(self) -> str:
        return "".join(_pem(authority.certificate) for authority in self.authorities)

    def to_data(self) -> dict[str, bytes]:
        """Keys and values of the Secret, before base64."""
        return {
            CA_CERTS: self.ca_pem.encode(),
            CA_KEYS: b"".join(_key_pem(authority.key) for authority in self.authorities),
            CERT: _pem(self.certificate).encode(),
            KEY: _key_pem(self.key),
        }

    @classmethod
    def from_data(cls, data: dict[str, bytes]) -> Self:
        """Read back what ``to_data`` gave, or raise ``InvalidBundleError``."""
        try:
            certificates = x509.load_pem_x509_certificates(data[CA_CERTS])
            keys = [_load_key(pem) for pem in _split_keys(data[CA_KEYS])]
            pairs = zip(certificates, keys, strict=True)
            authorities = tuple(Authority(certificate, key) for certificate, key in pairs)
            serving = x509.load_pem_x509_certificate(data[CERT])
            return cls(authorities=authorities, certificate=serving, key=_load_key(data[KEY]))
        except (KeyError, ValueError, TypeError) as error:
            raise InvalidBundleError(f"not a certificate bundle of ours: {error!r}") from error


def issue(now: datetime, hosts: Sequence[str]) -> Bundle:
    """A first bundle, for DNS names and IP addresses."""
    authority = _new_authority(now)
    certificate, key = _new_serving(now, hosts, authority)
    return Bundle(authorities=(authority,), certificate=certificate, key=key)


def renewed(bundle: Bundle, now: datetime, hosts: Sequence[str]) -> Bundle | None:
    """The bundle that should replace this one; ``None`` while it is good."""
    authorities = [a for a in bundle.authorities if a.certificate.not_valid_after_utc > now]
    newest = authorities[-1] if authorities else None
    if newest is None or newest.certificate.not_valid_after_utc - now < AUTHORITY_RENEW:
        authorities.append(_new_authority(now))
    signer = _signer(authorities, now)
    serving = (bundle.certificate, bundle.key)
    if not _still_good(bundle, signer, now, hosts):
        serving = _new_serving(now, hosts, signer)
    elif tuple(authorities) == bundle.authorities:
        return None
    return Bundle(authorities=tuple(authorities), certificate=serving[0], key=serving[1])


def _signer(authorities: list[Authority], now: datetime) -> Authority:
    settled = [
        a for a in authorities if a.certificate.not_valid_before_utc + _SKEW + SETTLE <= now
    ]
    return settled[-1] if settled else authorities[0]


def _still_good(bundle: Bundle, signer: Authority, now: datetime, hosts: Sequence[str]) -> bool:
    names = bundle.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return (
        bundle.certificate.not_valid_after_utc - now >= SERVING_RENEW
        and set(names.value) == set(_names(hosts))
        and _signed_by(bundle.certificate, signer)
    )


def _signed_by(certificate: x509.Certificate, authority: Authority) -> bool:
    wanted = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    given = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    return given.value.key_identifier == wanted.value.digest


def _new_authority(now: datetime) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    # Bundles hold several: the name tells people which, the key identifier tells programs.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"tidegate-hub-ca {now:%Y-%m-%d}")])
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        _builder(now, AUTHORITY_LIFE, name, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


def _new_serving(
    now: datetime, hosts: Sequence[str], authority: Authority
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tidegate-hub")])
    issuer = authority.certificate
    life = min(SERVING_LIFE, issuer.not_valid_after_utc - now)
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    authority_id = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    certificate = (
        _builder(now, life, name, issuer.subject, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(_names(hosts)), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(authority_id, critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return certificate, key


def _builder(
    now: datetime,
    life: timedelta,
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = []
    for host in dict.fromkeys(hosts):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return names


def load_into(context: ssl.SSLContext, bundle: Bundle) -> None:
    """Serve this certificate from the next handshake on; connections that stand keep theirs."""
    data = bundle.to_data()
    # OpenSSL reads files only; one in memory never puts the key on a disk.
    handle = os.memfd_create("tidegate-hub-tls")
    try:
        os.write(handle, data[KEY] + data[CERT])
        context.load_cert_chain(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _split_keys(pems: bytes) -> list[bytes]:
    end = b"-----END PRIVATE KEY-----\n"
    return [part + end for part in pems.split(end) if part.strip()]


def _load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise InvalidBundleError("private key must be of an elliptic curve")
    return key
