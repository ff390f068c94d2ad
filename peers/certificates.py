"""Makes the cluster's CA and certificates of its members, as PEM; writes nothing."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from peers.tls import ANY_TORRENT, COMMON_NAME_CHARS_MAX

CA_DAYS = 3650
"""Replacing the CA means new certificates for everybody, so it lasts longer than the machines."""

MEMBER_DAYS = 730
"""Renewed without a restart; two years, so that it happens while somebody remembers how."""

_BACKDATED = datetime.timedelta(hours=1)
"""For members whose clocks are behind."""


def make_ca(name: str, now: float) -> tuple[bytes, bytes]:
    """(certificate, private key) of a new CA for the cluster ``name``, valid from ``now`` (seconds since the epoch)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(f"distd cluster {name}")
    certificate = (
        _builder(subject, subject, key.public_key(), now, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )
    return certificate.public_bytes(Encoding.PEM), _key_pem(key)


def make_member(name: str, ca_cert_pem: bytes, ca_key_pem: bytes, now: float) -> tuple[bytes, bytes]:
    """(certificate, private key) of a member, signed by the CA. Raises ValueError for what is no CA with its key."""
    authority = x509.load_pem_x509_certificate(ca_cert_pem)
    ca_key = _ca_key(authority, ca_key_pem)
    key = ec.generate_private_key(ec.SECP256R1())
    days = min(MEMBER_DAYS, int((authority.not_valid_after_utc.timestamp() - now) // 86_400))
    names = x509.SubjectAlternativeName([x509.DNSName(each) for each in (*_dns_name(name), ANY_TORRENT)])
    certificate = (
        _builder(_subject(name), authority.subject, key.public_key(), now, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            critical=False,
        )
        .add_extension(names, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, SHA256())
    )
    return certificate.public_bytes(Encoding.PEM), _key_pem(key)


def serial_of(cert_pem: bytes) -> int:
    """A certificate's serial number. Raises ValueError for what is none."""
    return x509.load_pem_x509_certificate(cert_pem).serial_number


def revoke(
    ca_cert_pem: bytes, ca_key_pem: bytes, crl_pem: bytes, serials: Iterable[int], now: float
) -> bytes:
    """The list ``crl_pem`` (empty: none yet) with these serial numbers, until the CA's own end. Raises ValueError for what is no CA
    with its key, or no list."""
    authority = x509.load_pem_x509_certificate(ca_cert_pem)
    ca_key = _ca_key(authority, ca_key_pem)
    at = datetime.datetime.fromtimestamp(now, datetime.UTC)
    entries = {each.serial_number: each for each in (x509.load_pem_x509_crl(crl_pem) if crl_pem else ())}
    for serial in serials:
        if serial not in entries:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at)
            entries[serial] = entry.build()
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.subject)
        .last_update(at - _BACKDATED)
        .next_update(authority.not_valid_after_utc)
        .add_extension(x509.CRLNumber(int(now)), critical=False)
    )
    for each in entries.values():
        builder = builder.add_revoked_certificate(each)
    return builder.sign(ca_key, SHA256()).public_bytes(Encoding.PEM)


def _ca_key(authority: x509.Certificate, ca_key_pem: bytes) -> ec.EllipticCurvePrivateKey:
    ca_key = load_pem_private_key(ca_key_pem, password=None)
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey) or ca_key.public_key() != authority.public_key():
        raise ValueError("the key is not that of the CA's certificate")
    return ca_key


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: float, days: int
) -> x509.CertificateBuilder:
    begins = datetime.datetime.fromtimestamp(now, datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins - _BACKDATED)
        .not_valid_after(begins + datetime.timedelta(days=days))
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:COMMON_NAME_CHARS_MAX])])


def _dns_name(name: str) -> tuple[str, ...]:
    """A member's name as a DNS name; one that is none stands in the subject alone."""
    return (name,) if name.isascii() and " " not in name else ()


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
