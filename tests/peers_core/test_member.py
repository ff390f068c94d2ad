"""The machine of a blob, told as events in and actions out; its lead is played by the test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from peers import member_actions as act
from peers import member_events as event
from peers.asking import NEWS_TOLD_AFTER_S, NOTHING_TO_DO_S
from peers.hub_link import SPANS_MAX
from peers.member import ARRIVING_S_MAX, BlobMember
from peers.member_actions import BlobFailure, MemberAction
from peers.member_events import MemberEvent, SpanFailure
from peers.messages import LeadRefusal, LeadRequest, Lease, LeaseKey, SwarmMember, SwarmPhase
from peers.piece_set import Span
from peers.swarm_choice import Stage
from tests.peers_core.builders import BLOB, PIECES, answer, claim, digests

ALL = (1 << PIECES) - 1


class Played:
    """A member with its last request at hand; checks its invariants after every event."""

    def __init__(self, **more: object) -> None:
        self.machine = BlobMember(BLOB, "me", frozenset({"me"}), 0.0, **more)  # type: ignore[arg-type]  # named by the caller
        self.now = 0.0
        self.asked: LeadRequest | None = None
        self.happen(event.Ticked())

    def happen(self, happened: MemberEvent, after_s: float = 0.0) -> list[MemberAction]:
        """The actions, without what every event may bring: requests to the lead and priorities."""
        self.now += after_s
        actions = self.machine.handle(happened, self.now)
        self.machine.check_thoroughly()
        for action in actions:
            if isinstance(action, act.AskLead):
                self.asked = action.request
        return [a for a in actions if not isinstance(a, act.AskLead | act.SetLeased)]

    def told(self, *leases: Lease, **facts: object) -> list[MemberAction]:
        """The lead answers the last request."""
        assert self.asked is not None
        return self.happen(
            event.LeadAnswered(answer(sequence=self.asked.sequence, lead="me", leases=leases, **facts))
        )

    def check_piece(self, piece: int, variant: int = 0) -> list[MemberAction]:
        """The swarm brings a piece and it is read back."""
        (read,) = self.happen(event.PieceHeld(piece))
        assert isinstance(read, act.DigestPiece)
        return self.happen(event.PieceDigested(piece, read.generation, digests(piece, variant).xxh3))

    def fill(self) -> list[MemberAction]:
        """All pieces arrive and match; the last actions."""
        actions: list[MemberAction] = []
        for piece in range(PIECES):
            actions = self.check_piece(piece)
        return actions


def lease(start: int, stop: int, number: int = 1) -> Lease:
    return Lease(LeaseKey("me", 1, number), Span(start, stop), "me")


ALL_CLAIMS = tuple(claim(piece, "a") for piece in range(PIECES))


@pytest.fixture
def member() -> Iterator[Played]:
    played = Played()
    yield played
    played.machine.check_thoroughly()


def test_the_first_thing_a_member_does_is_ask() -> None:
    member = Played()
    assert member.asked is not None
    assert (member.asked.lead, member.asked.room, member.asked.report.held) == ("me", SPANS_MAX, b"\0")


def test_a_lease_is_fetched_and_the_hot_swarm_entered(member: Played) -> None:
    assert member.told(lease(0, 2)) == [act.FetchSpan(1, Span(0, 2)), act.OpenHot(0)]


def test_a_fetched_piece_is_claimed_added_read_back_and_journalled(member: Played) -> None:
    member.told(lease(0, 2))
    assert member.happen(event.HubPieceFetched(1, 0, digests(0))) == [act.AddPieceToSwarm(0)]
    assert member.happen(event.PieceHeld(0)) == [act.DigestPiece(0, 1)]
    done = member.happen(event.PieceDigested(0, 1, digests(0).xxh3))
    assert done == [act.JournalPiece(0, claim(0, "me"))]
    member.happen(event.Ticked(), after_s=1.0)
    assert member.asked is not None
    assert member.asked.report.claims == (claim(0, "me"),)
    assert member.asked.report.held == b"\x01"


@pytest.mark.parametrize("pieces", [1, 2])
def test_a_member_that_fetches_nothing_any_more_asks_nearly_at_once(member: Played, pieces: int) -> None:
    member.told(lease(0, pieces))
    asked = member.asked
    member.happen(event.HubPieceFetched(1, 0, digests(0)))
    member.happen(event.Ticked(), after_s=NOTHING_TO_DO_S)
    assert (member.asked is asked) == (pieces > 1)
    member.happen(event.Ticked(), after_s=NEWS_TOLD_AFTER_S)
    assert member.asked is not asked


def test_a_fetched_piece_that_reads_back_otherwise_is_rejected_and_its_claim_stays(member: Played) -> None:
    member.told(lease(0, 2))
    member.happen(event.HubPieceFetched(1, 0, digests(0)))
    member.happen(event.PieceHeld(0))
    assert member.happen(event.PieceDigested(0, 1, b"garbage".ljust(16))) == [
        act.RejectPiece(0, from_hub=True)
    ]
    assert member.machine.report(member.now).held == b"\0"
    assert claim(0, "me") in member.machine.ledger


def test_under_other_terms_the_swarm_is_entered_anew_with_what_is_on_the_disk(member: Played) -> None:
    member.told(lease(0, 2))
    member.check_piece(5)
    member.happen(event.PieceHeld(6))
    member.happen(event.HubPieceFetched(1, 0, digests(0)))
    others = (SwarmMember("a", SwarmPhase.HOT, False),)
    member.happen(event.Ticked(), after_s=1.0)
    assert act.ConnectSwarm(("a",)) in member.told(lease(0, 2), swarm=others)
    actions = member.machine.handle(event.SwarmTermsChanged(), member.now)
    assert actions == [act.ReenterSwarm(), act.ConnectSwarm(("a",)), act.SetLeased(0b10)]
    assert member.machine.swarm_reentered() == 0b1100000, "piece 0 is still on its way into the swarm"
    assert member.machine.table.in_swarm == 0b1100001
    assert member.happen(event.PieceHeld(0)) == [act.DigestPiece(0, 1)]


def test_without_a_swarm_other_terms_ask_for_nothing(member: Played) -> None:
    assert member.happen(event.SwarmTermsChanged()) == []


def test_a_piece_of_the_swarm_waits_for_the_ledger(member: Played) -> None:
    member.told()
    assert member.check_piece(3) == []
    assert member.machine.report(member.now).held == b"\0"
    member.happen(event.Ticked(), after_s=1.0)
    assert member.told(claims=(claim(3, "a"),)) == [act.JournalPiece(3, claim(3, "a"))]


def test_a_piece_that_does_not_match_the_ledger_is_rejected(member: Played) -> None:
    member.told(claims=(claim(3, "a"),))
    assert member.check_piece(3, variant=1) == [
        act.RejectPiece(3, from_hub=False),
        act.AskSuspect("a", 3),
    ]


def test_a_piece_that_the_swarm_believes_to_have_is_written_by_path(member: Played) -> None:
    member.told(claims=(claim(0, "a"),))
    member.check_piece(0, variant=1)
    member.happen(event.Ticked(), after_s=1.0)
    member.told(lease(0, 1))
    assert member.happen(event.HubPieceFetched(1, 0, digests(0))) == [act.WritePiece(0)]


def test_a_piece_fetched_again_to_compare_is_dropped_when_it_is_the_same(member: Played) -> None:
    member.told(claims=(claim(0, "a"),))
    member.check_piece(0)
    member.happen(event.Ticked(), after_s=1.0)
    member.told(lease(0, 1))
    assert member.happen(event.HubPieceFetched(1, 0, digests(0))) == []
    assert member.machine.ledger.confirmed == 0b1


def test_different_bytes_from_the_hub_make_a_dispute_and_replace_what_was_there(member: Played) -> None:
    member.told(claims=(claim(0, "a"),))
    member.check_piece(0)
    member.happen(event.Ticked(), after_s=1.0)
    member.told(lease(0, 1))
    fetched = member.happen(event.HubPieceFetched(1, 0, digests(0, 1)))
    assert fetched == [act.UnjournalPiece(0), act.WritePiece(0)]
    assert member.check_piece(0, variant=1) == []
    assert member.machine.table.disputed == 0b1


def test_bytes_from_the_hub_that_others_outvote_are_dropped(member: Played) -> None:
    member.told(lease(0, 1), claims=(claim(0, "a"), claim(0, "b")))
    assert member.happen(event.HubPieceFetched(1, 0, digests(0, 1))) == [
        act.RejectPiece(0, from_hub=True),
        act.FoundWrongFetches("me", 1, proven=False),
    ]


def test_a_lease_that_is_not_repeated_stops_its_fetch(member: Played) -> None:
    member.told(lease(0, 2))
    member.happen(event.Ticked(), after_s=1.0)
    assert member.told() == [act.StopFetch(1)]
    assert member.happen(event.HubPieceFetched(1, 0, digests(0))) == []


def test_without_access_no_more_is_asked_for(member: Played) -> None:
    member.told(lease(0, 2))
    member.happen(event.SpanFailed(1, SpanFailure.ACCESS_DENIED))
    member.happen(event.Ticked(), after_s=1.0)
    assert member.asked is not None
    assert (member.asked.room, member.asked.report.may_fetch) == (0, False)
    assert member.asked.report.given_up == (lease(0, 2).key,)


def test_a_retry_after_is_told_to_the_cluster(member: Played) -> None:
    member.told(lease(0, 2))
    member.happen(event.SpanFailed(1, SpanFailure.RATE_LIMITED, 30.0))
    member.happen(event.Ticked(), after_s=1.0)
    assert member.asked is not None
    assert (member.asked.room, member.asked.report.hub_pause_s) == (0, 29.0)


def test_all_checked_is_sealed_and_a_right_seal_published(member: Played) -> None:
    member.told(claims=ALL_CLAIMS)
    assert member.machine.swarm.phase is SwarmPhase.SEALED, "the ledger was complete from the start"
    assert member.fill()[-1] == act.SealBlob()
    assert member.happen(event.SealFinished(True, "blob")) == [act.LeaveSealed(), act.PublishBlob()]
    member.happen(event.BlobPublished())
    assert (member.machine.stage, member.machine.report(member.now).held) == (Stage.PUBLISHED, b"\xff")


def test_a_wrong_seal_reads_everything_again_and_then_says_so(member: Played) -> None:
    member.told(claims=ALL_CLAIMS)
    member.fill()
    again = member.happen(event.SealFinished(False, "other"))
    assert [a for a in again if isinstance(a, act.DigestPiece)] == [
        act.DigestPiece(p, 2) for p in range(PIECES)
    ]
    assert not member.machine.report(member.now).seal_failed
    for piece in range(PIECES):
        member.happen(event.PieceDigested(piece, 2, digests(piece).xxh3))
    assert member.machine.report(member.now).seal_failed
    assert member.machine.stage is Stage.FILLING


def test_a_full_disk_fails_the_blob_and_leaves_everything(member: Played) -> None:
    member.told(lease(0, 2))
    failed = member.happen(event.DiskFailed(no_space=True, detail="no space left"))
    assert failed == [
        act.StopFetch(1),
        act.LeaveHot(),
        act.FailBlob(BlobFailure.NO_SPACE, detail="no space left"),
    ]
    assert member.machine.report(member.now).leaving


def test_changed_content_is_final(member: Played) -> None:
    member.told(lease(0, 2))
    failed = member.happen(event.SpanFailed(1, SpanFailure.CONTENT_CHANGED))
    assert act.FailBlob(BlobFailure.CONTENT_CHANGED, expected_hash="blob") in failed


def test_an_abandoned_blob_is_left_and_the_lead_told(member: Played) -> None:
    member.told(lease(0, 2))
    assert member.happen(event.BlobAbandoned(), after_s=1.0) == [act.StopFetch(1), act.LeaveHot()]
    assert member.asked is not None
    assert member.asked.report.leaving
    member.told()
    assert member.machine.deadline(member.now) == float("inf")


def test_a_journal_brings_its_pieces_back_checked() -> None:
    member = Played(journalled={2: claim(2, "a"), 5: claim(5, "me")})
    assert member.asked is not None
    assert member.asked.report.held == bytes([0b100100])
    assert member.told() == [act.OpenHot(0b100100)]


def test_a_published_holder_is_quiet_until_somebody_wants_its_copy() -> None:
    member = Played(published=True, claims=ALL_CLAIMS)
    member.told(claims_fingerprint=member.machine.ledger.claims_fingerprint)
    assert member.machine.deadline(member.now) == float("inf")
    assert member.happen(event.BlobWanted(), after_s=1.0) == [act.OpenSealed(ALL)]
    assert member.happen(event.SwarmIdled(), after_s=1.0) == [act.LeaveSealed()]


def test_a_holder_without_ledger_recomputes_it_and_its_word_outranks_fetches() -> None:
    member = Played(published=True)
    assert member.happen(event.BlobWanted(), after_s=1.0) == [act.RecomputeLedger()]
    recomputed = tuple(digests(piece) for piece in range(PIECES))
    assert member.happen(event.LedgerRecomputed(recomputed), after_s=1.0) == [act.OpenSealed(ALL)]
    assert claim(0, "me", sealed=True) in member.machine.ledger


def test_claims_from_a_stored_ledger_check_what_is_held(member: Played) -> None:
    member.told()
    member.check_piece(3)
    told = member.happen(event.LedgerChanged((claim(3, "a"),)))
    assert told == [act.JournalPiece(3, claim(3, "a"))]


def test_a_fetched_piece_that_never_reaches_the_disk_is_missing_again(member: Played) -> None:
    member.told(lease(0, 2))
    member.happen(event.HubPieceFetched(1, 0, digests(0)))
    assert member.machine.report(member.now).held == b"\x01"
    member.happen(event.Ticked(), after_s=ARRIVING_S_MAX)
    assert member.machine.report(member.now).held == b"\0"


def test_a_share_of_the_hub_limit_is_handed_on_when_it_changes(member: Played) -> None:
    assert act.LimitHubRate(5.0) in member.told(hub_rate_bytes_per_s=5.0)
    member.happen(event.Ticked(), after_s=1.0)
    assert member.told(hub_rate_bytes_per_s=5.0) == []


def test_an_unreachable_lead_is_asked_again_and_then_passed_over() -> None:
    member = Played()
    member.happen(event.MembersChanged(frozenset({"me", "x1", "x2", "x3"})))
    first = member.machine.asking.following.target(member.now)
    for _ in range(3):
        member.happen(event.Ticked(), after_s=1.0)
        assert member.asked is not None
        member.happen(event.LeadUnreachable(member.asked.sequence))
    assert member.machine.asking.following.target(member.now) != first or first == "me"


def test_a_refusal_leads_to_the_member_it_names() -> None:
    member = Played()
    member.happen(event.MembersChanged(frozenset({"me", "x"})))
    assert member.asked is not None
    member.happen(event.LeadRefused(LeadRefusal(member.asked.sequence, "me", "x")))
    member.happen(event.Ticked(), after_s=1.0)
    assert member.asked.lead == "x"


def test_unreadable_bytes_count_as_missing(member: Played) -> None:
    member.told()
    member.happen(event.PieceHeld(0))
    member.happen(event.PieceUnreadable(0, 1))
    assert member.machine.table.missing == ALL


def test_new_access_lifts_an_earlier_refusal_and_a_pause_elsewhere_binds_here(member: Played) -> None:
    member.told(lease(0, 2))
    member.happen(event.SpanFailed(1, SpanFailure.ACCESS_DENIED))
    member.happen(event.AccessChanged(may_fetch=True), after_s=1.0)
    assert member.asked is not None
    assert member.asked.room == SPANS_MAX
    member.happen(event.HubPaused(10.0))
    member.happen(event.Ticked(), after_s=8.0)
    assert member.asked.room == 0
    assert member.asked.report.hub_pause_s == 2.0


def test_a_member_says_how_far_it_is(member: Played) -> None:
    assert repr(member.machine).startswith("<BlobMember blob on me starting: <PieceTable 0 checked")


def test_nothing_is_taken_over_while_another_blob_of_the_pull_has_free_pieces(member: Played) -> None:
    member.told(lease(0, 2))
    member.machine.link.join("other", (), member.now)
    member.told(lease(0, 2), unleased=False)
    member.happen(event.Ticked(), after_s=1.0)
    assert member.asked is not None
    assert member.asked.room == 0
    member.machine.link.leave("other")
    member.happen(event.SpanProgressed(1, 1))
    member.told(lease(0, 2), unleased=False)
    member.happen(event.Ticked(), after_s=1.0)
    assert member.asked.room == SPANS_MAX - 1
