from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peers.invariants import InvariantViolated
from peers.ledger import BLAMED_PIECES_MIN, FETCHES_MAX, Claim, Digests, Ledger, Verdict
from tests.peers_core.builders import PIECES, claim, digests

claims = st.lists(
    st.builds(
        claim,
        piece=st.integers(0, PIECES - 1),
        claimant=st.sampled_from(["a", "b", "c", "d"]),
        variant=st.integers(0, 2),
        fetch=st.integers(1, 3),
        sealed=st.booleans(),
    ),
    max_size=25,
)


def facts(ledger: Ledger) -> tuple[object, ...]:
    return (
        ledger.all_claims(),
        [(ledger.verdict(piece), ledger.digests(piece)) for piece in range(PIECES)],
        ledger.outvoted(),
        ledger.claims_fingerprint,
        ledger.agreed_fingerprint,
        (ledger.agreed, ledger.disputed, ledger.confirmed, ledger.refetched),
        [ledger.claimed_by(name) for name in "abcd"],
    )


def united(*many: list[Claim]) -> Ledger:
    ledger = Ledger(PIECES)
    for some in many:
        ledger.merge(some)
    ledger.check()
    return ledger


@given(claims, claims)
def test_merging_is_commutative(some: list[Claim], others: list[Claim]) -> None:
    assert facts(united(some, others)) == facts(united(others, some))


@given(claims, claims, claims)
def test_merging_is_associative(one: list[Claim], two: list[Claim], three: list[Claim]) -> None:
    left = united(list(united(one, two).all_claims()), three)
    right = united(one, list(united(two, three).all_claims()))
    assert facts(left) == facts(right)


@given(claims)
def test_merging_is_idempotent(some: list[Claim]) -> None:
    ledger = united(some)
    version = ledger.version
    assert ledger.merge(some) == 0
    assert ledger.version == version


@given(claims)
def test_no_claim_of_an_honest_numbering_is_lost(some: list[Claim]) -> None:
    named = {(c.piece, c.claimant, c.fetch, c.sealed): c for c in some}
    ledger = united(list(named.values()))
    assert set(ledger.all_claims()) == set(named.values())


@given(claims, st.integers(1, 7))
def test_changes_in_pages_bring_a_reader_to_the_same_ledger(some: list[Claim], page: int) -> None:
    ledger, reader, version = united(some), Ledger(PIECES), 0
    while version < ledger.version:
        changes = ledger.changes_since(version, page)
        assert len(changes.claims) <= page
        reader.merge(changes.claims)
        version = changes.version
    assert facts(reader) == facts(ledger)


def test_one_claim_is_agreed_by_nobody_else_speaking() -> None:
    ledger = united([claim(0, "a")])
    assert (ledger.verdict(0), ledger.digests(0)) == (Verdict.AGREED, digests(0))
    assert ledger.verdict(1) is Verdict.UNKNOWN


def test_two_claims_that_differ_are_disputed_and_outvote_nobody() -> None:
    ledger = united([claim(0, "a"), claim(0, "b", variant=1)])
    assert (ledger.verdict(0), ledger.digests(0), ledger.outvoted()) == (Verdict.DISPUTED, None, {})


def test_a_third_claim_decides_and_marks_the_loser() -> None:
    ledger = united([claim(0, "a"), claim(0, "b", variant=1), claim(0, "c")])
    assert (ledger.verdict(0), ledger.digests(0)) == (Verdict.AGREED, digests(0))
    assert ledger.outvoted() == {"b": 0b1}


def test_three_different_claims_stay_disputed() -> None:
    assert united([claim(0, name, variant=i) for i, name in enumerate("abc")]).disputed == 0b1


def test_a_member_corrects_itself_by_fetching_again() -> None:
    ledger = united([claim(0, "a", variant=1), claim(0, "b"), claim(0, "a", fetch=2)])
    assert ledger.digests(0) == digests(0)
    assert ledger.outvoted() == {}


