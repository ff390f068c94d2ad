"""One simulated daemon: the production machines, and a shell around them made of virtual time.

Everything planned for later is bound to the node's *life*, so that nothing of a killed process happens after its death.
The journal, the bytes on disk and the published copy survive; all else is memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from peers import lead_events as led
from peers import member_actions as act
from peers import member_events as event
from peers import membership as gossip
from peers import piece_set
from peers.findings import own_words
from peers.introductions import Introductions
from peers.lead import Lead
from peers.ledger import Claim
from peers.member import BlobMember
from peers.messages import LeadRequest, Report, SwarmPhase
from peers.suspicion import Testimony
from tests.sim import truth
from tests.sim.hub import HubClient

if TYPE_CHECKING:
    from tests.sim.world import World

READ_BACK_BYTES_PER_S = 1e9
SEAL_BYTES_PER_S = 2e9
WRITE_S = 0.005
REFUSED_S = 0.05
ANSWER_TIMEOUT_S = 3.0


class Node:
    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.up_bytes_per_s = world.shape.nic_bytes_per_s
        self.down_bytes_per_s = world.shape.nic_bytes_per_s
        self.up_free_at = self.down_free_at = 0.0
        self.may_fetch = True
        self.full = False
        self.disk: dict[int, int] = {}
        self.journal: dict[int, Claim] = {}
        self.stored_claims: tuple[Claim, ...] = ()
        self.published = False
        self.published_at = 0.0
        self.sealed_right = False
        self.failure: act.FailBlob | None = None
        self.leased = 0
        self.told: list[act.MemberAction] = []
        self.blamed: set[str] = set()
        self.rotten: set[int] = set()
        self.damages_what_it_relays = False
        self.announces_all = False
        self.connects_to: frozenset[str] = frozenset()
        self.is_older = False
        self.life = 0
        self.up = False
        self.hub = HubClient(self)
        self.machine: BlobMember | None = None
        self.lead: Lead | None = None
        self.membership: gossip.Membership | None = None
        self.introductions: Introductions | None = None
        self.live: frozenset[str] = frozenset()
        self._cluster = led.LiveMembersChanged(frozenset())
        self._told: gossip.TellLive | None = None
        self._ticks: dict[str, float] = {}
        self._requests: dict[tuple[str, int], LeadRequest] = {}

    def __repr__(self) -> str:
        return f"<Node {self.name} {'up' if self.up else 'down'} {self.machine!r}>"

    @property
    def life_name(self) -> str:
        return f"{self.name}/{self.life}"

    @property
    def zone(self) -> str:
        zones = self.world.shape.zones
        return f"zone-{self.world.names.index(self.name) % zones}" if zones else ""

    @property
    def facts(self) -> gossip.MemberFacts:
        """As long as real ones: the name serves as the address of the API."""
        shape = self.world.shape
        return gossip.MemberFacts(
            self.name,
            self.zone if shape.zones_told else "",
            hot_address="10.20.130.140:7072",
            sealed_address="10.20.130.140:7073",
            hub_down_cluster=shape.hub_down_cluster,
            secret_ids=(b"12345678",),
        )

    @property
    def remembered(self) -> gossip.MemberEntry:
        """What others may know of this daemon from an earlier life."""
        return gossip.MemberEntry(
            self.name, 1, gossip.MemberState.ALIVE, gossip.MemberFacts(address=self.name)
        )

    @property
    def draining(self) -> frozenset[str]:
        """Whom this member knows to be on the way out of service."""
        return self._told.draining if self._told else frozenset()

    def drain(self) -> None:
        """Somebody takes this daemon out of service."""
        self._hear(gossip.FactsChanged(replace(self.facts, draining=True)))
        self.feed(event.AccessChanged(may_fetch=False))

    @property
    def done(self) -> bool:
        return self.published or self.failure is not None

    def start(self, known: tuple[gossip.MemberEntry, ...], wants: bool) -> None:
        """Start the daemon; ``known`` is what it remembers or is told of the cluster."""
        self.life += 1
        self.up = True
        self._told = None
        entry = gossip.MemberEntry(self.name, self.started_ms, gossip.MemberState.ALIVE, self.facts)
        self.membership = self.world.membership_class(
            entry, self.world.names[:2], self.world.rng, self.world.now, known
        )
        self.live = self.membership.live
        zones = {entry.name: entry.facts.zone for entry in known if entry.facts.zone}
        self._cluster = led.LiveMembersChanged(self.live, self.world.shape.hub_down_cluster, zones=zones)
        self.introductions = Introductions(self.membership, self.world.now)
        self._hear(gossip.RoundCame())
        if wants or self.published:
            self.want()

    @property
    def started_ms(self) -> int:
        return int(self.world.now * 1000) + self.life

    def want(self) -> None:
        """Somebody pulls the blob here, or it lies here published from earlier."""
        if self.machine is not None or not self.up:
            return
        self.machine = self.world.member_class(
            self.world.blob,
            self.name,
            self.live,
            self.world.now,
            journalled=self.journal,
            claims=self.stored_claims,
            published=self.published,
            may_fetch=self.may_fetch,
        )
        self.feed(event.Ticked())

    def die(self) -> None:
        self.life += 1
        self.up = False
        self.machine = self.lead = self.membership = None
        self.leased = 0
        self.hub.stop_all()
        self._requests.clear()
        self._ticks.clear()
        self.world.swarms.leave(self)

    def later(self, delay_s: float, do: Callable[[], None]) -> None:
        """Plan something that does not outlive this process."""
        life = self.life

        def unless_dead() -> None:
            if self.life == life and self.up:
                do()

        self.world.time.after(delay_s, unless_dead)

    def feed(self, happened: event.MemberEvent) -> None:
        machine = self.machine
        if machine is None:
            return
        self.world.note(self.name, type(happened).__name__)
        for action in machine.handle(happened, self.world.now):
            self._do(action)
        if isinstance(happened, event.LeadAnswered):
            self.world.checks.learned(self, happened.answer)
        self.world.checks.after_event(self)
        if self.machine is machine:
            self._plan_tick("member", machine.deadline(self.world.now), lambda: self.feed(event.Ticked()))

    def feed_lead(self, happened: led.LeadEvent) -> None:
        if self.lead is None:
            return
        self.world.note(self.name, type(happened).__name__)
        lead = self.lead
        for action in lead.handle(happened, self.world.now):
            self._do_lead(action)
        self.world.checks.after_event(self)
        self._plan_tick("lead", lead.deadline(), lambda: self.feed_lead(led.LeadTicked()))

    def asked(self, request: LeadRequest) -> None:
        """A request for this blob's lead arrived. From a member that was banned here while it travelled: refused unread."""
        member = request.report.member
        if member in self.blamed:
            return
        if self.lead is None:
            seen = 0 if self.machine is None else self.machine.asking.last_term
            term = max(self.started_ms, request.last_term + 1, seen + 1)
            self.lead = self.world.lead_class(self.world.blob, self.name, term, self._cluster, self.world.now)
        self._requests[member, request.sequence] = request
        self.feed_lead(led.Asked(request))

    def piece_held(self, piece: int) -> None:
        self.feed(event.PieceHeld(piece))

    def disk_failed(self) -> None:
        self.feed(event.DiskFailed(no_space=True, detail="no space left"))

    def _plan_tick(self, which: str, when: float, do: Callable[[], None]) -> None:
        if when == float("inf") or self._ticks.get(which, float("inf")) <= max(when, self.world.now):
            return
        self._ticks[which] = max(when, self.world.now)

        def tick() -> None:
            if self._ticks.get(which) == planned:
                del self._ticks[which]
                do()

        planned = self._ticks[which]
        self.later(planned - self.world.now, tick)

    def _do(self, action: act.MemberAction) -> None:
        if isinstance(action, act.AskLead):
            self._ask(action)
        elif isinstance(action, act.FetchSpan):
            self.hub.fetch(action.fetch, action.span)
        elif isinstance(action, act.StopFetch):
            self.hub.stop(action.fetch)
        elif isinstance(action, act.PassHubTurn):
            pass  # a simulated node has one blob
        elif isinstance(action, act.LimitHubRate):
            self.hub.share_bytes_per_s = action.rate_bytes_per_s
        elif isinstance(action, act.AddPieceToSwarm | act.WritePiece):
            self._write(
                action.piece, self.hub.in_memory[action.piece], isinstance(action, act.AddPieceToSwarm)
            )
        elif isinstance(action, act.DigestPiece):
            size = self.world.blob.piece_bytes(action.piece)
            self.later(size / READ_BACK_BYTES_PER_S, lambda: self._digest(action.piece, action.generation))
        elif isinstance(action, act.SetLeased):
            self.leased = action.pieces
        elif isinstance(action, act.OpenHot):
            have = self.world.blob.all_pieces if self.announces_all else action.have
            self.world.swarms.join(self, None, have)
        elif isinstance(action, act.OpenSealed):
            assert self.machine is not None
            self.world.swarms.join(self, self.machine.ledger, action.have)
        elif isinstance(action, act.ReenterSwarm):
            assert self.machine is not None
            sealed = self.machine.swarm.phase is SwarmPhase.SEALED
            self.world.swarms.leave(self)
            ledger = self.machine.ledger if sealed else None
            self.world.swarms.join(self, ledger, self.machine.swarm_reentered())
        elif isinstance(action, act.LeaveHot | act.LeaveSealed):
            self.leased = 0
            self.world.swarms.leave(self)
        elif isinstance(action, act.WakeHolders):
            for name in action.members:
                self.world.send(self.name, name, partial(self.world.nodes[name].feed, event.BlobWanted()))
        else:
            self._do_with_disk(action)

    def _do_with_disk(self, action: act.MemberAction) -> None:
        if isinstance(action, act.JournalPiece):
            self.journal[action.piece] = action.claim
            if self.damages_what_it_relays:
                self.disk[action.piece] = truth.DAMAGED
        elif isinstance(action, act.UnjournalPiece):
            self.journal.pop(action.piece, None)
        elif isinstance(action, act.SealBlob):
            self.later(self.world.blob.size_bytes / SEAL_BYTES_PER_S, self._sealed)
        elif isinstance(action, act.PublishBlob):
            self.later(0.01, self._published)
        elif isinstance(action, act.RecomputeLedger):
            digests = tuple(truth.digests(p, self.disk[p]) for p in range(self.world.blob.pieces))
            self.later(
                self.world.blob.size_bytes / READ_BACK_BYTES_PER_S,
                lambda: self.feed(event.LedgerRecomputed(digests)),
            )
        elif isinstance(action, act.FailBlob):
            self.failure = action
        else:
            self._do_about_wrong_bytes(action)

    def _do_about_wrong_bytes(self, action: act.MemberAction) -> None:
        self.told.append(action)
        if isinstance(action, act.ConnectSwarm):
            self.connects_to = frozenset(action.members)
        if self.world.traffic and isinstance(action, act.ConnectSwarm):
            self.world.traffic.connects(self.name, len(action.members))
        if isinstance(action, act.AskSuspect):
            self._ask_suspect(action.member, action.piece)
        elif isinstance(action, act.BlameMember):
            if self.world.liars_ban_nobody and self.name in self.world.liars:
                return
            self.blamed.add(action.evidence.member)
            self.world.checks.blamed(self, action.evidence)
            self._tell_live()
            self.world.nodes[action.evidence.member]._tell_live()
            accusation = event.MemberAccused(action.evidence.member, action.evidence.pieces)
            for name in sorted(self.live - {self.name}):
                self.world.send(self.name, name, partial(self.world.nodes[name].feed, accusation))
        else:
            told = (
                act.RejectPiece
                | act.ConnectSwarm
                | act.FoundWrongWhole
                | act.FoundWrongFetches
                | act.FoundMembersSlow
            )
            assert isinstance(action, told), action

    def _ask_suspect(self, name: str, piece: int) -> None:
        suspect = self.world.nodes[name]

        def answer(testimony: Testimony | None) -> None:
            self.feed(event.SuspectAnswered(name, piece, testimony))

        def asked() -> None:
            testimony = suspect.testify(piece)
            self.world.send(name, self.name, lambda: answer(testimony))

        answered_by = self.world.now + ANSWER_TIMEOUT_S
        self.world.send(self.name, name, asked)
        self.later(answered_by - self.world.now, lambda: answer(None))

    def testify(self, piece: int) -> Testimony | None:
        """What this member says of its copy when it is suspected, and what it sends then."""
        machine = self.machine
        if machine is None:
            return None
        stated, claimed = own_words(machine.ledger, machine.table, self.name, piece, self.published)
        if self.announces_all:
            agreed = machine.ledger.digests(piece)
            stated = None if agreed is None else agreed.xxh3
        sent = truth.digests(piece, self.disk.get(piece, truth.GARBAGE)).xxh3
        return Testimony(stated, None if stated is None else sent, claimed)

    def _write(self, piece: int, variant: int, announce: bool) -> None:
        def written() -> None:
            if self.full:
                self.disk[piece] = truth.GARBAGE
                self.disk_failed()
                return
            if (
                announce
                and self.world.swarms.has(self)
                and not self.world.swarms.accepts(self, piece, variant)
            ):
                return
            self.disk[piece] = variant
            if announce:
                self.world.swarms.gained(self, piece)
            self.piece_held(piece)

        self.later(WRITE_S, written)

    def _digest(self, piece: int, generation: int) -> None:
        if piece in self.disk:
            xxh3 = truth.digests(piece, self.disk[piece]).xxh3
            self.feed(event.PieceDigested(piece, generation, xxh3))
        else:
            self.feed(event.PieceUnreadable(piece, generation))

    def _sealed(self) -> None:
        right = all(self.disk.get(piece) == truth.TRUE for piece in range(self.world.blob.pieces))
        self.sealed_right = right
        self.feed(event.SealFinished(right, self.world.blob.name if right else "another hash"))

    def _published(self) -> None:
        assert self.machine is not None
        self.published = True
        self.published_at = self.world.now
        self.stored_claims = self.machine.ledger.all_claims()
        self.world.checks.published(self)
        self.feed(event.BlobPublished())

    def _ask(self, action: act.AskLead) -> None:
        request = replace(action.request, report=self._as_told(action.request.report))
        lead = self.world.nodes[action.lead]
        if lead is self:
            self.later(0.0, lambda: self.asked(request))
            return
        if self.world.traffic:
            self.world.traffic.asked(self.name, request)
        unreachable = event.LeadUnreachable(request.sequence)
        if not lead.up or self.name in lead.blamed:
            self.later(REFUSED_S, lambda: self.feed(unreachable))
            return
        self.world.send(self.name, lead.name, lambda: lead.asked(request), self.world.busy_s)
        self.later(request.wait_s + action.grace_s, lambda: self.feed_if_waiting(request.sequence))

    def feed_if_waiting(self, sequence: int) -> None:
        if self.machine is not None and self.machine.asking.sequence == sequence:
            self.feed(event.LeadUnreachable(sequence))

    def _do_lead(self, action: led.LeadAction) -> None:
        if isinstance(action, led.ProbeMember):
            self._probe(action.member)
            return
        member = self.world.nodes[action.member]
        told: event.MemberEvent
        if isinstance(action, led.Answer):
            request = self._requests.pop((action.member, action.answer.sequence))
            self.world.checks.answered(self, action.member, action.answer, request)
            told = event.LeadAnswered(action.answer)
        else:
            self._requests.pop((action.member, action.refusal.sequence))
            told = event.LeadRefused(action.refusal)
        if member is self:
            self.later(0.0, lambda: self.feed(told))
        else:
            if self.world.traffic:
                word = action.answer if isinstance(action, led.Answer) else action.refusal
                self.world.traffic.answered(self.name, member.name, word)
            self.world.send(self.name, member.name, lambda: member.feed(told), self.world.busy_s)

    def _probe(self, name: str) -> None:
        if name == self.name:
            self.later(0.0, lambda: self.feed_lead(led.ProbeAnswered(name, self._report())))
            return
        other = self.world.nodes[name]

        def probed() -> None:
            other.feed(event.LeadHeard(self.name))
            report = other._report()
            answered = led.ProbeAnswered(name, report)
            self.world.send(name, self.name, lambda: self.feed_lead(answered), self.world.busy_s)

        if self.introductions and (introduction := self.introductions.due(name, self.world.now)):
            self._gossip(introduction)
        self.world.send(self.name, name, probed, self.world.busy_s)

    def _report(self) -> Report | None:
        return None if self.machine is None else self._as_told(self.machine.report(self.world.now))

    def _as_told(self, report: Report) -> Report:
        """A member that announces what it lacks claims to hold all that anybody fetched."""
        if not self.announces_all or self.machine is None:
            return report
        return replace(report, held=piece_set.to_bytes(self.machine.ledger.agreed, self.world.blob.pieces))

    def _hear(self, happened: gossip.MembershipEvent) -> None:
        membership = self.membership
        if membership is None:
            return
        for action in membership.handle(happened, self.world.now):
            if isinstance(action, gossip.Gossip):
                self._gossip(action)
            else:
                self.world.checks.company_told(self, self._told, action)
                self._told = action
                self._tell_live()
        self._plan_tick("gossip", membership.deadline(), lambda: self._hear(gossip.RoundCame()))

    def _tell_live(self) -> None:
        """Those this member blames, and those that blame it, are none of its company."""
        by = {name for name, node in self.world.nodes.items() if self.name in node.blamed}
        left_out = self.blamed | by
        if self._told is not None:
            self.live = self._told.live - left_out
            told = self._told
            self._cluster = led.LiveMembersChanged(
                self.live, told.hub_down_cluster, told.hub_busy, told.draining, told.zones
            )
            self.feed(event.MembersChanged(self.live, told.draining))
            self.feed_lead(self._cluster)
            if len(by) > len(self.live) - 1:
                self.feed(event.AccessChanged(may_fetch=False))

    def _gossip(self, action: gossip.Gossip) -> None:
        """One exchange: what both say crosses, or a timeout tells that it did not."""
        other = self.world.nodes[action.address]
        arrived: list[bool] = []
        self.world.checks.gossip_said(self, action.said)
        said = self._as_written(action.said, other)

        def request() -> None:
            other._hear(gossip.GossipReceived(self.name, said.lines, members=said.members))
            if other.membership is not None:
                answered = other.membership.answer(self.name, said, self.world.now)
                self.world.checks.gossip_answered(other, said, answered)
                told = other._as_written(answered, self)
                self.world.send(other.name, self.name, lambda: answer(told))

        def answer(told: gossip.Said) -> None:
            arrived.append(True)
            self._hear(gossip.GossipReceived(other.name, told.lines, told.sums, told.members))

        def time_out() -> None:
            if not arrived:
                self._hear(gossip.GossipFailed(action.address))

        self.world.send(self.name, other.name, request)
        self.later(0.8, time_out)

    def _as_written(self, said: gossip.Said, to: Node) -> gossip.Said:
        """As it travels: between members of which one is of the older wire version, whole tables do."""
        assert self.membership is not None
        if self.is_older or to.is_older:
            said = gossip.Said(self.membership.table())
        if self.world.traffic:
            self.world.traffic.gossiped(self.name, said)
        return said
