from __future__ import annotations

from peers.ledger import Ledger
from peers.member_actions import DigestPiece, JournalPiece, RejectPiece, UnjournalPiece
from peers.piece_table import PieceTable, Settled
from peers.read_back import DIGESTS_AT_ONCE, ReadBack, journal
from tests.peers_core.builders import PIECES, claim


def test_pieces_are_read_back_in_file_order_a_few_at_a_time_and_once_each() -> None:
    table, reading = PieceTable(100), ReadBack()
    for piece in reversed(range(100)):
        table.written(piece)
    assert reading.due(table) == [DigestPiece(piece, 1) for piece in range(DIGESTS_AT_ONCE)]
    assert reading.due(table) == []
    table.digested(0, 1, b"x" * 16)
    reading.done(0, 1)
    assert reading.due(table) == [DigestPiece(DIGESTS_AT_ONCE, 1)]


def test_the_journal_hears_of_every_change_and_rejections_name_their_source() -> None:
    ledger = Ledger(PIECES, [claim(0, "me"), claim(1, "other"), claim(2, "me")])
    settled = Settled(checked=0b001, unchecked=0b1000, rejected=0b110)
    assert journal(settled, ledger, "me") == [
        UnjournalPiece(3),
        RejectPiece(1, from_hub=False),
        RejectPiece(2, from_hub=True),
        JournalPiece(0, claim(0, "me")),
    ]
