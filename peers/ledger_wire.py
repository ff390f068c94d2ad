"""The compact form of claims: on the wire between members and in the file stored beside a blob.

One row of 43 bytes per claim (big-endian: piece 4, claimant's place in the table of names 2, fetch and sealed flag 1,
xxh3 16, sha1 20) instead of about 130 as named fields. A blob of 4,096 pieces fits in 176 KB.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from peers.ledger import Claim, Digests

CLAIMS_PER_MESSAGE_MAX = 1024
"""44 KB of rows: one answer stays far below the body limit of the cluster API, and a late joiner's first round trips
bring a blob of 64 GB in four."""

CLAIMANTS_MAX = 65_535
"""What the two bytes of a row can name."""

_ROW = struct.Struct(">IHB16s20s")
_SEALED = 0x80


class ClaimsUnreadable(ValueError):
    """Rows that no sender of this wire version writes; sending them again does not help."""

    retryable = False

    def __init__(self, reason: str, at_row: int) -> None:
        super().__init__(reason, at_row)
        self.reason = reason
        self.at_row = at_row

    def __str__(self) -> str:
        return f"claims unreadable at row {self.at_row}: {self.reason}"


@dataclass(frozen=True, slots=True)
class PackedClaims:
    """Plain types only, so that any encoder carries it."""

    claimants: tuple[str, ...]
    rows: bytes


def pack(claims: Iterable[Claim]) -> PackedClaims:
    """Pack claims; `unpack` gives them back in the same order."""
    places: dict[str, int] = {}
    rows = bytearray()
    for claim in claims:
        place = places.setdefault(claim.claimant, len(places))
        flags = claim.fetch | (_SEALED if claim.sealed else 0)
        rows += _ROW.pack(claim.piece, place, flags, claim.digests.xxh3, claim.digests.sha1)
    return PackedClaims(tuple(places), bytes(rows))


def unpack(packed: PackedClaims, pieces: int, limit: int = CLAIMS_PER_MESSAGE_MAX) -> tuple[Claim, ...]:
    """Read claims about a blob of ``pieces`` pieces. Raises `ClaimsUnreadable`, keeping none, if any row is wrong."""
    if len(packed.rows) % _ROW.size:
        raise ClaimsUnreadable("the last row is cut short", len(packed.rows) // _ROW.size)
    if len(packed.rows) // _ROW.size > limit:
        raise ClaimsUnreadable(f"more than {limit} rows", limit)
    claims = []
    for number, (piece, place, flags, xxh3, sha1) in enumerate(_ROW.iter_unpack(packed.rows)):
        if place >= len(packed.claimants):
            raise ClaimsUnreadable("the claimant is not in the table", number)
        claim = Claim(
            piece, packed.claimants[place], flags & ~_SEALED, Digests(xxh3, sha1), bool(flags & _SEALED)
        )
        if not claim.is_sound(pieces):
            raise ClaimsUnreadable("not a claim about this blob", number)
        claims.append(claim)
    return tuple(claims)
