"""A journalled piece that is not on the disk as it was: missing again at once, not only after a wrong seal."""

from __future__ import annotations

from peers import member_actions as act
from peers import member_events as event
from peers import piece_set
from peers.blob import Blob
from peers.ledger import Claim, Digests
from peers.member import BlobMember

BLOB = Blob.of("ab" * 32, 8 << 20)
LOST = 3


def test_rotten_piece_is_missing_again_and_told_to_the_lead() -> None:
    claims = {piece: Claim(piece, "n0", 1, Digests(bytes(16), bytes(20))) for piece in range(BLOB.pieces)}
    member = BlobMember(BLOB, "n0", frozenset({"n0"}), 0.0, journalled=claims)
    assert member.table.all_checked

    actions = member.handle(event.PieceLost(LOST), 1.0)

    assert list(piece_set.each(member.table.missing)) == [LOST]
    (asked,) = [action for action in actions if isinstance(action, act.AskLead)]
    held = piece_set.from_bytes(asked.request.report.held, BLOB.pieces)
    assert held == BLOB.all_pieces & ~piece_set.single(LOST)
    assert not any(isinstance(action, act.SealBlob) for action in actions)
    member.check_thoroughly()
