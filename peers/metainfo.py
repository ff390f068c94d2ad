"""Torrent metainfo that every member computes alike, so that nothing about a swarm has to be distributed.

Two BitTorrent v1 info dicts per blob (BEP 3). The *hot* one is derived from the blob's name and size
before its first byte arrives; its piece hashes are filler, and only sessions that check no hashes use
it. The *sealed* one carries the real SHA-1 of each piece, known once the ledger is complete. Both hold a
field keyed by the cluster secret: members agree on the info-hash, and nobody else can compute it.
With TLS they also carry the cluster's CA, whose certificates let into the swarm (BEP 35).

The dicts are part of the wire format; golden tests hold them to the byte. Sizes are bytes.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from peers.pieces import piece_count, piece_length_bytes

WIRE_VERSION = 1
"""Raised when the piece formula or the info dict changes; neighbouring versions are spoken for one release."""

SHA1_BYTES = 20
_FILLER_HASH = bytes(SHA1_BYTES)

Bencodable: TypeAlias = "int | bytes | Sequence[Bencodable] | Mapping[bytes, Bencodable]"


class Kind(enum.Enum):
    """Which of a blob's two swarms: `HOT` moves unchecked bytes early, `SEALED` only pieces that hash right."""

    HOT = "hot"
    SEALED = "sealed"


@dataclass(frozen=True, slots=True)
class Metainfo:
    """One swarm of one blob: what to hand to `Swarm.open`.

    `info` is the bencoded info dict and `info_hash` its SHA-1, the swarm's name on the wire. The hash is
    a secret among members as far as the encryption mode keeps it one: never log it. `piece_sha1` is None
    in the hot swarm, where no piece has a hash to check.
    """

    blob: str
    kind: Kind
    size_bytes: int
    info: bytes = field(repr=False)
    info_hash: bytes = field(repr=False)
    piece_sha1: tuple[bytes, ...] | None = field(repr=False)

    @property
    def piece_count(self) -> int:
        return piece_count(self.size_bytes)


def hot_metainfo(
    secret: bytes, blob: str, size_bytes: int, wire_version: int = WIRE_VERSION, tls_ca: bytes = b""
) -> Metainfo:
    """The swarm in which a blob first arrives, known to every member before the first byte.

    ``tls_ca`` is the CA's certificate, empty without TLS. Raises ValueError for an empty blob or a name that is no
    plain file name.
    """
    filler = _FILLER_HASH * piece_count(size_bytes)
    return _metainfo(Kind.HOT, secret, blob, size_bytes, wire_version, tls_ca, filler, piece_sha1=None)


def sealed_metainfo(
    secret: bytes,
    blob: str,
    size_bytes: int,
    piece_sha1: Sequence[bytes],
    wire_version: int = WIRE_VERSION,
    tls_ca: bytes = b"",
) -> Metainfo:
    """The swarm of a blob whose ledger is complete: an ordinary torrent with the SHA-1 of every piece.

    Raises ValueError unless there is exactly one 20-byte digest per piece, in piece order.
    """
    digests = tuple(piece_sha1)
    if len(digests) != piece_count(size_bytes) or any(len(digest) != SHA1_BYTES for digest in digests):
        raise ValueError(
            f"{size_bytes} bytes need {piece_count(size_bytes)} SHA-1 digests of 20 bytes, got {len(digests)}"
        )
    return _metainfo(Kind.SEALED, secret, blob, size_bytes, wire_version, tls_ca, b"".join(digests), digests)


def _metainfo(
    kind: Kind,
    secret: bytes,
    blob: str,
    size_bytes: int,
    wire_version: int,
    tls_ca: bytes,
    pieces: bytes,
    piece_sha1: tuple[bytes, ...] | None,
) -> Metainfo:
    if not blob or "/" in blob or "\0" in blob or blob in (".", ".."):
        raise ValueError(f"{blob!r} is not a plain file name, and a torrent names the file it fills")
    name = blob.encode()
    what: Sequence[Bencodable] = [b"distd", wire_version, kind.value.encode(), name, size_bytes]
    info = bencode(
        {
            b"distd": hmac.digest(secret, bencode(what), "sha256"),
            b"length": size_bytes,
            b"name": name,
            b"piece length": piece_length_bytes(size_bytes),
            b"pieces": pieces,
            b"private": 1,  # BEP 27: no DHT, no peer exchange; members are connected explicitly
            **({b"ssl-cert": tls_ca} if tls_ca else {}),
        }
    )
    return Metainfo(blob, kind, size_bytes, info, hashlib.sha1(info).digest(), piece_sha1)


def bencode(value: Bencodable) -> bytes:
    """Canonical bencoding (BEP 3): the keys of a dict sorted as raw bytes, integers without leading zeros."""
    match value:
        case bool():
            raise TypeError("bencoding has no booleans")
        case int():
            return b"i%de" % value
        case bytes():
            return b"%d:%s" % (len(value), value)
        case Mapping():
            items = (bencode(key) + bencode(value[key]) for key in sorted(value))
            return b"d" + b"".join(items) + b"e"
        case Sequence() if not isinstance(value, str):
            return b"l" + b"".join(bencode(item) for item in value) + b"e"
    raise TypeError(f"{type(value).__name__} cannot be bencoded")
