"""What a blob waits for, said of the real machine; its lead is played by the test."""

from __future__ import annotations

import pytest

from distd.sharing.waiting import waits_for
from peers import member_actions as act
from peers import member_events as event
from peers.member import BlobMember
from peers.member_events import SpanFailure
from peers.messages import Lease, LeaseKey
from peers.piece_set import Span
from tests.peers_core.builders import BLOB, PIECES, answer, claim, digests

LEASE = Lease(LeaseKey("lead", 1, 1), Span(0, 2), "me")


class Asker:
    """A member that asks a lead called "lead", at 0 s."""

    def __init__(self) -> None:
        name = next(each for each in ("lead", *"abcdefgh") if self._leads(each))
        self.lead = name
        self.machine = BlobMember(BLOB, "me", frozenset({"me", name}), 0.0)
        self.happen(event.Ticked(), 0.0)

    @staticmethod
    def _leads(name: str) -> bool:
        return BlobMember(BLOB, "me", frozenset({"me", name}), 0.0).asking.following.target(0.0) == name

    def happen(self, happened: event.MemberEvent, now: float) -> None:
        for action in self.machine.handle(happened, now):
            if isinstance(action, act.AskLead):
                self.sequence = action.request.sequence

    def told(self, now: float, *leases: Lease, **facts: object) -> None:
        facts = {"fetchers": 2, **facts}
        told = answer(sequence=self.sequence, lead=self.lead, leases=leases, **facts)
        self.happen(event.LeadAnswered(told), now)


@pytest.fixture
def asker() -> Asker:
    return Asker()


def test_a_lead_that_is_silent_is_named(asker: Asker) -> None:
    assert waits_for(asker.machine, 1.0) == f"{asker.lead}, which leads this file, has not answered yet"
    asker.told(1.0)
    assert waits_for(asker.machine, 1.0) is None
    assert waits_for(asker.machine, 31.0) == f"{asker.lead}, which leads this file, has not answered for 30 s"
    asker.happen(event.Ticked(), 31.0)
    asker.told(31.0, ready=False)
    assert waits_for(asker.machine, 31.0) == f"{asker.lead} asks all members what they have of this file"


def test_the_hub_is_named_when_it_is_what_is_waited_for(asker: Asker) -> None:
    asker.told(1.0, LEASE)
    assert waits_for(asker.machine, 1.0) == "the Hub sends nothing"
    asker.happen(event.SpanFailed(1, SpanFailure.HUB_UNREACHABLE), 2.0)
    assert waits_for(asker.machine, 2.0) == "the Hub cannot be had; next attempt in 1 s"
    asker.happen(event.HubPaused(90.0), 3.0)
    assert waits_for(asker.machine, 3.0) == "the Hub's rate limit opens in 90 s"


def test_without_anybody_who_may_ask_the_hub_that_is_said(asker: Asker) -> None:
    asker.told(1.0, LEASE)
    asker.happen(event.SpanFailed(1, SpanFailure.ACCESS_DENIED), 2.0)
    asker.happen(event.Ticked(), 3.0)
    asker.told(3.0, fetchers=0)
    told = waits_for(asker.machine, 3.0)
    assert told == "the Hub denies this node access, and no member that is reachable may ask it"


def test_members_are_named_when_they_have_what_is_missing(asker: Asker) -> None:
    asker.told(1.0, unleased=False)
    assert waits_for(asker.machine, 1.0) == "other members fetch what is missing"
    asker.happen(event.LedgerChanged((claim(0, "other"),)), 2.0)
    asker.happen(event.Ticked(), 8.0)
    asker.told(8.0, unleased=False)
    assert waits_for(asker.machine, 9.0) == "no whole piece has come from another member for 8 s"


def test_nothing_is_waited_for_when_all_is_there(asker: Asker) -> None:
    asker.told(1.0, claims=tuple(claim(piece, "other") for piece in range(PIECES)))
    for piece in range(PIECES):
        asker.happen(event.PieceHeld(piece), 2.0)
        generation = asker.machine.table.generation(piece)
        asker.happen(event.PieceDigested(piece, generation, digests(piece).xxh3), 2.0)
    assert waits_for(asker.machine, 2.0) is None
