"""Proof that a request comes from a member and was meant for this start of this daemon.

A request carries one header with its sender, recipient, the recipient's *start id* (new at each start), time, nonce and
the SHA-256 of its body, and an HMAC-SHA256 over all of these, the protocol version, the method and the path with its
query. The proof is checked before any byte of the body is read. An answer carries an HMAC over the request's nonce,
its status and its body's hash, so it answers this request and no other.

Against repetition: a request is good for 60 s around its time, and its nonce is remembered as long. What was recorded
before a restart names the former start id, so forgetting nonces in a restart is harmless. A sender that does not know
the start id (or the name) of its recipient is refused with a proven answer that names both; it asks again with a new
nonce. Such a refused request is never carried out, so it is no way round the nonces.

All members hold the same secret: a proof says "a member", and its sender's name is that member's word.
Times are seconds since the epoch. HMAC is RFC 2104; keys are derived after RFC 5869.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import struct
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from urllib.parse import quote, unquote

from peers.ledger import MEMBER_NAME_BYTES_MAX
from peers.secret import Secret

WINDOW_S = 60.0
"""How far the clocks of two members may differ, and how late a request may arrive."""

NONCE_BYTES = 16
START_ID_BYTES = 16
MAC_BYTES = 32

SECRET_ID_BYTES = 4
"""Tells the few secrets of one cluster apart; travels in the membership table every second."""

NONCES_MAX = 1 << 18
"""Remembered at once, about 30 MB: 2,000 requests per second for the two minutes a nonce matters. Only members can fill
it; when it is full further requests are refused, because forgetting one would allow it to be repeated."""

HEADER = "Distd-Auth"
ANSWER_HEADER = "Distd-Answer"

HEADER_CHARS_MAX = 2048
"""Two names of 255 bytes, percent-encoded, and 300 characters of hexadecimal."""

_BUCKET_S = 10
_HEADER = re.compile(
    r"v=(\d{1,5});from=([^;]+);to=([^;]*);start=([0-9a-f]{32}|);time=(\d{1,15});"
    r"nonce=([0-9a-f]{32});body=([0-9a-f]{64});mac=([0-9a-f]{64})"
)


class AuthError(Exception):
    """A request that is not carried out."""

    retryable = False


class NotAuthenticated(AuthError):
    """No member of this cluster made this request. Answer 401 and nothing else."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"not authenticated: {self.reason}"


class Replayed(NotAuthenticated):
    """This request was carried out before: someone repeats what it heard, which a stranger can do as well."""

    def __init__(self) -> None:
        super().__init__("this request was made before")


class ProvenRefusal(AuthError):
    """A member made this request, and it is refused: prove the answer with ``proof``."""

    proof: Proof


class ClockSkew(ProvenRefusal):
    """The clocks differ by ``skew_s`` (positive: the sender's is ahead), or the request was held up that long."""

    def __init__(self, proof: Proof, skew_s: float) -> None:
        super().__init__(skew_s)
        self.proof = proof
        self.skew_s = skew_s

    def __str__(self) -> str:
        direction = "ahead of" if self.skew_s > 0 else "behind"
        return (
            f"the clock of {self.proof.sender} is {abs(self.skew_s):.0f} s {direction} this host's"
            f" ({WINDOW_S:.0f} s are allowed): synchronise both by NTP"
        )


class WrongRecipient(ProvenRefusal):
    """Meant for another member or another start of this one: the answer names the right one, and nothing is done."""

    def __init__(self, proof: Proof) -> None:
        super().__init__(proof.recipient, proof.start_id)
        self.proof = proof

    def __str__(self) -> str:
        return f"this request is meant for {self.proof.recipient or 'a member unknown'}, not for this start of it"


class WrongVersion(ProvenRefusal):
    """The sender speaks a protocol version that this member does not."""

    def __init__(self, proof: Proof) -> None:
        super().__init__(proof.wire_version)
        self.proof = proof

    def __str__(self) -> str:
        return f"{self.proof.sender} speaks wire version {self.proof.wire_version}"


