"""Reading pieces back from the disk: which are due, and how the journal learns what came of it.

A piece counts only after its bytes were read back from the disk and compared, whoever brought them: what a swarm or a
write reports is a claim.
"""

from __future__ import annotations

from peers import piece_set
from peers.ledger import Ledger
from peers.member_actions import DigestPiece, JournalPiece, MemberAction, RejectPiece, UnjournalPiece
from peers.piece_table import PieceTable, Settled

DIGESTS_AT_ONCE = 16
"""Read-backs under way: keeps a few cores busy; more would only queue in the shell."""


class ReadBack:
    """The read-backs under way, each named by piece and generation of its bytes."""

    def __init__(self) -> None:
        self._under_way: set[tuple[int, int]] = set()

    def due(self, table: PieceTable) -> list[MemberAction]:
        """Read-backs to start now, in file order, so that a hash over the file's prefix can follow."""
        actions: list[MemberAction] = []
        for piece in piece_set.each(table.undigested()):
            if len(self._under_way) >= DIGESTS_AT_ONCE:
                break
            key = (piece, table.generation(piece))
            if key not in self._under_way:
                self._under_way.add(key)
                actions.append(DigestPiece(*key))
        return actions

    def done(self, piece: int, generation: int) -> None:
        self._under_way.discard((piece, generation))


def journal(settled: Settled, ledger: Ledger, me: str) -> list[MemberAction]:
    """What the journal and the counters are told about pieces that changed their state."""
    actions: list[MemberAction] = [UnjournalPiece(piece) for piece in piece_set.each(settled.unchecked)]
    fetched = ledger.claimed_by(me)
    for piece in piece_set.each(settled.rejected):
        actions.append(RejectPiece(piece, from_hub=bool(fetched & piece_set.single(piece))))
    for piece in piece_set.each(settled.checked):
        claim = ledger.agreed_claim(piece)
        assert claim is not None  # a checked piece has an agreed digest, and that digest a claim
        actions.append(JournalPiece(piece, claim))
    return actions
