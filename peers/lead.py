"""The lead of one blob: it knows who holds which piece, grants leases, and passes on what the ledger learns.

Any daemon can be the lead; its state is soft and is rebuilt from the members' reports. The first live member in
rendezvous order leads; a request names the lead it means, and a member that someone else leads refuses and says whom it
follows. Two members that cannot see each other may both lead: that costs upstream bytes, never a stall.

What a piece is leased for, in this order (`Lead._needs`):
1. its digest is disputed, and a further fetch decides: the sooner, the less whoever claims false ones is granted meanwhile;
2. nobody live and honest holds it;
3. the asker is stuck on it, whatever others say they hold;
4. a seal failed with every piece matching the ledger: pieces are fetched by a second member and compared, suspects first
   (`audit`).

Times are monotonic seconds.
"""

from __future__ import annotations

from peers import audit, piece_set, rendezvous
from peers.blob import Blob
from peers.fetch_turns import FetchTurns
from peers.invariants import require
from peers.lead_events import (
    Answer,
    Asked,
    LeadAction,
    LeadEvent,
    LeadTicked,
    LiveMembersChanged,
    ProbeAnswered,
    ProbeMember,
    Refuse,
)
from peers.leases import HELD_UP_S, LEASES_PER_MEMBER_MAX, LeaseTable, lease_pieces
from peers.ledger import Ledger
from peers.ledger_wire import CLAIMS_PER_MESSAGE_MAX
from peers.messages import LeadAnswer, LeadRefusal, LeadRequest, Report, SwarmPhase
from peers.piece_set import PieceSet
from peers.silence import Silence
from peers.standing import Standing, Standings
from peers.waves import FOREVER, Waves

REPORTS_AWAITED_S = 2.0
MOSTLY_SILENT_S = 6.0
"""How long a new lead waits for every live member's report before it grants anything (design: "Upstream once"), and how much longer
while most are silent: processors are short then, or gossip is about to tell that they are gone."""

JOINER_AWAITED_S = 0.5
"""How long granting pauses for members that came back: enough for a probe, too short to hurt when they flap."""

WAIT_S_MAX = 30.0
"""The longest a request is held back, whatever it asks for: below the idle timeout of common proxies."""

STARTING_S = 1.0
"""Others of the cluster may be about to want the blob too: until they had time to say so, leases are for as many."""