class NoncesFull(ProvenRefusal):
    """More requests than can be remembered: ask again later."""

    retryable = True

    def __init__(self, proof: Proof) -> None:
        super().__init__(NONCES_MAX)
        self.proof = proof

    def __str__(self) -> str:
        return f"more than {NONCES_MAX} requests in two minutes"


def derive(secret: bytes, purpose: str) -> bytes:
    """A key of 32 bytes for one purpose; keys of different purposes tell nothing about each other (RFC 5869)."""
    extracted = hmac.digest(b"distd cluster secret", secret, "sha256")
    return hmac.digest(extracted, purpose.encode() + b"\x01", "sha256")


def accepted_swarm_keys(secret: Secret) -> tuple[bytes, ...]:
    """Keys of swarms that members of this cluster may be in, that of the signing secret first."""
    return tuple(derive(each, "swarm") for each in secret.accepted)


def secret_ids(secret: Secret) -> tuple[bytes, ...]:
    """What members call the secrets they accept, in the same order. An id tells nothing about its secret, which is
    random (`secret.parse` sees to it)."""
    return tuple(derive(each, "id")[:SECRET_ID_BYTES] for each in secret.accepted)


@dataclass(frozen=True, slots=True)
class Keys:
    """What one secret signs with."""

    request: bytes = field(repr=False)
    answer: bytes = field(repr=False)
    frame: bytes = field(repr=False)

    @classmethod
    def of(cls, secret: bytes) -> Keys:
        return cls(derive(secret, "request"), derive(secret, "answer"), derive(secret, "frame"))


@dataclass(frozen=True, slots=True)
class Proof:
    """What a request's header says. ``recipient`` and ``start_id`` are empty when the sender does not know them."""

    wire_version: int
    sender: str
    recipient: str
    start_id: bytes
    time_ms: int
    nonce: bytes
    body_sha256: bytes
    mac: bytes = b""

    def header(self) -> str:
        return (
            f"v={self.wire_version};from={quote(self.sender, safe='')};to={quote(self.recipient, safe='')};"
            f"start={self.start_id.hex()};time={self.time_ms};nonce={self.nonce.hex()};"
            f"body={self.body_sha256.hex()};mac={self.mac.hex()}"
        )

    @classmethod
    def parse(cls, header: str) -> Proof:
        """Read a header. Raises NotAuthenticated unless it is, to the letter, what `header` writes."""
        found = _HEADER.fullmatch(header) if len(header) <= HEADER_CHARS_MAX else None
        if found is None:
            raise NotAuthenticated("the header is malformed")
        version, sender, recipient, start_id, time_ms, nonce, body, mac = found.groups()
        proof = cls(
            int(version),
            unquote(sender, errors="replace"),
            unquote(recipient, errors="replace"),
            bytes.fromhex(start_id),
            int(time_ms),
            bytes.fromhex(nonce),
            bytes.fromhex(body),
            bytes.fromhex(mac),
        )
        if proof.header() != header or len(proof.sender.encode()) > MEMBER_NAME_BYTES_MAX:
            raise NotAuthenticated("the header is malformed")
        return proof

    def mac_with(self, keys: Keys, method: str, path: str) -> bytes:
        """The MAC this proof should have; ``path`` includes the query, as it stands in the request."""
        return _mac(
            keys.request,
            self.wire_version.to_bytes(4, "big"),
            self.sender.encode(),
            self.recipient.encode(),
            self.start_id,
            method.encode(),
            path.encode("utf-8", "surrogateescape"),
            self.body_sha256,
            self.time_ms.to_bytes(8, "big"),
            self.nonce,
        )


@dataclass(frozen=True, slots=True)
class Verified:
    """A proof that holds, and the keys it was made with: the answer is signed with the same, as the sender knows them."""

    proof: Proof
    keys: Keys


