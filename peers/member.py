"""One blob on one member: fetch what is leased, take what the swarm brings, check every piece, seal, publish.

The shell feeds events to `BlobMember.handle` and carries out the actions it returns, in order. Nothing else changes the
machine. It is the same for a lone member: its requests then go to its own `Lead`.

    STARTING    not in a swarm yet; the lead's first answer decides which
    FILLING     pieces come from the Hub and from the swarm
    PUBLISHING  the seal was right; the swarms are left and the content becomes visible
    PUBLISHED   serves others on request
    FAILED      cannot be had here; ABANDONED: not wanted any longer

Each event changes facts; `BlobMember._advance` then looks at all facts and decides what is due. What a piece goes through
stands in `piece_table`, the choice of swarm in `swarm_choice`, the conversation with the lead in `asking`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from peers import member_actions as act
from peers import member_check, piece_set
from peers import member_events as event
from peers.asking import Asking
from peers.blob import Blob
from peers.fetches import Fetches
from peers.findings import Findings
from peers.following import Following
from peers.giving_up import GivingUp
from peers.hub_access import HubAccess
from peers.hub_link import HubLink
from peers.ledger import FETCHES_MAX, Claim, Ledger
from peers.link_share import LinkShare
from peers.member_actions import BlobFailure, MemberAction
from peers.member_events import MemberEvent, SpanFailure
from peers.messages import LeadAnswer, Report, SwarmPhase
from peers.piece_set import PieceSet
from peers.piece_table import PieceTable
from peers.read_back import ReadBack, journal
from peers.sealing import Sealing
from peers.swarm_choice import Stage, SwarmChoice

ARRIVING_S_MAX = 60.0
"""A fetched piece that did not reach the disk by then never will: it counts as missing."""

TICK_S = 0.5
"""How often time alone is looked at while the blob is in progress."""


class BlobMember:
    """The machine of one blob on the member ``me``.

    ``journalled`` maps pieces that an earlier run journalled as checked to the claim beside each; ``claims`` are those of a
    stored ledger. ``published``: the verified content is in this member's store. ``link`` is the node's way to the Hub, on
    which its blobs take turns by ``order``, smaller first.
    """

    def __init__(
        self,
        blob: Blob,
        me: str,
        live: frozenset[str],
        now: float,
        *,
        journalled: Mapping[int, Claim] | None = None,
        claims: Iterable[Claim] = (),
        published: bool = False,
        draining: frozenset[str] = frozenset(),
        may_fetch: bool = True,
        link: HubLink | None = None,
        order: tuple[int, ...] = (),
    ) -> None:
        self.blob = blob
        self.me = me
        self.ledger = Ledger(blob.pieces, (*claims, *(journalled or {}).values()))
        self.table = PieceTable(blob.pieces)
        self.link = link or HubLink()
        self.fetches = Fetches(self.link)
        self.access = HubAccess(may_fetch)
        self.asking = Asking(Following(blob.name, me, live, draining), me, self.ledger)
        self.sealing = Sealing(me)
        self.swarm = SwarmChoice(me, now, published)
        self.failure: act.FailBlob | None = None
        self._giving_up = GivingUp(blob.name, me)
        self._findings = Findings(blob.name, me)
        self._todo: list[MemberAction] = []
        self._read_back = ReadBack()
        self._leased: PieceSet = 0
        self._share = LinkShare(blob, self.link)
        if not published:
            self.link.join(blob.name, order, now)
        for piece, claim in (journalled or {}).items():
            self.table.restore(piece, claim.digests.xxh3)
        self.table.settle(blob.all_pieces, self.ledger)

    def __repr__(self) -> str:
        return (
            f"<BlobMember {self.blob.name} on {self.me} {self.stage.value}: {self.table!r} {self.ledger!r}>"
        )

    @property
    def stage(self) -> Stage:
        return self.swarm.stage

    def handle(self, happened: MemberEvent, now: float) -> list[MemberAction]:
        """The only door: take one event, return what the shell has to do, in order."""
        self._todo = []
        if not isinstance(happened, event.Ticked):
            _HANDLERS[type(happened)](self, happened, now)
        self._advance(now)
        return self._todo

    def deadline(self, now: float) -> float:
        """When to call `handle` with `Ticked` at the latest."""
        if self._is_quiet(now):
            return self.asking.following.changes_at(now)
        return min(self.asking.due_at(now), now + TICK_S)

    def report(self, now: float) -> Report:
        """What this member has of the blob: for its requests, and to answer a lead's probe at any time."""
        published = self.stage is Stage.PUBLISHED
        held = self.blob.all_pieces if published else self.table.secured
        ended = self.stage in (Stage.FAILED, Stage.ABANDONED)
        stuck = self.swarm.stuck(self.table, self.fetches.pieces, now) | self._share.overdue
        return Report(
            member=self.me,
            held=piece_set.to_bytes(0 if ended else held, self.blob.pieces),
            stuck=piece_set.to_bytes(0 if ended else stuck, self.blob.pieces),
            fetching=self.fetches.progress(),
            given_up=tuple(sorted(self.fetches.closed)),
            claims=self.asking.claims_to_tell(),
            may_fetch=self.access.may_fetch and not ended,
            hub_retry_s=self.access.retry_s(now),
            hub_pause_s=self.access.pause_s(now),
            phase=self.swarm.phase,
            published=published,
            seal_failed=self.sealing.failed(self.table) and not ended,
            leaving=ended,
        )

    def swarm_reentered(self) -> PieceSet:
        """The swarm is being entered anew: what it is to be opened with, which is whole on the disk in this moment."""
        return self.swarm.reentered(self.table)

    def check(self) -> None:
        """Raise `InvariantViolated` if the machine contradicts itself."""
        member_check.check(self)

    def check_thoroughly(self) -> None:
        """The slow checks: every digest, every claim."""
        self.check()
        self.ledger.check()
        if self.stage is Stage.FILLING:
            self.table.check_digests(self.ledger)

    def _members_changed(self, happened: event.MembersChanged, now: float) -> None:
        self.asking.following.live_changed(happened.live, happened.draining)

    def _lead_heard(self, happened: event.LeadHeard, now: float) -> None:
        self.asking.following.heard(happened.member)

    def _lead_answered(self, happened: event.LeadAnswered, now: float) -> None:
        answer = happened.answer
        if not self.asking.answered(answer, now):
            return
        self.link.heard(self.blob.name, now)
        self._share.answered()
        self._learn(answer.claims, now)
        self.asking.merged()
        if answer.hub_pause_s > 0:
            self.access.pause(answer.hub_pause_s, now)
        if self.access.take_share(answer.hub_rate_bytes_per_s):
            self._todo.append(act.LimitHubRate(answer.hub_rate_bytes_per_s))
        self._follow_leases(answer, now)

    def _lead_refused(self, happened: event.LeadRefused, now: float) -> None:
        self.asking.refused(happened.refusal, now)

    def _lead_unreachable(self, happened: event.LeadUnreachable, now: float) -> None:
        self.asking.failed(happened.sequence, now)

    def _span_progressed(self, happened: event.SpanProgressed, now: float) -> None:
        self.fetches.progressed(happened.fetch, happened.done_bytes, now)

    def _hub_piece_fetched(self, happened: event.HubPieceFetched, now: float) -> None:
        """Claim the digest, and send the bytes where they are needed: into the swarm, onto the disk, or nowhere."""
        piece = happened.piece
        size_bytes = self.blob.piece_bytes(piece) if 0 <= piece < self.blob.pieces else 0
        if not self.fetches.piece_arrived(happened.fetch, piece, size_bytes, now):
            return
        self.access.succeeded()
        self.asking.news = True
        # Not where pieces are compared: that goes on a little at a time, and each word of it is heard by all.
        self.asking.nothing_to_do = not self.fetches.active and not self.sealing.failed(self.table)
        number = self.ledger.fetches_by(self.me, piece) + 1
        if number <= FETCHES_MAX:
            claim = Claim(piece, self.me, number, happened.digests)
            self._learn((claim,), now)
            self.asking.learned((claim,))
        agreed = self.ledger.digests(piece)
        if agreed is not None and agreed.xxh3 != happened.digests.xxh3:
            self._todo.append(act.RejectPiece(piece, from_hub=True))
        elif self.table.digest(piece) != happened.digests.xxh3 and self.stage in (
            Stage.STARTING,
            Stage.FILLING,
        ):
            self._take_bytes(piece, now)

    def _take_bytes(self, piece: int, now: float) -> None:
        bit = piece_set.single(piece)
        if self.table.checked & bit:
            self._todo.append(act.UnjournalPiece(piece))
        self.table.being_written(piece, now)
        if self.swarm.phase is not SwarmPhase.NONE and not self.table.in_swarm & bit:
            self.table.in_swarm |= bit
            self._todo.append(act.AddPieceToSwarm(piece))
        else:
            self._todo.append(act.WritePiece(piece))

    def _span_failed(self, happened: event.SpanFailed, now: float) -> None:
        if not self.fetches.failed(happened.fetch):
            return
        self.asking.news = True
        if happened.failure is SpanFailure.CONTENT_CHANGED:
            self._fail(act.FailBlob(BlobFailure.CONTENT_CHANGED, expected_hash=self.blob.name))
        else:
            self.access.failed(happened.failure, happened.retry_after_s, now)

    def _piece_held(self, happened: event.PieceHeld, now: float) -> None:
        if self.swarm.phase is not SwarmPhase.NONE:
            self.table.in_swarm |= piece_set.single(happened.piece)
        if self.stage in (Stage.STARTING, Stage.FILLING):
            self.table.written(happened.piece)
            if happened.piece not in self.table.arriving:
                self.swarm.gained(now)
                self.link.took_in(self.blob.piece_bytes(happened.piece), now)

    def _piece_digested(self, happened: event.PieceDigested, now: float) -> None:
        self._read_back.done(happened.piece, happened.generation)
        if self.table.digested(happened.piece, happened.generation, happened.xxh3):
            self._settle(piece_set.single(happened.piece), now)

    def _piece_unreadable(self, happened: event.PieceUnreadable, now: float) -> None:
        self._read_back.done(happened.piece, happened.generation)
        self.table.unreadable(happened.piece, happened.generation)

    def _piece_lost(self, happened: event.PieceLost, now: float) -> None:
        if self.stage in (Stage.STARTING, Stage.FILLING) and happened.piece not in self.table.arriving:
            self.table.lost(happened.piece)
            self.asking.news = True

    def _seal_finished(self, happened: event.SealFinished, now: float) -> None:
        if self.stage is not Stage.FILLING:
            return
        taken = self.sealing.finished(happened.matches, happened.actual_hash, self.table)
        self.asking.news = self.asking.news or taken
        if taken and happened.matches:
            proven = self.sealing.proven_claims(self.ledger)
            self._learn(proven, now)
            self.asking.learned(proven)
            self.swarm.sealed(now)
        elif taken and self.sealing.read_again_due(self.table):
            unchecked = self.table.read_again()
            self._todo += [act.UnjournalPiece(piece) for piece in piece_set.each(unchecked)]

    def _blob_published(self, happened: event.BlobPublished, now: float) -> None:
        if self.stage is Stage.PUBLISHING:
            self.swarm.published()
            self.asking.news = True

    def _ledger_recomputed(self, happened: event.LedgerRecomputed, now: float) -> None:
        if self.stage is Stage.PUBLISHED:
            self.swarm.recomputing = False
            claims = [
                Claim(i, self.me, 1, digests, sealed=True) for i, digests in enumerate(happened.digests)
            ]
            self._learn(claims, now)
            self.asking.learned(claims)

    def _blob_wanted(self, happened: event.BlobWanted, now: float) -> None:
        if self.stage is Stage.PUBLISHED:
            self.swarm.wanted = self.asking.news = True

    def _swarm_idled(self, happened: event.SwarmIdled, now: float) -> None:
        self.swarm.idled()
        self.asking.news = True

    def _swarm_terms_changed(self, happened: event.SwarmTermsChanged, now: float) -> None:
        if self.swarm.phase is not SwarmPhase.NONE:
            self.swarm.disconnected()
            self._leased = 0
            self._todo.append(act.ReenterSwarm())

    def _ledger_changed(self, happened: event.LedgerChanged, now: float) -> None:
        self._learn(happened.claims, now)
        self.asking.learned(happened.claims)

    def _disk_failed(self, happened: event.DiskFailed, now: float) -> None:
        failure = BlobFailure.NO_SPACE if happened.no_space else BlobFailure.DISK
        self._fail(act.FailBlob(failure, detail=happened.detail))

    def _access_changed(self, happened: event.AccessChanged, now: float) -> None:
        self.access.set(happened.may_fetch)
        self.asking.news = True

    def _hub_paused(self, happened: event.HubPaused, now: float) -> None:
        self.access.pause(happened.pause_s, now)

    def _about_wrong_bytes(
        self, happened: event.PieceRefused | event.MemberAccused | event.SuspectAnswered, now: float
    ) -> None:
        self._todo += self._findings.heard(happened, self.ledger, self.sealing)

    def _blob_abandoned(self, happened: event.BlobAbandoned, now: float) -> None:
        if self.stage not in (Stage.PUBLISHED, Stage.FAILED):
            self._end(Stage.ABANDONED)

    def _advance(self, now: float) -> None:
        """Whatever is due, given all facts."""
        answer = self.asking.last_answer
        self._todo += self._findings.look(self.ledger, self.table, self.sealing, answer)
        if self.stage in (Stage.STARTING, Stage.FILLING):
            self.table.give_up_arriving(now - ARRIVING_S_MAX)
            self._todo += self._read_back.due(self.table)
            self._give_up(now)
            if self.stage is Stage.FILLING and self.sealing.due(self.table, self.ledger, now):
                self.sealing.started(self.table)
                self._todo.append(act.SealBlob())
        turns = self.swarm.decide(self.table, self.ledger, answer, bool(self.fetches.active), now)
        self._todo += turns
        if any(isinstance(turn, act.OpenHot) for turn in turns):
            self._leased = 0
        if self.stage in (Stage.PUBLISHING, Stage.PUBLISHED) and self.fetches.active:
            self._todo += [act.StopFetch(number) for number in self.fetches.stop_all()]
        self._set_leased()
        self._share_link(now)
        self._ask(now)

    def _share_link(self, now: float) -> None:
        """Tell the link what this blob makes of it, and hear whether it is this blob's turn."""
        if self.stage not in (Stage.STARTING, Stage.FILLING):
            self._todo += self._share.left()
            return
        answer = self.asking.last_answer
        self._todo += self._share.look(self.table, self.ledger, self.fetches, self.access, answer, now)
        self.asking.news = self.asking.news or self._share.news

    def _set_leased(self) -> None:
        in_swarm = self.swarm.phase is not SwarmPhase.NONE
        leased = self.fetches.pieces | self.swarm.unwanted(self.ledger) if in_swarm else 0
        if leased != self._leased:
            self._leased = leased
            if in_swarm:
                self._todo.append(act.SetLeased(leased))

    def _ask(self, now: float) -> None:
        if self._is_quiet(now) or now < self.asking.due_at(now):
            return
        filling = self.stage in (Stage.STARTING, Stage.FILLING)
        room = self.link.room(self.blob.name, now) if filling and self.access.open(now) else 0
        answer = self.asking.last_answer
        if answer is not None and not answer.unleased and self.link.others_want(self.blob.name, now):
            room = 0
        may_wait = filling or self._serves_hot
        self._share.asked()
        lead, request = self.asking.request(self.report(now), self.link, room, may_wait, now)
        self._todo.append(act.AskLead(lead, request, self.asking.grace_s))

    def _is_quiet(self, now: float) -> bool:
        """Nothing left to tell or to learn: only an event brings the machine back."""
        if self.stage in (Stage.FAILED, Stage.ABANDONED):
            return self.asking.all_heard
        return self.stage is Stage.PUBLISHED and not self._serves_hot and self.asking.all_told(now)

    @property
    def _serves_hot(self) -> bool:
        """Published, and still in the hot swarm for others: the lead tells when nobody fills from it any more."""
        return self.stage in (Stage.PUBLISHING, Stage.PUBLISHED) and self.swarm.phase is SwarmPhase.HOT

    def _follow_leases(self, answer: LeadAnswer, now: float) -> None:
        may_start = self.stage in (Stage.STARTING, Stage.FILLING) and self.access.open(now)
        reconciled = self.fetches.reconcile(answer.leases, may_start, now)
        self._todo += [act.StopFetch(number) for number in reconciled.stopped]
        self._todo += [act.FetchSpan(fetch.number, fetch.remaining) for fetch in reconciled.started]

    def _learn(self, claims: Iterable[Claim], now: float) -> None:
        self._settle(self.ledger.merge(claims), now)

    def _settle(self, pieces: PieceSet, now: float) -> None:
        """Give the pieces the states they now have, and tell the journal."""
        if not pieces or self.stage not in (Stage.STARTING, Stage.FILLING):
            return
        settled = self.table.settle(pieces, self.ledger)
        if settled.rejected and not self.sealing.reading_again:
            self.swarm.rejected(settled.rejected)
            self._findings.suspicion.doubt(settled.rejected & ~self.ledger.claimed_by(self.me))
        self._todo += journal(settled, self.ledger, self.me)

    def _give_up(self, now: float) -> None:
        if self.fetches.active:
            return
        idle_s, answer = self.swarm.idle_s(now), self.asking.last_answer
        failure = self._giving_up.reason(
            self.table, self.ledger, self.sealing, self.asking, self.access, idle_s, now
        )
        if failure is not None:
            self._fail(failure)
        elif not self.access.may_fetch and (lead := self.swarm.left_alone_by(self.table, answer, now)):
            self.asking.following.pass_over(lead, now)

    def _fail(self, failure: act.FailBlob) -> None:
        if self.stage not in (Stage.PUBLISHED, Stage.FAILED, Stage.ABANDONED):
            self.failure = failure
            self._end(Stage.FAILED)
            self._todo.append(failure)

    def _end(self, stage: Stage) -> None:
        self._todo += [act.StopFetch(number) for number in self.fetches.stop_all()]
        self._todo += self.swarm.end(stage, self.table)
        self.asking.news = True


