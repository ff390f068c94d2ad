from __future__ import annotations

import pytest

from peers.ledger import Ledger
from peers.piece_table import PieceTable
from peers.sealing import TRIAL_AFTER_S, Sealing
from tests.peers_core.builders import PIECES, claim, digests

ALL = (1 << PIECES) - 1


@pytest.fixture
def sealing() -> Sealing:
    return Sealing("me")


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(PIECES, [claim(piece, "a") for piece in range(PIECES)])


@pytest.fixture
def table(ledger: Ledger) -> PieceTable:
    table = PieceTable(PIECES)
    for piece in range(PIECES):
        put(table, piece)
    table.settle(ALL, ledger)
    return table


def put(table: PieceTable, piece: int, variant: int = 0) -> None:
    table.written(piece)
    table.digested(piece, table.generation(piece), digests(piece, variant).xxh3)


def test_a_copy_is_hashed_once_all_pieces_are_checked(
    sealing: Sealing, table: PieceTable, ledger: Ledger
) -> None:
    assert sealing.due(table, ledger, 0.0)
    sealing.started(table)
    assert not sealing.due(table, ledger, 0.0)
    assert sealing.finished(True, "h", table)
    assert (sealing.sealed, sealing.due(table, ledger, 0.0)) == (True, False)


def test_a_result_about_bytes_that_changed_meanwhile_says_nothing(
    sealing: Sealing, table: PieceTable, ledger: Ledger
) -> None:
    sealing.started(table)
    table.being_written(0, 0.0)
    assert not sealing.finished(True, "h", table)
    assert not sealing.sealed


def test_a_failed_copy_is_read_again_before_the_ledger_is_doubted(
    sealing: Sealing, table: PieceTable, ledger: Ledger
) -> None:
    sealing.started(table)
    sealing.finished(False, "other", table)
    assert not sealing.failed(table)
    assert sealing.read_again_due(table)
    assert not sealing.read_again_due(table)
    table.read_again()
    assert not sealing.failed(table)
    for piece in range(PIECES):
        put(table, piece)
    table.settle(ALL, ledger)
    assert not sealing.due(table, ledger, 1.0), "the same bytes are not hashed twice"
    assert sealing.failed(table)


def test_rot_found_by_reading_again_gets_another_seal_once_repaired(
    sealing: Sealing, table: PieceTable, ledger: Ledger
) -> None:
    sealing.started(table)
    sealing.finished(False, "other", table)
    sealing.read_again_due(table)
    table.read_again()
    for piece in range(PIECES):
        put(table, piece, variant=int(piece == 3))
    table.settle(ALL, ledger)
    assert not sealing.due(table, ledger, 1.0)
    put(table, 3)
    table.settle(ALL, ledger)
    assert sealing.due(table, ledger, 2.0)


def test_a_dispute_is_decided_by_hashing_own_bytes_after_waiting_for_a_third_fetch(
    sealing: Sealing, table: PieceTable, ledger: Ledger
) -> None:
    ledger.merge([claim(0, "me", variant=1)])
    table.being_written(0, 0.0)
    put(table, 0, variant=1)
    table.settle(ALL, ledger)
    assert not sealing.due(table, ledger, 0.0)
    assert sealing.due(table, ledger, TRIAL_AFTER_S)
    sealing.started(table)
    sealing.finished(True, "h", table)
    assert sealing.proven_claims(ledger) == (claim(0, "me", variant=1, sealed=True),)


def test_bytes_of_others_are_not_tried(sealing: Sealing, table: PieceTable, ledger: Ledger) -> None:
    ledger.merge([claim(0, "b", variant=1)])
    table.settle(ALL, ledger)
    sealing.due(table, ledger, 0.0)
    assert not sealing.due(table, ledger, TRIAL_AFTER_S)


def test_after_a_right_seal_the_losers_of_a_contest_stay_losers(
    sealing: Sealing, table: PieceTable, ledger: Ledger
) -> None:
    ledger.merge([claim(0, "b"), claim(0, "c", variant=1)])
    assert sealing.proven_claims(ledger) == (claim(0, "me", sealed=True),)