class Signer:
    """Makes a member's proofs, with the first of its secrets."""

    def __init__(self, secret: Secret, sender: str) -> None:
        self.keys = Keys.of(secret.signing)
        self._sender = sender

    def sign(
        self,
        recipient: str,
        start_id: bytes,
        wire_version: int,
        method: str,
        path: str,
        body_sha256: bytes,
        nonce: bytes,
        now: float,
    ) -> Proof:
        """The proof for one request; ``nonce`` is `NONCE_BYTES` of good randomness that was never used before."""
        proof = Proof(wire_version, self._sender, recipient, start_id, int(now * 1000), nonce, body_sha256)
        return replace(proof, mac=proof.mac_with(self.keys, method, path))


class Verifier:
    """Decides which requests this start of this member carries out."""

    def __init__(self, secret: Secret, me: str, start_id: bytes, wire_versions: Collection[int]) -> None:
        self._keys = tuple(Keys.of(each) for each in secret.accepted)
        self._me = me
        self._start_id = start_id
        self._wire_versions = frozenset(wire_versions)
        self._nonces = _Nonces()

    def change(self, secret: Secret) -> None:
        """Accept these secrets from now on. Nonces stay used."""
        self._keys = tuple(Keys.of(each) for each in secret.accepted)

    def verify(self, header: str, method: str, path: str, now: float) -> Verified:
        """Check a request's header and use up its nonce; afterwards compare the body with ``proof.body_sha256``.

        Raises NotAuthenticated (Replayed is one) or a ProvenRefusal; in both cases nothing may be carried out.
        """
        proof = Proof.parse(header)
        verified = self._proven(proof, method, path)
        skew_s = proof.time_ms / 1000 - now
        if abs(skew_s) > WINDOW_S:
            raise ClockSkew(proof, skew_s)
        if proof.wire_version not in self._wire_versions:
            raise WrongVersion(proof)
        if (proof.recipient, proof.start_id) != (self._me, self._start_id):
            raise WrongRecipient(proof)
        self._nonces.use(proof, now)
        return verified

    def keys_of(self, proof: Proof, method: str, path: str) -> Keys:
        """The keys a refused request was proven with, to prove its refusal. Raises NotAuthenticated."""
        return self._proven(proof, method, path).keys

    def _proven(self, proof: Proof, method: str, path: str) -> Verified:
        for keys in self._keys:
            if hmac.compare_digest(proof.mac_with(keys, method, path), proof.mac):
                return Verified(proof, keys)
        raise NotAuthenticated("the MAC is wrong")


def answer_mac(keys: Keys, nonce: bytes, status: int, body: bytes) -> bytes:
    """Proves the answer to the request of this nonce."""
    return _mac(keys.answer, nonce, status.to_bytes(4, "big"), hashlib.sha256(body).digest())


def answer_holds(keys: Iterable[Keys], nonce: bytes, status: int, body: bytes, mac: bytes) -> bool:
    """Whether a member made this answer to our request of this nonce."""
    return any(hmac.compare_digest(answer_mac(each, nonce, status, body), mac) for each in keys)


class _Nonces:
    """Nonces by the time their request claims; a repeated request claims the same, so it meets its own nonce."""

    def __init__(self) -> None:
        self._buckets: dict[int, set[bytes]] = {}
        self._count = 0

    def use(self, proof: Proof, now: float) -> None:
        for bucket in [each for each in self._buckets if (each + 1) * _BUCKET_S + WINDOW_S < now]:
            self._count -= len(self._buckets.pop(bucket))
        used = self._buckets.setdefault(proof.time_ms // (1000 * _BUCKET_S), set())
        if proof.nonce in used:
            raise Replayed
        if self._count >= NONCES_MAX:
            raise NoncesFull(proof)
        used.add(proof.nonce)
        self._count += 1


def _mac(key: bytes, *fields: bytes) -> bytes:
    """Each field with its length before it, so that no two lists of fields give the same bytes."""
    mac = hmac.new(key, digestmod="sha256")
    for each in fields:
        mac.update(struct.pack(">Q", len(each)))
        mac.update(each)
    return mac.digest()
