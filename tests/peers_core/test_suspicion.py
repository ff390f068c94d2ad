from __future__ import annotations

import pytest

from peers import suspicion as suspicions
from peers.ledger import BLAMED_PIECES_MIN, Ledger
from peers.suspicion import (
    ASKED_AT_ONCE_MAX,
    COPIES_MAX,
    COPIES_PER_MEMBER_MAX,
    DAMAGED_PIECES_MIN,
    EvidenceKind,
    Suspicion,
)
from tests.peers_core.builders import PIECES, claim, digests

SWARM = ("a", "b", "c")
SOUND = suspicions.Testimony(b"x", b"x", None)
DAMAGED = suspicions.Testimony(b"x", b"y", None)
LACKS = suspicions.Testimony(None, None, None)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(PIECES, [claim(piece, "a") for piece in range(PIECES)])


@pytest.fixture
def suspicion() -> Suspicion:
    return Suspicion("blob", "me")


def answer_all(
    suspicion: Suspicion, ledger: Ledger, told: dict[str, suspicions.Testimony], proven: bool = False
) -> int:
    """Ask and answer until nobody is left to be asked; how many questions that took."""
    questions = 0
    while asks := suspicion.due(ledger, SWARM, proven):
        for member, piece in asks:
            questions += 1
            suspicion.answered(member, piece, told.get(member, SOUND), ledger, proven)
        assert questions < 10 * COPIES_MAX
    return questions


def test_without_wrong_bytes_nobody_is_asked(suspicion: Suspicion, ledger: Ledger) -> None:
    assert suspicion.due(ledger, SWARM, False) == []


def test_who_claimed_a_doubted_piece_is_asked_first_and_few_at_once(
    suspicion: Suspicion, ledger: Ledger
) -> None:
    suspicion.doubt(0b100)
    asks = suspicion.due(ledger, SWARM, False)
    assert (asks[0], len(asks)) == (("a", 2), ASKED_AT_ONCE_MAX)
    assert suspicion.due(ledger, SWARM, False) == []


def test_who_sends_other_bytes_than_it_states_of_two_pieces_is_found(
    suspicion: Suspicion, ledger: Ledger
) -> None:
    suspicion.doubt(0b1)
    answer_all(suspicion, ledger, {"b": DAMAGED})
    (found,) = suspicion.evidence.values()
    assert (found.member, found.kind, found.pieces.bit_count()) == (
        "b",
        EvidenceKind.COPY,
        DAMAGED_PIECES_MIN,
    )
    assert (found.right, found.wrong) == (b"x", b"y")


def test_one_damaged_piece_is_no_evidence(suspicion: Suspicion, ledger: Ledger) -> None:
    suspicion.doubt(0b1)
    suspicion.due(ledger, ("b",), False)
    assert suspicion.answered("b", 0, DAMAGED, ledger, False) is None
    answer_all(suspicion, ledger, {})
    assert suspicion.evidence == {}


def test_who_says_it_lacks_the_piece_or_does_not_answer_is_not_blamed(
    suspicion: Suspicion, ledger: Ledger
) -> None:
    suspicion.doubt(0b11111111)
    answer_all(suspicion, ledger, dict.fromkeys(SWARM, LACKS))
    suspicion.doubt(0b1)
    suspicion.answered("a", 0, None, ledger, False)
    assert suspicion.evidence == {}


def test_who_lacked_what_was_asked_at_first_is_asked_again_when_more_is_wrong(suspicion: Suspicion) -> None:
    pieces = 5 * suspicions.DOUBTED_MAX
    ledger = Ledger(pieces, [claim(piece, "a") for piece in range(pieces)])
    for first in range(0, pieces, suspicions.DOUBTED_MAX):
        begun = first >= 3 * suspicions.DOUBTED_MAX
        suspicion.doubt((1 << suspicions.DOUBTED_MAX) - 1 << first)
        answer_all(suspicion, ledger, {"b": DAMAGED if begun else LACKS})
    assert set(suspicion.evidence) == {"b"}


