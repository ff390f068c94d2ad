"""Ledgers on disk, one file a blob: the claims behind its journalled pieces, appended as they come.

A torn last record is dropped at load. A blob without its file is no loss: a holder recomputes the
ledger from its verified copy.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from pathlib import Path

import msgspec

from distd.errors import DistdError
from distd.store.disk import reported_for
from peers.ledger import Claim, Digests

log = logging.getLogger(__name__)

_LENGTH = struct.Struct(">H")
_Row = tuple[int, str, int, bytes, bytes, bool]


class LedgerStore:
    """Files in the store's `ledgers_dir`. Methods do small writes in place; call them off hot paths."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def load(self, etag: str, pieces: int) -> tuple[Claim, ...]:
        """The claims kept for a blob of that many pieces; none when there is no file or it is damaged."""
        try:
            content = (self._directory / etag).read_bytes()
        except OSError:
            return ()
        claims: list[Claim] = []
        offset = 0
        while offset + _LENGTH.size <= len(content):
            (length,) = _LENGTH.unpack_from(content, offset)
            record = content[offset + _LENGTH.size : offset + _LENGTH.size + length]
            offset += _LENGTH.size + length
            try:
                piece, claimant, fetch, xxh3, sha1, sealed = msgspec.msgpack.decode(record, type=_Row)
            except msgspec.MsgspecError:
                break
            claim = Claim(piece, claimant, fetch, Digests(xxh3, sha1), sealed)
            if claim.is_sound(pieces):
                claims.append(claim)
        return tuple(claims)

    def append(self, etag: str, claim: Claim) -> None:
        """Raises NoSpace or StorageFailed."""
        self._write(etag, "ab", (claim,))

    def replace(self, etag: str, claims: tuple[Claim, ...]) -> None:
        """Raises NoSpace or StorageFailed."""
        self._write(etag, "wb", claims)

    async def keep(self, etag: str, claims: tuple[Claim, ...]) -> None:
        """As `replace`, in a thread; a full disk is no loss, since a holder without its ledger recomputes it."""
        try:
            await asyncio.to_thread(self.replace, etag, claims)
        except DistdError as error:
            log.warning("the ledger of %s is not kept: %s", etag, error)

    def remove(self, etag: str) -> None:
        """Idempotent."""
        (self._directory / etag).unlink(missing_ok=True)

    def _write(self, etag: str, mode: str, claims: tuple[Claim, ...]) -> None:
        content = bytearray()
        for claim in claims:
            row: _Row = (
                claim.piece,
                claim.claimant,
                claim.fetch,
                claim.digests.xxh3,
                claim.digests.sha1,
                claim.sealed,
            )
            record = msgspec.msgpack.encode(row)
            content += _LENGTH.pack(len(record)) + record
        path = self._directory / etag
        with reported_for(path), path.open(mode) as stream:
            stream.write(content)
