"""Mutual TLS among members: one CA for the cluster, a certificate signed by it for each member.

Whoever shows a certificate of this CA is a member, by the name in it; host names are not compared, because members are
known by the membership table. The swarm's engine takes no chains of certificates and matches names, so certificates are signed by the
CA itself and carry the name ``*`` beside the member's own (`certificates.py` makes such ones).
"""

from __future__ import annotations

import datetime
import os
import ssl
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # loaded when there is a certificate to judge: 10 MB and up to half a second
    from cryptography import x509

PEM_BYTES_MAX = 1 << 16
"""A certificate with its key is a few kilobytes; a longer file is something else and is not read to its end."""

ANY_TORRENT = "*"
"""The name by which a certificate is good for every torrent."""

COMMON_NAME_CHARS_MAX = 64
"""X.520's bound; a longer name stands whole among the alternative names, where it is a DNS name."""

EXPIRY_TOLD_S = 30 * 86_400.0
"""A certificate that ends within so long is warned of: a month to renew it."""

_CRL_END = "-----END X509 CRL-----"

DH_PARAMETERS = """\
-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
"""
"""ffdhe2048 of RFC 7919. The engine asks for parameters; with keys on elliptic curves they are not used."""


class TlsUnusable(Exception):
    """The certificate, its key or the CA cannot be used. The text names the file and what to do."""

    retryable = False

    def __init__(self, key: str, path: str, reason: str) -> None:
        super().__init__(key, path, reason)
        self.key = key
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"{self.path} cannot be used ({self.key}): {self.reason}; `distctl cluster init --tls` makes a CA"
            " and certificates for members"
        )


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where a member's certificate, its key, the CA's certificate and the list of those that count no longer lie, all PEM.
    Without the last one (empty) every certificate of the CA counts."""

    cert: str
    key: str
    ca: str
    crl: str = ""


@dataclass(frozen=True, slots=True)
class TlsIdentity:
    """This member's certificate, ready for connections and for the swarm. Times in seconds since the epoch.

    ``names`` are whom the certificate is for. ``ca_pem`` is the canonical form of the CA that signed it: every member derives the same torrents from it. Tell
    ``warnings`` to people.
    """

    cert_pem: str
    key_pem: str = field(repr=False)
    ca_pem: bytes
    names: frozenset[str]
    not_after: float
    accepting: ssl.SSLContext = field(repr=False, compare=False)
    asking: ssl.SSLContext = field(repr=False, compare=False)
    warnings: tuple[str, ...] = ()
    revoked: frozenset[int] = frozenset()
    """Serial numbers of certificates that count no longer."""


def load(files: TlsFiles, now: float) -> TlsIdentity:
    """Read and judge all files; ``now`` is the time of day. Raises TlsUnusable. Reads the disk: small files."""
    from cryptography.hazmat.primitives.serialization import Encoding

    ca_text, cert_text = _read("cluster.tls_ca_file", files.ca), _read("cluster.tls_cert_file", files.cert)
    key_text = _read("cluster.tls_key_file", files.key, private=True)
    authorities = _certificates("cluster.tls_ca_file", files.ca, ca_text)
    certificate = _certificates("cluster.tls_cert_file", files.cert, cert_text)[0]
    signed_by = [each for each in authorities if _signed(certificate, each)]
    if not signed_by:
        raise TlsUnusable("cluster.tls_cert_file", files.cert, f"no CA in {files.ca} signed it")
    ends = certificate.not_valid_after_utc
    if ends.timestamp() <= now or certificate.not_valid_before_utc.timestamp() > now:
        begins = certificate.not_valid_before_utc
        raise TlsUnusable(
            "cluster.tls_cert_file",
            files.cert,
            f"it is valid from {begins:%Y-%m-%d %H:%M} to {ends:%Y-%m-%d %H:%M} UTC",
        )
    if ANY_TORRENT not in _names(certificate):
        raise TlsUnusable(
            "cluster.tls_cert_file", files.cert, "it lacks the name * (DNS:*), which the swarm needs"
        )
    ca_pem = signed_by[0].public_bytes(Encoding.PEM)
    revoked: frozenset[int] = frozenset()
    crl_warnings: tuple[str, ...] = ()
    if files.crl:
        revoked, crl_warnings = _revoked(files.crl, authorities, now)
    if certificate.serial_number in revoked:
        raise TlsUnusable("cluster.tls_cert_file", files.cert, f"it is revoked by {files.crl}")
    return TlsIdentity(
        certificate.public_bytes(Encoding.PEM).decode(),
        key_text,
        ca_pem,
        frozenset(_names(certificate)) - {ANY_TORRENT},
        ends.timestamp(),
        accepting=_context(ssl.PROTOCOL_TLS_SERVER, files, ca_text),
        asking=_context(ssl.PROTOCOL_TLS_CLIENT, files, ca_text),
        warnings=_warnings(files.cert, ends, now) + crl_warnings,
        revoked=revoked,
    )


def _context(protocol: ssl._SSLMethod, files: TlsFiles, ca_text: str) -> ssl.SSLContext:
    """TLS 1.3 alone, as no member is older, and nobody without a certificate of the CA."""
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # members' addresses come and go; the CA is the cluster's own
    context.verify_mode = ssl.CERT_REQUIRED
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.num_tickets = 0  # a session resumed by a ticket would outlive a renewed certificate
    try:
        context.load_verify_locations(cadata=ca_text)
        if files.crl:
            context.load_verify_locations(cafile=files.crl)  # takes lists too, which cadata does not
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        context.load_cert_chain(files.cert, files.key, password=_no_password)
    except (ssl.SSLError, ValueError, OSError) as error:
        raise TlsUnusable(
            "cluster.tls_key_file", files.key, f"it does not fit the certificate {files.cert} ({error})"
        ) from error
    return context


def _no_password() -> str:
    """A daemon has nobody to ask; without this OpenSSL would ask at a terminal."""
    raise ValueError("it is encrypted")


def _read(key: str, path: str, *, private: bool = False) -> str:
    try:
        # Without blocking: opening a pipe by mistake must not hang the daemon's start.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise TlsUnusable(key, path, error.strerror or str(error)) from error
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise TlsUnusable(key, path, "it is not a regular file")
        if private and mode & (stat.S_IRWXO | stat.S_IWGRP):
            raise TlsUnusable(
                key, path, f"others than its owner can read or change it (mode {stat.S_IMODE(mode):04o})"
            )
        content = os.read(descriptor, PEM_BYTES_MAX + 1)
    finally:
        os.close(descriptor)
    if len(content) > PEM_BYTES_MAX:
        raise TlsUnusable(key, path, f"it is longer than {PEM_BYTES_MAX} bytes")
    return content.decode("ascii", "replace")


def _certificates(key: str, path: str, text: str) -> list[x509.Certificate]:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(text.encode())
    except ValueError as error:
        raise TlsUnusable(key, path, "it holds no certificate in PEM") from error


def _signed(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _revoked(
    path: str, authorities: list[x509.Certificate], now: float
) -> tuple[frozenset[int], tuple[str, ...]]:
    """The serial numbers of a file's lists, and what deserves a warning. Raises TlsUnusable: with a list that is missing or out of
    date nobody's certificate would count."""
    from cryptography import x509

    key = "cluster.tls_crl_file"
    text = _read(key, path)
    blocks = [f"{block}{_CRL_END}\n" for block in text.split(_CRL_END)[:-1]]
    try:
        lists = [x509.load_pem_x509_crl(block.encode()) for block in blocks]
    except ValueError as error:
        raise TlsUnusable(key, path, "it holds a list that cannot be read") from error
    found: set[int] = set()
    warnings: tuple[str, ...] = ()
    for authority in authorities:
        of_it = [each for each in lists if _signed_list(each, authority)]
        if not of_it:
            name = authority.subject.rfc4514_string()
            raise TlsUnusable(
                key, path, f"it holds no list of the CA {name}, without which none of its certificates counts"
            )
        newest = max(of_it, key=lambda each: each.last_update_utc)
        ends = newest.next_update_utc
        if ends is not None and ends.timestamp() <= now:
            raise TlsUnusable(key, path, f"its list ended on {ends:%Y-%m-%d %H:%M} UTC: make a new one")
        if ends is not None and ends.timestamp() - now < EXPIRY_TOLD_S:
            warnings += (
                f"the list {path} ends on {ends:%Y-%m-%d}, and then no certificate counts: make a new one",
            )
        found |= {each.serial_number for each in newest}
    return frozenset(found), warnings


def _signed_list(crl: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    key: Any = authority.public_key()
    return crl.issuer == authority.subject and crl.is_signature_valid(key)


def serial_of(peercert: Mapping[str, Any]) -> int:
    """The number of a certificate, as `ssl` tells of the other side's."""
    return int(str(peercert.get("serialNumber", "0")), 16)


def names_of(peercert: Mapping[str, Any]) -> frozenset[str]:
    """Whom a certificate is for, as `ssl` tells of the other side's: its common name and DNS names."""
    subject = [value for part in peercert.get("subject", ()) for key, value in part if key == "commonName"]
    dns = [value for kind, value in peercert.get("subjectAltName", ()) if kind == "DNS"]
    return frozenset((*subject, *dns)) - {ANY_TORRENT}


def _names(certificate: x509.Certificate) -> list[str]:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    common = [str(each.value) for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return common
    return [*common, *extension.value.get_values_for_type(x509.DNSName)]


def _warnings(path: str, ends: datetime.datetime, now: float) -> tuple[str, ...]:
    if ends.timestamp() - now > EXPIRY_TOLD_S:
        return ()
    return (
        f"the certificate {path} ends on {ends:%Y-%m-%d}: renew it with `distctl cluster cert`, then reload distd",
    )