def test_the_sound_are_asked_for_few_copies_however_much_is_wrong(
    suspicion: Suspicion, ledger: Ledger
) -> None:
    for _ in range(10):
        suspicion.doubt((1 << PIECES) - 1)
        answer_all(suspicion, ledger, {})
    assert suspicion.due(ledger, SWARM, False) == []
    fresh = Suspicion("blob", "me")
    fresh.doubt((1 << PIECES) - 1)
    assert answer_all(fresh, ledger, {}) == COPIES_PER_MEMBER_MAX * len(SWARM)


def test_an_accusation_makes_ask_and_does_not_convict(suspicion: Suspicion, ledger: Ledger) -> None:
    suspicion.accused("b", 0b10)
    assert suspicion.due(ledger, SWARM, False)[0] == ("b", 1)
    suspicion.answered("b", 1, SOUND, ledger, False)
    answer_all(suspicion, ledger, {})
    assert suspicion.evidence == {}


def test_what_it_lacked_is_asked_for_again_where_somebody_accuses_it(
    suspicion: Suspicion, ledger: Ledger
) -> None:
    suspicion.doubt(0b11)
    answer_all(suspicion, ledger, {"b": LACKS})
    suspicion.accused("b", 0b11)
    answer_all(suspicion, ledger, {"b": DAMAGED})
    assert set(suspicion.evidence) == {"b"}
    assert suspicion.evidence["b"].pieces == 0b11


def test_accusations_make_ask_for_few_copies_however_many_come(suspicion: Suspicion) -> None:
    pieces = 200
    ledger = Ledger(pieces, [claim(piece, "a") for piece in range(pieces)])
    questions = 0
    for piece in range(pieces):
        suspicion.accused("b", 1 << piece)
        questions += answer_all(suspicion, ledger, {"b": LACKS})
    most = suspicions.QUESTIONS_PER_MEMBER_MAX + 2 * COPIES_PER_MEMBER_MAX + suspicions.ACCUSED_PIECES_MAX
    assert questions <= most


def test_who_is_accused_early_is_asked_for_pieces_that_come_later(suspicion: Suspicion) -> None:
    begun = Ledger(40, [claim(piece, "a") for piece in range(12)])
    suspicion.accused("b", 0b1)
    answer_all(suspicion, begun, {"b": LACKS})
    answer_all(suspicion, Ledger(40, [claim(piece, "a") for piece in range(20)]), {"b": DAMAGED})
    assert set(suspicion.evidence) == {"b"}


def test_an_answer_that_is_not_waited_for_says_nothing(suspicion: Suspicion, ledger: Ledger) -> None:
    suspicion.doubt(0b1111)
    for _ in range(4 * COPIES_PER_MEMBER_MAX):
        for member, piece in suspicion.due(ledger, SWARM, False):
            suspicion.answered(member, piece, SOUND, ledger, False)
            suspicion.answered(member, piece, None, ledger, False)
    assert suspicion.due(ledger, SWARM, False) == []
    assert suspicion._copies == COPIES_PER_MEMBER_MAX * len(SWARM)


def outvoted_ledger(pieces: int) -> Ledger:
    """Of so many pieces a claims what b and c fetched differently."""
    return Ledger(
        PIECES,
        [claim(piece, "a", variant=1) for piece in range(pieces)]
        + [claim(piece, name) for piece in range(PIECES) for name in "bc"],
    )


def test_who_stands_by_several_false_claims_is_found_once_the_truth_is_known(suspicion: Suspicion) -> None:
    ledger = outvoted_ledger(BLAMED_PIECES_MIN)
    false = suspicions.Testimony(None, None, digests(0, 1))
    assert suspicion.due(ledger, SWARM, False) == []
    answer_all(suspicion, ledger, {"a": false}, proven=True)
    (found,) = suspicion.evidence.values()
    assert (found.member, found.kind) == ("a", EvidenceKind.CLAIM)


def test_who_lost_fewer_is_not_even_asked(suspicion: Suspicion) -> None:
    assert suspicion.due(outvoted_ledger(BLAMED_PIECES_MIN - 1), SWARM, True) == []


def test_claims_that_others_made_in_somebodys_name_are_no_evidence(suspicion: Suspicion) -> None:
    ledger = outvoted_ledger(BLAMED_PIECES_MIN)
    answer_all(suspicion, ledger, {"a": LACKS}, proven=True)
    assert suspicion.evidence == {}