_HANDLERS: dict[type[MemberEvent], Callable[[BlobMember, Any, float], None]] = {
    event.MembersChanged: BlobMember._members_changed,
    event.LeadHeard: BlobMember._lead_heard,
    event.LeadAnswered: BlobMember._lead_answered,
    event.LeadRefused: BlobMember._lead_refused,
    event.LeadUnreachable: BlobMember._lead_unreachable,
    event.SpanProgressed: BlobMember._span_progressed,
    event.HubPieceFetched: BlobMember._hub_piece_fetched,
    event.SpanFailed: BlobMember._span_failed,
    event.PieceHeld: BlobMember._piece_held,
    event.PieceDigested: BlobMember._piece_digested,
    event.PieceUnreadable: BlobMember._piece_unreadable,
    event.PieceLost: BlobMember._piece_lost,
    event.SealFinished: BlobMember._seal_finished,
    event.BlobPublished: BlobMember._blob_published,
    event.LedgerRecomputed: BlobMember._ledger_recomputed,
    event.BlobWanted: BlobMember._blob_wanted,
    event.SwarmIdled: BlobMember._swarm_idled,
    event.SwarmTermsChanged: BlobMember._swarm_terms_changed,
    event.LedgerChanged: BlobMember._ledger_changed,
    event.DiskFailed: BlobMember._disk_failed,
    event.AccessChanged: BlobMember._access_changed,
    event.HubPaused: BlobMember._hub_paused,
    event.BlobAbandoned: BlobMember._blob_abandoned,
    event.PieceRefused: BlobMember._about_wrong_bytes,
    event.SuspectAnswered: BlobMember._about_wrong_bytes,
    event.MemberAccused: BlobMember._about_wrong_bytes,
}
