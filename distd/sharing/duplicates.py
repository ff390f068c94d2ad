"""Bytes of one blob that this node got from the Hub although the cluster had them: counted as the ledger tells of them."""

from __future__ import annotations

from distd.core.tally import Tally
from peers import piece_set
from peers.blob import Blob
from peers.ledger import Ledger
from peers.piece_set import PieceSet


class Duplicates:
    """Look at the ledger after each change with `look`; what an earlier run fetched is not counted again.

    Fetches of members that never heard of each other, in a partition that outlasts the blob, stay unknown.
    """

    def __init__(self, blob: Blob, me: str, ledger: Ledger, tally: Tally) -> None:
        self._blob = blob
        self._me = me
        self._ledger = ledger
        self._tally = tally
        self._seen = ledger.claims_fingerprint
        self._again, self._twice = self._now()

    def look(self) -> None:
        """Counts what the ledger has learnt since the last look."""
        if self._ledger.claims_fingerprint == self._seen:
            return
        self._seen = self._ledger.claims_fingerprint
        again, twice = self._now()
        self._count(again & ~self._again)
        self._count(twice & ~self._twice)
        self._again |= again
        self._twice |= twice

    def _now(self) -> tuple[PieceSet, PieceSet]:
        return self._ledger.fetched_again_by(self._me), self._ledger.claimed_twice_by(self._me)

    def _count(self, pieces: PieceSet) -> None:
        self._tally.hub_repeated(sum(map(self._blob.piece_bytes, piece_set.each(pieces))))
