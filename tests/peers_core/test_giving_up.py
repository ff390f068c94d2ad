from __future__ import annotations

from peers.asking import Asking
from peers.following import Following
from peers.giving_up import BETTER_COMPANY_S, NO_FETCHER_S, GivingUp
from peers.hub_access import HubAccess
from peers.hub_link import HubLink
from peers.ledger import Claim, Ledger
from peers.member_actions import BlobFailure, FailBlob
from peers.member_events import SpanFailure
from peers.piece_table import PieceTable
from peers.sealing import Sealing
from tests.peers_core.builders import PIECES, answer, claim, digests, report

ALL = (1 << PIECES) - 1


class Member:
    """The parts that the decision looks at, put together by hand."""

    def __init__(self, claims: list[Claim], pieces: int = PIECES) -> None:
        self.ledger = Ledger(PIECES, claims)
        self.table = PieceTable(PIECES)
        self.sealing = Sealing("me")
        self.access = HubAccess(may_fetch=True)
        self.asking = Asking(Following("blob", "me", frozenset()), "me", self.ledger)
        self.giving_up = GivingUp("blob", "me")
        for piece in range(pieces):
            self.read(piece)

    def read(self, piece: int) -> None:
        self.table.written(piece)
        self.table.digested(piece, self.table.generation(piece), digests(piece).xxh3)
        self.table.settle(ALL, self.ledger)

    def fail_seal(self) -> None:
        self.sealing.started(self.table)
        self.sealing.finished(False, "other", self.table)
        self.sealing.read_again_due(self.table)

    def reason(self, now: float, idle_s: float = 0.0, **facts: object) -> FailBlob | None:
        self.asking.request(report("me"), HubLink(), 0, False, now)
        self.asking.answered(answer(sequence=self.asking.sequence, lead="me", **facts), now)
        return self.giving_up.reason(
            self.table, self.ledger, self.sealing, self.asking, self.access, idle_s, now
        )


def test_the_hub_is_wrong_when_two_members_fetched_the_same_wrong_bytes() -> None:
    member = Member([claim(piece, name) for piece in range(PIECES) for name in "ab"])
    member.fail_seal()
    assert member.reason(0.0, audited=False) is None
    assert member.reason(1.0, audited=True) == FailBlob(BlobFailure.HASH_MISMATCH, "blob", "other")


def test_a_lone_member_believes_its_second_fetch() -> None:
    member = Member([claim(piece, "me", fetch=n) for piece in range(PIECES) for n in (1, 2)])
    member.fail_seal()
    assert member.reason(0.0, audited=True) is not None


def test_one_strangers_word_is_doubted_for_a_while() -> None:
    member = Member([claim(piece, "a", fetch=n) for piece in range(PIECES) for n in (1, 2)])
    member.fail_seal()
    assert member.reason(0.0, audited=True) is None
    assert member.reason(BETTER_COMPANY_S - 1, audited=True) is None
    assert member.reason(BETTER_COMPANY_S, audited=True) is not None


def test_a_copy_that_was_not_sealed_fails_nothing() -> None:
    assert Member([claim(piece, "a") for piece in range(PIECES)]).reason(0.0, audited=True) is None


def test_nobody_left_to_fetch_fails_after_a_while_without_pieces() -> None:
    member = Member([], pieces=0)
    assert member.reason(0.0, fetchers=0) is None
    failure = member.reason(1.0, idle_s=NO_FETCHER_S, fetchers=0)
    assert failure == FailBlob(BlobFailure.NO_FETCHER)
    assert failure.failure.retryable
    member.access.failed(SpanFailure.ACCESS_DENIED, 0.0, 1.0)
    denied = member.reason(2.0, idle_s=NO_FETCHER_S, fetchers=0)
    assert denied == FailBlob(BlobFailure.ACCESS_DENIED)
    assert not denied.failure.retryable


def test_with_all_pieces_nobody_is_needed() -> None:
    member = Member([claim(piece, "a") for piece in range(PIECES)])
    assert member.reason(0.0, idle_s=1e9, fetchers=0) is None