class Lead:
    """Decides for one blob on one host. Create one when the first request arrives, with ``term`` above any term that
    the request or an earlier start of this host has seen; drop it when it has been `idle_since` a minute or more."""

    def __init__(self, blob: Blob, me: str, term: int, live: LiveMembersChanged, now: float) -> None:
        self.blob = blob
        self.me = me
        self.term = term
        self.ledger = Ledger(blob.pieces)
        self.leases = LeaseTable(me, term, blob.piece_len_bytes)
        self.standings = Standings(blob.pieces, live.draining, live.zones)
        self.idle_since = now
        self._cluster = live
        self._order = rendezvous.lead_order(blob.name, live.live | {me}, live.draining)
        self._awaited: set[str] = set(live.live)
        self._grants_from = now + REPORTS_AWAITED_S
        self._to_probe: set[str] = set(live.live)
        self._parked: dict[str, tuple[LeadRequest, float]] = {}
        self._hub_pause_until = now
        self._paused = False
        self._audit = audit.Audit(blob.size_bytes)
        self._waves = Waves(now)
        self._silence = Silence(self.standings, now)
        self._turns = FetchTurns(blob.piece_len_bytes)
        self._started_at = now
        self._due_at, self._term_seen = FOREVER, term

    def __repr__(self) -> str:
        return f"<Lead {self.me} of {self.blob.name} term {self.term}: {self.ledger!r} {self.leases!r}>"

    def handle(self, event: LeadEvent, now: float) -> list[LeadAction]:
        """The only door: take one event, return what the host has to do, in order."""
        actions: list[LeadAction] = []
        if now > self._due_at + HELD_UP_S:
            self.leases.put_off(now - self._due_at)
            self._grants_from += now - self._due_at
        self._pass_time(now)
        if isinstance(event, Asked):
            actions += self._asked(event.request, now)
        elif isinstance(event, ProbeAnswered):
            self._probe_answered(event, now)
        elif isinstance(event, LiveMembersChanged):
            self._members_changed(event, now)
        else:
            assert isinstance(event, LeadTicked)
        actions += [ProbeMember(member) for member in sorted(self._to_probe & self._awaited)]
        self._to_probe.clear()
        silent = self._silence.to_probe(self.standings.report_every_s, now)
        actions += [ProbeMember(member) for member in silent] + self._answer_parked(now)
        self._due_at = max(now, self.deadline())
        return actions

    def deadline(self) -> float:
        """When to call `handle` with `LeadTicked` at the latest."""
        waiting = min((until for _, until in self._parked.values()), default=FOREVER)
        wave = self._waves.deadline() if self._parked else FOREVER
        opening = self._opens_at if self._awaited else FOREVER
        resuming = self._hub_pause_until if self._paused else FOREVER
        return min(waiting, wave, opening, resuming, self.leases.deadline(), self._turns.deadline())

    @property
    def _opens_at(self) -> float:
        return self._grants_from + MOSTLY_SILENT_S * (2 * len(self._awaited) > len(self._cluster.live))

    @property
    def ready(self) -> bool:
        """Whether every live member has reported, or was waited for long enough: only then are leases granted."""
        return not self._awaited

    def follows(self, unreachable: tuple[str, ...] = ()) -> str:
        """Who leads in this host's view, passing over members that the asker cannot reach."""
        return next((name for name in self._order if name == self.me or name not in unreachable), self.me)

    def check(self, now: float) -> None:
        """Raise `InvariantViolated` if the lead contradicts itself; `Ledger.check` is the slow rest."""
        self.leases.check(now)
        strangers = self.leases.holders - self.standings.members.keys()
        require(not strangers, "only members that reported hold leases", strangers=sorted(strangers))

    def _asked(self, request: LeadRequest, now: float) -> list[LeadAction]:
        member = request.report.member
        if not self._leads_for(request):
            return [self._refuse(request)]
        if member != self.me:
            self.idle_since = now
        if request.last_term > self._term_seen and member not in self._awaited:
            self._term_seen = request.last_term
            self._await_reports(self._cluster.live - {member}, now, JOINER_AWAITED_S, older_than_s=1.0)
        self._note_report(request.report, now, request.claims_fingerprint)
        self._turns.heard(member, request.rate_bytes_per_s, request.behind_s)
        self.leases.expected_bytes_per_s = self._turns.told_bytes_per_s
        if request.report.leaving:
            self._forget(member)
            return [Answer(member, self._answer(request, now))]
        self._parked[member] = (request, now + min(request.wait_s, WAIT_S_MAX))
        self._waves.news = self._waves.news or self._known(request) < self.ledger.version
        if request.room > 0 and self._grantable(member, now):
            del self._parked[member]
            return [Answer(member, self._answer(request, now))]
        return []

    def _refuse(self, request: LeadRequest) -> LeadAction:
        member = request.report.member
        self._forget(member)
        return Refuse(member, LeadRefusal(request.sequence, self.me, self.follows(request.unreachable)))

    def _leads_for(self, request: LeadRequest) -> bool:
        """A member may always lead itself; others only where this host's view says so too."""
        if request.lead != self.me:
            return False
        return request.report.member == self.me or self.follows(request.unreachable) == self.me

    def _probe_answered(self, event: ProbeAnswered, now: float) -> None:
        if event.member not in self._cluster.live:
            return
        if event.report is not None:
            self._note_report(event.report, now)
        elif event.member not in self.standings or event.member in self._silence.of(
            self.standings.report_every_s, now
        ):
            self._forget(event.member)
            self.standings.note_nothing(event.member, now)
        self._heard(event.member)

    def _members_changed(self, event: LiveMembersChanged, now: float) -> None:
        joined = event.live - self._cluster.live
        for gone in (set(self.standings.members) | self.leases.holders) - event.live - {self.me}:
            self._forget(gone)
        self._cluster = event
        self._order = rendezvous.lead_order(self.blob.name, event.live | {self.me}, event.draining)
        self.standings.members_changed(event.draining, event.zones)
        self._awaited &= event.live
        self._await_reports(joined, now, JOINER_AWAITED_S, older_than_s=0.0)
        self._waves.news = True

    def _await_reports(
        self, members: frozenset[str], now: float, limit_s: float, older_than_s: float
    ) -> None:
        """Probe members whose report is missing or old, and grant nothing until they answered or ``limit_s`` passed."""
        unheard = {
            member
            for member in members - {self.me}
            if member not in self.standings or now - self.standings[member].reported_at >= older_than_s
        }
        if unheard:
            self._grants_from = max(self._grants_from if self._awaited else now, now + limit_s)
            self._to_probe |= unheard - self._awaited
            self._awaited |= unheard

    def _note_report(self, report: Report, now: float, claims_fingerprint: int | None = None) -> None:
        member = report.member
        self._heard(member)
        if self.ledger.merge(report.claims):
            self._waves.news = True
        before = self.standings.members.get(member, Standing(reported_at=now))
        standing = self.standings.note(report, now)
        self.leases.reported(member, now - before.reported_at)
        completed = standing.held == self.blob.all_pieces != before.held
        if before.held & ~standing.held or completed or standing.phase is not before.phase:
            self._waves.news = True
        for key in report.given_up:
            self.leases.release(key, member)
            self._waves.news = True
        for progress in report.fetching:
            if 0 <= progress.remaining.start < progress.remaining.stop <= self.blob.pieces:
                self.leases.note(member, progress, now, standing.held)
        self.leases.settle(member, standing.held, now)
        if report.hub_pause_s > 0:
            self._hub_pause_until = max(self._hub_pause_until, now + report.hub_pause_s)
            self.leases.extend_all(self._hub_pause_until)
            self._paused = True
        in_sync = claims_fingerprint == self.ledger.claims_fingerprint
        if self._audit.heard(standing.seal_failed, in_sync, self.ledger, now):
            self._waves.news = True

    def _heard(self, member: str) -> None:
        if member in self._awaited:
            self._awaited.discard(member)
            self._waves.news = self._waves.news or not self._awaited

    def _pass_time(self, now: float) -> None:
        if self.leases.lapse(now):
            self._waves.news = True
        self._waves.news = self._turns.pass_time(now) or self._waves.news
        if self._awaited and now >= self._opens_at:
            answered, self._awaited = self._cluster.live - self._awaited, set()
            self._waves.news = True
            if now < self._started_at + REPORTS_AWAITED_S + JOINER_AWAITED_S:
                self._await_reports(answered, now, JOINER_AWAITED_S, older_than_s=1.0)
        if self._paused and now >= self._hub_pause_until:
            self._paused = False
            self._waves.news = True

    def _forget(self, member: str) -> None:
        self._waves.news = self._waves.news or member in self.standings
        self.standings.forget(member)
        self._turns.forget(member)
        self._waves.forget(member)
        self.leases.drop_member(member)
        self._parked.pop(member, None)
        self._heard(member)

    def _answer_parked(self, now: float) -> list[LeadAction]:
        """Answer every held-back request that has news for it or waited long enough, in order of arrival."""
        wave = self._waves.is_due(now)
        with_claims = wave and self._waves.carries_claims(now, self.ledger.unclaimed)
        held_back = False
        actions: list[LeadAction] = []
        for member, (request, until) in list(self._parked.items()):
            behind = self._known(request) < self.ledger.version
            if (wave or now >= until) and not self._leads_for(request):
                actions.append(self._refuse(request))
            elif now >= until or (wave and (self._has_news(request, now) or (with_claims and behind))):
                del self._parked[member]
                actions.append(Answer(member, self._answer(request, now)))
            else:
                held_back = held_back or behind
        if wave:
            self._waves.went(now, with_claims, held_back)
        return actions

    def _has_news(self, request: LeadRequest, now: float) -> bool:
        member = request.report.member
        told = {progress.key for progress in request.report.fetching}
        if told - {lease.key for lease in self.leases.of(member)}:
            return True
        hot_ended = request.report.phase is SwarmPhase.HOT and not self.standings.unfinished_hot()
        over = request.room > 0 and self.ready and self._waves.expects(member) and not self._free(member, now)
        company = self.standings.has_company_to_tell(member, self.blob.name)
        return hot_ended or over or company or (request.room > 0 and bool(self._grantable(member, now)))

    def _known(self, request: LeadRequest) -> int:
        """The version of this ledger that the asker has, by its own count or because it knows the same claims."""
        if request.claims_fingerprint == self.ledger.claims_fingerprint:
            return self.ledger.version
        return request.version if request.version_term == self.term else 0

    def _answer(self, request: LeadRequest, now: float) -> LeadAnswer:
        member = request.report.member
        if not request.report.leaving:
            self._grant(request, now)
        changes = self.ledger.changes_since(self._known(request), CLAIMS_PER_MESSAGE_MAX)
        unleased = not self.ready or bool(self._free(member, now))
        self._waves.told(member, unleased)
        return LeadAnswer(
            sequence=request.sequence,
            lead=self.me,
            term=self.term,
            ready=self.ready,
            leases=self.leases.of(member),
            claims=changes.claims,
            version=changes.version,
            synced=changes.version == self.ledger.version,
            claims_fingerprint=self.ledger.claims_fingerprint,
            hub_rate_bytes_per_s=self._cluster.hub_share(self.leases.holders | {member}),
            hub_pause_s=max(0.0, self._hub_pause_until - now),
            report_every_s=self.standings.report_every_s,
            fetchers=len(self.standings.fetchers()),
            unfinished_hot=self.standings.unfinished_hot(),
            audited=self.ready and self._audit.is_over(self.ledger, self._trusted_fetchers()),
            swarm=self.standings.name_swarm(member, self.blob.name),
            unleased=not self.ready or bool(self._free(member, now) | self._unheld() & ~self.leases.taken),
        )

    def _grant(self, request: LeadRequest, now: float) -> None:
        member = request.report.member
        for _ in range(request.room):
            wanted = self._grantable(member, now)
            if not wanted and self._may_take_over(member, now):
                taken = self.leases.take_overdue(member, request.rate_bytes_per_s, now)
                self._waves.news = taken is not None or self._waves.news
                wanted = self._grantable(member, now)
            if not wanted:
                return
            rate = request.rate_bytes_per_s / self._each(member, now)
            longest = lease_pieces(rate, self.blob.piece_len_bytes, wanted.bit_count(), self._sharers(now))
            if wanted & self.standings[member].held:
                longest = max(1, longest // audit.LOOKAHEAD)
            span = piece_set.first_run(wanted, longest)
            expected_s = len(span) * self.blob.piece_len_bytes / rate if rate > 0 else 0.0
            again = bool(span.pieces & self.standings[member].held)
            self.leases.grant(member, span, now, expected_s=expected_s, again=again)
            self._turns.took(member, len(span), now)

    def _may_take_over(self, member: str, now: float) -> bool:
        """Whether nothing is left to fetch but what others fetch, and this member would be quicker."""
        unheld = self._unheld()
        left = self.leases.taken and not unheld & ~self.leases.taken
        return bool(left) and self._may_be_granted(member, now) and self._in_time(member, unheld, now)

    def _may_be_granted(self, member: str, now: float) -> bool:
        standing = self.standings[member]
        blamed = member in self.ledger.blamed() and self.standings.fetchers() - set(self.ledger.blamed())
        return (
            self.ready
            and standing.may_fetch
            and now >= self._hub_pause_until
            and now >= standing.hub_retry_at
            and not blamed
            and self._has_room(member, now)
        )

    def _has_room(self, member: str, now: float) -> bool:
        """Whether the member's spans leave room for one more; one at its last piece may be followed by the next."""
        each, count = self._each(member, now), len(self.leases.of(member))
        return self.leases.busy(now, member) < each and count < min(each + 1, LEASES_PER_MEMBER_MAX)

    def _each(self, member: str, now: float) -> int:
        """How many spans the member may have: its share, or what its way takes where it gets what others have already."""
        share = self._turns.each(self.leases.rate_bytes_per_s(now), self._sharers(now))
        return max(share, self._turns.alone(member)) if self._only_repeats(member) else share

    def _only_repeats(self, member: str) -> bool:
        """Whether nothing is left but what this member is stuck on: nobody else waits for it, nor for this member."""
        return bool(self.standings[member].stuck) and not self._unheld() & ~self.leases.taken

    def _sharers(self, now: float) -> int:
        """Members that fetch, or would if they were granted something."""
        if now - self._started_at < STARTING_S:
            return max(1, len(self._cluster.live))
        return max(1, self.standings.sharers(self._audit.begun) - len(self._turns.lagging))

    def _is_next(self, member: str, now: float) -> bool:
        """Whether one of the spans that may be under way is free, and nobody who waits comes before this member."""
        spans = self._turns.spans(self.leases.rate_bytes_per_s(now), self._sharers(now))
        free = spans - self.leases.busy(now)
        waiting = [
            name
            for name, (request, _) in (self._parked.items() if free > 0 else ())
            if request.room > 0 and name in self.standings and self._may_be_granted(name, now)
        ]
        unheld = self._unheld() if waiting else piece_set.EMPTY
        others = (name for name in waiting if self._in_time(name, unheld, now))
        first = self._turns.next_up({member, *others}, free)
        return member in first and not self._turns.lets_others_ask(member, now)

    def _grantable(self, member: str, now: float) -> PieceSet:
        """The pieces this member could be given now: those of the first need that has any."""
        if member not in self.standings or not self._may_be_granted(member, now):
            return piece_set.EMPTY
        free = self._free(member, now)
        is_free = bool(free) and (self._only_repeats(member) or self._is_next(member, now))
        return free if is_free else piece_set.EMPTY

    def _free(self, member: str, now: float) -> PieceSet:
        """The pieces that are nobody's, of the member's first need that has any."""
        if member not in self.standings:
            return piece_set.EMPTY
        return next((free for need in self._needs(member, now) if (free := need & ~self.leases.taken)), 0)

    def _in_time(self, member: str, unheld: PieceSet, now: float) -> bool:
        """Whether the others would not wait for a piece fetched by this member."""
        left_bytes, rate = unheld.bit_count() * self.blob.piece_len_bytes, self.leases.rate_bytes_per_s(now)
        return self._turns.in_time(
            *(member, self.leases.holders, left_bytes, rate, now),
            unspread=lambda: bool(self.leases.of(member)) or self.standings.holds_alone(member),
        )

    def _unheld(self) -> PieceSet:
        """The pieces that nobody honest holds."""
        blamed = frozenset(self.ledger.blamed())
        return self.blob.all_pieces & ~self.standings.held_by_any(but=blamed) & ~self.ledger.disputed

    def _needs(self, member: str, now: float) -> tuple[PieceSet, ...]:
        """What the module's docstring lists, in that order."""
        ledger = self.ledger
        claimed = ledger.claimed_by(member)
        second_try = compared = piece_set.EMPTY
        if ledger.disputed or self._audit.begun:
            second_try = audit.second_try(ledger, self._trusted_fetchers(), member)
        if self._audit.begun:  # what is to be fetched again now, by whomever
            trusted = self._trusted_fetchers()
            compared = self._audit.wanted(ledger, trusted, audit.undecided(ledger, trusted), now)
        unheld = self._unheld()
        return (
            ledger.disputed & (~claimed | second_try),
            unheld if self._in_time(member, unheld, now) else piece_set.EMPTY,
            self.standings[member].stuck | (self.standings.stuck_without_access() & ~claimed),
            compared & (~claimed | second_try),
        )

    def _trusted_fetchers(self) -> frozenset[str]:
        """Members that may fetch and are not blamed; all that may, when nobody else is left."""
        fetchers = self.standings.fetchers()
        return fetchers - self.ledger.blamed().keys() or fetchers
