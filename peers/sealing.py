"""When a member hashes its whole copy, and what a failed hash means.

All pieces matching the ledger is no proof: digests are claims. Only the Hub's whole hash is, so a copy is sealed before
it is published. A seal also decides a dispute that no further fetch decides: a member whose disputed pieces are all its own
fetches tries the hash with those bytes (a *trial*). A copy that failed is read back once more, since bytes rot after their check
too; if all of it still matches the ledger, the ledger is wrong. It is not hashed again before a byte of it changed.
"""

from __future__ import annotations

from peers import piece_set
from peers.ledger import Claim, Ledger
from peers.piece_table import PieceTable

TRIAL_AFTER_S = 5.0
"""A dispute gets this long to be decided by a third fetch, which is cheaper than hashing a large file for nothing."""


class Sealing:
    """The seals of one blob on one member."""

    def __init__(self, me: str) -> None:
        self.running = False
        self.sealed = False
        self.actual_hash = ""
        self._me = me
        self.reading_again = False
        self._running_on: int | None = None
        self._failed_on: int | None = None
        self._read_again_on: int | None = None
        self._disputed_since: float | None = None

    def failed(self, table: PieceTable) -> bool:
        """Whether exactly the bytes on this disk were hashed, are wrong, and were read back once more."""
        return self._failed_on == self._read_again_on == table.fingerprint

    def due(self, table: PieceTable, ledger: Ledger, now: float) -> bool:
        """Whether to hash the copy now."""
        self._watch_disputes(table, now)
        self._watch_reading(table)
        if self.running or self.sealed or self._failed_on == table.fingerprint:
            return False
        return table.all_checked or self._trial_due(table, ledger, now)

    def started(self, table: PieceTable) -> None:
        self.running = True
        self._running_on = table.fingerprint

    def finished(self, matches: bool, actual_hash: str, table: PieceTable) -> bool:
        """Take a result; False when bytes changed meanwhile and it says nothing about them."""
        self.running = False
        if self._running_on != table.fingerprint:
            return False
        self.sealed = matches
        self.actual_hash = actual_hash
        if not matches:
            self._failed_on = table.fingerprint
        return True

    def read_again_due(self, table: PieceTable) -> bool:
        """Whether the copy whose seal just failed is to be read back first; says so once per copy."""
        due = self._failed_on == table.fingerprint != self._read_again_on
        if due:
            self._read_again_on = table.fingerprint
            self.reading_again = True
        return due

    def proven_claims(self, ledger: Ledger) -> tuple[Claim, ...]:
        """After a right seal: this member's digests of pieces that anybody contested, which outrank all fetches."""
        claims = []
        for piece in piece_set.each(ledger.contested | ledger.disputed):
            digests = ledger.digests(piece)
            if digests is None:
                own = [claim for claim in ledger.claims_of(piece) if claim.claimant == self._me]
                digests = own[-1].digests if own else None
            if digests is not None:
                claims.append(Claim(piece, self._me, 1, digests, sealed=True))
        return tuple(claims)

    def _watch_reading(self, table: PieceTable) -> None:
        """Bytes that read otherwise the second time had rotted: once repaired, the copy deserves another seal."""
        if self.reading_again and not table.undigested():
            self.reading_again = False
            if table.fingerprint != self._failed_on:
                self._failed_on = self._read_again_on = None

    def _watch_disputes(self, table: PieceTable, now: float) -> None:
        if not table.disputed:
            self._disputed_since = None
        elif self._disputed_since is None:
            self._disputed_since = now

    def _trial_due(self, table: PieceTable, ledger: Ledger, now: float) -> bool:
        waited = self._disputed_since is not None and now - self._disputed_since >= TRIAL_AFTER_S
        if not waited or table.missing or table.held:
            return False
        return all(self._is_own(piece, table, ledger) for piece in piece_set.each(table.disputed))

    def _is_own(self, piece: int, table: PieceTable, ledger: Ledger) -> bool:
        own = [claim for claim in ledger.claims_of(piece) if claim.claimant == self._me]
        return bool(own) and own[-1].digests.xxh3 == table.digest(piece)
