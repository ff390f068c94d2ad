"""The swarm of one blob that is open here, if any, and the terms under which it was entered."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress

from distd.errors import StorageFailed
from peers import piece_set
from peers.blob import Blob
from peers.metainfo import Kind, Metainfo, hot_metainfo, sealed_metainfo
from peers.piece_set import PieceSet
from peers.swarm import Endpoint, JournalMismatch, Swarm, SwarmError
from peers.swarm_terms import SwarmTerms


class OpenSwarm:
    """At most one at a time. `kind` is None while none is open; operations then do nothing."""

    def __init__(self, blob: Blob, swarm: Swarm, terms: Callable[[], SwarmTerms]) -> None:
        self.kind: Kind | None = None
        self._blob = blob
        self._swarm = swarm
        self._terms_now = terms
        self._terms: SwarmTerms | None = None

    @property
    def outdated(self) -> bool:
        """Whether members now meet under other terms than when this swarm was entered."""
        return self.kind is not None and self._terms != self._terms_now()

    async def enter(self, kind: Kind, path: str, have: PieceSet, hashes: Sequence[bytes] = ()) -> None:
        """Opens over the file at `path`; `hashes` are the pieces' SHA-1 for a sealed one. Raises StorageFailed."""
        self.kind, self._terms = kind, self._terms_now()
        bitmap = [bool(have >> piece & 1) for piece in range(self._blob.pieces)]
        try:
            await self._swarm.open(self._metainfo(kind, self._terms, hashes), path, bitmap)
        except JournalMismatch as error:
            raise StorageFailed(path, str(error)) from error

    async def leave(self, *, flush: bool = False) -> Kind | None:
        """Returns which was left. With `flush`, what was handed over is first waited for, so that it is held afterwards."""
        kind = self.kind
        if kind is None:
            return None
        if flush:
            with suppress(SwarmError):
                await self._swarm.flush(self._blob.name, kind)
        self.kind = None
        await self._swarm.close(self._blob.name, kind)
        return kind

    async def add_piece(self, piece: int, data: bytes | bytearray) -> None:
        assert self.kind is not None
        await self._swarm.add_piece(self._blob.name, self.kind, piece, data)

    def set_leased(self, pieces: PieceSet) -> None:
        """Pieces that this node fetches itself are not asked of others; all others are."""
        if self.kind is not None:
            others = [piece for piece in range(self._blob.pieces) if not pieces >> piece & 1]
            self._swarm.want(self._blob.name, self.kind, others, True)
            self._swarm.want(self._blob.name, self.kind, list(piece_set.each(pieces)), False)

    def connect(self, endpoints: Callable[[Kind], Collection[Endpoint]]) -> None:
        if self.kind is not None:
            self._swarm.connect(self._blob.name, self.kind, endpoints(self.kind))

    def _metainfo(self, kind: Kind, terms: SwarmTerms, hashes: Iterable[bytes]) -> Metainfo:
        blob = self._blob
        if kind is Kind.HOT:
            return hot_metainfo(terms.secret, blob.name, blob.size_bytes, terms.wire_version, terms.tls_ca)
        return sealed_metainfo(
            terms.secret, blob.name, blob.size_bytes, tuple(hashes), terms.wire_version, terms.tls_ca
        )
