from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peers.invariants import InvariantViolated
from peers.ledger import Ledger
from peers.piece_table import PieceState, PieceTable, Settled
from tests.peers_core.builders import PIECES, claim, digests

ALL = (1 << PIECES) - 1


@pytest.fixture
def table() -> PieceTable:
    return PieceTable(PIECES)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(PIECES)


def read_back(table: PieceTable, piece: int, variant: int = 0) -> bool:
    table.written(piece)
    return table.digested(piece, table.generation(piece), digests(piece, variant).xxh3)


def test_a_piece_becomes_checked_only_when_read_back_and_agreed(table: PieceTable, ledger: Ledger) -> None:
    table.written(0)
    assert (table.state(0), table.undigested()) == (PieceState.HELD, 0b1)
    read_back(table, 0)
    assert table.settle(ALL, ledger) == Settled(0, 0, 0)
    ledger.merge([claim(0, "a")])
    assert table.settle(ALL, ledger) == Settled(checked=0b1, unchecked=0, rejected=0)
    assert table.state(0) is PieceState.CHECKED


def test_a_piece_that_does_not_match_is_missing_again(table: PieceTable, ledger: Ledger) -> None:
    ledger.merge([claim(0, "a")])
    read_back(table, 0, variant=1)
    assert table.settle(ALL, ledger).rejected == 0b1
    assert (table.state(0), table.digest(0)) == (PieceState.MISSING, None)


def test_a_dispute_suspends_a_checked_piece_and_its_end_decides(table: PieceTable, ledger: Ledger) -> None:
    ledger.merge([claim(0, "a")])
    read_back(table, 0)
    table.settle(ALL, ledger)
    ledger.merge([claim(0, "b", variant=1)])
    assert table.settle(ALL, ledger).unchecked == 0b1
    assert table.state(0) is PieceState.DISPUTED
    ledger.merge([claim(0, "c")])
    assert table.settle(ALL, ledger).checked == 0b1


def test_digests_of_bytes_that_were_replaced_are_dropped(table: PieceTable) -> None:
    table.written(0)
    earlier = table.generation(0)
    table.being_written(0, 1.0)
    assert not table.digested(0, earlier, digests(0).xxh3)
    table.written(0)
    assert not table.digested(0, earlier, digests(0).xxh3)
    assert table.digested(0, earlier + 1, digests(0).xxh3)


def test_what_was_fetched_here_is_secured_until_it_is_read_back(table: PieceTable, ledger: Ledger) -> None:
    table.being_written(0, 1.0)
    assert (table.state(0), table.secured) == (PieceState.MISSING, 0b1)
    ledger.merge([claim(0, "me")])
    read_back(table, 0, variant=1)
    table.settle(ALL, ledger)
    assert table.secured == 0


def test_bytes_that_never_reach_the_disk_are_given_up(table: PieceTable) -> None:
    table.being_written(0, 1.0)
    table.being_written(1, 5.0)
    assert table.give_up_arriving(before=2.0) == 0b1
    assert table.secured == 0b10


def test_unreadable_bytes_are_missing(table: PieceTable) -> None:
    table.written(0)
    table.unreadable(0, table.generation(0) + 1)
    assert table.state(0) is PieceState.HELD
    table.unreadable(0, table.generation(0))
    assert table.state(0) is PieceState.MISSING


def test_reading_again_forgets_every_digest_and_comes_to_the_same_fingerprint(
    table: PieceTable, ledger: Ledger
) -> None:
    for piece in range(PIECES):
        ledger.merge([claim(piece, "a")])
        read_back(table, piece)
    table.settle(ALL, ledger)
    before = table.fingerprint
    assert table.read_again() == ALL
    assert table.secured == ALL, "nobody has to fetch meanwhile what is still on this disk"
    assert table.undigested() == ALL
    for piece in range(PIECES):
        table.digested(piece, table.generation(piece), digests(piece).xxh3)
    assert table.fingerprint == before
    table.settle(ALL, ledger)
    assert table.all_checked


def test_the_journal_brings_pieces_back(table: PieceTable, ledger: Ledger) -> None:
    table.restore(3, digests(3).xxh3)
    assert table.state(3) is PieceState.HELD
    ledger.merge([claim(3, "a")])
    assert table.settle(ALL, ledger).checked == 0b1000


steps = st.lists(
    st.tuples(
        st.sampled_from(["written", "being_written", "digested", "claimed", "unreadable", "again"]),
        st.integers(0, PIECES - 1),
        st.integers(0, 1),
        st.sampled_from("abc"),
    ),
    max_size=40,
)


@given(steps)
def test_whatever_happens_each_piece_is_in_one_state_that_its_facts_give_it(
    taken: list[tuple[str, int, int, str]],
) -> None:
    table, ledger = PieceTable(PIECES), Ledger(PIECES)
    for what, piece, variant, member in taken:
        generation = table.generation(piece)
        if what == "written":
            table.written(piece)
        elif what == "being_written":
            table.being_written(piece, 0.0)
        elif what == "digested":
            table.digested(piece, generation, digests(piece, variant).xxh3)
        elif what == "claimed":
            ledger.merge([claim(piece, member, variant)])
        elif what == "unreadable":
            table.unreadable(piece, generation)
        else:
            table.read_again()
        table.settle(ALL, ledger)
        table.check(ledger)
        table.check_digests(ledger)
        assert table.settle(ALL, ledger) == Settled(0, 0, 0)


def test_a_piece_in_two_states_violates(table: PieceTable, ledger: Ledger) -> None:
    table.held = 0b1
    with pytest.raises(InvariantViolated) as violated:
        table.check(ledger)
    assert violated.value.rule == "a piece is in exactly one state"


def test_a_table_says_how_far_it_is(table: PieceTable) -> None:
    table.written(0)
    assert repr(table) == "<PieceTable 0 checked, 1 held, 0 disputed, 7 missing>"
