"""A checker that cannot fail proves nothing: each invariant is tripped by a machine broken on purpose."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from peers import member_actions as act
from peers import piece_set
from peers.following import Following
from peers.invariants import InvariantViolated
from peers.lead import Lead
from peers.leases import LeaseTable
from peers.ledger import Claim, Ledger
from peers.member import BlobMember
from peers.member_actions import MemberAction
from peers.member_events import MemberEvent
from peers.messages import LeadRequest, Lease, Report
from peers.piece_set import PieceSet
from peers.piece_table import PieceState, PieceTable, Settled
from tests.sim.scenario import SeedFailed, run_seed

SEEDS_TRIED = 60


def rules_broken(**classes: Any) -> set[str]:
    """The rule that stops the first seed which notices the planted fault."""
    for seed in range(SEEDS_TRIED):
        try:
            run_seed(seed, **classes)
        except SeedFailed as failure:
            if not isinstance(failure.why, InvariantViolated):
                raise
            return {failure.why.rule}
    return set()


class SleepyLeases(LeaseTable):
    """Does not notice that a lease lapsed."""

    def lapse(self, now: float) -> tuple[Lease, ...]:
        return ()

    def deadline(self) -> float:
        return float("inf")


class SleepyLead(Lead):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.leases = SleepyLeases(self.me, self.term, self.blob.piece_len_bytes)


def test_a_lapse_that_goes_unnoticed_is_seen() -> None:
    assert rules_broken(lead_class=SleepyLead) == {"a lease without progress lapses"}


class RestlessLead(Lead):
    """Wants to be woken at once, for ever."""

    def deadline(self) -> float:
        return 0.0


def test_a_machine_that_spins_without_time_passing_is_seen() -> None:
    assert rules_broken(lead_class=RestlessLead) == {"time goes on"}


class StubbornLead(Lead):
    """Never leases a piece twice, lapsed or not."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._ever: PieceSet = 0

    def _needs(self, member: str, now: float) -> tuple[PieceSet, ...]:
        self._ever |= self.leases.taken
        return tuple(need & ~self._ever for need in super()._needs(member, now))


def test_a_lapsed_lease_that_is_not_granted_again_stops_progress() -> None:
    assert rules_broken(lead_class=StubbornLead) == {"progress is always possible"}


class GenerousLeases(LeaseTable):
    """Forgets which pieces are taken."""

    def _count_taken(self) -> None:
        self.taken = 0


class GenerousLead(Lead):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.leases = GenerousLeases(self.me, self.term, self.blob.piece_len_bytes)


def test_a_piece_leased_twice_is_seen() -> None:
    assert rules_broken(lead_class=GenerousLead) <= {
        "a piece is leased once",
        "taken pieces are those leased",
        "a lease is held once per term unless it lapsed",
    }
    assert rules_broken(lead_class=GenerousLead)


class UsurperLead(Lead):
    """Leads whoever asks."""

    def _leads_for(self, request: LeadRequest) -> bool:
        return True


class LostFollowing(Following):
    """Asks the last choice instead of the first."""

    def target(self, now: float) -> str:
        return self._order[-1]


class LostMember(BlobMember):
    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.asking.following = LostFollowing(self.blob.name, self.me, args[2])


def test_two_leads_that_both_grant_are_seen() -> None:
    broken = rules_broken(lead_class=UsurperLead, member_class=LostMember)
    assert broken == {"only the first live member leads others"}


class HastyLead(Lead):
    """Grants before the members reported."""

    @property
    def ready(self) -> bool:
        return True


def test_a_new_lead_that_does_not_wait_for_reports_is_seen() -> None:
    assert rules_broken(lead_class=HastyLead) == {"a lead that waits for reports grants nothing"}


class ForgetfulLedger(Ledger):
    """Overwrites instead of uniting: keeps one claim per piece."""

    def _keep(self, claim: Claim) -> bool:
        if claim.piece in self._claims:
            return False
        return super()._keep(claim)


class ForgetfulLead(Lead):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.ledger = ForgetfulLedger(self.blob.pieces)


def test_a_claim_lost_in_a_merge_is_seen() -> None:
    assert rules_broken(lead_class=ForgetfulLead) == {"claims are united"}


class DroppingLedger(Ledger):
    """Drops a claim it has already counted."""

    def merge(self, claims: Iterable[Claim]) -> PieceSet:
        changed = super().merge(claims)
        for kept in self._claims.values():
            if len(kept) > 1:
                kept.pop(next(iter(kept)))
        return changed


