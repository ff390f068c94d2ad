from __future__ import annotations

import pytest

from peers.fetches import Fetches
from peers.hub_access import HubAccess
from peers.hub_link import HubLink
from peers.ledger import Ledger
from peers.link_share import LinkShare
from peers.member_actions import FoundMembersSlow, MemberAction
from peers.messages import LeadAnswer
from peers.piece_table import PieceTable
from peers.slow_company import IDLE_S
from tests.peers_core.builders import BLOB, MIB, PIECES, answer, claim

ALL = (1 << PIECES) - 1
NOTHING_LEFT = answer(unleased=False)
LATER_S = 100.0


class Member:
    """One blob at a link that brings 10 MiB a second; others claim all of it and have sent nothing."""

    def __init__(self) -> None:
        self.link = HubLink()
        self.link.join(BLOB.name, (0, 0), 0.0)
        self.fetches, self.access, self.table = Fetches(self.link), HubAccess(True), PieceTable(PIECES)
        self.ledger = Ledger(PIECES, [claim(piece, "b") for piece in range(PIECES)])
        self.share = LinkShare(BLOB, self.link)
        self.link.note(BLOB.name, 1, 1, True, 0.0)
        self.link.arrived(10 * MIB, 1.0)

    def look(self, now: float, told: LeadAnswer = NOTHING_LEFT) -> list[MemberAction]:
        return self.share.look(self.table, self.ledger, self.fetches, self.access, told, now)

    def looked_twice(self, told: LeadAnswer = NOTHING_LEFT) -> list[MemberAction]:
        return self.look(LATER_S, told) + self.look(LATER_S + 2 * IDLE_S + 2.0, told)


@pytest.fixture
def member() -> Member:
    return Member()


def test_what_members_do_not_bring_in_time_is_overdue_and_told_once(member: Member) -> None:
    (told,) = [each for each in member.looked_twice() if isinstance(each, FoundMembersSlow)]
    assert (told.pieces, told.fetch_s) == (ALL, pytest.approx(0.8))
    assert member.share.overdue == ALL
    assert member.share.news, "the lead is to hear of it"
    assert member.look(LATER_S + 4.0) == []
    assert not member.share.news


def test_nothing_is_overdue_while_there_are_pieces_that_nobody_has(member: Member) -> None:
    assert member.looked_twice(answer(unleased=True)) == []
    assert member.share.overdue == 0


def test_nor_while_another_blob_of_the_node_has_such(member: Member) -> None:
    member.link.join("other", (1, 0), 0.0)
    member.looked_twice()
    assert member.share.overdue == 0
    member.link.note("other", 0, 0, False, LATER_S)
    member.looked_twice()
    assert member.share.overdue == ALL


def test_nor_without_access_nor_under_a_limit_of_the_cluster(member: Member) -> None:
    member.access.take_share(1e6)
    member.looked_twice()
    assert member.share.overdue == 0
    member.access.take_share(0.0)
    member.access.set(may_fetch=False)
    member.looked_twice()
    assert member.share.overdue == 0


def test_pieces_that_were_fetched_once_go_before_those_that_were_fetched_twice(member: Member) -> None:
    member.ledger.merge([claim(0, "c")])
    member.looked_twice()
    assert member.share.overdue == ALL & ~1
    member.ledger.merge([claim(piece, "c") for piece in range(PIECES)])
    member.look(LATER_S + 4.0)
    assert member.share.overdue == ALL


def test_what_a_lead_then_calls_left_holds_up_no_other_blob(member: Member) -> None:
    member.looked_twice()
    member.share.asked()
    member.share.answered()
    member.look(LATER_S + 4.0, answer(unleased=True))
    assert member.share.overdue == ALL
    member.link.join("other", (1, 0), LATER_S + 4.0)
    assert member.link.room("other", LATER_S + 4.0) > 0


def test_a_blob_that_is_left_has_nothing_overdue(member: Member) -> None:
    member.looked_twice()
    member.share.left()
    assert member.share.overdue == 0
