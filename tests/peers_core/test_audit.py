from __future__ import annotations

from peers.audit import HASHING_S, Audit
from peers.ledger import BLAMED_PIECES_MIN, Ledger
from tests.peers_core.builders import PIECES, claim

ALL = (1 << PIECES) - 1
FETCHERS = frozenset("abc")


def half_and_half() -> Ledger:
    """The first half fetched by a, the other by b."""
    return Ledger(PIECES, [claim(piece, "a" if piece < PIECES // 2 else "b") for piece in range(PIECES)])


def begun(ledger: Ledger) -> Audit:
    audit = Audit(PIECES)
    assert audit.heard(True, True, ledger, 0.0)
    return audit


def wanted(audit: Audit, ledger: Ledger, now: float = 0.0) -> list[int]:
    pieces = audit.wanted(ledger, FETCHERS, ledger.disputed, now)
    return [piece for piece in range(PIECES) if pieces >> piece & 1]


def decided(ledger: Ledger, piece: int, wrong: str, *right: str) -> None:
    """The piece was fetched again, by others who agree."""
    ledger.merge([claim(piece, name, variant=1) for name in right])
    assert wrong in ledger.outvoted()


def test_nothing_is_fetched_again_while_no_seal_failed() -> None:
    ledger = half_and_half()
    audit = Audit(PIECES)
    assert not audit.heard(False, True, ledger, 0.0)
    assert (wanted(audit, ledger), audit.uncompared(ledger, FETCHERS)) == ([], 0)


def test_at_first_one_piece_of_each_fetcher_is_compared() -> None:
    ledger = half_and_half()
    assert wanted(begun(ledger), ledger) == [0, PIECES // 2]


def test_when_the_samples_were_right_the_rest_follows() -> None:
    ledger = half_and_half()
    audit = begun(ledger)
    ledger.merge([claim(0, "c"), claim(PIECES // 2, "c")])
    assert wanted(audit, ledger) == [p for p in range(PIECES) if p not in (0, PIECES // 2)]


def test_nothing_more_is_fetched_until_a_difference_is_decided_and_the_new_whole_hashed() -> None:
    ledger = half_and_half()
    audit = begun(ledger)
    ledger.merge([claim(0, "c", variant=1)])
    audit.heard(True, False, ledger, 1.0)
    assert wanted(audit, ledger) == []
    decided(ledger, 0, "a", "b")
    audit.heard(False, True, ledger, 2.0)
    assert wanted(audit, ledger) == []


def test_when_the_corrected_whole_is_wrong_too_all_pieces_of_the_outvoted_come_first() -> None:
    ledger = half_and_half()
    audit = begun(ledger)
    decided(ledger, 0, "a", "b", "c")
    assert audit.heard(True, True, ledger, 3.0), "the search goes on"
    assert wanted(audit, ledger) == list(range(1, PIECES // 2))


def test_a_difference_that_turns_out_for_the_first_claim_changes_nothing() -> None:
    ledger = half_and_half()
    audit = begun(ledger)
    ledger.merge([claim(0, "c", variant=1), claim(0, "b")])
    audit.heard(False, True, ledger, 1.0)
    assert wanted(audit, ledger)


def test_when_nobody_is_left_to_hash_it_the_search_goes_on() -> None:
    ledger = half_and_half()
    audit = begun(ledger)
    decided(ledger, 0, "a", "b", "c")
    audit.heard(False, False, ledger, 1.0)
    assert wanted(audit, ledger, 1.0) == []
    assert wanted(audit, ledger, 2.0 + HASHING_S) != []


def test_with_one_fetcher_its_own_second_look_compares() -> None:
    ledger = Ledger(PIECES, [claim(piece, "a") for piece in range(PIECES)])
    audit = begun(ledger)
    ledger.merge([claim(0, "a", fetch=2)])
    assert audit.uncompared(ledger, frozenset("a")) == ALL & ~1


def test_one_wrong_piece_outvotes_and_several_blame() -> None:
    ledger = half_and_half()
    for piece in range(BLAMED_PIECES_MIN):
        assert ledger.blamed() == {}
        decided(ledger, piece, "a", "b", "c")
    assert ledger.blamed() == {"a": (1 << BLAMED_PIECES_MIN) - 1}