class DroppingMember(BlobMember):
    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.ledger = self.asking._known = DroppingLedger(self.blob.pieces, self.ledger.all_claims())


def test_a_claim_dropped_later_is_seen() -> None:
    assert rules_broken(member_class=DroppingMember) <= {
        "a claim got lost",
        "claims are united",
        "the fingerprint sums the claims",
    }
    assert rules_broken(member_class=DroppingMember)


class AccusingLedger(Ledger):
    """Blames everybody who claimed a piece that was ever in doubt, whoever lost."""

    def blamed(self) -> dict[str, PieceSet]:
        doubted = self.contested | self.disputed
        return {
            claim.claimant: doubted for piece in piece_set.each(doubted) for claim in self.claims_of(piece)
        }


class AccusingLead(Lead):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.ledger = AccusingLedger(self.blob.pieces)


def test_blame_of_the_honest_is_seen() -> None:
    assert rules_broken(lead_class=AccusingLead) == {"nobody honest is blamed"}


class LenientTable(PieceTable):
    """Leaves a rejected piece as held."""

    def settle(self, pieces: PieceSet, ledger: Ledger) -> Settled:
        digests = dict(self._digests)
        settled = super().settle(pieces, ledger)
        for piece in piece_set.each(settled.rejected):
            self._move(piece, PieceState.HELD)
            self._note_digest(piece, digests[piece])
        return settled


class TrustingTable(PieceTable):
    """Counts what the swarm says it has as checked."""

    def written(self, piece: int) -> None:
        super().written(piece)
        self._move(piece, PieceState.CHECKED)


class CarelessTable(PieceTable):
    """Leaves a piece in two states."""

    def _move(self, piece: int, state: PieceState) -> None:
        was_missing = self.missing & piece_set.single(piece)
        super()._move(piece, state)
        self.missing |= was_missing


def member_with(table: type[PieceTable]) -> type[BlobMember]:
    class Faulty(BlobMember):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            self.table = table(self.blob.pieces)

    return Faulty


def test_a_rejected_piece_left_as_held_is_seen() -> None:
    broken = rules_broken(member_class=member_with(LenientTable))
    assert broken == {"a held piece whose digest is agreed is checked or rejected"}


def test_a_piece_counted_without_reading_it_back_is_seen() -> None:
    broken = rules_broken(member_class=member_with(TrustingTable))
    assert broken <= {"a checked piece has an agreed digest", "a checked piece equals the ledger"}
    assert broken


def test_a_piece_in_two_states_is_seen() -> None:
    assert rules_broken(member_class=member_with(CarelessTable)) == {"a piece is in exactly one state"}


class BoastfulMember(BlobMember):
    """Reports pieces it does not have."""

    def report(self, now: float) -> Report:
        true = super().report(now)
        return Report(member=self.me, held=b"\xff" * len(true.held), claims=true.claims, phase=true.phase)


def test_a_report_of_pieces_that_are_not_there_is_seen() -> None:
    assert rules_broken(member_class=BoastfulMember) <= {
        "only secured pieces are reported",
        "progress is always possible",
    }
    assert rules_broken(member_class=BoastfulMember)


class HastyMember(BlobMember):
    """Publishes as soon as all pieces match the ledger, without the whole hash."""

    def _advance(self, now: float) -> None:
        super()._advance(now)
        self._todo = [a for a in self._todo if not isinstance(a, act.SealBlob)]
        if self.table.all_checked and not self.swarm._seal_right:
            self.swarm.sealed(now)


def test_publishing_before_the_seal_is_seen() -> None:
    assert rules_broken(member_class=HastyMember) <= {
        "nothing is published before its seal",
        "what is published is what the Hub's hash names",
    }
    assert rules_broken(member_class=HastyMember)


class SilentMember(BlobMember):
    """Never asks anybody but itself again once a lead was unreachable: waits for an answer that cannot come."""

    def handle(self, happened: MemberEvent, now: float) -> list[MemberAction]:
        actions = super().handle(happened, now)
        return [a for a in actions if not isinstance(a, act.AskLead) or a.request.sequence < 4]


def test_a_member_that_stops_asking_is_seen() -> None:
    assert rules_broken(member_class=SilentMember) == {"progress is always possible"}


def test_the_machines_as_they_are_break_nothing() -> None:
    for seed in range(10):
        run_seed(seed)


def test_a_violation_tells_its_facts() -> None:
    violated = InvariantViolated("a rule", piece=3)
    assert str(violated) == "a rule (piece=3)"
    assert not violated.retryable
    with pytest.raises(InvariantViolated):
        raise violated