def test_fetching_the_same_often_gives_one_vote() -> None:
    ledger = united([claim(0, "a", variant=1, fetch=n) for n in (1, 2, 3)] + [claim(0, "b")])
    assert ledger.verdict(0) is Verdict.DISPUTED


def test_digests_of_a_sealed_copy_outrank_any_number_of_fetches() -> None:
    fetched = [claim(0, name, variant=1) for name in "abc"]
    ledger = united([*fetched, claim(0, "d", sealed=True)])
    assert ledger.digests(0) == digests(0)
    assert ledger.outvoted() == {}, "one sealer's word outvotes nobody"
    assert set(ledger.outvoted(trusted_sealer="d")) == {"a", "b", "c"}


def test_what_a_member_seals_takes_nothing_back_of_what_it_claimed_to_have_fetched() -> None:
    false = [claim(piece, "a", variant=1) for piece in range(BLAMED_PIECES_MIN)]
    right = [claim(piece, name, sealed=True) for piece in range(BLAMED_PIECES_MIN) for name in "ab"]
    assert set(united([*false, *right]).blamed()) == {"a"}
    again = [claim(piece, "a", fetch=2) for piece in range(BLAMED_PIECES_MIN)]
    assert united([*false, *again, *right]).blamed() == {}, "but fetching again does"


def test_two_sealed_copies_that_differ_are_disputed() -> None:
    assert united([claim(0, "a", sealed=True), claim(0, "b", variant=1, sealed=True)]).disputed == 0b1


def test_unsound_claims_are_left_out() -> None:
    unsound = [
        claim(PIECES, "a"),
        claim(-1, "a"),
        claim(0, ""),
        claim(0, "x" * 256),
        claim(0, "a", fetch=0),
        claim(0, "a", fetch=FETCHES_MAX + 1),
        Claim(0, "a", 1, Digests(b"short", b"s" * 20)),
    ]
    assert united(unsound).version == 0


def test_the_sealed_metainfo_needs_every_digest() -> None:
    ledger = united([claim(piece, "a") for piece in range(PIECES - 1)])
    with pytest.raises(InvariantViolated):
        ledger.piece_hashes()
    ledger.merge([claim(PIECES - 1, "b")])
    assert ledger.complete
    assert ledger.piece_hashes() == tuple(digests(piece).sha1 for piece in range(PIECES))


def test_confirmed_takes_two_members_and_refetched_two_fetches() -> None:
    ledger = united([claim(0, "a"), claim(0, "b"), claim(1, "a"), claim(1, "a", fetch=2), claim(2, "a")])
    assert (ledger.confirmed, ledger.refetched) == (0b001, 0b011)
    assert ledger.claimed_twice_by("a") == 0b010


def test_the_claim_that_stands_for_a_piece_carries_its_digest() -> None:
    ledger = united([claim(0, "b"), claim(0, "a"), claim(0, "c", variant=1)])
    assert ledger.agreed_claim(0) == claim(0, "a")
    assert ledger.agreed_claim(1) is None


def test_a_ledger_says_how_far_it_is() -> None:
    assert repr(united([claim(0, "a"), claim(1, "a"), claim(1, "b", variant=1)])) == (
        f"<Ledger 1/{PIECES} agreed, 1 disputed>"
    )


def test_of_those_who_fetched_a_piece_all_but_the_first_by_name_fetched_it_again() -> None:
    ledger = Ledger(PIECES, [claim(0, "a"), claim(0, "b"), claim(1, "b"), claim(2, "c"), claim(0, "c")])
    assert [ledger.fetched_again_by(name) for name in ("a", "b", "c", "d")] == [0, 0b1, 0b1, 0]
    sealed = Ledger(PIECES, [claim(0, "a", sealed=True), claim(0, "b")])
    assert sealed.fetched_again_by("b") == 0, "hashing one's own copy is no fetch"
